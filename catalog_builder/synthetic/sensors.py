"""What each modality measures over a landscape: pixels of shape (bands, rows, cols), no files.

Every modality starts from a signature by cover, so that all of them see the same ground.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog_builder.synthetic.landscape import Cover, Flags, Floats, Landscape

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.int16] | npt.NDArray[np.float32]

LOOKS_S1 = 4.4
"""Equivalent number of looks of a Sentinel-1 IW GRD product, high resolution (ESA product specification)."""
LOOKS_UAVSAR = 12.0
"""Equivalent number of looks taken for the UAVSAR ground-range products, whose looks are correlated."""
NATIVE_SENTINEL = 10.0
"""Side in m of a Sentinel pixel; on a finer grid it is repeated, as nearest-neighbour resampling does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """How one cover looks to each sensor; typical values, good enough to tell the covers apart."""

    optical: tuple[float, float, float, float]
    """Reflectance in blue, green, red, near infrared."""
    c_band: tuple[float, float]
    """Sentinel-1 sigma0 in dB: VV, VH."""
    l_band: tuple[float, float, float]
    """UAVSAR Pauli powers in dB: |HH-VV|^2 / 2, 2 |HV|^2, |HH+VV|^2 / 2."""
    roughness: float
    """Standard deviation of the fine texture, relative; 0 for a perfectly even ground."""
    osm: int
    """Class of the OpenStreetMap raster."""


def _signature(
    optical: tuple[float, float, float, float],
    c_band: tuple[float, float],
    l_band: tuple[float, float, float],
    roughness: float,
    osm: int,
) -> Signature:
    return Signature(optical=optical, c_band=c_band, l_band=l_band, roughness=roughness, osm=osm)


