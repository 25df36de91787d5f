# SPDX-License-Identifier: Apache-2.0
"""Baselines of an evaluation: a loudness-driven jaw, the coarticulation model, the reference's weights.

Each baseline takes a rig and a test set and returns the motion curves of every clip, or None where it does
not apply to the test set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.evaluation import metrics
from streamingtalker_ros.evaluation.motion_curves import MotionCurves
from streamingtalker_ros.evaluation.test_set import TestSet
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.rig import Rig

JAW_RANGE_DB: Final = 30.0
"""dB below the running peak at which the jaw is closed."""

PEAK_DECAY_DB_PER_S: Final = 5.0
"""Decay of the running peak."""

MAX_JAW_OPEN: Final = 0.35
"""jawOpen at the peak level."""

MIN_PHONE_CLASSES: Final = 6
"""Distinct phones below which a test set has no transcript, only speech and pauses."""

_MIN_PEAK_DBFS: Final = -60.0

Baseline = Callable[[Rig, TestSet], "list[MotionCurves] | None"]


def loudness_to_weights(
    pcm: np.ndarray, hop: int = HOP_LENGTH, frame_rate: float = FRAME_RATE
) -> npt.NDArray[np.float32]:
    """Drive the jaw by loudness: jawOpen is linear in the level above `JAW_RANGE_DB` under a running peak.

    The result is averaged over three frames, so it looks ahead by one.

    Args:
        pcm: (n,) audio.
        hop: samples of a frame.
        frame_rate: frames per second.

    Returns:
        (n // hop, 52) weights.
    """
    levels, peak, jaw = metrics.frame_levels(pcm, hop), _MIN_PEAK_DBFS, []
    for level in levels:
        peak = max(level, peak - PEAK_DECAY_DB_PER_S / frame_rate, _MIN_PEAK_DBFS)
        jaw.append(np.clip((level - peak + JAW_RANGE_DB) / JAW_RANGE_DB, 0.0, 1.0))
    smoothed = np.convolve(np.pad(jaw, 1, mode="edge"), np.ones(3) / 3.0, mode="valid")
    weights = np.zeros((len(levels), len(ARKIT_NAMES)), np.float32)
    weights[:, INDEX["jawOpen"]] = MAX_JAW_OPEN * smoothed
    return weights


def loudness_driven_jaw(rig: Rig, test_set: TestSet) -> list[MotionCurves]:
    """Baseline `loudness_to_weights`.

    Args:
        rig: The face on which the curves are measured.
        test_set: Clips whose audio drives the jaw.

    Returns:
        The curves of each clip.
    """
    return [MotionCurves.from_weights(rig, loudness_to_weights(clip.pcm)) for clip in test_set.clips]


def coarticulation_model(rig: Rig, test_set: TestSet) -> list[MotionCurves] | None:
    """Baseline of the rule-based coarticulation model on the clips' phones.

    None where it generated the reference, or where the clips have no transcript.

    Args:
        rig: The face on which the curves are measured.
        test_set: Clips with audio and phones.

    Returns:
        The curves of each clip, or None.
    """
    names = {phone.name for phones in test_set.phones for phone in phones}
    if test_set.is_rule_based or len(names) < MIN_PHONE_CLASSES:
        return None
    return [
        MotionCurves.from_weights(rig, face_motion.synthesize_motion(phones, len(clip.weights), clip.pcm)[0])
        for clip, phones in zip(test_set.clips, test_set.phones, strict=True)
    ]


def reference_weights(rig: Rig, test_set: TestSet) -> list[MotionCurves] | None:
    """Baseline of the weights solved from the tracked face: the error of the blendshape solver.

    None where the lips were not tracked.

    Args:
        rig: The face on which the curves are measured.
        test_set: Clips with ARKit weights.

    Returns:
        The curves of each clip, or None.
    """
    if not test_set.is_tracked:
        return None
    return [MotionCurves.from_weights(rig, clip.weights) for clip in test_set.clips]


LOUDNESS_DRIVEN_JAW: Final = "loudness-driven jaw"
"""Name of the baseline `loudness_driven_jaw`."""

BASELINES: Final[dict[str, Baseline]] = {
    "reference weights": reference_weights,
    "coarticulation model": coarticulation_model,
    LOUDNESS_DRIVEN_JAW: loudness_driven_jaw,
}
"""Name in reports -> baseline."""
