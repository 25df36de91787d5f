# SPDX-License-Identifier: Apache-2.0
"""Eyes and brows of a tracked face, read off its landmarks: blinks, wide and narrow eyes, gaze, brows.

`upper_face(face, neutral)` gives weights (F, 52) that leave the mouth alone. Each is one distance against the
neutral's, with a dead zone as wide as the tracker's tremble.
"""

import numpy as np

from streamingtalker_ros.corpus.video.landmarks import BROWS, EYES, IRIS
from streamingtalker_ros.corpus.video.neutral_pose import lid_gap
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX

SHUT = 0.16  # a shut eye's lids are still so far apart, in parts of the open eye's
DEAD = 0.12  # changes of an eye's opening below this are no motion
WINK = 0.6  # eyes whose openings differ by less blink together
EYE_RADIUS = 0.19  # of the eyeball, in inter-ocular distances: 12 mm of 63
LOOK = np.radians(30.0)  # the gaze of an eye-look shape at 1
BROW = 0.13  # rise of a brow at weight 1, in inter-ocular distances: 8 mm
BROW_DOWN = 0.09
BROW_DEAD = 0.01


def upper_face(face, neutral):
    """face: a Face; neutral: its speaker's Neutral -> weights (F, 52) float64 in 0..1."""
    out = np.zeros((len(face.points), len(ARKIT_NAMES)))
    eyes = {side: lid_gap(face.points, side) / neutral.lids[side] for side in EYES}
    for side in EYES:
        eye = _together(eyes[side], sum(eyes.values()) / 2.0)
        shut = np.clip((1.0 - DEAD - eye) / (1.0 - DEAD - SHUT), 0.0, 1.0)
        out[:, INDEX["eyeBlink" + side]] = shut
        out[:, INDEX["eyeWide" + side]] = np.clip((eye - 1.0 - DEAD) / 0.4, 0.0, 1.0)
        yaw, pitch = _gaze(face.points, neutral.points, side)
        open_eye = np.where(shut > 0.3, 0.0, 1.0)  # the iris of a shut eye is a guess
        outward = yaw if side == "Left" else -yaw
        for name, angle in (("Out", outward), ("In", -outward), ("Up", pitch), ("Down", -pitch)):
            out[:, INDEX[f"eyeLook{name}{side}"]] = np.clip(_median(open_eye * angle / LOOK), 0.0, 1.0)
        brow = (face.points - neutral.points)[:, BROWS[side], 2]
        inner, outer = _dead(_median(brow[:, :2].mean(axis=1))), _dead(_median(brow[:, 2:].mean(axis=1)))
        out[:, INDEX["browInnerUp"]] += np.clip(inner / BROW, 0.0, 1.0) / 2.0
        out[:, INDEX["browOuterUp" + side]] = np.clip(outer / BROW, 0.0, 1.0)
        out[:, INDEX["browDown" + side]] = np.clip(-(inner + outer) / 2.0 / BROW_DOWN, 0.0, 1.0)
    return out


def _together(eye, both):
    """One eye's opening as both have it, but for what is more than WINK: trackers see blinks lopsided."""
    apart = eye - both
    return both + np.sign(apart) * np.maximum(np.abs(apart) - WINK / 2.0, 0.0)


def _gaze(points, neutral, side):
    """(yaw to the person's left (F,), pitch up (F,)) in rad against the neutral's gaze."""
    ends = list(EYES[side])
    iris = points[:, IRIS[side]] - points[:, ends].mean(axis=1)
    rest = neutral[IRIS[side]] - neutral[ends].mean(axis=0)
    angles = np.arcsin(np.clip((iris - rest)[:, 1:] / EYE_RADIUS, -0.9, 0.9))
    return angles[:, 0], angles[:, 1]


def _dead(rise):
    return np.sign(rise) * np.maximum(np.abs(rise) - BROW_DEAD, 0.0)


def _median(curve):
    """Median of three frames: keeps steps, drops single jumps."""
    padded = np.pad(curve, 1, mode="edge")
    return np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
