# SPDX-License-Identifier: Apache-2.0
"""ARKit names of a file's blendshapes, in the spelling of many tools: `match_name`.

The schemes lie in shape_names.json, which the page reads as well (frontend/src/face/arkit_names.js, the same
rules): makers' own names (Character Creator's Brow_Drop_L), the words that no prefix or suffix may have,
because they change what the rest means (mouthLeft in upperMouthLeft), and names of visemes and other poses of
several shapes, which `shape_drivers` uses.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from streamingtalker_ros.face.arkit import ARKIT_NAMES

_SCHEMES: dict[str, Any] = json.loads(
    Path(__file__).with_name("shape_names.json").read_text(encoding="utf-8")
)
_BLOCKED = frozenset(_SCHEMES["blocked"])
_ALIASES: Mapping[str, str] = _SCHEMES["aliases"]
_NAMES_BY_KEY = {name.lower(): name for name in ARKIT_NAMES}
_SIDES = {"l": "left", "r": "right"}
MAX_LABEL_LENGTH = 120
MAKERS_RANK = 2  # of a name that is not ARKit's
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


class MouthScheme(NamedTuple):
    """Names that a maker gives to poses of the mouth.

    Attributes:
        name: Name of the scheme.
        prefixes: What may stand before each label, in lower case without punctuation.
        labels: {label: name of its pose}, in lower case without punctuation.
    """

    name: str
    prefixes: tuple[str, ...]
    labels: Mapping[str, str]


VISEME_POSES: Mapping[str, Mapping[str, float]] = _SCHEMES["viseme_poses"]
"""{viseme: {shape: weight}} at the size of fluent speech; a shape without its side stands for both."""
OTHER_POSES: Mapping[str, Mapping[str, float]] = _SCHEMES["other_poses"]
MOUTH_SCHEMES = tuple(
    MouthScheme(scheme["name"], tuple(scheme["prefixes"]), scheme["labels"])
    for scheme in _SCHEMES["mouth_schemes"]
)
WHOLES: Mapping[str, str] = _SCHEMES["wholes"]
"""{label: name of its pose} of shapes of both eyes, in lower case without punctuation."""
VRM_PRESETS: Mapping[str, str] = _SCHEMES["vrm_presets"]
"""{preset of VRM 0.x or 1.0: ARKit name}."""


class Match(NamedTuple):
    """What a label stands for.

    Attributes:
        name: The ARKit name.
        rank: 0 for ARKit's own name, 1 for one with a prefix or suffix, or a half of a shape, 2 for a maker's
            own name. Of several labels of one shape in a file, those of the lowest rank count.
    """

    name: str
    rank: int


def arkit_name(label: str) -> str | None:
    """Match a file's name of a shape: mouthSmile_L, A38_Mouth_Smile_Left, Face.M_MouthSmileLeft.

    Halves of a shape that ARKit keeps whole, such as ICT-FaceKit's browInnerUp_L and browInnerUp_R, match the
    whole.

    Args:
        label: The name in the file.

    Returns:
        The ARKit name, or None if the label matches none.
    """
    match = match_name(label)
    return None if match is None else match.name


@functools.lru_cache(maxsize=4096)
def match_name(label: str) -> Match | None:
    """Match a file's name of a shape, as `arkit_name` does, and say how directly it is named.

    Args:
        label: The name in the file.

    Returns:
        The ARKit name and its rank, or None if the label matches none.
    """
    if len(label) > MAX_LABEL_LENGTH:
        return None
    tail = re.split(r"[.:|/]", label)[-1]
    for text in (tail, label):
        for rank, key in _plain_keys(text):
            if key in _NAMES_BY_KEY:
                return Match(_NAMES_BY_KEY[key], rank)
    for text in (tail, label):
        match = _match_words([word.lower() for word in _WORD.findall(text)])
        if match is not None:
            return match
    return None


def select_names(labels: Iterable[str]) -> dict[str, str]:
    """The labels of one mesh that stand for ARKit shapes.

    Args:
        labels: Names of its morph targets.

    Returns:
        {label: ARKit name}. Where a mesh has a shape under several schemes, the most direct one counts, so
        that no motion is added twice; halves of one shape are all there.
    """
    matches = {label: match for label in labels if (match := match_name(label)) is not None}
    best: dict[str, int] = {}
    for match in matches.values():
        best[match.name] = min(match.rank, best.get(match.name, match.rank))
    return {label: match.name for label, match in matches.items() if match.rank == best[match.name]}


def pose_shapes(pose: str) -> dict[str, float]:
    """Return the ARKit weights of a pose of shape_names.json.

    Args:
        pose: Name of a viseme or another pose.

    Returns:
        {ARKit name: weight}.
    """
    shapes = VISEME_POSES[pose] if pose in VISEME_POSES else OTHER_POSES[pose]
    return {
        full_name: weight
        for name, weight in shapes.items()
        for full_name in ((name,) if name in ARKIT_NAMES else (f"{name}Left", f"{name}Right"))
    }


def _plain_keys(text: str) -> Iterator[tuple[int, str]]:
    """Rank and key of the ways to read a label that is a name of ARKit but for its case, side and prefix."""
    side = re.search(r"[_\-. ]([lr])$", text, re.IGNORECASE)
    stem = text if side is None else text[: side.start()] + _SIDES[side.group(1).lower()]
    key = re.sub(r"[^a-z0-9]", "", stem.lower())
    yield 0, key
    yield 1, re.sub(r"^(blendshapes?\d*|face|bs|m|key)", "", key)
    yield 1, re.sub(r"(left|right)$", "", key)


def _match_words(words: list[str]) -> Match | None:
    """The longest run of words that is a name, where the words around it change nothing of its meaning."""
    for first, last in sorted(combinations(range(len(words) + 1), 2), key=lambda run: run[0] - run[1]):
        run = words[first:last]
        match = _match_run(run)
        if match is not None:
            around = words[:first] + words[last:]
            return None if any(word in _BLOCKED or word in _SIDES for word in around) else match
    return None


def _match_run(words: list[str]) -> Match | None:
    words = [_SIDES.get(word, word) for word in words]
    sides = [word for word in words if word in ("left", "right")]
    others = [word for word in words if word not in ("left", "right")]
    keys = ["".join(words)]
    if len(sides) == 1 and others:
        keys += [
            "".join([*others, sides[0]]),
            "".join(others),
        ]  # the side at the end; a half of a whole shape
    for key in keys:
        if key in _NAMES_BY_KEY:
            return Match(_NAMES_BY_KEY[key], 1)
    for key in keys:
        if key in _ALIASES:
            return Match(_ALIASES[key], MAKERS_RANK)
    return None
