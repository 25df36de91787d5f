# SPDX-License-Identifier: Apache-2.0
"""Recordings of a conversation partner, made from single voices with pauses, and sounds that are no voice."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k

RATE = 16_000
TEXT = (
    "So yesterday I went down to the market with my brother, and you know, we wanted to buy some apples. But "
    "then it started to rain heavily. We ran into a small cafe, and there was an old man playing the piano. "
    "He told us about his life, and about the war. It was really quite moving. Anyway, we never bought any "
    "apples in the end."
)
SYNTHETIC_VOICES = {
    "espeak_us": ["espeak-ng", "-v", "en-us", "-w", "{file}", TEXT],
    "espeak_female": ["espeak-ng", "-v", "en-gb+f3", "-p", "70", "-w", "{file}", TEXT],
    "espeak_german": ["espeak-ng", "-v", "de", "-s", "150", "-w", "{file}", TEXT],
    "espeak_french": ["espeak-ng", "-v", "fr+m4", "-w", "{file}", TEXT],
    "flite_slt": ["flite", "-voice", "slt", "-o", "{file}", "-t", TEXT],
    "flite_awb": ["flite", "-voice", "awb", "-o", "{file}", "-t", TEXT],
    "flite_rms": ["flite", "-voice", "rms", "-o", "{file}", "-t", TEXT],
}


def to_level(pcm: npt.NDArray[np.floating], db: float) -> npt.NDArray[np.float32]:
    """Scale audio to a power in dB of full scale."""
    rms = np.sqrt(np.mean(np.square(pcm, dtype=np.float64)))
    return np.asarray(np.clip(pcm / rms * 10 ** (db / 20), -1.0, 1.0), np.float32)


def read_voice(path: Path) -> npt.NDArray[np.float32]:
    """Read a recording at 16 kHz."""
    return np.asarray(to_16k(*read_audio(path)), np.float32)


def synthesize(name: str, folder: Path) -> npt.NDArray[np.float32]:
    """Return `TEXT` in a synthetic voice; skips the test where its program is not installed."""
    command = SYNTHETIC_VOICES[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    file = folder / f"{name}.wav"
    subprocess.run(
        [part.format(file=file) if part == "{file}" else part for part in command],
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return read_voice(file)


def with_pauses(
    voice: npt.NDArray[np.float32], seconds: float, pause: float = 1.2, db: float = -25.0
) -> npt.NDArray[np.float32]:
    """Repeat a voice with pauses, for a number of seconds, after one second of silence."""
    turn = np.concatenate([to_level(voice, db), np.zeros(round(pause * RATE), np.float32)])
    turns = np.tile(turn, int(seconds * RATE / len(turn)) + 1)
    return np.concatenate([np.zeros(RATE, np.float32), turns])[: round(seconds * RATE)]


def colored_noise(exponent: float, seconds: float, seed: int = 0) -> npt.NDArray[np.float64]:
    """Noise whose power falls with the frequency to an exponent: 0 white, 1 pink, 2 brown."""
    samples = round(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    frequency = np.maximum(np.arange(len(spectrum)), 1.0)
    spectrum /= frequency ** (exponent / 2)
    spectrum[: round(20 * seconds)] = 0.0
    return np.fft.irfft(spectrum, samples)


def hum(pitch_hz: float, seconds: float) -> npt.NDArray[np.float64]:
    """Hum of a motor or of mains: harmonics of one pitch."""
    time = np.arange(round(seconds * RATE)) / RATE
    return np.sum([np.sin(2 * np.pi * pitch_hz * k * time + k) / k**1.2 for k in range(1, 12)], axis=0)


def music(
    seconds: float, note_s: float = 0.5, notes: int = 3, decay_s: float = 1e3, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Chords, or with one note a melody, of tones with harmonics and a decay."""
    rng, parts, length = np.random.default_rng(seed), [], 0
    chords = [[0, 4, 7], [5, 9, 12], [7, 11, 14], [-3, 0, 4]]
    while length < seconds * RATE:
        chord = chords[rng.integers(len(chords))]
        duration = note_s * float(rng.choice([0.5, 1.0, 1.0, 2.0]))
        time = np.arange(round(duration * RATE)) / RATE
        envelope = np.minimum(time / 0.01, 1.0) * np.minimum((duration - time) / 0.02, 1.0)
        chosen = chord if notes > 1 else [int(rng.choice(chord))]
        tone = np.zeros(len(time))
        for step in chosen[:notes]:
            pitch = 130.8 * 2 ** (step / 12)
            tone += np.sum([np.sin(2 * np.pi * pitch * k * time + k) / k for k in range(1, 9)], axis=0)
        parts.append(tone * envelope * np.exp(-time / decay_s))
        length += len(time)
    return np.concatenate(parts)[: round(seconds * RATE)]


def sounds_without_voice(seconds: float) -> dict[str, npt.NDArray[np.floating]]:
    """Sounds that a microphone hears of a room where nobody speaks."""
    time = np.arange(round(seconds * RATE)) / RATE
    is_on = np.sin(np.pi * time) > 0.0  # one second on, one off
    rhythm = 0.6 + 0.4 * np.sin(2 * np.pi * 4.0 * time)  # of syllables
    sounds: dict[str, npt.NDArray[np.floating]] = {
        "white": colored_noise(0, seconds),
        "pink": colored_noise(1, seconds),
        "brown": colored_noise(2, seconds),
        "white with the rhythm of syllables": colored_noise(0, seconds) * rhythm,
        "pink, on and off": colored_noise(1, seconds) * is_on,
        "chords": music(seconds),
        "chords of a piano": music(seconds, decay_s=0.4),
        "fast chords": music(seconds, note_s=0.2, decay_s=0.2),
        "chords with tremolo": music(seconds) * rhythm,
        "melody": music(seconds, note_s=0.4, notes=1),
        "fast melody": music(seconds, note_s=0.2, notes=1, decay_s=0.3),
        "clicks": np.where(np.arange(len(time)) % (RATE // 3) < 80, colored_noise(0, seconds), 0.0),
    }
    for pitch_hz in (50.0, 60.0, 100.0, 120.0, 210.0):
        sounds[f"hum of {pitch_hz:g} Hz"] = hum(pitch_hz, seconds)
    sounds["hum, on and off"] = hum(120.0, seconds) * is_on
    noise = colored_noise(0, seconds)
    sounds["hum in noise"] = hum(100.0, seconds) + 30 * noise
    return sounds
