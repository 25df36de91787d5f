# SPDX-License-Identifier: Apache-2.0
"""A person: age, gender, ancestry and a seed of the details, as weights of MakeHuman's targets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.human_head.makehuman import MakeHumanData

ANCESTRIES: Final = ("african", "asian", "caucasian")
MIN_AGE_YEARS: Final = 6.0
MAX_AGE_YEARS: Final = 90.0
MAX_SEED: Final = 2**32 - 1
_AGES: Final = (("baby", 1.0), ("child", 11.0), ("young", 25.0), ("old", 90.0))  # years of the targets


class _Detail(NamedTuple):
    """A feature between two opposite targets.

    Attributes:
        decrease: End of the name of the target for negative weights.
        increase: End of the name of the target for positive weights.
        female: Mean weight of women.
        male: Mean weight of men.
        deviation: Standard deviation of the weight.
    """

    decrease: str
    increase: str
    female: float
    male: float
    deviation: float


_DETAILS: Final = {  # the corners of the mouth of MakeHuman's faces hang: they are raised to neutral ones
    "nose/nose-hump": _Detail("decr", "incr", 0.00, 0.00, 0.25),
    "nose/nose-width1": _Detail("decr", "incr", 0.00, 0.00, 0.25),
    "nose/nose-width2": _Detail("decr", "incr", 0.00, 0.00, 0.25),
    "nose/nose-width3": _Detail("decr", "incr", 0.00, 0.00, 0.20),
    "nose/nose-scale-vert": _Detail("decr", "incr", 0.00, 0.00, 0.20),
    "nose/nose-scale-depth": _Detail("decr", "incr", 0.00, 0.00, 0.25),
    "nose/nose-base": _Detail("down", "up", 0.00, 0.00, 0.25),
    "nose/nose-point": _Detail("down", "up", 0.00, 0.00, 0.25),
    "nose/nose-volume": _Detail("decr", "incr", 0.00, 0.00, 0.20),
    "mouth/mouth-scale-horiz": _Detail("decr", "incr", -0.15, -0.25, 0.15),
    "mouth/mouth-upperlip-height": _Detail("decr", "incr", -0.25, 0.00, 0.15),
    "mouth/mouth-lowerlip-height": _Detail("decr", "incr", -0.25, 0.00, 0.15),
    "mouth/mouth-cupidsbow": _Detail("decr", "incr", 0.00, 0.00, 0.25),
    "mouth/mouth-trans": _Detail("down", "up", 0.00, 0.00, 0.15),
    "chin/chin-width": _Detail("decr", "incr", -0.40, -0.20, 0.25),
    "chin/chin-height": _Detail("decr", "incr", 0.00, -0.25, 0.20),
    "chin/chin-prominent": _Detail("decr", "incr", 0.00, 0.00, 0.20),
    "chin/chin-bones": _Detail("decr", "incr", -0.40, 0.00, 0.25),
    "forehead/forehead-scale-vert": _Detail("decr", "incr", 0.00, 0.00, 0.20),
    "forehead/forehead-temple": _Detail("decr", "incr", 0.00, 0.00, 0.25),
    "eyebrows/eyebrows-trans": _Detail("down", "up", 0.00, 0.00, 0.20),
    "eyebrows/eyebrows-angle": _Detail("down", "up", 0.15, 0.10, 0.15),
    "head/head-fat": _Detail("decr", "incr", -0.45, -0.20, 0.15),
    "head/head-scale-horiz": _Detail("decr", "incr", -0.15, 0.00, 0.15),
    "head/head-angle": _Detail("in", "out", 0.00, 0.00, 0.15),
    "cheek/*-cheek-bones": _Detail("decr", "incr", 0.00, 0.00, 0.30),
    "cheek/*-cheek-volume": _Detail("decr", "incr", 0.00, 0.00, 0.25),
    "cheek/*-cheek-inner": _Detail("decr", "incr", 0.00, 0.00, 0.25),
    "eyes/*-eye-scale": _Detail("decr", "incr", 0.15, 0.00, 0.15),
    "eyes/*-eye-trans": _Detail("in", "out", 0.00, 0.00, 0.15),
    "eyes/*-eye-corner2": _Detail("down", "up", 0.00, 0.00, 0.20),
    "eyes/*-eye-height2": _Detail("decr", "incr", 0.15, 0.35, 0.15),
    "ears/*-ear-scale": _Detail("decr", "incr", 0.00, 0.00, 0.20),
    "ears/*-ear-wing": _Detail("decr", "incr", 0.00, 0.00, 0.20),
    "mouth/mouth-angles": _Detail("down", "up", 0.5, 0.5, 0.08),
    "neck/neck-scale-horiz": _Detail("decr", "incr", -0.40, 0.00, 0.10),
    "mouth/mouth-upperlip-volume": _Detail("decr", "incr", 0.00, 0.30, 0.10),
    "mouth/mouth-lowerlip-volume": _Detail("decr", "incr", 0.00, 0.25, 0.10),
}
_MAX_DETAIL: Final = 0.6  # from the mean; larger weights make caricatures


@dataclass(frozen=True)
class Person:
    """What a head is built from.

    Attributes:
        age: Years, `MIN_AGE_YEARS` to `MAX_AGE_YEARS`.
        gender: 0 (female) to 1 (male).
        ancestry: Shares of `ANCESTRIES`, which need not add up to 1.
        seed: Seed of the features of face, hair and colours that the other values leave open.
        hair: Name of the hair style, see `hair.HAIR_STYLES`; None chooses one by the other values.

    Raises:
        TalkerError: If a value is out of range.
    """

    age: float = 30.0
    gender: float = 0.5
    ancestry: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType(dict.fromkeys(ANCESTRIES, 1.0))
    )
    seed: int = 0
    hair: str | None = None

    def __post_init__(self) -> None:
        if not MIN_AGE_YEARS <= self.age <= MAX_AGE_YEARS:
            raise TalkerError(f"age {self.age} is not in {MIN_AGE_YEARS:.0f}..{MAX_AGE_YEARS:.0f} years")
        if not 0.0 <= self.gender <= 1.0:
            raise TalkerError(f"gender {self.gender} is not in 0..1: give 0 for female, 1 for male")
        unknown = set(self.ancestry) - set(ANCESTRIES)
        if unknown:
            raise TalkerError(f"ancestry {min(unknown)} is unknown: choose of {', '.join(ANCESTRIES)}")
        shares = list(self.ancestry.values())
        if not all(math.isfinite(share) and share >= 0.0 for share in shares) or sum(shares) <= 0.0:
            raise TalkerError("the shares of the ancestry must not be negative, and one must be above 0")
        if not 0 <= self.seed <= MAX_SEED:
            raise TalkerError(f"seed {self.seed} is not in 0..{MAX_SEED}")

    def ancestry_shares(self) -> dict[str, float]:
        """The share of each of `ANCESTRIES`; their sum is 1."""
        total = sum(self.ancestry.values())
        return {name: self.ancestry.get(name, 0.0) / total for name in ANCESTRIES}

    def target_weights(self) -> dict[str, float]:
        """Weights of MakeHuman's targets, by their names as `MakeHumanData.target` takes them."""
        shares = self.ancestry_shares()
        genders = {"female": 1.0 - self.gender, "male": self.gender}
        weights: dict[str, float] = {}
        for age, age_weight in _age_weights(self.age).items():
            for gender, gender_weight in genders.items():
                weight = age_weight * gender_weight
                body = f"universal-{gender}-{age}-averagemuscle-averageweight"
                weights[f"macrodetails/{body}"] = weight
                for ancestry, share in shares.items():
                    weights[f"macrodetails/{ancestry}-{gender}-{age}"] = weight * share
        weights.update(self._detail_weights())
        return {name: weight for name, weight in weights.items() if weight != 0.0}

    def _detail_weights(self) -> Iterator[tuple[str, float]]:
        random = np.random.default_rng([self.seed, 1])
        for name, detail in _DETAILS.items():
            weight = float(np.clip(random.normal(0.0, detail.deviation), -_MAX_DETAIL, _MAX_DETAIL))
            weight += (1.0 - self.gender) * detail.female + self.gender * detail.male
            for side in ("l", "r") if "*" in name else ("",):
                end = detail.increase if weight > 0.0 else detail.decrease
                yield f"{name.replace('*', side)}-{end}", abs(weight)

    def shape(self, data: MakeHumanData) -> npt.NDArray[np.float64]:
        """Vertices (V, 3) of the person's whole body, in the axes and units of the data."""
        vertices = data.mesh.vertices.copy()
        for name, weight in self.target_weights().items():
            vertices += weight * data.target(name)
        return vertices


