# SPDX-License-Identifier: Apache-2.0
"""Laws of the voice-activity gate: shut without voice, open with it, and open for the breath before it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.streaming.voice_gate import (
    PRE_SPEECH_APERTURE,
    VadGateState,
    apply_gate,
    hop_power,
    update_vad,
)

LOOKAHEAD_FRAMES = 2


def run_gate(
    voice: npt.NDArray[np.float64],
    apertures: npt.NDArray[np.float64] | None = None,
    silent_hops: Collection[int] = (),
) -> npt.NDArray[np.float32]:
    """Run the gate on a face whose jawOpen and browInnerUp are 1.

    Args:
        voice: (hops,) probabilities of voice.
        apertures: (frames,) predicted lip apertures; None for a model without the head.
        silent_hops: Hops without sound.

    Returns:
        (frames, 2) jawOpen and browInnerUp after the gate.
    """
    state, columns = VadGateState.create(LOOKAHEAD_FRAMES), [INDEX["jawOpen"], INDEX["browInnerUp"]]
    room_noise = (0.001 * np.random.default_rng(0).standard_normal(640)).astype(np.float32)
    constant = np.full(640, 0.1, np.float32)
    result: list[npt.NDArray[np.float32]] = []
    for hop, probability in enumerate(voice):
        update_vad(state, float(probability), constant if hop in silent_hops else room_noise)
        if hop >= LOOKAHEAD_FRAMES:
            weights = np.zeros(52, np.float32)
            weights[columns] = 1.0
            aperture = None if apertures is None else float(apertures[hop - LOOKAHEAD_FRAMES])
            apply_gate(state, weights, aperture)
            result.append(weights[columns])
    return np.array(result)


def test_the_mouth_opens_with_voice_in_the_lookahead_and_is_shut_160_ms_after_it() -> None:
    voice = np.zeros(40)
    voice[10:20] = 0.9
    jaw, brow = run_gate(voice).T
    assert (jaw[:8] == 0).all() and jaw[9] == 1.0  # the voice lies two frames ahead
    assert (jaw[9:21] == 1.0).all() and (jaw[23:] < 1e-6).all() and (np.diff(jaw[20:24]) < 0).all()
    assert (brow == 1.0).all()


def test_a_predicted_lip_aperture_opens_the_gate_before_the_voice() -> None:
    low, high = PRE_SPEECH_APERTURE
    voice, apertures = np.zeros(30), np.zeros(28)
    apertures[5:9] = 0.5 * low, 0.5 * (low + high), high, 0.9
    jaw, _ = run_gate(voice, apertures).T
    assert jaw[5] == 0.0 and abs(jaw[6] - 0.5) < 1e-6 and jaw[7] == jaw[8] == 1.0
    assert (np.delete(jaw, [6, 7, 8]) == 0).all()  # without voice the predicted aperture opens it
    voice[:] = 0.9
    assert (run_gate(voice, apertures)[2:, 0] == 1.0).all()  # with voice the aperture closes nothing
    assert (run_gate(np.zeros(30), -apertures)[:, 0] == 0).all()


def test_digital_silence_has_no_voice_activity_regardless_of_the_prediction() -> None:
    voice, apertures = np.full(40, 0.9), np.full(38, 0.9)
    jaw, _ = run_gate(voice, apertures, silent_hops=range(20, 40)).T
    assert (jaw[2:21] == 1.0).all() and (jaw[23:] < 1e-6).all()  # as where the network predicts the end
    # the closure of a stop consonant does not end speech
    assert (run_gate(voice, apertures, silent_hops=(20, 21))[2:, 0] == 1.0).all()


@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.1, 1e3])
def test_the_power_of_a_hop_is_its_variance_to_the_last_bit(scale: float) -> None:
    random = np.random.default_rng(0)
    for samples in (1, 7, 640, 641):
        hop = (scale * random.standard_normal(samples) + 0.3).astype(np.float32)
        assert hop_power(hop) == float(np.var(hop))
