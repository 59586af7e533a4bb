"""What was prepared, written down in a ``sources.toml``; comments and order of what stands there are kept."""

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from catalog_builder.errors import SourcesError
from catalog_builder.prepare.output import appearing


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A prepared raster as a source of an area."""

    asset: str
    path: Path
    start: datetime
    end: datetime
    """Equal to ``start`` for an instant."""
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The area to which a source belongs; collection and title are needed where it is not yet in the file."""

    area: str
    collection: str | None = None
    title: str | None = None


def add_source(file: Path, place: Place, entry: Entry) -> None:
    """Write a source into ``file``, which is made where it is missing. A source of the same modality is replaced.

    The file appears as a whole. Raises ``SourcesError`` for one that cannot be read or written, and for an area that is
    new and has no collection or title.
    """
    document = _read(file)
    sources = _sources(document, place, file)
    made = _source(entry, file)
    for number, source in enumerate(sources):
        if source.get("asset") == entry.asset:
            sources[number] = made
            break
    else:
        sources.append(made)
    with appearing(file, SourcesError) as partial:
        partial.write_text(tomlkit.dumps(document), encoding="utf-8")


def check_place(file: Path, place: Place) -> None:
    """Tell before any work what ``add_source`` would refuse. Raises ``SourcesError``."""
    _sources(_read(file), place, file)


def _read(file: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return tomlkit.document()
    except OSError as error:
        raise SourcesError(f"{file}: cannot read: {error.strerror}") from error
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise SourcesError(f"{file}: not TOML: {error}") from error


def _sources(document: tomlkit.TOMLDocument, place: Place, file: Path) -> tomlkit.items.AoT:
    """Give the sources of an area; both are made where they are missing."""
    sources = _area(document, place, file).setdefault("source", tomlkit.aot())
    if not isinstance(sources, tomlkit.items.AoT):
        raise SourcesError(f"{file}: area {place.area!r}: `source` is no list of tables; write [[area.source]]")
    return sources


def _area(document: tomlkit.TOMLDocument, place: Place, file: Path) -> Any:
    areas = document.setdefault("area", tomlkit.aot())
    if not isinstance(areas, tomlkit.items.AoT):
        raise SourcesError(f"{file}: `area` is no list of tables; write [[area]]")
    for area in areas:
        if area.get("id") == place.area:
            return area
    if not place.collection or not place.title:
        raise SourcesError(f"{file}: has no area {place.area!r}; name its --collection and its --title")
    area = tomlkit.table()
    area.update({"collection": place.collection, "id": place.area, "title": place.title})
    area.add(tomlkit.nl())
    areas.append(area)
    return areas[-1]


def _source(entry: Entry, file: Path) -> Any:
    table = tomlkit.table()
    href = glob.escape(Path(os.path.relpath(entry.path.absolute(), file.absolute().parent)).as_posix())
    table.update({"asset": entry.asset, "href": href})
    if entry.start == entry.end:
        table["datetime"] = entry.start
    else:
        table.update({"start_datetime": entry.start, "end_datetime": entry.end})
    if entry.properties:
        table["properties"] = _properties(entry.properties)
    table.add(tomlkit.nl())
    return table


def _properties(values: Mapping[str, Any]) -> Any:
    """Give a table with a line a value, as a person would write it."""
    table = tomlkit.table()
    for name, value in values.items():
        if isinstance(value, Mapping):
            inline = tomlkit.inline_table()
            inline.update(value)
            table[name] = inline
        else:
            table[name] = value
    return table
