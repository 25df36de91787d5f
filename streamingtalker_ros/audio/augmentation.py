# SPDX-License-Identifier: Apache-2.0
"""What happens to a voice between a mouth and a robot's microphone: level, noise, band, room, clipping.

Pure functions on mono float32 PCM at 16 kHz; whatever is random comes from the numpy Generator passed in,
so that a seed repeats it. None moves sound in time, so that motion made for clean audio still fits.
"""

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import require


def active_level(pcm):
    """Level in dBFS of the sounding parts of pcm (n,): RMS of 20-ms frames within 30 dB of the loudest."""
    count = len(pcm) // 320
    if count == 0:
        return -120.0
    power = np.square(pcm[: count * 320], dtype=np.float64).reshape(count, 320).mean(1)
    loud = power[power > 1e-3 * power.max()]
    return float(10.0 * np.log10(loud.mean() + 1e-12)) if len(loud) else -120.0


def at_level(pcm, level):
    """The same sound with its active level at `level` dBFS; silence stays silence. May exceed ±1."""
    now = active_level(pcm)
    return pcm if now < -100.0 else (pcm * 10.0 ** ((level - now) / 20.0)).astype(np.float32)


def white(count, rng):
    """(count,) float32 white noise of RMS 1."""
    return rng.standard_normal(count).astype(np.float32)


