# SPDX-License-Identifier: Apache-2.0
"""Colours of skin, lips, mouth and hair of a person, sRGB 0..1.

Places are those of `Surface.base`: millimetres on MakeHuman's base mesh from the middle between its eyes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.mesh import smoothstep
from streamingtalker_ros.face.human_head.person import Person

_TONES: Final = np.array(  # of skin, from little to much melanin
    [
        [0.90, 0.73, 0.64],
        [0.87, 0.66, 0.55],
        [0.77, 0.55, 0.42],
        [0.60, 0.40, 0.29],
        [0.43, 0.27, 0.19],
        [0.30, 0.18, 0.13],
    ]
)
_MELANIN: Final = {"african": 0.80, "asian": 0.22, "caucasian": 0.10}
_HAIR: Final = {  # colours from which the seed chooses
    "african": ((0.06, 0.045, 0.04), (0.09, 0.06, 0.05)),
    "asian": ((0.07, 0.055, 0.05), (0.12, 0.08, 0.06)),
    "caucasian": ((0.17, 0.10, 0.06), (0.34, 0.21, 0.12), (0.55, 0.40, 0.23), (0.36, 0.15, 0.07)),
}
_IRIS: Final = {
    "african": ((0.24, 0.12, 0.06), (0.30, 0.17, 0.08)),
    "asian": ((0.27, 0.14, 0.07), (0.34, 0.19, 0.09)),
    "caucasian": ((0.34, 0.21, 0.10), (0.33, 0.42, 0.50), (0.33, 0.33, 0.22), (0.41, 0.46, 0.49)),
}
GREY: Final = np.array([0.66, 0.65, 0.64])
"""Colour (3,) of grey hair."""

_GARMENTS: Final = (
    (0.16, 0.20, 0.27),
    (0.36, 0.16, 0.18),
    (0.20, 0.30, 0.27),
    (0.83, 0.82, 0.80),
    (0.34, 0.31, 0.42),
)
_LIP: Final = np.array([0.72, 0.33, 0.33])
_MOUTH: Final = np.array([0.42, 0.14, 0.14])
_REDNESS: Final = np.array([1.02, 0.84, 0.82])  # factor of flushed skin
_FLUSHED: Final = (  # (y, z, radius) in mm, strength
    (34.0, -36.0, 19.0, 0.55),
    (0.0, -36.0, 9.0, 0.65),
    (0.0, -98.0, 14.0, 0.30),
    (76.0, -20.0, 16.0, 0.60),
    (28.0, -13.0, 8.0, 0.30),
)
_BROW: Final = np.array([[11.5, 18.5], [20.0, 20.5], [30.0, 22.5], [40.0, 23.5], [49.0, 20.5], [55.0, 16.0]])
"""(y, z) of the middle of the left brow."""
_BROW_HALF_WIDTH_MM: Final = (2.6, 3.2, 2.9, 2.3, 1.5, 0.6)
_BROW_EDGE: Final = 1.6
_FEMALE_BROW: Final = 0.7  # width of women's brows, of men's
HEAD_CENTER_X_MM: Final = -75.0
_BEARD_EDGE: Final = ((0.0, 12.0, 30.0, 48.0, 62.0, 72.0), (-44.0, -45.0, -60.0, -54.0, -30.0, -5.0))
"""y and z, mm, above which no beard grows."""
_HAIRLINE: Final = np.array(  # degrees from the front, mm
    [
        [0.0, 70.0],
        [18.0, 71.0],
        [30.0, 67.0],
        [42.0, 57.0],
        [52.0, 47.0],
        [60.0, 38.0],
        [67.0, 29.0],
        [73.0, 20.0],
        [78.0, 16.0],
        [84.0, 17.0],
        [98.0, 19.0],
        [109.0, 4.0],
        [122.0, -24.0],
        [140.0, -48.0],
        [160.0, -58.0],
        [180.0, -60.0],
    ]
)
_RECESSION: Final = ((0.0, 12.0, 30.0, 42.0, 60.0, 75.0), (7.0, 9.0, 26.0, 24.0, 6.0, 0.0))
"""Degrees from the front, and mm by which the hairline of an old man has gone back."""
_SIDEBURN_DEGREES: Final = (70.0, 80.0, 90.0, 96.0)  # from the front: their borders and their whole length
_SOFT_HAIRLINE_MM: Final = 9.0
_BARE_MM: Final = -15.0  # from the hairline, where surely no hair grows
_GREY_STUBBLE: Final = 0.8  # by which grey stubble shows less
_AGE_OF_GREY: Final = (38.0, 72.0)  # years of the first and the last


@dataclass(frozen=True)
class Palette:
    """Colours (3,) of a person.

    Attributes:
        skin: Of the forehead.
        lip: Of the vermilion.
        hair: Of the head's hair, on average.
        young_hair: Of those of its hairs that are not grey.
        brow: Of brows and lashes.
        iris: Mean of the iris.
        garment: Of the shirt.
    """

    skin: npt.NDArray[np.float64]
    lip: npt.NDArray[np.float64]
    hair: npt.NDArray[np.float64]
    young_hair: npt.NDArray[np.float64]
    brow: npt.NDArray[np.float64]
    iris: npt.NDArray[np.float64]
    garment: npt.NDArray[np.float64]


def palette(person: Person) -> Palette:
    """Choose the colours of a person by ancestry, age and seed.

    Args:
        person: Whose colours they are.
    """
    random = np.random.default_rng([person.seed, 3])
    shares = person.ancestry_shares()
    melanin = sum(shares[name] * value for name, value in _MELANIN.items()) + random.normal(0.0, 0.05)
    position = np.clip(melanin, 0.0, 1.0) * (len(_TONES) - 1)
    skin = np.array([np.interp(position, np.arange(len(_TONES)), _TONES[:, k]) for k in range(3)])
    origin = random.choice(list(shares), p=list(shares.values()))
    hair = np.array(_HAIR[origin][random.integers(len(_HAIR[origin]))])
    iris = np.array(_IRIS[origin][random.integers(len(_IRIS[origin]))])
    grey = grey_share(person.age)
    redness = 0.55 - 0.10 * person.gender
    redness *= 0.6 + 0.4 * float(smoothstep((person.age - 11.0) / 8.0))
    return Palette(
        skin=skin,
        lip=skin * (1.0 - redness) + _LIP * (0.35 + 0.65 * skin[0]) * redness,
        hair=hair * (1.0 - grey) + GREY * grey,
        young_hair=hair,
        brow=1.1 * hair * (1.0 - grey) + GREY * 0.8 * grey,
        iris=iris,
        garment=np.array(_GARMENTS[random.integers(len(_GARMENTS))]),
    )


def grey_share(age: float) -> float:
    """How much of the hair of an age in years is grey, 0..1."""
    return float(smoothstep((age - _AGE_OF_GREY[0]) / (_AGE_OF_GREY[1] - _AGE_OF_GREY[0])))


def above_hairline(base: npt.NDArray[np.float64], sideburn: float) -> npt.NDArray[np.float64]:
    """(V,) height above the hairline, mm; negative where no hair grows.

    Args:
        base: (V, 3) places.
        sideburn: Length of the sideburns in mm.
    """
    degrees = np.degrees(np.abs(np.arctan2(base[:, 1], base[:, 0] - HEAD_CENTER_X_MM)))
    height = base[:, 2] - np.interp(degrees, _HAIRLINE[:, 0], _HAIRLINE[:, 1])
    height += sideburn * np.interp(degrees, _SIDEBURN_DEGREES, [0.0, 1.0, 1.0, 0.0])
    return np.where(_on_ear(base), np.minimum(height, _BARE_MM), height)


def recession(base: npt.NDArray[np.float64], person: Person) -> npt.NDArray[np.float64]:
    """(V,) mm by which the hairline of a man has gone back, most above the temples.

    Args:
        base: (V, 3) places.
        person: Whose hair it is.
    """
    degrees = np.degrees(np.abs(np.arctan2(base[:, 1], base[:, 0] - HEAD_CENTER_X_MM)))
    age = float(smoothstep((person.gender - 0.55) / 0.3) * smoothstep((person.age - 30.0) / 40.0))
    return age * np.interp(degrees, *_RECESSION)


def _on_ear(base: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(V,) whether a place belongs to an ear.

    Args:
        base: (V, 3) places.
    """
    return (np.abs(base[:, 1]) > 75.0) & (base[:, 2] < 14.0)


