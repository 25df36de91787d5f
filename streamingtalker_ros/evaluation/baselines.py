# SPDX-License-Identifier: Apache-2.0
"""What a model must beat, or cannot: a jaw driven by loudness, the teacher, and the clip's own motion on the rig.

Each takes a Section and gives a Take for every clip, or None where it has nothing to say about such clips.
"""

import numpy as np

from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.evaluation import metrics
from streamingtalker_ros.evaluation.motion_curves import of_weights
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX

RANGE = 30.0  # dB under the peak at which the jaw is shut
FALL = 5.0  # dB per second by which the peak forgets
WIDEST = 0.35  # jawOpen at the peak
FEWEST = 6  # different phones: corpora without a transcript tell only voice from pause


def jaw_of_loudness(pcm, hop=640, frame_rate=25.0):
    """The usual cheap lip flap, causal: jawOpen rises with the level above `RANGE` dB under a running peak, averaged
    over three frames. (n,) pcm -> weights (T, 52)."""
    level, peak, jaw = metrics.loudness(pcm, hop), -60.0, []
    for value in level:
        peak = max(value, peak - FALL / frame_rate, -60.0)
        jaw.append(np.clip((value - peak + RANGE) / RANGE, 0.0, 1.0))
    jaw = np.convolve(np.pad(jaw, 1, mode="edge"), np.ones(3) / 3.0, mode="valid")
    weights = np.zeros((len(level), len(ARKIT_NAMES)), np.float32)
    weights[:, INDEX["jawOpen"]] = WIDEST * jaw
    return weights


def loud_jaw(rig, section):
    """`jaw_of_loudness` of every clip."""
    return [of_weights(rig, jaw_of_loudness(clip.pcm)) for clip in section.clips]


def teacher_itself(rig, section):
    """The procedural teacher on the clips' phones; None for clips whose reference it is, or without real phones."""
    names = {phone.name for phones in section.phones for phone in phones}
    if section.rule_made or len(names) < FEWEST:
        return None
    return [
        of_weights(rig, face_motion.synthesize_motion(phones, len(clip.weights), clip.pcm)[0])
        for clip, phones in zip(section.clips, section.phones)
    ]


def own_motion(rig, section):
    """The weights solved from the tracked face, on the rig: what solving loses; None where no camera saw the lips."""
    if not section.tracked:
        return None
    return [of_weights(rig, clip.weights) for clip in section.clips]


BASELINES = {
    "the reference solved onto the face": own_motion,
    "the teacher on the phones": teacher_itself,
    "a jaw driven by loudness": loud_jaw,
}
