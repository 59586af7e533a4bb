"""Names that people use -> bands of assets, by the items' own words, so that a new template needs no code.

A band is named by its asset and its name (``s2.B04``), its common name (``s2.red``) or its number from 1 (``s2.3``); by
its name or common name alone where only one asset has it (``nir``); and by the asset alone (``srtm``, or ``s2`` for all
four of its bands).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from catalog_builder.errors import UsageError
from catalog_builder.load.tiles import TileBand, TileItem


@dataclass(frozen=True, slots=True, kw_only=True)
class BandRef:
    """One band of one asset, under the name that it shall have."""

    label: str
    """As asked for; where an asset was asked for, ``asset.band``, or the asset alone where it has one band."""
    asset: str
    number: int
    """From 1, as GDAL counts."""
    band: TileBand


def select(items: Sequence[TileItem], names: str | Iterable[str] | None = None) -> tuple[BandRef, ...]:
    """Find the bands that names mean, in the order of the names; all bands of all assets where there are no names.

    Raises ``UsageError`` for a name that no item has, naming the nearest, for one that means several bands, and for
    items whose assets of one key differ in their bands.
    """
    assets = known_assets(items)
    wanted = list(assets) if names is None else [names] if isinstance(names, str) else list(names)
    found = [ref for name in wanted for ref in _find(assets, name)]
    if not found:
        raise UsageError("no bands to load: the items have no rasters, or no names are given")
    return tuple({ref.label: ref for ref in found}.values())


def known_assets(items: Sequence[TileItem]) -> dict[str, tuple[TileBand, ...]]:
    """Give the bands of every asset that any item has. Raises ``UsageError`` where two items do not agree."""
    known: dict[str, tuple[TileBand, ...]] = {}
    first: dict[str, str] = {}
    for item in items:
        for key, asset in item.assets.items():
            bands = known.setdefault(key, asset.bands)
            origin = first.setdefault(key, item.id)
            if bands is not asset.bands and not _alike(bands, asset.bands):
                raise UsageError(
                    f"asset {key}: items {origin} and {item.id} differ in names, types or nodata of its bands"
                )
    return known


def _alike(one: Sequence[TileBand], other: Sequence[TileBand]) -> bool:
    return len(one) == len(other) and all(mine.same_pixels(yours) for mine, yours in zip(one, other, strict=True))


def _find(assets: Mapping[str, tuple[TileBand, ...]], name: str) -> list[BandRef]:
    if name in assets:
        return [BandRef(label=_label(name, assets[name], number), asset=name, number=number, band=band)
                for number, band in enumerate(assets[name], 1)]  # fmt: skip
    places = _qualified(assets, name) or _bare(assets, name)
    if len(places) > 1:
        choices = ", ".join(f"{key}.{assets[key][number - 1].name or number}" for key, number in places)
        raise UsageError(f"{name!r} may be any of {choices}: say which")
    if not places:
        raise UsageError(f"no item has {name!r}; {_nearest(assets, name)}")
    [(key, number)] = places
    return [BandRef(label=name, asset=key, number=number, band=assets[key][number - 1])]


def _label(key: str, bands: Sequence[TileBand], number: int) -> str:
    if len(bands) == 1:
        return key
    names = [band.name for band in bands]
    name = names[number - 1]
    return f"{key}.{name if name and names.count(name) == 1 else number}"


def _qualified(assets: Mapping[str, tuple[TileBand, ...]], name: str) -> list[tuple[str, int]]:
    """Find ``asset.word``; a key may hold points itself. A name goes before a common name, and that before a number."""
    parts = [(key, name[len(key) + 1 :], bands) for key, bands in assets.items() if name.startswith(f"{key}.")]
    for words in (_names, _common_names, _numbers):
        found = [
            (key, number) for key, word, bands in parts for number, own in enumerate(words(bands), 1) if own == word
        ]
        if found:
            return found
    return []


def _names(bands: Sequence[TileBand]) -> list[str | None]:
    return [band.name for band in bands]


def _common_names(bands: Sequence[TileBand]) -> list[str | None]:
    return [band.common_name for band in bands]


def _numbers(bands: Sequence[TileBand]) -> list[str | None]:
    return [str(number) for number in range(1, len(bands) + 1)]


def _bare(assets: Mapping[str, tuple[TileBand, ...]], name: str) -> list[tuple[str, int]]:
    return [
        (key, number)
        for key, bands in assets.items()
        for number, band in enumerate(bands, 1)
        if name in (band.name, band.common_name)
    ]


def _nearest(assets: Mapping[str, tuple[TileBand, ...]], name: str) -> str:
    full = [_label(key, bands, number) for key, bands in assets.items() for number in range(1, len(bands) + 1)]
    common = [f"{key}.{band.common_name}" for key, bands in assets.items() for band in bands if band.common_name]
    bare = [word for bands in assets.values() for band in bands for word in (band.name, band.common_name) if word]
    near = get_close_matches(name, [*full, *common] if "." in name else [*assets, *bare], n=1, cutoff=0.4)
    return f"the nearest is {near[0]!r}" if near else f"there are {', '.join(full)}"
