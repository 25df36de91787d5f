# SPDX-License-Identifier: Apache-2.0
"""When nobody speaks the mouth must rest: sounds without a voice, and speech that stops dead.

The sounds are made here, apart from those of `training.augment`, so that resting in them is not a matter of having
learned them by heart.
"""

import numpy as np

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.evaluation import dynamics, metrics, vertex_metrics
from streamingtalker_ros.evaluation.inference import lip_vertices, opening_of, speak_all

SECONDS = 15.0
AFTER = 1.0  # seconds of silence after the cut
RESTED = 0.2  # seconds that the mouth may take to close


def _hertz(count):
    return np.maximum(np.fft.rfftfreq(count, 1.0 / SAMPLE_RATE), 1.0)


def _coloured(count, rng, shape):
    """Noise with the amplitude spectrum shape(Hz), (count,)."""
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * shape(_hertz(count)), count)


def brown(count, rng):
    """Rumble: 6 dB per octave down above 30 Hz."""
    return _coloured(count, rng, lambda f: 1.0 / np.maximum(f, 30.0))


def hiss(count, rng):
    """A fan's or a hose's hiss above 1 kHz, swelling and falling every two seconds."""
    t = np.arange(count) / SAMPLE_RATE
    return _coloured(count, rng, lambda f: f > 1000.0) * (1.0 + 0.7 * np.sin(2 * np.pi * 0.5 * t))


def motor(count, rng):
    """A motor that speeds up and slows down: 90 to 160 Hz and its harmonics over rumble."""
    t = np.arange(count) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(125.0 + 35.0 * np.sin(2 * np.pi * 0.21 * t)) / SAMPLE_RATE
    return sum(np.sin(k * phase) / k for k in range(1, 16)) + 0.3 * augmentation.set_rms(
        brown(count, rng), 0.0
    )


def clatter(count, rng):
    """Dishes and keys: inharmonic rings of 30 to 200 ms, four a second."""
    out, t = np.zeros(count), np.arange(int(0.4 * SAMPLE_RATE)) / SAMPLE_RATE
    for start in rng.integers(0, count - len(t), int(4 * count / SAMPLE_RATE)):
        ring = sum(rng.uniform(0.2, 1.0) * np.sin(2 * np.pi * f * t) for f in rng.uniform(900.0, 6000.0, 5))
        out[start : start + len(t)] += rng.uniform(0.2, 1.0) * ring * np.exp(-t / rng.uniform(0.01, 0.07))
    return out


def strings(count, rng):
    """Slow chords of sawtooth tones with vibrato, as of a string section."""
    t, out = np.arange(count) / SAMPLE_RATE, np.zeros(count)
    for bar in range(int(np.ceil(count / SAMPLE_RATE / 2.0))):
        inside = (t >= 2.0 * bar) & (t < 2.0 * bar + 2.0)
        now = t[inside] - 2.0 * bar
        swell = np.minimum(1.0, now / 0.3) * np.minimum(1.0, np.maximum(2.0 - now, 0.0) / 0.3)
        root = 196.0 * 2.0 ** (rng.choice([0, 5, 7, 9, -3]) / 12.0)
        for ratio in (0.5, 1.0, 1.26, 1.5, 2.0):
            phase = (
                2 * np.pi * root * ratio * (now + 0.0008 * np.sin(2 * np.pi * 5.5 * now + rng.uniform(0, 6)))
            )
            out[inside] += swell * sum(np.sin(k * phase) / k for k in range(1, 9))
    return out