PRESETS: Final[Mapping[str, Person]] = MappingProxyType(
    {
        "maya": Person(27, 0.0, {"caucasian": 0.6, "asian": 0.4}, 11, "long"),
        "kofi": Person(34, 1.0, {"african": 1.0}, 7, "buzz"),
        "lin": Person(45, 0.0, {"asian": 0.7, "caucasian": 0.3}, 1, "bob"),
        "erik": Person(53, 1.0, {"caucasian": 1.0}, 14, "buzz"),
        "amara": Person(22, 0.0, {"african": 0.8, "caucasian": 0.2}, 3, "curly"),
        "sam": Person(14, 0.6, {"caucasian": 0.5, "asian": 0.25, "african": 0.25}, 25, "buzz"),
    }
)
"""People of different age, gender and ancestry by name."""


def parse_ancestry(text: str) -> dict[str, float]:
    """Shares of ancestries as a command line states them.

    Args:
        text: Such as `asian` or `asian=2,african=1`.

    Raises:
        TalkerError: If a share is not a number.
    """
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, _, share = item.partition("=")
        try:
            shares[name.strip()] = float(share or 1.0)
        except ValueError:
            raise TalkerError(f"ancestry {item} is not a name and a number, such as asian=0.5") from None
    return shares


def _age_weights(years: float) -> dict[str, float]:
    """Linear interpolation between the neighbouring ages of MakeHuman's targets; the sum is 1."""
    positions = [age for _, age in _AGES]
    return {
        name: float(np.interp(years, positions, [float(other == name) for other, _ in _AGES]))
        for name, _ in _AGES
    }
