# SPDX-License-Identifier: Apache-2.0
"""Laws of the parted rest: in pauses of a turn and before an announced voice alone, never over a closure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import Stream, Talker
from streamingtalker_ros.audio.augmentation import (
    active_level,
    mains_hum,
    pink_noise,
    plucked_music,
    set_rms,
    white_noise,
)
from streamingtalker_ros.face.arkit import MOUTH_MASK
from streamingtalker_ros.face.lip_measure import CONTACT_GAP_M, lip_gap_measure
from streamingtalker_ros.model.protocol import BlendshapeFrame
from streamingtalker_ros.streaming.parted_rest import (
    ANNOUNCED_GAP_M,
    END_S,
    HOLD_S,
    LEAD_FRAMES,
    MIN_SNR_DB,
    REST_GAP_M,
    RISE_FRAMES,
    PartedRest,
)

RATE, HOP = 25.0, 640
SHUT = np.zeros(52, np.float32)
PAUSE = np.zeros(4, np.float32)
VOICE = np.full(4, 0.9, np.float32)


def gaps(weights: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float64]:
    """Inner-lip gap of frames, metres above rest."""
    return np.array([lip_gap_measure()(frame) for frame in weights])


def rest_after_voice(
    voiced_frames: int = 20, frames: int = 30, snr_db: float = 40.0, **changes: dict[int, Any]
) -> list[npt.NDArray[np.float32]]:
    """Weights of the frames of a pause after a voice, with arguments of `PartedRest.apply` in some frames."""
    rest = PartedRest(RATE)
    for _ in range(voiced_frames):
        assert rest.apply(SHUT, VOICE, 0.0, snr_db) is SHUT
    result = []
    for frame in range(frames):
        options: dict[str, Any] = {"activity": PAUSE, "closing": 0.0, "snr_db": snr_db}
        options |= {name: values[frame] for name, values in changes.items() if frame in values}
        result.append(rest.apply(SHUT, **options))
    return result


def test_after_a_voice_lips_rest_parted_and_are_shut_bit_for_bit_after_it() -> None:
    weights = rest_after_voice()
    gap, hold, end = gaps(weights), round(HOLD_S * RATE), round(END_S * RATE)
    assert np.all(np.diff(gap[:4]) > 0) and np.allclose(gap[4 : hold - 1], REST_GAP_M, atol=1e-6)
    assert np.all(np.diff(gap[hold : end - 1]) < 0) and np.abs(np.diff(gap)).max() < REST_GAP_M / 3
    assert all(frame is SHUT for frame in weights[end - 1 :])


@pytest.mark.parametrize(
    "case",
    [{"voiced_frames": 14}, {"snr_db": MIN_SNR_DB - 0.1}],
    ids=["a sound too short for a voice", "noise"],
)
def test_lips_stay_shut(case: dict[str, Any]) -> None:
    assert all(frame is SHUT for frame in rest_after_voice(**case))


def test_a_closure_before_the_voice_goes_on_shuts_parted_lips() -> None:
    look_ahead = {8: np.array([0, 0, 0, 0.9], np.float32), 9: np.array([0, 0, 0.9, 0.9], np.float32)}
    goes_on = gaps(rest_after_voice(frames=10, activity=look_ahead))
    closes = gaps(rest_after_voice(frames=10, activity=look_ahead, closing={8: 0.5, 9: 1.0}))
    assert np.allclose(goes_on[7:], REST_GAP_M, atol=1e-6)
    assert closes[8] < 0.6 * REST_GAP_M and closes[9] < CONTACT_GAP_M


def run(stream: Stream, pcm: npt.NDArray[np.float32], is_announced: bool = False) -> list[BlendshapeFrame]:
    frames = []
    for start in range(0, len(pcm), HOP):
        if is_announced and stream.preview_samples:
            stream.announce(pcm[start:])
        frames += stream.accept(pcm[start : start + HOP])
    return frames + stream.finish()


@pytest.fixture(scope="module")
def pauses(speech: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A quiet room of 0.8 s, a voice, the room for 1.4 s, the voice."""
    voice, room = speech[: round(1.8 * 16000)], set_rms(white_noise(22400, np.random.default_rng(0)), -67.0)
    return np.concatenate([room[:12800], voice, room, voice])


def test_only_pauses_and_what_precedes_an_announced_voice_differ(
    talker: Talker, pauses: npt.NDArray[np.float32]
) -> None:
    loud = np.flatnonzero(np.sqrt((pauses[: len(pauses) // HOP * HOP].reshape(-1, HOP) ** 2).mean(1)) > 0.05)
    gap_at = int(np.diff(loud).argmax())
    onsets, end = (int(loud[0]), int(loud[gap_at + 1])), int(loud[gap_at])
    rest = set(range(end + 1, end + 3 + round(END_S * RATE)))
    leads = [set(range(onset - LEAD_FRAMES, onset)) for onset in onsets]
    plain, parted, queued = (
        run(talker.open_stream(seed=3, parted_rest=on), pauses, is_announced)
        for on, is_announced in ((False, False), (True, False), (True, True))
    )
    for frames, allowed in ((parted, rest), (queued, rest.union(*leads))):
        changed = {
            frame.index
            for frame, other in zip(frames, plain, strict=True)
            if not np.array_equal(frame.weights, other.weights)
        }
        assert rest & changed and changed <= allowed
    gap = gaps([queued[i].weights for i in sorted(leads[1])])
    assert gap[3:].min() > REST_GAP_M and np.all(np.diff(gap[:3]) > 0)
    assert np.diff(gap[:4]).max() < 1.1 * ANNOUNCED_GAP_M / RISE_FRAMES
    assert not np.any([frame.weights[MOUTH_MASK] for frame in queued[max(rest) : min(leads[1])]])


def test_pauses_in_noise_of_10_db_part_no_lips(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    voice = speech[: round(1.8 * 16000)]
    noise = set_rms(pink_noise(len(voice) + 16000, np.random.default_rng(3)), active_level(voice) - 10.0)
    noisy = noise + np.concatenate([voice, np.zeros(16000, np.float32)])
    plain, parted = (run(talker.open_stream(parted_rest=on), noisy) for on in (False, True))
    assert all(np.array_equal(a.weights, b.weights) for a, b in zip(plain, parted, strict=True))


@pytest.mark.parametrize("generate", [white_noise, pink_noise, mains_hum, plucked_music])
def test_announced_noise_hum_and_music_part_no_lips(talker: Talker, generate: Any) -> None:
    sound = set_rms(generate(32000, np.random.default_rng(1)), -20.0)
    pcm = np.concatenate([np.zeros(9600, np.float32), sound, np.zeros(9600, np.float32)])
    plain, queued = (run(talker.open_stream(parted_rest=on), pcm, is_announced=True) for on in (False, True))
    for frame, other in zip(queued, plain, strict=True):
        assert np.array_equal(frame.weights, other.weights)
