"""Build hook: a wheel carries the explorer's page where it can be made."""

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PAGE, _SETUP = "catalog_builder/explorer_page/index.html", "tools/explorer-setup"


class ExplorerHook(BuildHookInterface[Any]):
    """Makes the page before a wheel is packed. A wheel without it is a good wheel, too: releases get no explorer."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's
        """Make the page unless it is there; with the Node of this machine, for a build of a wheel installs nothing."""
        root = Path(self.root)
        if version == "editable" or (root / _PAGE).is_file():
            return
        try:
            command = ["bash", str(root / _SETUP), "--no-install"]
            said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.app.display_warning(f"the wheel has no explorer: {error}")
            return
        if said.returncode:
            self.app.display_warning(f"the wheel has no explorer: {said.stderr.strip()}")
