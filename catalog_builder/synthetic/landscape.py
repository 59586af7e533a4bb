"""One seeded landscape: the ground that every synthetic modality of an area looks at.

All arrays have the axis order (rows, cols), row 0 in the north and column 0 in the west.
Lengths are metres on the ground. Nothing here opens a file.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

COARSE = 128
"""Paths are sought on a grid of this many rows and columns, then smoothed: finer would only add wiggles."""


class Cover(IntEnum):
    """What covers the ground; the value indexes the signature tables of the sensors."""

    SOIL = 0
    RIPE_CROP = 1
    GREEN_CROP = 2
    GRASS = 3
    SCRUB = 4
    BROADLEAF = 5
    CONIFER = 6
    LAKE = 7
    RIVER = 8
    GARDEN = 9
    YARD = 10
    BUILDING = 11
    MAJOR_ROAD = 12
    MINOR_ROAD = 13
    RAILWAY = 14


WATER = (Cover.LAKE, Cover.RIVER)
OBJECT_HEIGHT = np.array([0, 1, 1, 0, 1, 14, 18, 0, 0, 2, 0, 9, 0, 0, 0], np.float32)
"""Height in m of what stands on the ground, by cover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """What sort of country it is. Shares are of the area; `crops`, soil to grass, of the farmland."""

    relief: float
    """Height in m of one standard deviation of the hills."""
    drop: float
    """Fall in m from the northern to the southern rim."""
    forest: float
    scrub: float
    lakes: float
    crops: tuple[float, float, float, float]
    field: float
    """Width in m of a typical field."""
    river: float
    """Width in m of the river."""
    valley: float
    """Half-width of the valley as a part of the side of the area."""
    town: float
    """Radius of the town as a part of the side of the area."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """The ground of an area; every array has shape (rows, cols)."""

    pixel: float
    """Side of a pixel in m."""
    height: Floats
    """Height of the bare ground in m."""
    cover: npt.NDArray[np.uint8]
    """`Cover` of each pixel."""
    vigour: Floats
    """A number in [0, 1) that a field, a building or a stand of trees has for itself."""
    texture: Floats
    """Fine-grained variation, zero mean and unit variance."""

    @property
    def water(self) -> Flags:
        """Where the ground is open water."""
        return np.isin(self.cover, WATER)

    def slopes(self, *, with_objects: bool) -> tuple[Floats, Floats]:
        """Rise in m per m towards the east and towards the north; zero on water, which is level.

        With objects the surface is that of the crowns and roofs, whose edges then light up and cast shade.
        """
        surface = self.height
        if with_objects:
            surface = surface + OBJECT_HEIGHT[self.cover] * (1 + np.float32(0.1) * self.texture)
        southward, eastward = np.gradient(surface, np.float32(self.pixel))
        land = ~self.water
        return eastward * land, -southward * land


def fractal(rng: np.random.Generator, size: int, beta: float, cutoff: float = 1.0) -> Floats:
    """Noise of spectral density k**-beta above `cutoff` cycles a side: (size, size), mean 0, variance 1.

    Spectral synthesis as in Saupe, "Algorithms for random fractals" (The Science of Fractal Images, 1988).
    """
    half = size // 2 + 1
    north, east = np.fft.fftfreq(size, 1 / size)[:, None], np.arange(half)[None, :]
    energy = np.maximum((north**2 + east**2).astype(np.float32), np.float32(cutoff**2))
    gain = energy ** np.float32(-beta / 4)
    gain[0, 0] = 0
    white = rng.standard_normal((size, half, 2), dtype=np.float32).view(np.complex64)[:, :, 0]
    field = np.fft.irfft2(white * gain, s=(size, size))
    return np.asarray(field / field.std(), np.float32)


def soft_fractal(rng: np.random.Generator, size: int, beta: float, cutoff: float = 1.0) -> Floats:
    """Same noise, without its finest detail and in a fraction of the time."""
    return enlarge(fractal(rng, max(size // 4, 16), beta, cutoff), size)


def enlarge(field: Floats, size: int) -> Floats:
    """Interpolate a square `field` bilinearly to (size, size)."""
    count = len(field)
    places = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
    low = np.minimum(places.astype(np.intp), count - 2)
    part = (places - low).astype(np.float32)
    rows = field[low] + (field[low + 1] - field[low]) * part[:, None]
    return np.asarray(rows[:, low] + (rows[:, low + 1] - rows[:, low]) * part, np.float32)


def uniform_hash(*keys: npt.NDArray[np.int32] | int) -> Floats:
    """A number in [0, 1) for each tuple of integers, equal for equal tuples (finaliser of MurmurHash3)."""
    mixed = np.full((), 0x9E3779B9, np.uint32)
    for key in keys:
        mixed = (mixed ^ np.asarray(key).astype(np.uint32)) * np.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0xC2B2AE35)
        mixed = mixed ^ (mixed >> np.uint32(13))
    return np.asarray((mixed >> np.uint32(8)) * np.float32(2**-24), np.float32)


def cheapest_path(cost: Floats, size: int, smooth: int) -> Floats:
    """The column, in pixels of a `size` grid, by row of the cheapest way from north to south: (size,).

    Dynamic programming over a coarse `cost` of shape (n, n), two columns a row at most; then a Hann
    window of `smooth` coarse rows rounds the corners.
    """
    n = len(cost)
    moves = np.arange(-2, 3)
    total, origin = cost[0].astype(np.float64), np.zeros((n, n), np.intp)
    for row in range(1, n):
        padded = np.pad(total, 2, constant_values=np.inf)
        choices = np.stack([padded[2 + m : 2 + m + n] + 0.3 * abs(m) for m in moves])
        best = choices.argmin(axis=0)
        origin[row] = np.arange(n) + moves[best]
        total = cost[row] + choices.min(axis=0)
    path = [int(total.argmin())]
    for row in range(n - 1, 0, -1):
        path.append(int(origin[row, path[-1]]))
    window = np.hanning(smooth + 2)
    padded = np.pad(np.array(path[::-1], np.float64), smooth, mode="reflect", reflect_type="odd")
    rounded = np.convolve(padded, window / window.sum(), mode="same")[smooth:-smooth]
    places = (np.arange(size) + 0.5) * n / size - 0.5
    return np.asarray((np.interp(places, np.arange(n), rounded) + 0.5) * size / n, np.float32)


def distance_to(path: Floats, pixel: float) -> Floats:
    """Distance in m of each pixel from a north-south path, to first order in its bends: (rows, cols)."""
    lean = np.hypot(1, np.gradient(path)).astype(np.float32)
    cols = np.arange(len(path), dtype=np.float32)
    return np.asarray(np.abs(cols[None, :] - path[:, None]) * (np.float32(pixel) / lean)[:, None], np.float32)


def coarsen(field: Floats) -> Floats:
    """Mean of `field` in each cell of the coarse grid, scaled to mean 0 and variance 1."""
    step = len(field) // COARSE
    means = field.reshape(COARSE, step, COARSE, step).mean(axis=(1, 3))
    return np.asarray((means - means.mean()) / max(float(means.std()), 1e-6), np.float32)


def carve_valley(hills: Floats, river: Floats, width: float, pixel: float) -> tuple[Floats, Floats]:
    """Ground that falls to a river which never flows uphill, and the height in m above that river."""
    size = len(river)
    along = hills[np.arange(size), np.clip(river, 0, size - 1).astype(np.intp)]
    window = np.hanning(size // 2 + 1)
    falling = np.pad(np.minimum.accumulate(along), size // 4, mode="reflect", reflect_type="odd")
    bed = np.convolve(falling, window / window.sum(), mode="valid").astype(np.float32)[:, None]
    aside = (np.arange(size, dtype=np.float32)[None, :] - river[:, None]) * np.float32(pixel / width)
    rise, least = hills - bed, np.float32(0.5 * hills.std())
    above = (rise + np.sqrt(rise**2 + least**2)) / 2 * (1 - np.exp(-(aside**2)))
    return bed + above, above


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Voronoi blocks of the countryside: that of each pixel, and how far in m its edge is; (rows, cols)."""

    label: npt.NDArray[np.int32]
    edge: Floats


