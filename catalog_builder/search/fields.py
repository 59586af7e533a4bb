"""The ``fields`` of a search: which parts of an item are wanted (STAC API, Fields extension)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog_builder.errors import UsageError

ALWAYS = ("type", "id", "collection")
"""What every item found has: without it nobody knows what it is."""
_DEFAULT = ("stac_version", "geometry", "bbox", "links", "assets", "properties.datetime")
"""What an empty choice stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Paths such as ``properties.datetime`` or ``assets.s2``.

    The longer path decides; of equals, that which excludes.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def wants(self, path: str) -> bool:
        """Tell whether anything at or below a path is wanted."""
        if path in ALWAYS:
            return True
        if any(_below(included, path) for included in self.include):
            return True
        return self._decides(path)

    def _decides(self, path: str) -> bool:
        include = max((len(one) for one in self.include if _at_or_above(one, path)), default=-1)
        exclude = max((len(one) for one in self.exclude if _at_or_above(one, path)), default=-1)
        return exclude < include or (exclude < 0 and not self.include)

    def pick(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Give the wanted parts of an item."""
        return self._pick(item, "")

    def _pick(self, value: Mapping[str, Any], above: str) -> dict[str, Any]:
        picked = {}
        for key, inner in value.items():
            path = f"{above}{key}"
            if not self.wants(path):
                continue
            touched = any(_below(one, path) for one in (*self.include, *self.exclude))
            picked[key] = self._pick(inner, f"{path}.") if touched and isinstance(inner, Mapping) else inner
        return picked


def _below(path: str, other: str) -> bool:
    return path.startswith(f"{other}.")


def _at_or_above(path: str, other: str) -> bool:
    return path == other or other.startswith(f"{path}.")


def parse_fields(value: Mapping[str, Any] | Sequence[str] | str) -> Fields:
    """Read ``{"include": […], "exclude": […]}`` or ``+id,-assets``. Raises ``UsageError``."""
    if isinstance(value, Mapping):
        if unknown := set(value) - {"include", "exclude"}:
            raise UsageError(f"fields: {sorted(unknown)}: only include and exclude are known")
        include, exclude = value.get("include") or (), value.get("exclude") or ()
    else:
        listed = [part.strip() for part in (value.split(",") if isinstance(value, str) else value)]
        include = [part.removeprefix("+") for part in listed if not part.startswith("-")]
        exclude = [part[1:] for part in listed if part.startswith("-")]
    if not include and not exclude:
        include = _DEFAULT
    return Fields(include=_paths(include), exclude=_paths(exclude))


def _paths(names: Iterable[Any]) -> tuple[str, ...]:
    paths = tuple(names)
    if isinstance(names, str) or not all(isinstance(path, str) and path for path in paths):
        raise UsageError(f"fields: not a list of names: {names!r}")
    return paths