SIGNATURES: dict[Cover, Signature] = {
    Cover.SOIL: _signature((0.095, 0.12, 0.15, 0.21), (-11.5, -21.0), (-20, -29, -15), 0.06, 2),
    Cover.RIPE_CROP: _signature((0.085, 0.135, 0.15, 0.28), (-12.5, -19.0), (-18, -23, -16), 0.04, 2),
    Cover.GREEN_CROP: _signature((0.04, 0.09, 0.055, 0.43), (-10.5, -17.0), (-16, -20, -14), 0.05, 2),
    Cover.GRASS: _signature((0.055, 0.10, 0.08, 0.33), (-13.5, -20.0), (-20, -26, -16.5), 0.06, 3),
    Cover.SCRUB: _signature((0.065, 0.095, 0.10, 0.23), (-12.0, -18.0), (-15, -18, -14), 0.16, 0),
    Cover.BROADLEAF: _signature((0.03, 0.058, 0.036, 0.36), (-9.5, -14.5), (-10.5, -9.5, -10), 0.16, 1),
    Cover.CONIFER: _signature((0.025, 0.042, 0.027, 0.21), (-10.2, -15.5), (-9.5, -10.5, -11), 0.2, 1),
    Cover.LAKE: _signature((0.05, 0.05, 0.03, 0.015), (-20.0, -27.0), (-27, -37, -22), 0.0, 4),
    Cover.RIVER: _signature((0.06, 0.07, 0.05, 0.025), (-18.5, -26.0), (-26, -36, -21), 0.0, 5),
    Cover.GARDEN: _signature((0.07, 0.10, 0.09, 0.25), (-7.0, -13.5), (-8, -13, -9), 0.2, 6),
    Cover.YARD: _signature((0.15, 0.17, 0.18, 0.23), (-6.0, -14.0), (-9, -17, -8), 0.12, 7),
    Cover.BUILDING: _signature((0.15, 0.17, 0.22, 0.26), (-0.5, -8.5), (-1.5, -9, -3.5), 0.08, 8),
    Cover.MAJOR_ROAD: _signature((0.12, 0.13, 0.14, 0.17), (-16.0, -23.5), (-25, -33, -20), 0.03, 9),
    Cover.MINOR_ROAD: _signature((0.14, 0.16, 0.18, 0.22), (-14.0, -21.5), (-22, -30, -18), 0.04, 10),
    Cover.RAILWAY: _signature((0.10, 0.11, 0.12, 0.15), (-9.0, -17.0), (-12, -24, -11), 0.06, 11),
}
VIGOUR_GAIN = (-0.35, -0.25, -0.4, 0.25)
"""How a vigorous field differs in blue, green, red, near infrared: darker in the visible, brighter beyond."""
SUN = (150.0, 48.0)
"""Azimuth and elevation of the sun in degrees, mid-morning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swath:
    """A side-looking pass over a square area, whose centre is (0, 0) and whose side is 1."""

    look: float
    """Azimuth in degrees towards which the antenna looks."""
    near: float
    """Distance of the near edge from the centre along the look direction; before it there is no data."""
    far: float
    incidence: tuple[float, float]
    """Angle in degrees from the vertical at the near and at the far edge."""

    def across(self, size: int) -> Floats:
        """Position across the swath, 0 at the near edge and 1 at the far one: (size, size)."""
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
        east, north = np.sin(np.radians(self.look)), np.cos(np.radians(self.look))
        along_look = axis[None, :] * east - axis[:, None] * north
        return np.asarray((along_look - self.near) / (self.far - self.near), np.float32)

    def seen(self, size: int) -> Flags:
        """Which pixels lie in the swath: (size, size)."""
        across = self.across(size)
        return (across >= 0) & (across <= 1)

    def brightening(self, scene: Landscape) -> Floats:
        """Gain in power of slopes facing the radar over level ground: sin(incidence) / sin(local incidence).

        The area effect of Ulander, "Radiometric slope correction of synthetic-aperture radar images",
        IEEE TGRS 34(5), 1996, for slopes along the look direction.
        """
        eastward, northward = scene.slopes(with_objects=False)
        look = np.radians(self.look)
        facing = np.arctan(eastward * np.float32(np.sin(look)) + northward * np.float32(np.cos(look)))
        near, far = np.radians(np.array(self.incidence, np.float32))
        level = near + (far - near) * np.clip(self.across(len(facing)), 0, 1)
        local = np.clip(level - facing, np.float32(0.14), np.float32(1.48))
        return np.asarray(np.sin(level) / np.sin(local), np.float32)


def _table(values: Sequence[float]) -> Floats:
    return np.array(values, np.float32)


def _coarse(field: Floats, factor: int) -> Floats:
    """Mean of `factor` x `factor` pixels."""
    rows, cols = (side // factor for side in field.shape)
    return np.asarray(field.reshape(rows, factor, cols, factor).mean(axis=(1, 3)), np.float32)


def _fine(field: Floats, factor: int) -> Floats:
    return field.repeat(factor, axis=0).repeat(factor, axis=1)


def _sentinel_factor(scene: Landscape) -> int:
    return max(1, round(NATIVE_SENTINEL / scene.pixel))


def _shave(values: Floats) -> Floats:
    """Round to 12 significant bits, far below the speckle: random low bits would double the files."""
    return ((values.view(np.uint32) + np.uint32(1 << 11)) & np.uint32(0xFFFFF000)).view(np.float32)


def speckled(rng: np.random.Generator, power: Floats, looks: float) -> Floats:
    """`power` times fully developed speckle of `looks` looks: gamma of mean 1 and variance 1 / looks.

    Goodman, "Some fundamental properties of speckle", JOSA 66(11), 1976.
    """
    return power * rng.standard_gamma(looks, power.shape, dtype=np.float32) / np.float32(looks)


def _backscatter(scene: Landscape, decibels: Sequence[float]) -> Floats:
    """Mean linear power by cover, with the texture of the ground and the vigour of each field."""
    roughness = _table([s.roughness for s in SIGNATURES.values()])
    steady = roughness > 0
    power = (10 ** (_table(decibels) / 10))[scene.cover]
    uneven = 1 + 0.6 * steady[scene.cover] * (scene.vigour - np.float32(0.5))
    return np.asarray(power * uneven * np.exp(roughness[scene.cover] * scene.texture), np.float32)


def sentinel1(rng: np.random.Generator, scene: Landscape, swath: Swath, dates: int = 1) -> Floats:
    """Sigma0 in dB of VV and VH, the mean in linear power over `dates`; NaN off the swath."""
    factor = _sentinel_factor(scene)
    gain, off = swath.brightening(scene), ~swath.seen(len(scene.height))
    bands = []
    for channel in range(2):
        mean = _coarse(_backscatter(scene, [s.c_band[channel] for s in SIGNATURES.values()]) * gain, factor)
        decibels = 10 * np.log10(speckled(rng, mean, LOOKS_S1 * dates))
        bands.append(np.where(off, np.float32(np.nan), _fine(_shave(decibels), factor)))
    return np.stack(bands)


def uavsar(rng: np.random.Generator, scene: Landscape, swath: Swath) -> Floats:
    """Amplitudes in the Pauli basis, |HH-VV| / sqrt(2), sqrt(2) |HV|, |HH+VV| / sqrt(2); NaN off the swath.

    The squares add up to the span. Power falls off with the incidence angle as its cosine (Lambert's law
    in its one-way form), hence the near range is brighter.
    """
    size = len(scene.height)
    near, far = np.radians(np.array(swath.incidence, np.float32))
    level = np.cos(near + (far - near) * np.clip(swath.across(size), 0, 1)) / np.cos(np.radians(45))
    gain, off = swath.brightening(scene) * level, ~swath.seen(size)
    bands = []
    for channel in range(3):
        mean = _backscatter(scene, [s.l_band[channel] for s in SIGNATURES.values()]) * gain
        amplitude = np.sqrt(speckled(rng, mean.astype(np.float32), LOOKS_UAVSAR))
        bands.append(np.where(off, np.float32(np.nan), _shave(amplitude)))
    return np.stack(bands)


def _shading(scene: Landscape, *, with_objects: bool) -> Floats:
    """Cosine of the sun's angle to the ground over that to level ground, and a floor of skylight."""
    eastward, northward = scene.slopes(with_objects=with_objects)
    azimuth, elevation = np.radians(SUN)
    toward = eastward * np.float32(np.sin(azimuth)) + northward * np.float32(np.cos(azimuth))
    lit = (1 - toward / np.float32(np.tan(elevation))) / np.sqrt(1 + eastward**2 + northward**2)
    return np.asarray(np.clip(lit, 0.25, 1.8), np.float32)


