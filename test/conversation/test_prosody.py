# SPDX-License-Identifier: Apache-2.0
"""Laws of pitch and power: tones of known pitch, noise, pieces of any length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.conversation.prosody import BLOCK_S, BLOCK_SAMPLES, ProsodyTracker

RATE = 16000


def harmonic_tone(pitch_hz: float, seconds: float = 0.5, level: float = 0.1) -> npt.NDArray[np.float32]:
    """Return a tone with harmonics that fall by 6 dB an octave, as a voice's do."""
    time = np.arange(round(seconds * RATE)) / RATE
    harmonics = range(1, int(7000 / pitch_hz))
    parts = [np.sin(2 * np.pi * pitch_hz * k * time) / k for k in harmonics]
    return (level * np.sum(parts, axis=0)).astype(np.float32)


@pytest.mark.parametrize("pitch_hz", [70.0, 100.0, 123.4, 200.0, 260.0, 333.0, 390.0])
def test_the_pitch_of_a_tone_is_found_within_half_a_percent(pitch_hz: float) -> None:
    blocks = ProsodyTracker().update(harmonic_tone(pitch_hz))
    settled = slice(4, None)  # the first windows hold silence
    np.testing.assert_allclose(blocks.pitch_hz[settled], pitch_hz, rtol=5e-3)


def test_noise_is_not_voiced() -> None:
    noise = np.asarray(np.random.default_rng(0).standard_normal(10 * RATE), np.float32)
    for level in (1e-4, 1e-2, 0.3):
        assert np.mean(np.array(ProsodyTracker().update(noise * np.float32(level)).pitch_hz) > 0) < 0.01


@pytest.mark.parametrize("level, db", [(1.0, 0.0), (0.1, -20.0), (0.001, -60.0)])
def test_power_is_that_of_the_block_without_its_constant_offset(level: float, db: float) -> None:
    time = np.arange(RATE) / RATE
    sine = level * np.sqrt(2.0) * np.sin(2 * np.pi * 1000 * time) + 0.2
    np.testing.assert_allclose(ProsodyTracker().update(sine.astype(np.float32)).power_db, db, atol=0.1)


def test_silence_has_no_pitch_and_finite_power() -> None:
    blocks = ProsodyTracker().update(np.zeros(RATE, dtype=np.float32))
    assert len(blocks) == round(1 / BLOCK_S) and not any(blocks.pitch_hz)
    assert np.isfinite(blocks.power_db).all() and max(blocks.power_db) <= -99.0


def test_pieces_of_any_length_give_the_blocks_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    noise = np.asarray(rng.standard_normal(RATE), np.float32)
    signal = np.asarray(harmonic_tone(140.0, 1.0) + np.float32(0.01) * noise, np.float32)
    whole = ProsodyTracker().update(signal)
    tracker, start, parts = ProsodyTracker(), 0, []
    while start < len(signal):
        length = int(rng.integers(0, 3 * BLOCK_SAMPLES))
        parts.append(tracker.update(signal[start : start + length]))
        start += length
    for name in ("pitch_hz", "power_db"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(joined, getattr(whole, name), rtol=1e-6, atol=1e-6)


def test_a_reset_tracker_is_a_fresh_one() -> None:
    tracker = ProsodyTracker()
    tracker.update(harmonic_tone(300.0, 0.333))
    tracker.reset()
    tone = harmonic_tone(110.0, 0.2)
    np.testing.assert_array_equal(tracker.update(tone).pitch_hz, ProsodyTracker().update(tone).pitch_hz)