def voronoi_blocks(rng: np.random.Generator, size: int, pixel: float, spacing: float) -> Blocks:
    """Blocks around a jittered lattice of seeds, `spacing` m apart; noise bends their straight edges.

    Each seed touches only its window of the image: no pixel is compared with a seed that cannot be near.
    """
    bend = soft_fractal(rng, size, 4.0, cutoff=8.0) * np.float32(0.12 * spacing)
    axis = np.arange(size, dtype=np.float32) * np.float32(pixel)
    y, x = axis[:, None] + bend, axis[None, :] - bend
    nearest = np.full((size, size), np.inf, np.float32)
    second, label = nearest.copy(), np.zeros((size, size), np.int32)
    count = int(size * pixel / spacing) + 3
    seeds = (np.indices((count, count)).reshape(2, -1).T - 1 + rng.uniform(0.1, 0.9, (count**2, 2))) * spacing
    for number, seed in enumerate(seeds.astype(np.float32)):
        low = np.clip((seed - 1.5 * spacing) / pixel, 0, size).astype(int)
        high = np.clip((seed + 1.5 * spacing) / pixel, 0, size).astype(int)
        part = np.s_[low[0] : high[0], low[1] : high[1]]
        away = np.square(y[part] - seed[0]) + np.square(x[part] - seed[1])
        np.copyto(label[part], number, where=away < nearest[part])
        second[part] = np.minimum(second[part], np.maximum(nearest[part], away))
        nearest[part] = np.minimum(nearest[part], away)
    return Blocks(label=label, edge=np.asarray((np.sqrt(second) - np.sqrt(nearest)) / 2, np.float32))