def pink(count, rng):
    """(count,) float32 noise of RMS 1 whose power falls by 3 dB per octave above 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(count, 1.0 / SAMPLE_RATE), 20.0))
    return _unit(np.fft.irfft(spectrum, count))


def hum(count, rng):
    """(count,) float32 mains or fan hum of RMS 1: a fundamental of 48 to 240 Hz and a few harmonics."""
    t, base = np.arange(count) / SAMPLE_RATE, rng.choice([50.0, 60.0, 100.0, rng.uniform(48.0, 240.0)])
    tones = [
        rng.uniform(0.2, 1.0) / k * np.sin(2 * np.pi * (k * base * t + rng.random())) for k in range(1, 8)
    ]
    return _unit(np.sum(tones, 0) + 0.05 * rng.standard_normal(count))


def babble(count, rng, voices):
    """(count,) float32 chatter of RMS 1: four to eight of `voices` (list of (n,) pcm) from random places."""
    out = np.zeros(count)
    for _ in range(rng.integers(4, 9)):
        voice = voices[rng.integers(len(voices))]
        start = rng.integers(max(len(voice), 1))
        out += rng.uniform(0.4, 1.0) * np.resize(np.roll(at_level(voice, -20.0), -start), count)
    return _unit(out)


def music(count, rng):
    """(count,) float32 tune of RMS 1: plucked chords, for clips in which the mouth must rest."""
    t, out, now = np.arange(count) / SAMPLE_RATE, np.zeros(count), 0.0
    scale = 110.0 * 2.0 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 19, 24]) / 12.0)
    while now < count / SAMPLE_RATE:
        age = np.maximum(t - now, 0.0)
        for note in rng.choice(scale, rng.integers(1, 4)):
            note *= rng.choice([1.0, 2.0, 4.0])
            for k in (1, 2, 3, 4):
                fade = np.exp(-age * rng.uniform(1.5, 5.0) * k)
                out += (t >= now) * fade * np.sin(2 * np.pi * k * note * age) / k
        now += rng.choice([0.15, 0.3, 0.45, 0.6])
    return _unit(out)


def breath(count, rng):
    """(count,) float32 breaths of RMS 1: noise below 3 kHz swelling for a second, some seconds apart."""
    t, swell, now = np.arange(count) / SAMPLE_RATE, np.zeros(count), rng.uniform(0.1, 1.0)
    while now < count / SAMPLE_RATE:
        length = rng.uniform(0.4, 1.2)
        inside = (t > now) & (t < now + length)
        swell[inside] += np.sin(np.pi * (t[inside] - now) / length) ** 2 * rng.uniform(0.4, 1.0)
        now += length + rng.uniform(0.8, 2.5)
    return _unit(band(pink(count, rng), 150.0, 3000.0) * swell)


def knocks(count, rng):
    """(count,) float32 knocks and clicks of RMS 1: short decaying bursts at random times."""
    out = 0.002 * rng.standard_normal(count)
    for start in rng.integers(0, max(count - 1, 1), max(1, int(count / SAMPLE_RATE * rng.uniform(0.5, 3.0)))):
        length = min(count - start, int(SAMPLE_RATE * 0.12))
        age = np.arange(length) / SAMPLE_RATE
        ring = np.sin(2 * np.pi * rng.uniform(120, 2500) * age) + 0.5 * rng.standard_normal(length)
        out[start : start + length] += rng.uniform(0.3, 1.0) * np.exp(-age * rng.uniform(30, 200)) * ring
    return _unit(out)


def brown(count, rng):
    """(count,) float32 rumble of RMS 1: power falls by 6 dB per octave above 30 Hz, swelling slowly as wind does."""
    spectrum = np.fft.rfft(rng.standard_normal(count)) / np.maximum(
        np.fft.rfftfreq(count, 1.0 / SAMPLE_RATE), 30.0
    )
    return _unit(np.fft.irfft(spectrum, count) * sway(count, rng, rng.uniform(0.1, 1.0)))


def rings(count, rng):
    """(count,) float32 clatter of RMS 1: dishes, keys and bells, bursts of inharmonic tones that ring out."""
    out, now = 0.001 * rng.standard_normal(count), rng.uniform(0.0, 0.5)
    while now < count / SAMPLE_RATE:
        start = int(now * SAMPLE_RATE)
        age = np.arange(min(count - start, int(0.8 * SAMPLE_RATE))) / SAMPLE_RATE
        base, decay, struck = rng.uniform(200.0, 3000.0), rng.uniform(8.0, 120.0), rng.uniform(0.1, 1.0)
        for ratio in rng.uniform(1.0, 4.5, rng.integers(2, 7)):
            tone = np.sin(2 * np.pi * min(base * ratio, 7500.0) * age + rng.uniform(0.0, 6.0))
            out[start : start + len(age)] += (
                struck * rng.uniform(0.2, 1.0) * tone * np.exp(-age * decay * ratio**0.5)
            )
        now += rng.exponential(rng.choice([0.08, 0.3, 0.8]))
    return _unit(np.tanh(_unit(out) / 4.0))


def chirps(count, rng):
    """(count,) float32 birds, beeps and servo whines of RMS 1: gliding tones that come and go."""
    t, out, now = np.arange(count) / SAMPLE_RATE, 0.002 * rng.standard_normal(count), rng.uniform(0.0, 0.5)
    while now < count / SAMPLE_RATE:
        length = rng.uniform(0.04, 0.7)
        inside = (t > now) & (t < now + length)
        age = t[inside] - now
        trill = rng.uniform(0.0, 0.15) * np.sin(2 * np.pi * rng.uniform(3.0, 30.0) * age)
        hertz = rng.uniform(250.0, 5000.0) * np.exp(rng.normal(0.0, 0.7) * age / length + trill)
        tone = np.sin(2 * np.pi * np.cumsum(np.minimum(hertz, 7500.0)) / SAMPLE_RATE)
        out[inside] += (
            rng.uniform(0.2, 1.0) * np.sin(np.pi * age / length) ** rng.choice([0.3, 1.0, 2.0]) * tone
        )
        now += length * rng.uniform(0.3, 1.5) + rng.exponential(0.3)
    return _unit(out)


def engine(count, rng):
    """(count,) float32 engine, drill or vacuum cleaner of RMS 1: a buzz of wandering speed in noise, swelling."""
    speed = rng.uniform(20.0, 180.0) * np.exp(0.2 * (sway(count, rng, rng.uniform(0.1, 0.8)) - 1.0))
    phase = 2 * np.pi * np.cumsum(speed) / SAMPLE_RATE
    buzz = sum(
        rng.uniform(0.1, 1.0) / k**0.5 * np.sin(k * phase + rng.uniform(0.0, 6.0)) for k in range(1, 16)
    )
    noise = band(white(count, rng), rng.uniform(100.0, 1000.0), rng.uniform(2000.0, 7500.0))
    return _unit((_unit(buzz) + rng.uniform(0.2, 2.0) * noise) * sway(count, rng, rng.uniform(0.2, 4.0)))


def ensemble(count, rng):
    """(count,) float32 music of several players of RMS 1: drums, a bass, held chords with vibrato, a lead that bends."""
    t, beat = np.arange(count) / SAMPLE_RATE, rng.uniform(0.25, 0.6)
    scale = 55.0 * 2.0 ** (np.array([0, 2, 3, 5, 7, 8, 10, 12]) / 12.0)
    out = np.zeros(count)
    for start in np.arange(0.0, count / SAMPLE_RATE, beat / 2):
        first = int(start * SAMPLE_RATE)
        age = t[first:] - start
        struck = np.exp(-age * rng.uniform(15.0, 60.0))
        hit = np.sin(2 * np.pi * 60.0 * age) if rng.random() < 0.5 else 0.4 * rng.standard_normal(len(age))
        out[first:] += rng.uniform(0.0, 1.5) * struck * hit
        if rng.random() < 0.7:  # a plucked string or a key
            note, decay = rng.choice(scale) * rng.choice([1.0, 4.0, 8.0, 16.0]), rng.uniform(2.0, 15.0)
            out[first:] += rng.uniform(0.2, 1.0) * sum(
                np.sin(2 * np.pi * k * note * age)
                / k ** rng.uniform(0.8, 1.5)
                * np.exp(-age * decay * k**0.7)
                for k in range(1, 9)
                if k * note < 7500.0
            )
    for octave, voices, gain in ((1.0, 1, 0.8), (4.0, 3, 0.6), (8.0, 1, rng.uniform(0.2, 1.2))):
        length = beat * rng.choice([1.0, 2.0, 4.0])
        for start in np.arange(0.0, count / SAMPLE_RATE, length):
            first, last = int(start * SAMPLE_RATE), min(int((start + length) * SAMPLE_RATE), count)
            age = t[first:last] - start
            swell = np.minimum(age * rng.uniform(5.0, 60.0), 1.0) * np.exp(-age * rng.uniform(0.0, 3.0))
            for note in rng.choice(scale, voices, replace=False) * octave:
                bend = 1.0 + 0.006 * np.sin(2 * np.pi * rng.uniform(4.0, 7.0) * age) * rng.uniform(0.0, 2.0)
                phase = 2 * np.pi * np.cumsum(note * bend) / SAMPLE_RATE
                tone = sum(
                    np.sin(k * phase) / k ** rng.uniform(0.6, 2.0) for k in range(1, 9) if k * note < 7500.0
                )
                out[first:last] += gain * swell * tone
    return _unit(out)


def sway(count, rng, hertz):
    """(count,) slow random gain around 1, between 0.1 and 1.9, that changes about `hertz` times a second."""
    knots = rng.uniform(0.1, 1.9, int(count / SAMPLE_RATE * hertz) + 3)
    return np.interp(np.arange(count) / SAMPLE_RATE * hertz, np.arange(len(knots)), knots)


def _unit(sound):
    return (sound / (np.sqrt(np.mean(np.square(sound))) + 1e-9)).astype(np.float32)


def add_noise(pcm, noise, snr):
    """pcm plus noise (both (n,)), scaled so that the active speech stands `snr` dB above it."""
    level = active_level(pcm)
    return (pcm + at_rms(noise, max(level, -60.0) - snr)).astype(np.float32)


def at_rms(sound, level):
    """The same sound with an RMS of `level` dBFS."""
    return (_unit(sound) * 10.0 ** (level / 20.0)).astype(np.float32)


def band(pcm, low, high):
    """pcm (n,) between low and high Hz, edges a sixth of an octave wide, no delay (zero phase)."""
    spectrum, hertz = np.fft.rfft(pcm), np.fft.rfftfreq(len(pcm), 1.0 / SAMPLE_RATE)
    octaves = np.log2(np.maximum(hertz, 1.0))
    rise = np.clip(6.0 * (octaves - np.log2(max(low, 1.0))) + 0.5, 0.0, 1.0)
    fall = np.clip(6.0 * (np.log2(high) - octaves) + 0.5, 0.0, 1.0)
    return np.fft.irfft(spectrum * rise * fall, len(pcm)).astype(np.float32)


def telephone(pcm):
    """The telephone band, 300 to 3400 Hz, in 8-bit mu-law steps (ITU-T G.711)."""
    narrow = np.clip(band(pcm, 300.0, 3400.0), -1.0, 1.0)
    code = np.round(np.sign(narrow) * np.log1p(255.0 * np.abs(narrow)) / np.log(256.0) * 127.0) / 127.0
    return (np.sign(code) * np.expm1(np.abs(code) * np.log(256.0)) / 255.0).astype(np.float32)


def room(pcm, rng):
    """A small room: the direct sound at once, then decaying noise, T60 0.15 to 0.5 s, 0 to 12 dB weaker."""
    t60 = rng.uniform(0.15, 0.5)
    count = int(SAMPLE_RATE * t60)
    tail = rng.standard_normal(count) * 10.0 ** (-3.0 * np.arange(count) / count)
    tail[: int(rng.uniform(0.001, 0.006) * SAMPLE_RATE)] = 0.0
    tail *= 10.0 ** (rng.uniform(-12.0, 0.0) / 20.0) / (np.sqrt(np.square(tail).sum()) + 1e-9)
    tail[0] = 1.0
    size = len(pcm) + count
    return np.fft.irfft(np.fft.rfft(pcm, size) * np.fft.rfft(tail, size), size)[: len(pcm)].astype(np.float32)


def clip(pcm, ceiling):
    """pcm cut off at ±ceiling (full scale 1)."""
    return np.clip(pcm, -ceiling, ceiling).astype(np.float32)


def resized(pcm, factor):
    """Another speaker: all frequencies times `factor` (pitch and formants), all times divided by it."""
    soxr = require("soxr", "changing a speaker's size")
    return np.asarray(
        soxr.resample(np.asarray(pcm, np.float32), SAMPLE_RATE * factor, SAMPLE_RATE), np.float32
    )


def augment(pcm, seed, voices=()):
    """One random recording of the clean voice pcm (n,): (n,) float32 within ±1, equal for equal seeds.

    seed: int, sequence of ints or numpy Generator; voices: other pcm for babble.
    """
    rng = np.random.default_rng(seed)
    out, count = np.asarray(pcm, np.float32), len(pcm)
    if rng.random() < 0.35:
        out = room(out, rng)
    if rng.random() < 0.25:
        out = band(out, rng.uniform(40.0, 250.0), rng.uniform(3000.0, 7900.0))
    if rng.random() < 0.75:
        kind = rng.choice(
            ["white", "pink", "hum", "babble", "brown", "rings", "engine"],
            p=[0.15, 0.25, 0.1, 0.2, 0.1, 0.1, 0.1],
        )
        if kind == "babble" and len(voices):
            out = add_noise(out, babble(count, rng, voices), rng.uniform(10.0, 35.0))
        else:
            made = {"white": white, "hum": hum, "brown": brown, "rings": rings, "engine": engine}.get(
                kind, pink
            )
            noise = made(count, rng)
            out = add_noise(out, noise, rng.uniform(5.0, 40.0))
    # levels as measured on speech; -35 dBFS is a whisper across the room, 0 is beyond most converters
    out = at_level(out, rng.uniform(-35.0, -8.0) if rng.random() < 0.9 else rng.uniform(-8.0, 0.0))
    if rng.random() < 0.10:
        out = clip(out, rng.uniform(0.25, 0.8) * max(float(np.abs(out).max()), 1e-6))
    if rng.random() < 0.12:
        out = telephone(out)
    return clip(out, 1.0)
