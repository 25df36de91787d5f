# SPDX-License-Identifier: Apache-2.0
"""Audio augmentation: equal seeds give equal audio, time stays, noise and levels have the requested
values."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.audio import augmentation


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """Two seconds with the structure of speech: harmonics in syllables, silence between."""
    t = np.arange(32000) / 16000
    syllables = np.maximum(np.sin(2 * np.pi * 2.5 * t), 0.0)
    harmonics = np.sum([np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)], axis=0)
    return (0.2 * syllables * harmonics).astype(np.float32)


def test_augmentation_is_repeatable_and_keeps_length_and_range(voice: np.ndarray) -> None:
    for seed in range(40):
        augmented = augmentation.augment(voice, seed, [voice[::-1].copy()])
        np.testing.assert_array_equal(augmented, augmentation.augment(voice, seed, [voice[::-1].copy()]))
        assert augmented.shape == voice.shape and augmented.dtype == np.float32
        assert np.isfinite(augmented).all() and np.abs(augmented).max() <= 1.0
        assert not np.allclose(augmented, voice)


def test_channels_do_not_delay_audio(voice: np.ndarray) -> None:
    whisper = np.abs(voice) * np.random.default_rng(2).standard_normal(len(voice)).astype(np.float32)
    for degraded in (
        augmentation.telephone(whisper),
        augmentation.reverberate(whisper, np.random.default_rng(1)),
        augmentation.band_pass(whisper, 200.0, 4000.0),
        augmentation.clip(whisper, 0.1),
    ):
        lag = np.correlate(degraded, whisper, "same").argmax() - len(whisper) // 2
        assert abs(lag) <= 2


def test_noise_has_unit_power(voice: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for generate in (
        augmentation.white_noise,
        augmentation.pink_noise,
        augmentation.mains_hum,
        augmentation.plucked_music,
        augmentation.breath_noise,
        augmentation.impact_noise,
    ):
        noise = generate(48000, rng)
        assert noise.shape == (48000,) and abs(np.sqrt(np.mean(noise**2)) - 1.0) < 0.02


def test_added_noise_has_the_requested_ratio(voice: np.ndarray) -> None:
    noise = augmentation.white_noise(len(voice), np.random.default_rng(0))
    added = augmentation.add_noise(voice, noise, 20.0) - voice
    assert abs(augmentation.active_level(voice) - 10 * np.log10(np.mean(added**2)) - 20.0) < 0.1


def test_pink_noise_falls_by_3_db_per_octave() -> None:
    power = np.abs(np.fft.rfft(augmentation.pink_noise(160000, np.random.default_rng(0)))) ** 2
    octaves = np.array([power[10 * low : 20 * low].mean() for low in (100, 400, 1600)])  # bins of 0.1 Hz
    np.testing.assert_allclose(10 * np.log10(octaves[:-1] / octaves[1:]), 6.0, atol=1.0)


def test_level_is_met_and_silence_stays_silent(voice: np.ndarray) -> None:
    assert abs(augmentation.active_level(augmentation.set_active_level(voice, -30.0)) + 30.0) < 0.05
    assert not augmentation.set_active_level(np.zeros(1600, np.float32), -10.0).any()


def test_the_telephone_keeps_its_band_only(voice: np.ndarray) -> None:
    band = augmentation.band_pass(voice, 300.0, 3400.0)
    band_power = np.abs(np.fft.rfft(band)) ** 2
    error_power = np.abs(np.fft.rfft(augmentation.telephone(voice) - band)) ** 2
    assert error_power.sum() < 0.01 * band_power.sum()  # of the mu-law quantization
    hertz = np.fft.rfftfreq(len(voice), 1 / 16000)
    assert band_power[(hertz < 250) | (hertz > 4000)].sum() < 1e-6 * band_power.sum()


def test_a_smaller_speaker_is_higher_and_faster(voice: np.ndarray) -> None:
    smaller = augmentation.perturb_speed(voice, 1.2)
    assert abs(len(smaller) - len(voice) / 1.2) <= 2
    peak = np.abs(np.fft.rfft(smaller)).argmax() * 16000 / len(smaller)
    assert abs(peak - 1.2 * 120) < 5