def band(count, rng):
    """Pop: kick, snare and hi-hat at 112 beats a minute under a plucked bass and a lead."""
    out, beat = np.zeros(count), 60.0 / 112.0
    t = np.arange(int(0.5 * SAMPLE_RATE)) / SAMPLE_RATE
    sounds = {
        "kick": np.sin(2 * np.pi * (45.0 * t + 6.0 * (1 - np.exp(-t / 0.03)))) * np.exp(-t / 0.12),
        "snare": rng.standard_normal(len(t)) * np.exp(-t / 0.06),
        "hat": np.diff(rng.standard_normal(len(t) + 1)) * np.exp(-t / 0.02),
    }

    def pluck(hertz, decay):
        return sum(np.sin(2 * np.pi * hertz * k * t) / k * np.exp(-t * k / decay) for k in range(1, 7))

    for step in range(int(count / SAMPLE_RATE / beat * 2)):
        parts = [0.25 * sounds["hat"]]
        if step % 2 == 0:
            parts.append(sounds["kick"] if step % 4 == 0 else 0.7 * sounds["snare"])
            parts.append(0.6 * pluck(55.0 * 2.0 ** (rng.choice([0, 3, 5, 7]) / 12.0), 0.3))
        if rng.random() < 0.6:
            parts.append(0.5 * pluck(440.0 * 2.0 ** (rng.choice([0, 3, 5, 7, 10, 12]) / 12.0), 0.15))
        start = int(step * beat / 2 * SAMPLE_RATE)
        end = min(start + len(t), count)
        out[start:end] += sum(parts)[: end - start]
    return out


# name -> (maker or None for nothing, dBFS)
SOUNDS = {
    "silence": (None, 0.0),
    "room tone": (brown, -60.0),
    "white noise": (augmentation.white_noise, -30.0),
    "rumble": (brown, -25.0),
    "hiss": (hiss, -35.0),
    "motor": (motor, -25.0),
    "clatter": (clatter, -30.0),
    "strings": (strings, -20.0),
    "pop band": (band, -20.0),
    "loud band": (band, -10.0),
}


def sounds(seconds=None):
    """{name: (n,) float32 at 16 kHz}: everything without a voice that the mouth must rest in."""
    count, out = int((seconds or SECONDS) * SAMPLE_RATE), {}
    for name, (make, level) in SOUNDS.items():
        sound = (
            np.zeros(count, np.float32)
            if make is None
            else augmentation.set_rms(make(count, np.random.default_rng(7)), level)
        )
        out[name] = np.clip(sound, -1.0, 1.0).astype(np.float32)
    return out


def lip_speed(rig, weights, frame_rate):
    """Mean speed of the lips' vertices between frames, without the head: (T, 52) -> (T - 1,) metres per second."""
    return dynamics.vertex_speed(vertex_metrics.points(rig, weights, lip_vertices(rig)), frame_rate)


def speed_without_voice(talker, rig, speech_p95, seconds=None, **options):
    """Speed of the lips in each sound of `sounds`, 95th percentile as a share of speech_p95 (m/s): {name: share}."""
    made = speak_all(talker, list(sounds(seconds).values()), **options)
    return {
        name: float(np.percentile(lip_speed(rig, weights, talker.frame_rate), 95) / speech_p95)
        for name, (weights, _, _) in zip(SOUNDS, made)
    }


def cut_dead(pcm, rng):
    """Speech that ends in the middle of a loud moment, and silence: (pcm with AFTER s of zeros, seconds of the cut).

    The cut lies at random among the loudest third of 20-ms pieces in the second half of pcm.
    """
    pieces = np.square(pcm[: len(pcm) // 320 * 320], dtype=np.float64).reshape(-1, 320).mean(1)
    half = len(pieces) // 2
    loud = half + np.flatnonzero(pieces[half:] >= np.quantile(pieces[half:], 2.0 / 3.0))
    cut = 320 * (int(rng.choice(loud)) + 1)
    return np.concatenate([pcm[:cut], np.zeros(int(AFTER * SAMPLE_RATE), np.float32)]).astype(
        np.float32
    ), cut / SAMPLE_RATE


def closing_times(talker, rig, audio, limit, seed=0, **options):
    """Seconds from the last sound to a mouth that stays closed, for clips cut dead: (N,).

    audio: list of (n,) pcm with speech; limit: lip opening in metres under which the mouth is closed.
    """
    rng = np.random.default_rng(seed)
    cuts = [cut_dead(pcm, rng) for pcm in audio]
    made = speak_all(talker, [pcm for pcm, _ in cuts], **options)
    return np.array(
        [
            metrics.closing_time(opening_of(rig, weights), cut, talker.frame_rate, limit)
            for (weights, _, _), (_, cut) in zip(made, cuts)
        ]
    )
