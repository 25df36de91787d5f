# SPDX-License-Identifier: Apache-2.0
"""Tests of the mouth at rest: sounds without speech, and speech that is truncated.

The sounds are synthesized here, apart from those that augment the training data, so that a good result is
not due to memorized sounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.evaluation import dynamics, metrics, vertex_metrics
from streamingtalker_ros.evaluation.inference import lip_aperture, lip_vertices, synthesize_batch
from streamingtalker_ros.face.rig import Rig

if TYPE_CHECKING:
    from streamingtalker_ros.streaming import Talker

Samples = npt.NDArray[np.floating[Any]]

SOUND_SECONDS: Final = 15.0
"""Duration of each sound."""

TRAILING_SILENCE_S: Final = 1.0
"""Seconds of silence after truncated speech."""

_POP_TEMPO_BPM = 112.0
_LEVEL_FRAME = 320  # samples, 20 ms


def _shape_noise(
    count: int, rng: np.random.Generator, response: Callable[[np.ndarray], np.ndarray]
) -> Samples:
    """Noise (count,) with the amplitude spectrum response(frequency in Hz)."""
    frequencies = np.maximum(np.fft.rfftfreq(count, 1.0 / SAMPLE_RATE), 1.0)
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * response(frequencies), count)


def rumble(count: int, rng: np.random.Generator) -> Samples:
    """Brown noise: -6 dB per octave above 30 Hz.

    Args:
        count: Number of samples at 16 kHz, 1 and up.
        rng: Source of all random numbers.

    Returns:
        Audio at 16 kHz, (count,), not normalized in level.
    """
    return _shape_noise(count, rng, lambda frequency: 1.0 / np.maximum(frequency, 30.0))


def fan_noise(count: int, rng: np.random.Generator) -> Samples:
    """Broadband fan noise above 1 kHz, modulated at 0.5 Hz.

    Args:
        count: Number of samples at 16 kHz, 1 and up.
        rng: Source of all random numbers.

    Returns:
        Audio at 16 kHz, (count,), not normalized in level.
    """
    t = np.arange(count) / SAMPLE_RATE
    noise = _shape_noise(count, rng, lambda frequency: frequency > 1000.0)
    return noise * (1.0 + 0.7 * np.sin(2 * np.pi * 0.5 * t))


def motor(count: int, rng: np.random.Generator) -> Samples:
    """Motor of varying speed: 90 to 160 Hz and its harmonics over rumble.

    Args:
        count: Number of samples at 16 kHz, 1 and up.
        rng: Source of all random numbers.

    Returns:
        Audio at 16 kHz, (count,), not normalized in level.
    """
    t = np.arange(count) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(125.0 + 35.0 * np.sin(2 * np.pi * 0.21 * t)) / SAMPLE_RATE
    return _harmonics(phase, 15) + 0.3 * augmentation.set_rms(rumble(count, rng), 0.0)


def clatter(count: int, rng: np.random.Generator) -> Samples:
    """Dishes and keys: inharmonic rings of 30 to 200 ms, four per second.

    Args:
        count: Number of samples at 16 kHz, above 6400 (0.4 s, the length of a ring).
        rng: Source of all random numbers.

    Returns:
        Audio at 16 kHz, (count,), not normalized in level.
    """
    output, t = np.zeros(count), np.arange(int(0.4 * SAMPLE_RATE)) / SAMPLE_RATE
    for start in rng.integers(0, count - len(t), int(4 * count / SAMPLE_RATE)):
        ring = sum(
            (rng.uniform(0.2, 1.0) * np.sin(2 * np.pi * f * t) for f in rng.uniform(900.0, 6000.0, 5)),
            np.zeros(len(t)),
        )
        output[start : start + len(t)] += rng.uniform(0.2, 1.0) * ring * np.exp(-t / rng.uniform(0.01, 0.07))
    return output


def strings(count: int, rng: np.random.Generator) -> Samples:
    """String section: slow chords of sawtooth tones with vibrato.

    Args:
        count: Number of samples at 16 kHz, 1 and up.
        rng: Source of all random numbers.

    Returns:
        Audio at 16 kHz, (count,), not normalized in level.
    """
    t, output = np.arange(count) / SAMPLE_RATE, np.zeros(count)
    for bar in range(int(np.ceil(count / SAMPLE_RATE / 2.0))):
        in_bar = (t >= 2.0 * bar) & (t < 2.0 * bar + 2.0)
        bar_time = t[in_bar] - 2.0 * bar
        envelope = np.minimum(1.0, bar_time / 0.3) * np.minimum(1.0, np.maximum(2.0 - bar_time, 0.0) / 0.3)
        root = 196.0 * 2.0 ** (rng.choice([0, 5, 7, 9, -3]) / 12.0)
        for ratio in (0.5, 1.0, 1.26, 1.5, 2.0):
            vibrato = 0.0008 * np.sin(2 * np.pi * 5.5 * bar_time + rng.uniform(0, 6))
            phase = 2 * np.pi * root * ratio * (bar_time + vibrato)
            output[in_bar] += envelope * _harmonics(phase, 8)
    return output


def pop_band(count: int, rng: np.random.Generator) -> Samples:
    """Pop music: kick, snare and hi-hat at 112 beats per minute with a plucked bass and a lead.

    Args:
        count: Number of samples at 16 kHz, 1 and up.
        rng: Source of all random numbers.

    Returns:
        Audio at 16 kHz, (count,), not normalized in level.
    """
    output, beat = np.zeros(count), 60.0 / _POP_TEMPO_BPM
    t = np.arange(int(0.5 * SAMPLE_RATE)) / SAMPLE_RATE
    kick = np.sin(2 * np.pi * (45.0 * t + 6.0 * (1 - np.exp(-t / 0.03)))) * np.exp(-t / 0.12)
    snare = rng.standard_normal(len(t)) * np.exp(-t / 0.06)
    hi_hat = np.diff(rng.standard_normal(len(t) + 1)) * np.exp(-t / 0.02)

    def pluck(frequency: float, decay: float) -> Samples:
        partials = (np.sin(2 * np.pi * frequency * k * t) / k * np.exp(-t * k / decay) for k in range(1, 7))
        return sum(partials, np.zeros(len(t)))

    for step in range(int(count / SAMPLE_RATE / beat * 2)):
        tracks: list[Samples] = [0.25 * hi_hat]
        if step % 2 == 0:
            tracks.append(kick if step % 4 == 0 else 0.7 * snare)
            tracks.append(0.6 * pluck(55.0 * 2.0 ** (rng.choice([0, 3, 5, 7]) / 12.0), 0.3))
        if rng.random() < 0.6:
            tracks.append(0.5 * pluck(440.0 * 2.0 ** (rng.choice([0, 3, 5, 7, 10, 12]) / 12.0), 0.15))
        start = int(step * beat / 2 * SAMPLE_RATE)
        end = min(start + len(t), count)
        output[start:end] += sum(tracks, np.zeros(len(t)))[: end - start]
    return output


def _harmonics(phase: np.ndarray, count: int) -> Samples:
    """Band-limited sawtooth: the first `count` harmonics of a phase in radians."""
    return sum((np.sin(k * phase) / k for k in range(1, count + 1)), np.zeros(len(phase)))


SOUNDS: Final[dict[str, tuple[Callable[[int, np.random.Generator], np.ndarray] | None, float]]] = {
    "silence": (None, 0.0),
    "room tone": (rumble, -60.0),
    "white noise": (augmentation.white_noise, -30.0),
    "rumble": (rumble, -25.0),
    "hiss": (fan_noise, -35.0),
    "motor": (motor, -25.0),
    "clatter": (clatter, -30.0),
    "strings": (strings, -20.0),
    "pop band": (pop_band, -20.0),
    "loud band": (pop_band, -10.0),
}
"""Name -> generator (None for digital silence) and level in dBFS."""


def synthesize_sounds(seconds: float | None = None) -> dict[str, npt.NDArray[np.float32]]:
    """Synthesize every sound of `SOUNDS`.

    Args:
        seconds: duration of each; None for `SOUND_SECONDS`.

    Returns:
        Name -> (n,) audio at 16 kHz, -1..1.
    """
    count, sounds = int((seconds or SOUND_SECONDS) * SAMPLE_RATE), {}
    for name, (generator, level) in SOUNDS.items():
        sound = (
            np.zeros(count, np.float32)
            if generator is None
            else augmentation.set_rms(generator(count, np.random.default_rng(7)), level)
        )
        sounds[name] = np.clip(sound, -1.0, 1.0).astype(np.float32)
    return sounds


def lip_speed(rig: Rig, weights: npt.ArrayLike, frame_rate: float) -> np.ndarray:
    """Mean speed of the lip vertices between frames, without the head's rotation.

    Args:
        rig: the face.
        weights: (T, 52).
        frame_rate: frames per second.

    Returns:
        (T - 1,) metres per second.
    """
    positions = vertex_metrics.vertex_positions(rig, weights, lip_vertices(rig))
    return dynamics.mean_vertex_speed(positions, frame_rate)


def lip_speed_without_speech(
    talker: Talker, rig: Rig, speech_p95: float, seconds: float | None = None, **options: Any
) -> dict[str, float]:
    """Lip speed in sounds without speech, relative to that in speech.

    Args:
        talker: a blendshape talker.
        rig: the face.
        speech_p95: metres per second, 95th percentile of the lip speed in speech.
        seconds: duration of each sound; None for `SOUND_SECONDS`.
        options: further arguments of `Talker.open_stream`.

    Returns:
        Name of the sound -> 95th percentile of the lip speed over `speech_p95`.
    """
    motion = synthesize_batch(talker, list(synthesize_sounds(seconds).values()), **options)
    return {
        name: float(np.percentile(lip_speed(rig, weights, talker.frame_rate), 95) / speech_p95)
        for name, (weights, _, _) in zip(SOUNDS, motion, strict=True)
    }


def truncate_speech(pcm: np.ndarray, rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], float]:
    """Cut speech off in a loud moment and append silence.

    The cut lies at random among the loudest third of the 20 ms frames in the second half.

    Args:
        pcm: (n,) speech at 16 kHz.
        rng: source of randomness.

    Returns:
        The truncated speech with `TRAILING_SILENCE_S` of zeros, and the time of the cut in seconds.
    """
    aligned = pcm[: len(pcm) // _LEVEL_FRAME * _LEVEL_FRAME]
    power = np.square(aligned, dtype=np.float64).reshape(-1, _LEVEL_FRAME).mean(1)
    half = len(power) // 2
    loud = half + np.flatnonzero(power[half:] >= np.quantile(power[half:], 2.0 / 3.0))
    end = _LEVEL_FRAME * (int(rng.choice(loud)) + 1)
    silence = np.zeros(int(TRAILING_SILENCE_S * SAMPLE_RATE), np.float32)
    return np.concatenate([pcm[:end], silence]).astype(np.float32), end / SAMPLE_RATE


def closing_times(
    talker: Talker, rig: Rig, audio: Sequence[np.ndarray], limit: float, seed: int = 0, **options: Any
) -> npt.NDArray[np.float64]:
    """Time from the end of truncated speech until the mouth stays closed, without the parted rest.

    Args:
        talker: a blendshape talker.
        rig: the face.
        audio: for each clip (n,) speech at 16 kHz.
        limit: metres of lip opening below which the mouth is closed.
        seed: seed of the cuts.
        options: further arguments of `Talker.open_stream`.

    Returns:
        (N,) seconds.
    """
    rng = np.random.default_rng(seed)
    truncated = [truncate_speech(pcm, rng) for pcm in audio]
    motion = synthesize_batch(talker, [pcm for pcm, _ in truncated], parted_rest=False, **options)
    return np.array(
        [
            metrics.closing_time(lip_aperture(rig, weights), cut, talker.frame_rate, limit)
            for (weights, _, _), (_, cut) in zip(motion, truncated, strict=True)
        ]
    )