def _reflectance(scene: Landscape, band: int, light: Floats) -> Floats:
    """Reflectance of one optical band (blue, green, red, near infrared) under `light`: (rows, cols)."""
    roughness = _table([s.roughness for s in SIGNATURES.values()])
    ground = _table([s.optical[band] for s in SIGNATURES.values()])[scene.cover]
    change = VIGOUR_GAIN[band] * (roughness > 0)
    field = 1 + change.astype(np.float32)[scene.cover] * (2 * scene.vigour - 1)
    return np.asarray(ground * field * light * (1 + roughness[scene.cover] * scene.texture), np.float32)


def sentinel2(rng: np.random.Generator, scene: Landscape) -> npt.NDArray[np.uint16]:
    """Reflectance x 10000 of B02, B03, B04, B08; at least 1, for 0 is nodata."""
    factor, light = _sentinel_factor(scene), _shading(scene, with_objects=False)
    bands = []
    for band in range(4):
        mean = _coarse(_reflectance(scene, band, light), factor)
        noisy = mean * 10000 + 12 * rng.standard_normal(mean.shape, dtype=np.float32)
        bands.append(_fine(np.clip(np.rint(noisy), 1, 10000), factor).astype(np.uint16))
    return np.stack(bands)


def naip(rng: np.random.Generator, scene: Landscape) -> npt.NDArray[np.uint8]:
    """Aerial red, green, blue, brightened for the eye by a gamma of 2; at least 1, for 0 is nodata."""
    light = _shading(scene, with_objects=True)
    bands = []
    for band in (2, 1, 0):
        tone = 420 * np.sqrt(np.clip(_reflectance(scene, band, light), 0, 1)) + 6
        grain = 2 * rng.standard_normal(tone.shape, dtype=np.float32)
        bands.append(np.clip(np.rint(tone + grain), 1, 255).astype(np.uint8))
    return np.stack(bands)


def openstreetmap(scene: Landscape) -> npt.NDArray[np.uint8]:
    """Class of each pixel, 0 unmapped to 11 railway: (1, rows, cols)."""
    return np.array([s.osm for s in SIGNATURES.values()], np.uint8)[scene.cover][None]
