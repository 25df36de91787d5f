# SPDX-License-Identifier: Apache-2.0
"""Miniature networks and clips of synthetic speech for tests of training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import HOP_LENGTH
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.phonetics.phones import Phone

TINY_MODEL: dict[str, Any] = {  # fields of TalkerConfig
    "audio_width": 32,
    "audio_blocks": 2,
    "codec_width": 32,
    "width": 32,
    "feedforward": 64,
    "context_frames": 12,
    "head_width": 32,
    "head_blocks": 2,
    "num_codebooks": 4,
    "codebook_size": 32,
    "code_dim": 8,
}


@dataclass
class SpeechClip:
    """A training clip."""

    pcm: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    head: npt.NDArray[np.float32]
    phones: list[Phone] = field(default_factory=list)


def noise_burst_clip(seed: int, num_frames: int = 120) -> SpeechClip:
    """Noise bursts whose loudness is the jaw's opening: a minimal model of speech."""
    rng = np.random.default_rng(seed)
    phase = np.arange(num_frames) * 0.5 + rng.uniform(0, 6)
    jaw = np.clip(np.sin(phase) + rng.normal(0, 0.1, num_frames), 0, 1)
    weights = np.zeros((num_frames, 52), np.float32)
    weights[:, INDEX["jawOpen"]] = 0.6 * jaw
    weights[:, INDEX["eyeBlinkLeft"]] = weights[:, INDEX["eyeBlinkRight"]] = np.arange(num_frames) % 40 < 4
    pcm = rng.normal(0, 0.1, num_frames * HOP_LENGTH) * np.repeat(jaw, HOP_LENGTH)
    return SpeechClip(
        pcm.astype(np.float32),
        weights,
        rng.normal(0, 0.02, (num_frames, 3)).astype(np.float32),
        [Phone("aa", 0.2, num_frames / 25 - 0.2)],
    )