def fields(rng: np.random.Generator, blocks: Blocks, pixel: float, width: float) -> tuple[Floats, Flags]:
    """Long parallel fields in each block, laid like bricks: a number for each in [0, 1), and its margins."""
    size, count = len(blocks.label), int(blocks.label.max()) + 1
    axis = np.arange(size, dtype=np.float32) * np.float32(pixel)
    angle = (rng.integers(0, 2, count) * np.pi / 2 + rng.normal(0.3, 0.25, count)).astype(np.float32)
    cos, sin = np.cos(angle)[blocks.label], np.sin(angle)[blocks.label]
    across, along = axis[None, :] * cos + axis[:, None] * sin, axis[:, None] * cos - axis[None, :] * sin
    across /= (width * rng.uniform(0.7, 1.6, count)).astype(np.float32)[blocks.label]
    along /= (width * rng.uniform(1.2, 2.8, count)).astype(np.float32)[blocks.label]
    strip = np.floor(across)
    along += uniform_hash(blocks.label, strip.astype(np.int32))
    margin = (across - strip) * np.float32(width) < 0.8 * pixel
    return uniform_hash(blocks.label, strip.astype(np.int32), np.floor(along).astype(np.int32)), margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A town, a village or a works: a rough disc of streets and lots, lengths in m, centre in pixels."""

    row: float
    col: float
    radius: float
    angle: float
    street: float
    lot: float
    ground: Cover

    def build(self, cover: npt.NDArray[np.uint8], vigour: Floats, rough: Floats, pixel: float) -> None:
        """Draw it on `cover`, and give each building its own `vigour`; only its window is touched."""
        reach = 1.5 * self.radius / pixel
        rows = slice(max(0, int(self.row - reach)), max(0, int(self.row + reach)))
        cols = slice(max(0, int(self.col - reach)), max(0, int(self.col + reach)))
        part = (rows, cols)
        ground, roof = cover[part], vigour[part]
        south = (np.arange(rows.start, rows.start + ground.shape[0])[:, None] - self.row) * pixel
        east = (np.arange(cols.start, cols.start + ground.shape[1])[None, :] - self.col) * pixel
        rim = np.hypot(south, east) / self.radius + 0.15 * rough[part]
        bend = 0.12 * self.street * rough[part]
        u = east * np.cos(self.angle) + south * np.sin(self.angle) + bend
        v = south * np.cos(self.angle) - east * np.sin(self.angle) - bend
        street = (u % self.street < 8) | (v % (1.5 * self.street) < 8)
        luck = uniform_hash(np.floor(u / self.lot).astype(np.int32), np.floor(v / self.lot).astype(np.int32))
        house = (u % self.lot < 0.62 * self.lot) & (v % self.lot < 0.7 * self.lot) & (luck < 0.95 - 0.45 * rim)
        ground[rim < 1] = self.ground
        ground[(rim < 1) & house] = Cover.BUILDING
        ground[(rim < 1) & street] = Cover.MINOR_ROAD
        roof[rim < 1] = 0.2 + 0.6 * luck[rim < 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What crosses the scene, and where: distances in m from each line, (rows, cols), and the settlements."""

    road: Floats
    highway: Floats
    railway: Floats
    settlements: tuple[Settlement, ...]


