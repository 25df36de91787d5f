# SPDX-License-Identifier: Apache-2.0
"""How the 52 ARKit weights drive the shapes of a file: `find_drivers`.

A shape with the name of an ARKit shape takes its weight. A shape that stands for a pose of several, such as
the viseme PP, the vowel あ or a blink of both eyes, takes a linear combination of the weights: the ridge
regression of the weights on the poses of shape_names.json. The page computes the same
(frontend/src/face/shape_drivers.js).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.names import (
    MAKERS_RANK,
    MAX_LABEL_LENGTH,
    MOUTH_SCHEMES,
    WHOLES,
    MouthScheme,
    match_name,
    pose_shapes,
    select_names,
)

_RIDGE = (
    0.005  # against poses whose squares are 0.02 to 0.5; less amplifies the difference of similar visemes
)
_MIN_OPEN = 0.3  # of jawOpen, in a pose that opens the mouth
_MIN_BARE_LABELS = 3  # without a prefix: a lone shape with the name "O" is no vowel
_MIN_SUFFIX = 6  # characters; a shorter name must be the whole label
_SIMILARITY = 0.82  # of labels that are suggested
_MIN_WEIGHT = 1e-3  # smaller ones are left out

Weights = Mapping[str, float]


@dataclass(frozen=True)
class ShapeDrivers:
    """The weights of a file's shapes.

    Attributes:
        scheme: Name of the scheme whose visemes or vowels drive the mouth; None if ARKit shapes do.
        poses: {label: {ARKit name: factor}} of the labels that stand for poses.
        replaced: ARKit shapes that the poses drive in place of shapes with their names.
        jaw_closes: Whether mouthClose takes back jawOpen: where jawOpen has a maker's own name, and no
            shape is mouthClose.
        driven: ARKit shapes that move something.
    """

    scheme: str | None
    poses: Mapping[str, Weights]
    replaced: frozenset[str]
    jaw_closes: bool
    driven: frozenset[str]

    def select(self, labels: Sequence[str]) -> dict[str, dict[str, float]]:
        """The labels of one mesh that are driven.

        Args:
            labels: Names of its morph targets.

        Returns:
            {label: {ARKit name: factor}}; a shape's weight is the sum of factor × ARKit weight.
        """
        selected: dict[str, dict[str, float]] = {}
        for label, name in select_names(labels).items():
            if name not in self.replaced:
                selected[label] = {name: 1.0}
                if name == "jawOpen" and self.jaw_closes:
                    selected[label]["mouthClose"] = -1.0
        for label in labels:
            if label in self.poses and label not in selected:
                selected[label] = dict(self.poses[label])
        return selected


def find_drivers(labels: Iterable[str]) -> ShapeDrivers:
    """Decide what drives each shape of a file.

    Args:
        labels: Names of all morph targets of the file.

    Returns:
        The drivers. Visemes or vowels drive the mouth if no shape is jawOpen; of several schemes, the one of
        which the file has most.
    """
    labels = list(dict.fromkeys(labels))
    matches = [match for label in labels if (match := match_name(label)) is not None]
    direct = {match.name for match in matches}
    poses: dict[str, dict[str, float]] = {}
    scheme = None
    replaced: frozenset[str] = frozenset()
    if "jawOpen" not in direct:
        scheme, mouth = _find_mouth_scheme(labels)
        if mouth:
            poses.update(_regress(mouth))
            replaced = frozenset(name for pose in mouth.values() for name in pose) | {"mouthClose"}
    for label in labels:
        whole = _whole_pose(label) if match_name(label) is None and label not in poses else None
        missing = {name for name in whole or () if name not in direct and name not in replaced}
        if whole is not None and missing:
            poses[label] = {name: weight / len(whole) for name, weight in whole.items() if name in missing}
    driven = (direct - replaced) | {name for pose in poses.values() for name in pose}
    jaw_rank = min((match.rank for match in matches if match.name == "jawOpen"), default=0)
    jaw_closes = jaw_rank == MAKERS_RANK and "mouthClose" not in direct
    if jaw_closes:
        driven.add("mouthClose")
    return ShapeDrivers(scheme, poses, replaced, jaw_closes, frozenset(driven))


def suggest_name(label: str) -> str | None:
    """The ARKit name that a label without a meaning was perhaps meant to be: jawOpn is jawOpen.

    Args:
        label: Name of a morph target.
    """
    if len(label) > MAX_LABEL_LENGTH:
        return None
    key = _key(re.split(r"[.:|/]", label)[-1])
    by_key = {name.lower(): name for name in ARKIT_NAMES}
    found = difflib.get_close_matches(key, by_key, 1, _SIMILARITY)
    return by_key[found[0]] if found else None


def _find_mouth_scheme(labels: Sequence[str]) -> tuple[str | None, dict[str, Weights]]:
    """The scheme with most poses among the labels, and the pose of each of its labels."""
    best: tuple[str | None, dict[str, Weights]] = None, {}
    best_count = 0
    for scheme in MOUTH_SCHEMES:
        found: dict[str, str] = {}
        is_prefixed = False
        for label in labels:
            prefix, name = _scheme_pose(label, scheme)
            if name is not None and name not in found.values():
                found[label] = name
                is_prefixed |= prefix != ""
        poses: dict[str, Weights] = {
            label: pose for label, name in found.items() if (pose := pose_shapes(name))
        }
        opens = any(pose.get("jawOpen", 0.0) >= _MIN_OPEN for pose in poses.values())
        is_certain = is_prefixed or len(found) >= _MIN_BARE_LABELS
        if opens and is_certain and len(found) > best_count:
            best, best_count = (scheme.name, poses), len(found)
    return best


def _scheme_pose(label: str, scheme: MouthScheme) -> tuple[str, str | None]:
    """The prefix and the pose of a label; no pose if the scheme does not have it."""
    for key in _label_keys(label):
        for prefix in scheme.prefixes:
            for name, pose in scheme.labels.items():
                full = prefix + name
                if key == full or (len(full) >= _MIN_SUFFIX and key.endswith(full)):
                    return prefix, pose
    return "", None


def _whole_pose(label: str) -> Weights | None:
    """The pose of a shape of both sides, which ARKit has for each: mouthSmile, eyesClosed."""
    for key in _label_keys(label):
        if key in WHOLES:
            return pose_shapes(WHOLES[key])
        sides = [name for name in ARKIT_NAMES if name.lower() in (f"{key}left", f"{key}right")]
        if len(sides) == 2 and key not in ("mouth", "jaw"):  # to the left and to the right are no halves
            return dict.fromkeys(sides, 1.0)
    return None


def _label_keys(label: str) -> Iterator[str]:
    """The label's letters and digits in lower case: of its last part, and of all of it."""
    if len(label) <= MAX_LABEL_LENGTH:
        yield _key(re.split(r"[.:|/]", label)[-1])
        yield _key(label)


def _key(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def _regress(poses: Mapping[str, Weights]) -> dict[str, dict[str, float]]:
    """Factors of each label that reproduce the ARKit weights best as a sum of poses.

    The regression sees the opening of the lips, jawOpen - mouthClose, in place of jawOpen, so that equal
    weights of both, which leave ARKit's lips closed, open no viseme.
    """
    matrix = np.array([[pose.get(name, 0.0) for name in ARKIT_NAMES] for pose in poses.values()])
    matrix[:, INDEX["jawOpen"]] -= matrix[:, INDEX["mouthClose"]]
    factors: npt.NDArray[np.float64] = np.linalg.solve(
        matrix @ matrix.T + _RIDGE * np.eye(len(matrix)), matrix
    )
    factors[:, INDEX["mouthClose"]] -= factors[:, INDEX["jawOpen"]]
    return {
        label: {name: float(row[k]) for k, name in enumerate(ARKIT_NAMES) if abs(row[k]) > _MIN_WEIGHT}
        for label, row in zip(poses, factors, strict=True)
    }
