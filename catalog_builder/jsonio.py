"""JSON in and out of files, and digests of values: the same value gives the same bytes."""

import hashlib
from pathlib import Path
from typing import Any

import orjson


def dumps(document: Any) -> bytes:
    """Serialise a document as it is published: compact, keys in the order given, a newline at the end."""
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def loads(data: bytes) -> Any:
    """Parse JSON. Raises ``ValueError`` where it is none."""
    return orjson.loads(data)


def read(path: Path) -> Any:
    """Read a JSON file. Raises ``OSError`` or ``ValueError``."""
    return orjson.loads(path.read_bytes())


def digest(value: Any) -> str:
    """Give the SHA-256 (hex) of a JSON-like value, whatever the order of its keys."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
