# SPDX-License-Identifier: Apache-2.0
"""Phones and their visemes: what each ARPAbet phone asks of jaw, lips and tongue, and how firmly it asks.

`Phone` is one sound with its times; `VISEME_TARGETS` the table of targets that the teacher blends: `INITIAL_TARGETS`, written by hand,
as far as `fit` moved it towards tracked lips (`FITTED_PARAMETERS`, data/teacher.json).
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

VOWELS = frozenset(
    ["aa", "ae", "ah", "ao", "aw", "ax", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw"]
)
OPEN_VOWELS = frozenset(["aa", "ae", "ah", "ao", "aw", "ay", "eh"])  # the mouth is visibly open in these
BILABIALS = frozenset(["p", "b", "m"])
LABIODENTALS = frozenset(["f", "v"])
SQUEEZED = 0.0355  # seconds, see `squeezed`
_OTHER_NAMES = {
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
    """One sound: ARPAbet name in lower case (`pau` for a pause), start and end in seconds, stress 0 or 1."""

    name: str
    start: float
    end: float
    stress: int = 0


def has_unreliable_alignment(phone):
    """Whether a p, b or m has the least length that an aligner gives, three frames of 10 ms: it was put where there was no
    room for it, and nobody knows where its lips meet."""
    return phone.name in BILABIALS and phone.end - phone.start < SQUEEZED


def normalize_phones(phones):
    """The same phones under the names of VISEME_TARGETS, with neighbouring pauses joined."""
    out = []
    for phone in phones:
        name = phone.name.lower().rstrip("012")
        phone = replace(phone, name=_OTHER_NAMES.get(name, name))
        if out and phone.name == out[-1].name == "pau":
            out[-1] = replace(out[-1], end=phone.end)
        else:
            out.append(phone)
    return out


# Targets at normal effort. jaw: jawOpen. pucker, funnel, spread: the lips' shape (spread feeds smile and
# stretch). part: lips drawn away from the teeth (upper lip up, lower lip down). Each group has a firmness
# (dominance): how much of its target a phone defends against its neighbours; 0 leaves the group to them.
#            jaw   firm | pucker funnel spread  firm | part  firm
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
TARGET_COLUMNS = (
    "jaw",
    "jaw_dominance",
    "pucker",
    "funnel",
    "spread",
    "shape_dominance",
    "part",
    "part_dominance",
)
FITTED_PARAMETERS = json.loads(
    (Path(__file__).parent.parent / "data" / "teacher.json").read_text(encoding="utf-8")
)
VISEME_TARGETS = {
    name: dict(zip(TARGET_COLUMNS, numbers)) for name, numbers in FITTED_PARAMETERS["visemes"].items()
}


def viseme_targets(phones):
    """The phones as a list of (target row of VISEME_TARGETS, start, end), diphthongs split into their two halves."""
    out = []
    for phone in phones:
        if phone.name + ":1" in VISEME_TARGETS:
            turn = phone.start + 0.5 * (phone.end - phone.start)
            out += [
                (VISEME_TARGETS[phone.name + ":1"], phone.start, turn),
                (VISEME_TARGETS[phone.name + ":2"], turn, phone.end),
            ]
        else:
            out.append((VISEME_TARGETS.get(phone.name, VISEME_TARGETS["ax"]), phone.start, phone.end))
    return out
