# SPDX-License-Identifier: Apache-2.0
"""Laws of the speakers' amplitude: every voice moves its mouth as far as people do, at the same moments."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.audio.constants import HOP_LENGTH
from streamingtalker_ros.corpus.storage import Clip
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.mouth_measures import MEASURES, SPEECH_STD, default_mouth_measures
from streamingtalker_ros.phonetics.phones import Phone
from streamingtalker_ros.training.speaker_amplitude import MIN_SPEECH_FRAMES, normalize_amplitude

FRAMES = 100
APERTURE, UPPER_LIP = MEASURES.index("aperture"), MEASURES.index("upper_lip")


def speaking_clip(voice: str, amplitude: float, frames: int = FRAMES) -> Clip:
    """A clip of a mouth that opens and closes four times; its lips touch in between."""
    opening = amplitude * np.maximum(np.sin(np.arange(frames) * 8.0 * np.pi / FRAMES), 0.0)
    weights = np.zeros((frames, 52), np.float32)
    weights[:, INDEX["jawOpen"]] = opening
    for side in ("Left", "Right"):
        weights[:, INDEX[f"mouthUpperUp{side}"]] = 0.8 * opening
        weights[:, INDEX[f"mouthLowerDown{side}"]] = 0.2 * opening
    pcm = np.zeros(frames * HOP_LENGTH, np.float32)
    phones = [Phone("aa", 0.0, frames * 0.04)]
    return Clip(pcm, weights, np.zeros((frames, 3), np.float32), phones, voice, style=voice)


def measures(clip: Clip) -> np.ndarray:
    return default_mouth_measures()(clip.weights)


def test_every_voice_has_the_amplitude_of_people() -> None:
    clips = [speaking_clip("quiet", 0.3), speaking_clip("quiet", 0.45), speaking_clip("wide", 0.7)]
    quiet, quiet_too, wide = map(measures, normalize_amplitude(clips))
    for spoken in (np.concatenate((quiet, quiet_too)), wide):
        for k in (APERTURE, UPPER_LIP):
            assert spoken[:, k].std() == pytest.approx(SPEECH_STD[k], rel=0.15)
    assert quiet_too[:, APERTURE].max() == pytest.approx(1.5 * quiet[:, APERTURE].max(), rel=0.05)


def test_contact_and_timing_stay() -> None:
    clip = speaking_clip("wide", 0.9)
    (result,) = normalize_amplitude([clip])
    before, after = measures(clip)[:, APERTURE], measures(result)[:, APERTURE]
    assert after[before < 1e-6].max() < 5e-3
    assert np.corrcoef(before, after)[0, 1] > 0.999
    assert result.pcm is clip.pcm and result.phones is clip.phones


def test_voices_that_hardly_speak_and_faces_at_rest_are_left_alone() -> None:
    short = speaking_clip("short", 0.9, MIN_SPEECH_FRAMES - 1)
    still = speaking_clip("still", 0.0)
    for clip, result in zip((short, still), normalize_amplitude([short, still]), strict=True):
        assert result.weights == pytest.approx(clip.weights, abs=1e-6)