def hair_density(height: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(V,) 1 where hair grows on the head, 0 elsewhere, with a soft hairline.

    Args:
        height: (V,) above the hairline, mm.
    """
    return np.asarray(smoothstep(height / _SOFT_HAIRLINE_MM))


def brow_place(base: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Where points (N, 3) lie on the brow of their side.

    Args:
        base: (N, 3) places.

    Returns:
        Position along the brow (N,), 0 at the nose to 1; height above its middle (N,), in half widths.
    """
    y = np.abs(base[:, 1])
    along = np.interp(y, _BROW[:, 0], np.linspace(0.0, 1.0, len(_BROW)), left=-1.0, right=2.0)
    middle = np.interp(y, _BROW[:, 0], _BROW[:, 1])
    half_width = np.interp(y, _BROW[:, 0], _BROW_HALF_WIDTH_MM)
    return along, (base[:, 2] - middle) / half_width


def brow_density(base: npt.NDArray[np.float64], gender: float) -> npt.NDArray[np.float64]:
    """(V,) density of the brows' hairs.

    Args:
        base: (V, 3) places.
        gender: 0 (female, with narrower brows) to 1 (male).
    """
    along, across = brow_place(base)
    inside = (along >= 0.0) & (along <= 1.0) & (base[:, 0] > -20.0)
    return np.where(
        inside,
        np.exp(-_BROW_EDGE * (across / (_FEMALE_BROW + (1.0 - _FEMALE_BROW) * gender)) ** 2)
        * smoothstep(0.12 + along / 0.24),
        0.0,
    )


def skin_colors(
    base: npt.NDArray[np.float64],
    openness: npt.NDArray[np.float64],
    colors: Palette,
    person: Person,
) -> npt.NDArray[np.float64]:
    """Colours (V, 3) of the skin, without hair, lips and mouth.

    Args:
        base: (V, 3) places.
        openness: (V,) fraction of the sky that each vertex sees.
        colors: Of the person.
        person: Whose skin it is.
    """
    flush = np.zeros(len(base))
    front = smoothstep((base[:, 0] + 95.0) / 30.0)
    for y, z, radius, strength in _FLUSHED:
        distance = np.square(np.abs(base[:, 1]) - y) + np.square(base[:, 2] - z)
        flush += strength * np.exp(-distance / (2.0 * radius**2)) * front
    flush = np.clip(0.75 * flush + 0.05 * _noise(base, 18.0, person.seed), 0.0, 1.0)[:, None]
    result = colors.skin * (1.0 - flush + flush * _REDNESS)
    result = result * (1.0 + 0.012 * _noise(base, 9.0, person.seed + 1))[:, None]
    stubble = 0.13 * float(smoothstep((person.gender - 0.55) / 0.3) * smoothstep((person.age - 15.0) / 6.0))
    stubble *= 1.0 - _GREY_STUBBLE * grey_share(person.age)
    result = _mix(result, np.array([0.42, 0.40, 0.40]) * (0.4 + 0.6 * colors.skin[0]), stubble * beard(base))
    shade = np.clip(openness / 0.85, 0.0, 1.0)[:, None]
    return result * (1.0 - (1.0 - shade) * np.array([0.42, 0.52, 0.56]))


def hair_colors(
    skin: npt.NDArray[np.float64],
    base: npt.NDArray[np.float64],
    height: npt.NDArray[np.float64],
    colors: Palette,
    gender: float,
) -> npt.NDArray[np.float64]:
    """Colours (V, 3) of the skin with the roots of brows and hair, for renderers without textures.

    Args:
        skin: (V, 3) its colours without hair.
        base: (V, 3) places.
        height: (V,) above the hairline, mm.
        colors: Of the person.
        gender: Of the person.
    """
    result = _mix(skin, colors.brow, 0.35 * brow_density(base, gender))
    return _mix(result, colors.hair * 0.8, 0.92 * hair_density(height))


def beard(base: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(V,) 1 where a beard grows, 0 elsewhere.

    Args:
        base: (V, 3) places.
    """
    y, z = np.abs(base[:, 1]), base[:, 2]
    jaw = (
        smoothstep((np.interp(y, *_BEARD_EDGE) - z) / 20.0)
        * smoothstep((z + 135.0) / 18.0)
        * smoothstep((base[:, 0] + 78.0) / 26.0)
    )
    return np.asarray(jaw)


def _mix(
    colors: npt.NDArray[np.float64], other: npt.NDArray[np.float64], share: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return colors + (other - colors) * share[:, None]


def _noise(points: npt.NDArray[np.float64], wavelength: float, seed: int) -> npt.NDArray[np.float64]:
    """Smooth noise (N,) of about unit deviation: a sum of waves of random direction and phase."""
    random = np.random.default_rng([seed, 4])
    waves = random.normal(0.0, 2.0 * np.pi / wavelength, (24, 3))
    phase = random.random(24) * 2.0 * np.pi
    return np.asarray(np.sin(points @ waves.T + phase).sum(axis=1) / np.sqrt(12.0))


def lip_colors(
    skin: npt.NDArray[np.float64], position: npt.NDArray[np.float64], colors: Palette
) -> npt.NDArray[np.float64]:
    """Colours (N, 3) of the lips' edge loops.

    Args:
        skin: (N, 3) colours of the skin there.
        position: (N,) place between the edge loops: -1 outside of the lips, 0 on them, 1 in the mouth.
        colors: Of the person.
    """
    result = _mix(skin, colors.lip, np.clip(position + 1.0, 0.0, 1.0))
    return _mix(result, mouth_color(colors), np.clip(position, 0.0, 1.0))


def mouth_color(colors: Palette) -> npt.NDArray[np.float64]:
    """Colour (3,) of the inside of the mouth.

    Args:
        colors: Of the person.
    """
    return _MOUTH * (0.6 + 0.4 * colors.skin[0])