def steepness(height: Floats) -> Floats:
    """Steepest slope, in m a pixel."""
    south, east = np.gradient(height)
    return np.asarray(np.sqrt(south**2 + east**2), np.float32)


def lay_network(rng: np.random.Generator, terrain: Terrain, height: Floats, river: Floats, pixel: float) -> Network:
    """A road from west to east, a highway and a railway from north to south, and settlements on the road."""
    size = len(height)
    middle = np.arange(COARSE, dtype=np.float32)[None, :] / COARSE
    bank = np.abs(middle - river[:: size // COARSE, None] / size) < 0.03
    cost = coarsen(steepness(height)) + fractal(rng, COARSE, 3.0) + 4 * bank.astype(np.float32)
    road = cheapest_path(cost.T + 4 * np.abs(middle - 0.55), size, 12)
    highway = cheapest_path(cost + 8 * np.abs(middle - 0.24), size, 24)
    # The town stands on the east bank where the road meets the river, and the railway passes at its far end.
    meets = np.abs(road[np.clip(river, 0, size - 1).astype(np.intp)] - np.arange(size))
    bridge = int(meets.argmin())
    centre = float(np.clip(river[bridge] + terrain.town * size, 0.15 * size, 0.85 * size))
    railway = cheapest_path(cost + 6 * np.abs(middle - centre / size - 0.6 * terrain.town), size, 30)
    return Network(
        road=distance_to(road, pixel).T,
        highway=distance_to(highway, pixel),
        railway=distance_to(railway, pixel),
        settlements=settle(rng, terrain, road, centre, pixel),
    )


def settle(
    rng: np.random.Generator, terrain: Terrain, road: Floats, centre: float, pixel: float
) -> tuple[Settlement, ...]:
    """The town at column `centre` of the road, its works beside it, and villages along and off the road."""
    side = len(road) * pixel
    radius = terrain.town * side

    def place(col: float, off: float, part: float, street: float, lot: float, ground: Cover) -> Settlement:
        row = float(np.interp(col, np.arange(len(road)), road)) + off * len(road)
        angle = float(rng.uniform(0, np.pi / 2))
        return Settlement(row=row, col=col, radius=part * radius, angle=angle, street=street, lot=lot, ground=ground)

    works = place(centre + 0.95 * radius / pixel, 0.6 * terrain.town, 0.5, 260, 85, Cover.YARD)
    villages = [
        place(float(at) * len(road), float(off), 0.27, 90, 30, Cover.GARDEN)
        for at, off in zip((0.1, 0.3, 0.55, 0.78, 0.93), rng.uniform(-0.3, 0.3, 5), strict=True)
    ]
    return (*villages, works, place(centre, 0, 1, 90, 30, Cover.GARDEN))


def grow(
    rng: np.random.Generator, terrain: Terrain, height: Floats, above: Floats, number: Floats, margin: Flags
) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Cover of the open country, and its vigour: fields below, scrub and then forest where it is steep."""
    size = len(height)
    share = np.cumsum(terrain.crops)
    crops = np.searchsorted(share[:-1] / share[-1], number.ravel(), side="right").astype(np.uint8)
    cover = crops.reshape(size, size)
    cover[margin] = Cover.GRASS
    lift = coarsen(above)
    wild = fractal(rng, size, 3.3, cutoff=5.0) + np.float32(0.6) * (number - np.float32(0.5))
    wild += enlarge(np.float32(0.7) * coarsen(steepness(height)) + np.float32(0.5) * lift, size)
    forest, scrub = np.quantile(wild[::4, ::4], [1 - terrain.forest, 1 - terrain.forest - terrain.scrub])
    stand = soft_fractal(rng, size, 2.6, cutoff=8.0) + enlarge(lift, size)
    cover[wild > scrub] = Cover.SCRUB
    woods = wild > forest
    cover[woods] = np.where(stand > 0.8, Cover.CONIFER, Cover.BROADLEAF)[woods]
    hollow = soft_fractal(rng, size, 3.4, cutoff=8.0) - enlarge(lift, size)
    cover[hollow > np.quantile(hollow[::4, ::4], 1 - terrain.lakes)] = Cover.LAKE
    own = np.where(wild > scrub, np.clip(0.5 + 0.15 * stand, 0, 0.999), number * share[-1] * 7 % 1)
    return cover, own.astype(np.float32)


def draw_river(cover: npt.NDArray[np.uint8], width: float, distance: Floats, rough: Floats) -> None:
    """Draw the river on `cover`, now wider and now narrower, with trees along parts of its banks."""
    land = cover != Cover.LAKE
    cover[land & (distance < 0.7 * width + 25) & (rough > 0) & (cover < Cover.GARDEN)] = Cover.BROADLEAF
    cover[distance < (0.5 + 0.1 * rough) * width] = Cover.RIVER


def make_landscape(rng: np.random.Generator, terrain: Terrain, size: int, pixel: float) -> Landscape:
    """The landscape of `size` x `size` pixels of `pixel` m; equal generators give equal landscapes."""
    side = size * pixel
    fall = np.linspace(terrain.drop, 0, size, dtype=np.float32)[:, None]
    ridges = np.float32(0.5) - np.abs(fractal(rng, size, 3.8, cutoff=3.0))
    hills = np.float32(terrain.relief) * (fractal(rng, size, 4.0, cutoff=1.5) + np.float32(0.5) * ridges + 3)
    middle = np.abs(np.arange(COARSE, dtype=np.float32)[None, :] / COARSE - 0.5)
    river = cheapest_path(2 * coarsen(hills) + 6 * middle, size, 8)
    height, above = carve_valley(hills + fall, river, terrain.valley * side, pixel)
    rough = soft_fractal(rng, size, 3.0, cutoff=12.0)
    blocks = voronoi_blocks(rng, size, pixel, 9 * terrain.field)
    cover, vigour = grow(rng, terrain, height, above, *fields(rng, blocks, pixel, terrain.field))
    network = lay_network(rng, terrain, height, river, pixel)
    lanes = (blocks.edge < 0.6 * pixel) & (uniform_hash(blocks.label) < 0.8) & (cover != Cover.LAKE)
    cover[lanes] = Cover.MINOR_ROAD
    for settlement in network.settlements:
        settlement.build(cover, vigour, rough, pixel)
    draw_river(cover, terrain.river, distance_to(river, pixel), rough)
    cover[network.railway < max(6, 0.6 * pixel)] = Cover.RAILWAY
    cover[(network.road < 0.75 * max(10, pixel)) | (network.highway < max(12, pixel))] = Cover.MAJOR_ROAD
    texture = fractal(rng, size, 1.0, cutoff=size / 16)
    return Landscape(pixel=pixel, height=height, cover=cover, vigour=vigour, texture=texture)
