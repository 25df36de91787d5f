# SPDX-License-Identifier: Apache-2.0
"""Augments clean speech: level, noise, band limits, reverberation, clipping; and synthesizes noise and music.

Pure functions on mono float32 PCM at 16 kHz, full scale ±1. All randomness comes from the numpy Generator
that is passed in. No function shifts audio in time, so the motion of the clean speech stays valid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import require

Pcm = npt.NDArray[np.float32]
NoiseGenerator = Callable[[int, np.random.Generator], Pcm]
"""Returns (count,) samples of RMS 1."""

_LEVEL_FRAME: Final = 320  # samples, 20 ms
_SILENCE_DBFS: Final = -120.0
_MIN_NOISE_REFERENCE_DBFS: Final = -60.0  # quieter speech is treated as if it had this level
_MAX_TONE_HZ: Final = 7500.0


def active_level(pcm: Pcm) -> float:
    """Return the level of the active parts of (n,) samples in dBFS.

    It is the RMS of the 20-ms frames within 30 dB of the loudest one; -120 for silence.

    Args:
        pcm: (n,) samples at 16 kHz, full scale ±1; an incomplete last frame is ignored.
    """
    count = len(pcm) // _LEVEL_FRAME
    if count == 0:
        return _SILENCE_DBFS
    frames = pcm[: count * _LEVEL_FRAME].reshape(count, _LEVEL_FRAME)
    power = np.square(frames, dtype=np.float64).mean(1)
    active = power[power > 1e-3 * power.max()]
    return float(10.0 * np.log10(active.mean() + 1e-12)) if len(active) else _SILENCE_DBFS


def set_active_level(pcm: Pcm, level: float) -> Pcm:
    """Scale (n,) samples to an active level in dBFS; silence stays silence. The result may exceed ±1.

    Args:
        pcm: (n,) float32 samples at 16 kHz, full scale ±1.
        level: Active level of the result in dBFS; see `active_level`.

    Returns:
        (n,) float32 samples; `pcm` itself if its active level is below -100 dBFS.
    """
    current = active_level(pcm)
    return pcm if current < -100.0 else (pcm * 10.0 ** ((level - current) / 20.0)).astype(np.float32)


def set_rms(samples: npt.NDArray[np.floating], level: float) -> Pcm:
    """Scale (n,) samples to an RMS in dBFS.

    Args:
        samples: (n,) samples of any float type and any level, at least 1.
        level: RMS of the result in dB relative to 1.

    Returns:
        (n,) float32 samples, which may exceed ±1.
    """
    return (_to_unit_rms(samples) * 10.0 ** (level / 20.0)).astype(np.float32)


def white_noise(count: int, rng: np.random.Generator) -> Pcm:
    """Return (count,) white noise of RMS 1.

    Args:
        count: Number of samples.
        rng: Source of randomness; its state advances.
    """
    return rng.standard_normal(count).astype(np.float32)


def pink_noise(count: int, rng: np.random.Generator) -> Pcm:
    """Return (count,) noise of RMS 1 whose power falls by 3 dB per octave above 20 Hz.

    Args:
        count: Number of samples at 16 kHz, at least 1.
        rng: Source of randomness; its state advances.
    """
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(count, 1.0 / SAMPLE_RATE), 20.0))
    return _to_unit_rms(np.fft.irfft(spectrum, count))


def brown_noise(count: int, rng: np.random.Generator) -> Pcm:
    """Return (count,) wind-like noise of RMS 1 that swells: power falls by 6 dB per octave above 30 Hz.

    Args:
        count: Number of samples at 16 kHz, at least 1.
        rng: Source of randomness; its state advances.
    """
    frequency = np.maximum(np.fft.rfftfreq(count, 1.0 / SAMPLE_RATE), 30.0)
    spectrum = np.fft.rfft(rng.standard_normal(count)) / frequency
    return _to_unit_rms(np.fft.irfft(spectrum, count) * random_gain(count, rng, rng.uniform(0.1, 1.0)))


def mains_hum(count: int, rng: np.random.Generator) -> Pcm:
    """Return (count,) hum of mains or a fan, RMS 1: a fundamental of 48 to 240 Hz and a few harmonics.

    Args:
        count: Number of samples at 16 kHz, at least 1.
        rng: Source of randomness; its state advances.
    """
    t = np.arange(count) / SAMPLE_RATE
    fundamental = rng.choice([50.0, 60.0, 100.0, rng.uniform(48.0, 240.0)])
    harmonics = [
        rng.uniform(0.2, 1.0) / k * np.sin(2 * np.pi * (k * fundamental * t + rng.random()))
        for k in range(1, 8)
    ]
    return _to_unit_rms(np.sum(harmonics, 0) + 0.05 * rng.standard_normal(count))


def babble_noise(count: int, rng: np.random.Generator, voices: Sequence[Pcm]) -> Pcm:
    """Return (count,) babble of RMS 1: four to eight voices, each from a random position.

    Args:
        count: Number of samples at 16 kHz, at least 1.
        rng: Source of randomness; its state advances.
        voices: Speech to mix, each (m,) samples at 16 kHz of any length and level; at least one. Voices may
            be chosen repeatedly, and are repeated to fill `count` samples.
    """
    mixture = np.zeros(count)
    for _ in range(rng.integers(4, 9)):
        voice = voices[int(rng.integers(len(voices)))]
        start = rng.integers(max(len(voice), 1))
        gain = rng.uniform(0.4, 1.0)
        mixture += gain * np.resize(np.roll(set_active_level(voice, -20.0), -start), count)
    return _to_unit_rms(mixture)


def engine_noise(count: int, rng: np.random.Generator) -> Pcm:
    """Return (count,) noise of an engine, drill or vacuum cleaner, RMS 1: a buzz of varying speed.

    Args:
        count: Number of samples at 16 kHz, at least 1.
        rng: Source of randomness; its state advances.
    """
    speed = rng.uniform(20.0, 180.0) * np.exp(0.2 * (random_gain(count, rng, rng.uniform(0.1, 0.8)) - 1.0))
    phase = 2 * np.pi * np.cumsum(speed) / SAMPLE_RATE
    buzz = np.zeros(count)
    for k in range(1, 16):
        buzz = buzz + rng.uniform(0.1, 1.0) / k**0.5 * np.sin(k * phase + rng.uniform(0.0, 6.0))
    noise = band_pass(white_noise(count, rng), rng.uniform(100.0, 1000.0), rng.uniform(2000.0, 7500.0))
    mixture = _to_unit_rms(buzz) + rng.uniform(0.2, 2.0) * noise
    return _to_unit_rms(mixture * random_gain(count, rng, rng.uniform(0.2, 4.0)))


def plucked_music(count: int, rng: np.random.Generator) -> Pcm:
    """Return (count,) music of RMS 1: plucked chords.

    Args:
        count: Number of samples at 16 kHz, at least 1.
        rng: Source of randomness; its state advances.
    """
    t, out, onset = np.arange(count) / SAMPLE_RATE, np.zeros(count), 0.0
    scale = 110.0 * 2.0 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 19, 24]) / 12.0)
    while onset < count / SAMPLE_RATE:
        age = np.maximum(t - onset, 0.0)
        for note in rng.choice(scale, rng.integers(1, 4)):
            frequency = note * rng.choice([1.0, 2.0, 4.0])
            for k in (1, 2, 3, 4):
                decay = np.exp(-age * rng.uniform(1.5, 5.0) * k)
                out += (t >= onset) * decay * np.sin(2 * np.pi * k * frequency * age) / k
        onset += rng.choice([0.15, 0.3, 0.45, 0.6])
    return _to_unit_rms(out)


def breath_noise(count: int, rng: np.random.Generator) -> Pcm:
    """Return (count,) breaths of RMS 1: noise below 3 kHz that swells for a second, some seconds apart.

    Args:
        count: Number of samples at 16 kHz, at least 1.
        rng: Source of randomness; its state advances.
    """
    t, envelope, onset = np.arange(count) / SAMPLE_RATE, np.zeros(count), rng.uniform(0.1, 1.0)
    while onset < count / SAMPLE_RATE:
        duration = rng.uniform(0.4, 1.2)
        inside = (t > onset) & (t < onset + duration)
        envelope[inside] += np.sin(np.pi * (t[inside] - onset) / duration) ** 2 * rng.uniform(0.4, 1.0)
        onset += duration + rng.uniform(0.8, 2.5)
    return _to_unit_rms(band_pass(pink_noise(count, rng), 150.0, 3000.0) * envelope)


def impact_noise(count: int, rng: np.random.Generator) -> Pcm:
    """Return (count,) knocks and clicks of RMS 1: short decaying bursts at random times.

    Args:
        count: Number of samples at 16 kHz, at least 1.
        rng: Source of randomness; its state advances.
    """
    out = 0.002 * rng.standard_normal(count)
    impacts = max(1, int(count / SAMPLE_RATE * rng.uniform(0.5, 3.0)))
    for start in rng.integers(0, max(count - 1, 1), impacts):
        length = min(count - start, int(SAMPLE_RATE * 0.12))
        age = np.arange(length) / SAMPLE_RATE
        burst = np.sin(2 * np.pi * rng.uniform(120, 2500) * age) + 0.5 * rng.standard_normal(length)
        out[start : start + length] += rng.uniform(0.3, 1.0) * np.exp(-age * rng.uniform(30, 200)) * burst
    return _to_unit_rms(out)


def clatter_noise(count: int, rng: np.random.Generator) -> Pcm:
    """Return (count,) clatter of RMS 1: dishes, keys and bells, bursts of decaying inharmonic tones.

    Args:
        count: Number of samples at 16 kHz, at least 1.
        rng: Source of randomness; its state advances.
    """
    out, onset = 0.001 * rng.standard_normal(count), rng.uniform(0.0, 0.5)
    while onset < count / SAMPLE_RATE:
        start = int(onset * SAMPLE_RATE)
        age = np.arange(min(count - start, int(0.8 * SAMPLE_RATE))) / SAMPLE_RATE
        base, decay, strength = rng.uniform(200.0, 3000.0), rng.uniform(8.0, 120.0), rng.uniform(0.1, 1.0)
        for ratio in rng.uniform(1.0, 4.5, rng.integers(2, 7)):
            frequency = min(base * ratio, _MAX_TONE_HZ)
            tone = np.sin(2 * np.pi * frequency * age + rng.uniform(0.0, 6.0))
            gain = strength * rng.uniform(0.2, 1.0)
            out[start : start + len(age)] += gain * tone * np.exp(-age * decay * ratio**0.5)
        onset += rng.exponential(rng.choice([0.08, 0.3, 0.8]))
    return _to_unit_rms(np.tanh(_to_unit_rms(out) / 4.0))


def gliding_tones(count: int, rng: np.random.Generator) -> Pcm:
    """Return (count,) birds, beeps and servo whines of RMS 1: gliding tones with pauses.

    Args:
        count: Number of samples at 16 kHz, at least 1.
        rng: Source of randomness; its state advances.
    """
    t, out, onset = np.arange(count) / SAMPLE_RATE, 0.002 * rng.standard_normal(count), rng.uniform(0.0, 0.5)
    while onset < count / SAMPLE_RATE:
        duration = rng.uniform(0.04, 0.7)
        inside = (t > onset) & (t < onset + duration)
        age = t[inside] - onset
        trill = rng.uniform(0.0, 0.15) * np.sin(2 * np.pi * rng.uniform(3.0, 30.0) * age)
        frequency = rng.uniform(250.0, 5000.0) * np.exp(rng.normal(0.0, 0.7) * age / duration + trill)
        tone = np.sin(2 * np.pi * np.cumsum(np.minimum(frequency, _MAX_TONE_HZ)) / SAMPLE_RATE)
        envelope = rng.uniform(0.2, 1.0) * np.sin(np.pi * age / duration) ** rng.choice([0.3, 1.0, 2.0])
        out[inside] += envelope * tone
        onset += duration * rng.uniform(0.3, 1.5) + rng.exponential(0.3)
    return _to_unit_rms(out)


def ensemble_music(count: int, rng: np.random.Generator) -> Pcm:
    """Return (count,) ensemble music of RMS 1: drums, a bass, held chords with vibrato, a bending lead.

    Args:
        count: Number of samples at 16 kHz, at least 1.
        rng: Source of randomness; its state advances.
    """
    t, beat = np.arange(count) / SAMPLE_RATE, rng.uniform(0.25, 0.6)
    scale = 55.0 * 2.0 ** (np.array([0, 2, 3, 5, 7, 8, 10, 12]) / 12.0)
    out = np.zeros(count)
    for onset in np.arange(0.0, count / SAMPLE_RATE, beat / 2):
        start = int(onset * SAMPLE_RATE)
        age = t[start:] - onset
        decay = np.exp(-age * rng.uniform(15.0, 60.0))
        is_bass_drum = rng.random() < 0.5
        drum = np.sin(2 * np.pi * 60.0 * age) if is_bass_drum else 0.4 * rng.standard_normal(len(age))
        out[start:] += rng.uniform(0.0, 1.5) * decay * drum
        if rng.random() < 0.7:
            note, note_decay = rng.choice(scale) * rng.choice([1.0, 4.0, 8.0, 16.0]), rng.uniform(2.0, 15.0)
            out[start:] += rng.uniform(0.2, 1.0) * _plucked_note(age, note, note_decay, rng)
    for octave, voices, gain in ((1.0, 1, 0.8), (4.0, 3, 0.6), (8.0, 1, rng.uniform(0.2, 1.2))):
        duration = beat * rng.choice([1.0, 2.0, 4.0])
        for onset in np.arange(0.0, count / SAMPLE_RATE, duration):
            start, end = int(onset * SAMPLE_RATE), min(int((onset + duration) * SAMPLE_RATE), count)
            age = t[start:end] - onset
            envelope = np.minimum(age * rng.uniform(5.0, 60.0), 1.0) * np.exp(-age * rng.uniform(0.0, 3.0))
            for note in rng.choice(scale, voices, replace=False) * octave:
                vibrato = np.sin(2 * np.pi * rng.uniform(4.0, 7.0) * age)
                bend = 1.0 + 0.006 * vibrato * rng.uniform(0.0, 2.0)
                phase = 2 * np.pi * np.cumsum(note * bend) / SAMPLE_RATE
                tone = sum(
                    np.sin(k * phase) / k ** rng.uniform(0.6, 2.0)
                    for k in range(1, 9)
                    if k * note < _MAX_TONE_HZ
                )
                out[start:end] += gain * envelope * tone
    return _to_unit_rms(out)


def _plucked_note(
    age: npt.NDArray[np.float64], frequency: float, decay: float, rng: np.random.Generator
) -> npt.NDArray[np.float64] | float:
    """Return a decaying harmonic tone at times `age` in s after its onset."""
    return sum(
        np.sin(2 * np.pi * k * frequency * age) / k ** rng.uniform(0.8, 1.5) * np.exp(-age * decay * k**0.7)
        for k in range(1, 9)
        if k * frequency < _MAX_TONE_HZ
    )


def random_gain(count: int, rng: np.random.Generator, rate: float) -> npt.NDArray[np.float64]:
    """Return (count,) random gains between 0.1 and 1.9 that change about `rate` times per second.

    Args:
        count: Number of samples at 16 kHz.
        rng: Source of randomness; its state advances.
        rate: Random values per second, at least 0; gains between them are interpolated linearly.

    Returns:
        (count,) float64 factors.
    """
    knots = rng.uniform(0.1, 1.9, int(count / SAMPLE_RATE * rate) + 3)
    return np.interp(np.arange(count) / SAMPLE_RATE * rate, np.arange(len(knots)), knots)


def _to_unit_rms(samples: npt.NDArray[np.floating]) -> Pcm:
    return (samples / (np.sqrt(np.mean(np.square(samples))) + 1e-9)).astype(np.float32)


def add_noise(pcm: Pcm, noise: Pcm, snr: float) -> Pcm:
    """Add noise to speech.

    Args:
        pcm: (n,) speech.
        noise: (n,) noise of any level.
        snr: dB between the active level of the speech and the RMS of the noise.
    """
    level = active_level(pcm)
    return (pcm + set_rms(noise, max(level, _MIN_NOISE_REFERENCE_DBFS) - snr)).astype(np.float32)


def band_pass(pcm: Pcm, low: float, high: float) -> Pcm:
    """Filter (n,) samples to `low`…`high` Hz with zero phase; the edges are a sixth of an octave wide.

    Args:
        pcm: (n,) samples at 16 kHz, at least 1.
        low: Lower cut-off frequency in Hz, where the gain is 0.5; values below 1 count as 1.
        high: Upper cut-off frequency in Hz, where the gain is 0.5; above `low`.

    Returns:
        (n,) float32 samples.
    """
    spectrum, frequency = np.fft.rfft(pcm), np.fft.rfftfreq(len(pcm), 1.0 / SAMPLE_RATE)
    octave = np.log2(np.maximum(frequency, 1.0))
    lower_slope = np.clip(6.0 * (octave - np.log2(max(low, 1.0))) + 0.5, 0.0, 1.0)
    upper_slope = np.clip(6.0 * (np.log2(high) - octave) + 0.5, 0.0, 1.0)
    return np.fft.irfft(spectrum * lower_slope * upper_slope, len(pcm)).astype(np.float32)


def telephone(pcm: Pcm) -> Pcm:
    """Filter (n,) samples to 300…3400 Hz and quantize them by 8-bit mu-law (ITU-T G.711).

    Args:
        pcm: (n,) samples at 16 kHz, full scale ±1; louder samples are clipped.

    Returns:
        (n,) float32 samples at 16 kHz, within ±1.
    """
    narrow = np.clip(band_pass(pcm, 300.0, 3400.0), -1.0, 1.0)
    code = np.round(np.sign(narrow) * np.log1p(255.0 * np.abs(narrow)) / np.log(256.0) * 127.0) / 127.0
    return (np.sign(code) * np.expm1(np.abs(code) * np.log(256.0)) / 255.0).astype(np.float32)


def reverberate(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    """Add the reverberation of a small room to (n,) samples.

    The impulse response is the direct sound without delay, followed by decaying noise that is 0 to 12 dB
    weaker, with a T60 of 0.15 to 0.5 s.

    Args:
        pcm: (n,) samples at 16 kHz.
        rng: Source of randomness for the room; its state advances.

    Returns:
        (n,) float32 samples, which may exceed ±1; the reverberation after the end is cut off.
    """
    t60 = rng.uniform(0.15, 0.5)
    count = int(SAMPLE_RATE * t60)
    response = rng.standard_normal(count) * 10.0 ** (-3.0 * np.arange(count) / count)
    response[: int(rng.uniform(0.001, 0.006) * SAMPLE_RATE)] = 0.0
    response *= 10.0 ** (rng.uniform(-12.0, 0.0) / 20.0) / (np.sqrt(np.square(response).sum()) + 1e-9)
    response[0] = 1.0
    size = len(pcm) + count
    reverberant = np.fft.irfft(np.fft.rfft(pcm, size) * np.fft.rfft(response, size), size)
    return reverberant[: len(pcm)].astype(np.float32)


def clip(pcm: Pcm, ceiling: float) -> Pcm:
    """Clip (n,) samples at ±ceiling; full scale is 1.

    Args:
        pcm: (n,) samples.
        ceiling: Largest absolute value of the result, at least 0.

    Returns:
        (n,) float32 samples.
    """
    return np.clip(pcm, -ceiling, ceiling).astype(np.float32)


def perturb_speed(pcm: Pcm, factor: float) -> Pcm:
    """Resample (n,) samples so that all frequencies, pitch and formants, are multiplied by `factor`.

    Durations are divided by it: the result has about n / factor samples (speed perturbation, Ko et al. 2015).

    Args:
        pcm: (n,) samples at 16 kHz.
        factor: Factor of speed and frequencies, above 0; 1.1 is 10 % faster and higher.

    Returns:
        Float32 samples at 16 kHz.
    """
    soxr = require("soxr", "speed perturbation")
    resampled = soxr.resample(np.asarray(pcm, np.float32), SAMPLE_RATE * factor, SAMPLE_RATE)
    return np.asarray(resampled, np.float32)


_AUGMENTING_NOISES: Final[dict[str, NoiseGenerator]] = {
    "white": white_noise,
    "pink": pink_noise,
    "hum": mains_hum,
    "babble": pink_noise,  # without voices
    "brown": brown_noise,
    "rings": clatter_noise,
    "engine": engine_noise,
}
_NOISE_PROBABILITIES: Final = (0.15, 0.25, 0.1, 0.2, 0.1, 0.1, 0.1)


def augment(pcm: Pcm, seed: int | Sequence[int] | np.random.Generator, voices: Sequence[Pcm] = ()) -> Pcm:
    """Simulate a random recording of clean speech; equal seeds give equal results.

    Args:
        pcm: (n,) clean speech.
        seed: seed, or Generator.
        voices: other speech for babble.

    Returns:
        (n,) float32 within ±1.
    """
    rng = np.random.default_rng(seed)
    out, count = np.asarray(pcm, np.float32), len(pcm)
    if rng.random() < 0.35:
        out = reverberate(out, rng)
    if rng.random() < 0.25:
        out = band_pass(out, rng.uniform(40.0, 250.0), rng.uniform(3000.0, 7900.0))
    if rng.random() < 0.75:
        kind = str(rng.choice(list(_AUGMENTING_NOISES), p=_NOISE_PROBABILITIES))
        if kind == "babble" and len(voices):
            out = add_noise(out, babble_noise(count, rng, voices), rng.uniform(10.0, 35.0))
        else:
            out = add_noise(out, _AUGMENTING_NOISES[kind](count, rng), rng.uniform(5.0, 40.0))
    # levels as measured on speech: -35 dBFS is a whisper across the room, 0 exceeds most converters
    out = set_active_level(out, rng.uniform(-35.0, -8.0) if rng.random() < 0.9 else rng.uniform(-8.0, 0.0))
    if rng.random() < 0.10:
        out = clip(out, rng.uniform(0.25, 0.8) * max(float(np.abs(out).max()), 1e-6))
    if rng.random() < 0.12:
        out = telephone(out)
    return clip(out, 1.0)
