# SPDX-License-Identifier: Apache-2.0
"""Brings the mouth of every voice to the amplitude of people.

Speakers differ in how far they open, spread and lift their lips, by a factor of two and more, and audio
does not tell how far. A model that learns from few of them would take over their habits, and one that learns
from rules those of the rules. Therefore each measure of the mouth is scaled, voice by voice, to the amplitude
that is usual among people (`SPEECH_STD`); what moves when, and contact of the lips, stay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.corpus.storage import Clip, load_corpus, read_index
from streamingtalker_ros.face.mouth_measures import MEASURES, SPEECH_STD, default_mouth_measures
from streamingtalker_ros.streaming.speaking_style import measure_amplitude
from streamingtalker_ros.training.batches import voice_labels

CAPTURED_KINDS: Final = ("video", "animation")
"""Kinds of corpora whose motion is that of a speaker."""

GAIN_RANGE: Final = (0.5, 3.0)
"""Least and greatest factor on a measure."""

MIN_SPEECH_FRAMES: Final = 25
"""Voices with fewer frames of speech stay as they are."""


def normalize_amplitude(clips: Sequence[Clip]) -> list[Clip]:
    """Scale the measures of the mouth of each voice to `SPEECH_STD`.

    Args:
        clips: Clips of any voices.

    Returns:
        Clips in the same order, with other weights.
    """
    voices: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        voices[clip.voice, clip.style].append(index)
    result = list(clips)
    for indices in voices.values():
        gains = amplitude_gains([clips[i] for i in indices])
        for i in indices:
            result[i] = replace(clips[i], weights=_scale(clips[i].weights, gains))
    return result


def amplitude_gains(clips: Sequence[Clip]) -> npt.NDArray[np.float64]:
    """Factors that bring the measures of one voice to `SPEECH_STD`.

    Args:
        clips: Clips of the voice.

    Returns:
        (4,) in the order of `MEASURES`, within `GAIN_RANGE`; 1 for measures that do not move.
    """
    measures = default_mouth_measures()
    frames = [measures(clip.weights)[voice_labels(clip.phones, len(clip.weights)) > 0] for clip in clips]
    speech = np.concatenate(frames)
    if len(speech) < MIN_SPEECH_FRAMES:
        return np.ones(len(MEASURES))
    deviation = speech.std(0)
    gains = np.clip(np.array(SPEECH_STD) / np.maximum(deviation, 1e-6), *GAIN_RANGE)
    return np.where(deviation > 1e-3, gains, 1.0)


def style_amplitudes(folders: Sequence[str | Path], styles: Sequence[str]) -> tuple[float, ...]:
    """Amplitude of each style, against people's.

    Args:
        folders: Corpora.
        styles: Names of styles; the first, and those without captured motion in the corpora, have the
            amplitude 1.

    Returns:
        Four numbers of each style, in the order of `MEASURES`; none where all are 1.
    """
    clips: defaultdict[str, list[npt.NDArray[np.float32]]] = defaultdict(list)
    for folder in folders:
        if read_index(folder).get("kind") in CAPTURED_KINDS:
            for clip in load_corpus(folder, "train"):
                if clip.style in styles[1:]:
                    clips[clip.style].append(clip.weights)
    amplitudes = [
        measure_amplitude(clips[name], FRAME_RATE) if name in clips else [1.0] * len(MEASURES)
        for name in styles
    ]
    return tuple(np.ravel(amplitudes).tolist()) if clips else ()


def _scale(weights: npt.NDArray[np.float32], gains: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Weights (T, 52) whose measures are scaled; pressed lips stay as firmly pressed."""
    measures = default_mouth_measures()
    own = measures(weights)
    target = np.where(own < 0.0, own, own * gains)
    for k in (MEASURES.index("width"), MEASURES.index("upper_lip")):
        target[:, k] = own[:, k] * gains[k]
    return np.stack([measures.fit(*frame) for frame in zip(weights, target, strict=True)])
