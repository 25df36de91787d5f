# SPDX-License-Identifier: Apache-2.0
"""Utterances of offline synthesisers with exact phone times, for tests of coarticulation."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.constants import HOP_LENGTH
from streamingtalker_ros.corpus.storage import Clip
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.phonetics import flite_festival_tts
from streamingtalker_ros.phonetics.flite_festival_tts import Utterance
from streamingtalker_ros.phonetics.sentences import sentences


def synthesize_utterances(
    voices: Mapping[str, int], count: int, stretch: Mapping[str, float] | None = None
) -> list[Utterance]:
    """`count` sentences in each flite voice; skips the test where flite is not installed.

    Args:
        voices: name of the voice -> seed of its sentences.
        count: sentences per voice.
        stretch: name of the voice -> factor on its durations; 1 where it is left out.
    """
    if not set(voices) <= set(flite_festival_tts.available_voices()):
        pytest.skip("flite is not installed: no speech with phone times")
    return [
        utterance
        for voice, seed in voices.items()
        for utterance in flite_festival_tts.synthesize(
            voice, list(itertools.islice(sentences(seed), count)), stretch=(stretch or {}).get(voice, 1.0)
        )
    ]


def frame_count(utterance: Utterance) -> int:
    """Motion frames that an utterance lasts."""
    return len(utterance.pcm) // HOP_LENGTH


def tracked_clip(utterance: Utterance, weights: npt.NDArray[np.float32]) -> Clip:
    """A clip as `corpus from-video` would make it: the weights (T, 52) count as tracked lips."""
    return Clip(
        utterance.pcm,
        weights,
        np.zeros((len(weights), 3), np.float32),
        utterance.phones,
        lip_opening=default_rig().lip_gap(weights),
    )
