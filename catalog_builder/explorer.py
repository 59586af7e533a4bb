"""The explorer: a page for browsers that a release carries as ``explore/``, and the files of which it consists.

Its source is ``explorer/`` in a checkout, from where ``tools/explorer-setup`` makes it beside this module; a wheel that
was built there has it, too. Nothing here needs Node or the web.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from catalog_builder import layout
from catalog_builder.errors import BuildError

_SETUP = "tools/explorer-setup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page as it goes into a release."""

    files: Mapping[str, bytes]
    """href -> bytes: read at once, since the page may be made anew while a build goes on."""


NO_PAGE: Final = Page(files=MappingProxyType({}))
"""What takes the explorer out of a release."""


def page_folder() -> Path:
    """Give the folder where the page is, once it has been made."""
    return Path(__file__).with_name("explorer_page")


def page(folder: Path | None = None) -> Page | None:
    """Read the page, by default that of this package; None where it has not been made.

    Raises ``BuildError`` for something in its folder that does not belong into a release.
    """
    folder = page_folder() if folder is None else folder
    try:
        # What a desktop leaves behind is hidden.
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
        files = {layout.explorer_file(entry.name): _read(entry) for entry in entries}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BuildError(f"{error.filename}: cannot read this part of the explorer: {error.strerror}") from error
    return Page(files=MappingProxyType(dict(sorted(files.items())))) if layout.EXPLORER in files else None


def _read(entry: "os.DirEntry[str]") -> bytes:
    href = layout.explorer_file(entry.name)
    if not entry.is_file(follow_symlinks=False) or not layout.is_explorer_file(href):
        kinds = ", ".join(layout.EXPLORER_SUFFIXES)
        raise BuildError(f"{entry.path}: the explorer consists of plain files ({kinds}); take this one away")
    return Path(entry.path).read_bytes()


def how_to_add() -> str:
    """Say in one line how a release gets an explorer where this package has no page."""
    checkout = Path(__file__).parents[1]
    if (checkout / _SETUP).is_file():
        return f"its page has not been made; run {checkout / _SETUP} (needs Node 18) and build again"
    return (
        f"this package was installed without its page; run {_SETUP} (needs Node 18) in a checkout, install from there "
        "and build again"
    )
