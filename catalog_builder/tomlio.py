"""TOML files that people write, with errors that name the file and the line."""

import tomllib
from pathlib import Path
from typing import Any

from catalog_builder.errors import UsageError


def read(path: Path, failure: type[UsageError]) -> dict[str, Any]:
    """Read a TOML file. Raises ``failure`` for one that cannot be read, or that is no TOML."""
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise failure(f"{path}: cannot read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise failure(f"{path}: not TOML: {error}") from error
