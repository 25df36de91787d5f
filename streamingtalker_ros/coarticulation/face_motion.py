# SPDX-License-Identifier: Apache-2.0
"""A face for phones with their times: lips by the teacher and what a camera taught it, life above them.

`motion(phones, frames, pcm, …)` gives ARKit weights (T, 52) in 0..1 and head rotation vectors (T, 3) in radians at
25 frames/s; frame n shows the moment (n + 0.5) / 25 s. Lips come from `residual`; lids, gaze, brows and head from `living`
and its seed.
"""

import zlib

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.coarticulation import residual, upper_face
from streamingtalker_ros.coarticulation.dominance import Manner, manner


def motion(phones, frames, pcm=None, seed=0, manner=Manner(), liveliness=1.0):
    """Speech and life: phones, int T -> (weights (T, 52) float32 in 0..1, head (T, 3) float32 radians).

    pcm: (n,) float32 at 16 kHz that the phones belong to; seed: chooses lids, gaze, brows and head, never the lips;
    liveliness: scales brows and head.
    head: rotation vector from neutral; axes x out of the face, y to the person's left, z up.
    """
    weights = residual.lips(phones, frames, pcm, manner)
    upper, head = upper_face.upper_face(phones, frames, seed, liveliness)
    return np.maximum(weights, upper), head


def speaker_motion(clip, speaker):
    """Weights and head of a Clip of speech: the speaker's manner, a life of the clip's own.

    clip: with pcm, phones and name; speaker: name. Equal names and phones give equal motion.
    """
    return motion(
        clip.phones,
        len(clip.pcm) * int(FRAME_RATE) // SAMPLE_RATE,
        clip.pcm,
        zlib.crc32(clip.name.encode()),
        manner(speaker, clip.name),
    )
