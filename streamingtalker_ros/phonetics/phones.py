# SPDX-License-Identifier: Apache-2.0
"""Phones and their viseme targets: jaw opening, lip shape and lip parting of each ARPAbet phone.

`Phone` is one sound with its times. `VISEME_TARGETS` holds the targets that the coarticulation model blends:
the hand-set `INITIAL_TARGETS`, refined on tracked lips by `training.coarticulation_fit` and stored in
data/coarticulation.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

VOWELS: Final = frozenset(
    ["aa", "ae", "ah", "ao", "aw", "ax", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw"]
)
"""Names of the vowels, diphthongs included."""

OPEN_VOWELS: Final = frozenset(["aa", "ae", "ah", "ao", "aw", "ay", "eh"])
"""Vowels whose articulation visibly opens the mouth."""

BILABIALS: Final = frozenset(["p", "b", "m"])
"""Consonants that close the lips."""

LABIODENTALS: Final = frozenset(["f", "v"])
"""Consonants that bring the lower lip to the upper teeth."""

MIN_RELIABLE_CLOSURE_S: Final = 0.0355
"""Seconds: shorter bilabials have the least duration of the aligner, three frames of 10 ms."""

_PHONE_ALIASES: Final = {
    "h#": "pau",
    "sil": "pau",
    "ssil": "pau",
    "brth": "pau",
    "": "pau",
    "ax-h": "ax",
    "axr": "er",
    "ix": "ih",
    "ux": "uw",
    "el": "l",
    "em": "m",
    "en": "n",
    "nx": "n",
    "dx": "d",
    "hv": "hh",
    "q": "pau",
    "wh": "w",
    "eng": "ng",
}


@dataclass(frozen=True)
class Phone:
    """One sound with its times.

    Attributes:
        name: ARPAbet name in lower case; `pau` is a pause.
        start: seconds.
        end: seconds.
        stress: 1 for a stressed vowel, otherwise 0.
    """

    name: str
    start: float
    end: float
    stress: int = 0


def has_unreliable_alignment(phone: Phone) -> bool:
    """Whether the times of a bilabial are unknown.

    An aligner assigns its least duration to a p, b or m that does not match the audio, so the moment of the
    lip contact cannot be derived from such a phone.

    Args:
        phone: a phone from forced alignment.

    Returns:
        True for a bilabial shorter than `MIN_RELIABLE_CLOSURE_S`.
    """
    return phone.name in BILABIALS and phone.end - phone.start < MIN_RELIABLE_CLOSURE_S


def normalize_phones(phones: Iterable[Phone]) -> list[Phone]:
    """Map phone names to those of `VISEME_TARGETS` and join neighbouring pauses.

    Args:
        phones: phones of any ARPAbet variant (TIMIT, CMU), with or without stress digits.

    Returns:
        Phones with the same times under normalized names.
    """
    normalized: list[Phone] = []
    for phone in phones:
        name = phone.name.lower().rstrip("012")
        phone = replace(phone, name=_PHONE_ALIASES.get(name, name))
        if normalized and phone.name == normalized[-1].name == "pau":
            normalized[-1] = replace(normalized[-1], end=phone.end)
        else:
            normalized.append(phone)
    return normalized


# Targets at normal articulation effort. jaw: jawOpen. pucker, funnel, spread: lip shape (spread drives smile
# and stretch). part: parting of the lips from the teeth (upper lip up, lower lip down). Each group has a
# dominance (Cohen and Massaro 1993): the weight of its target against those of neighbouring phones; 0 leaves
# the group to them.
#            jaw   dom  | pucker funnel spread  dom  | part  dom
INITIAL_TARGETS = """
pau          0     1.6    0      0      0       0.7    0     1
aa           0.52  1.0    0      0.05   0       0.5    0.22  0.6
ae           0.46  1.0    0      0      0.30    0.6    0.26  0.6
ah           0.36  0.9    0      0      0.05    0.4    0.18  0.5
ao           0.44  1.0    0.28   0.40   0       0.9    0.12  0.6
ax           0.20  0.45   0      0      0.05    0.15   0.10  0.3
eh           0.36  0.95   0      0      0.30    0.5    0.22  0.5
er           0.20  0.8    0.22   0.32   0       0.7    0.10  0.5
ih           0.19  0.7    0      0      0.32    0.4    0.16  0.5
iy           0.13  0.9    0      0      0.75    0.9    0.18  0.6
uh           0.19  0.7    0.36   0.22   0       0.8    0.06  0.5
uw           0.11  0.9    0.85   0.12   0       1.2    0     0.7
ay:1         0.52  1.0    0      0      0.10    0.5    0.22  0.6
ay:2         0.22  0.8    0      0      0.50    0.6    0.18  0.5
aw:1         0.50  1.0    0      0.10   0       0.5    0.20  0.6
aw:2         0.22  0.8    0.60   0.25   0       1.0    0.03  0.6
ey:1         0.36  0.95   0      0      0.35    0.6    0.20  0.5
ey:2         0.16  0.8    0      0      0.65    0.7    0.18  0.5
ow:1         0.36  0.95   0.30   0.35   0       0.9    0.08  0.6
ow:2         0.16  0.8    0.72   0.28   0       1.1    0     0.6
oy:1         0.38  0.95   0.45   0.40   0       1.0    0.06  0.6
oy:2         0.20  0.8    0      0      0.50    0.6    0.16  0.5
w            0.10  1.2    0.90   0.10   0       1.6    0     1
r            0.15  0.8    0.28   0.42   0       0.8    0.08  0.5
y            0.11  0.9    0.05   0      0.45    0.4    0.12  0.4
l            0.20  0.4    0      0      0.05    0.1    0.10  0.2
hh           0.20  0.1    0      0      0       0.02   0.08  0.1
p            0.08  0.9    0      0      0.05    0.15   0     1.5
b            0.08  0.9    0      0      0.05    0.15   0     1.5
m            0.08  0.9    0      0      0.05    0.15   0     1.5
f            0.10  2.2    0      0      0.10    0.25   0     1.5
v            0.10  2.0    0      0      0.10    0.25   0     1.5
th           0.15  1.4    0      0      0.10    0.15   0.14  0.6
dh           0.15  1.0    0      0      0.08    0.12   0.12  0.4
t            0.10  0.8    0      0      0.08    0.10   0.10  0.2
d            0.11  0.7    0      0      0.08    0.10   0.10  0.2
n            0.12  0.6    0      0      0.05    0.08   0.10  0.2
s            0.05  3.0    0      0      0.32    0.35   0.18  0.6
z            0.06  2.6    0      0      0.28    0.30   0.17  0.5
sh           0.07  3.0    0.28   0.62   0       1.5    0.18  0.9
zh           0.08  2.6    0.28   0.58   0       1.4    0.17  0.9
ch           0.08  2.8    0.25   0.56   0       1.4    0.16  0.9
jh           0.09  2.6    0.25   0.53   0       1.3    0.16  0.9
k            0.18  0.35   0      0      0.03    0.05   0.10  0.15
g            0.18  0.35   0      0      0.03    0.05   0.10  0.15
ng           0.17  0.35   0      0      0.03    0.05   0.10  0.15
"""

TARGET_COLUMNS: Final = (
    "jaw",
    "jaw_dominance",
    "pucker",
    "funnel",
    "spread",
    "shape_dominance",
    "part",
    "part_dominance",
)
"""Names of the columns of `INITIAL_TARGETS`."""

FITTED_PARAMETERS: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "data" / "coarticulation.json").read_text(encoding="utf-8")
)
"""Parameters of the coarticulation model, written by `training.coarticulation_fit`."""

VISEME_TARGETS: Final[dict[str, dict[str, float]]] = {
    name: dict(zip(TARGET_COLUMNS, numbers, strict=True))
    for name, numbers in FITTED_PARAMETERS["visemes"].items()
}
"""Fitted target row per phone; diphthongs have two rows, `NAME:1` and `NAME:2`."""


def viseme_targets(phones: Iterable[Phone]) -> list[tuple[dict[str, float], float, float]]:
    """Look up the viseme targets of phones; a diphthong gives one target per half.

    Args:
        phones: normalized phones; unknown names get the target of `ax`.

    Returns:
        (row of `VISEME_TARGETS`, start in s, end in s) per target, in order.
    """
    targets: list[tuple[dict[str, float], float, float]] = []
    for phone in phones:
        if phone.name + ":1" in VISEME_TARGETS:
            middle = phone.start + 0.5 * (phone.end - phone.start)
            targets += [
                (VISEME_TARGETS[phone.name + ":1"], phone.start, middle),
                (VISEME_TARGETS[phone.name + ":2"], middle, phone.end),
            ]
        else:
            targets.append((VISEME_TARGETS.get(phone.name, VISEME_TARGETS["ax"]), phone.start, phone.end))
    return targets
