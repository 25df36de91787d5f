# SPDX-License-Identifier: Apache-2.0
"""Motion of the whole face from timed phones: lips by `residual`, eyes, brows and head by `upper_face`.

`synthesize_motion(phones, num_frames, pcm, …)` returns ARKit weights (T, 52) in 0..1 and head rotation
vectors (T, 3) in radians at 25 frames/s; frame n shows the moment (n + 0.5) / 25 s.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.coarticulation import residual, upper_face
from streamingtalker_ros.coarticulation.dominance import DEFAULT_STYLE, SpeakingStyle, speaker_style
from streamingtalker_ros.phonetics.phones import Phone

Array = npt.NDArray[np.float32]


class SpokenClip(Protocol):
    """A recording with phone times: `pcm` (n,) float32 at 16 kHz, `phones` in order, and a name."""

    pcm: Array
    phones: list[Phone]
    name: str


def synthesize_motion(
    phones: Sequence[Phone],
    num_frames: int,
    pcm: Array | None = None,
    seed: int = 0,
    style: SpeakingStyle = DEFAULT_STYLE,
    liveliness: float = 1.0,
) -> tuple[Array, Array]:
    """Face motion of an utterance.

    Args:
        phones: the utterance, with times in seconds.
        num_frames: number of frames T.
        pcm: (n,) at 16 kHz that the phones belong to.
        seed: of lids, gaze, brows and head; the lips do not depend on it.
        style: the speaker's factors.
        liveliness: factor on brows and head.

    Returns:
        ARKit weights (T, 52) in 0..1 and the head's rotation vectors (T, 3) in radians; axes x out of the
        face, y to the person's left, z up.
    """
    weights = residual.synthesize_lips(phones, num_frames, pcm, style)
    upper, head = upper_face.synthesize_upper_face(phones, num_frames, seed, liveliness)
    return np.maximum(weights, upper), head


def synthesize_speaker_motion(clip: SpokenClip, speaker: str) -> tuple[Array, Array]:
    """Face motion of a clip in the style of a named speaker; equal names, audio and phones give equal motion.

    Args:
        clip: recording with phones; its name seeds the upper face.
        speaker: name from which the style is derived.

    Returns:
        ARKit weights (T, 52) and head rotation vectors (T, 3), as `synthesize_motion`.
    """
    return synthesize_motion(
        clip.phones,
        len(clip.pcm) * int(FRAME_RATE) // SAMPLE_RATE,
        clip.pcm,
        zlib.crc32(clip.name.encode()),
        speaker_style(speaker, clip.name),
    )
