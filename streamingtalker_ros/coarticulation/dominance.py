# SPDX-License-Identifier: Apache-2.0
"""The procedural teacher's rules: phones with their times become the motion of a mouth.

`lips(phones, frames, …)` gives ARKit weights (T, 52) in 0..1 at 25 frames/s; frame n shows the moment (n + 0.5) / 25 s.
They are a function of phones, their loudness and a `Manner`. The numbers are fitted on tracked lips (data/teacher.json);
docs/teacher.md tells how. `residual` adds what rules leave, `animate` the face above.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.phonetics.phones import (
    BILABIALS,
    FITTED_PARAMETERS,
    LABIODENTALS,
    TARGET_COLUMNS,
    VOWELS,
    viseme_targets,
)

REACH = FITTED_PARAMETERS["reach"]  # seconds that a target reaches before and after its phone, by group
PLATEAU = FITTED_PARAMETERS["plateau"]  # share of a phone at either end that belongs to the skirts
NEUTRAL = FITTED_PARAMETERS["neutral"]  # firmness of doing nothing, where no phone asks for anything
CLOSING, RELEASE = (
    FITTED_PARAMETERS["closing"],
    FITTED_PARAMETERS["release"],
)  # seconds a contact takes to form and to open
HOLD = FITTED_PARAMETERS[
    "hold"
]  # seconds from a phone's start to its contact's, from the contact's end to the phone's
BITE = FITTED_PARAMETERS["bite"]  # share of the jaw's opening that f and v take back
REST = FITTED_PARAMETERS[
    "rest"
]  # seconds that the mouth waits in a pause, takes to close, and wakes before its end
EARLIEST = 0.10  # seconds: a model that hears 80 ms ahead can follow no articulator that moves earlier
ROUNDING = 2.0  # chosen, not fitted: a camera in front sees lips narrow, not come forward
PRESS = {"p": 0.40, "b": 0.34, "m": 0.26}


@dataclass(frozen=True)
class Manner:
    """How somebody speaks: factors of 1 on the mouth's opening, the lips' shaping, and the speed of the lips' ways."""

    amplitude: float = 1.0
    rounding: float = 1.0
    sharpness: float = 1.0


def manner(speaker, clip=""):
    """The Manner of a speaker by name, a little different in every clip; equal names, equal manners."""
    who, now = (
        np.random.default_rng(zlib.crc32(text.encode())) for text in (str(speaker), f"{speaker} {clip}")
    )
    own = who.normal(0.0, (0.12, 0.15, 0.10))
    today = now.normal(0.0, (0.04, 0.04, 0.03))
    return Manner(*np.exp(np.clip(own + today, -0.3, 0.3)))


def times(frames):
    """frames: int T -> (T,) seconds that the frames show."""
    return (np.arange(frames) + 0.5) / FRAME_RATE


def _smooth(x):
    """Smoothstep of x clipped to 0..1."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _dominance(t, start, end, ahead, behind, plateau):
    """Dominance functions of segments, after Cohen and Massaro (1993): 1 in the middle, cosine skirts.

    t: (T,); start, end: (N,); ahead, behind: seconds beyond the segment at which it is 0; plateau: share of the
    segment that each skirt takes. Returns (T, N).
    """
    inner = plateau * (end - start)
    before = (start + inner - t[:, None]) / (ahead + inner)
    after = (t[:, None] - end + inner) / (behind + inner)
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(np.maximum(before, after), 0.0, 1.0))


def _contact(t, phones, names, hold, kind="lips", strength=None, sharpness=1.0):
    """How far a contact of the lips is made: (T,) in 0..1, 1 over each hold, at least one frame of it.

    hold: phone, next phone -> (start, end) of the contact in seconds; kind: of CLOSING and RELEASE; strength: phone
    name -> height; sharpness: factor on the speed.
    """
    out = np.zeros(len(t))
    usual_closing, usual_release = CLOSING[kind] / sharpness, RELEASE[kind] / sharpness
    for i, phone in enumerate(phones):
        if phone.name not in names:
            continue
        before, after = phones[i - 1] if i else None, phones[i + 1] if i + 1 < len(phones) else None
        start, end = hold(phone, after)
        missing = 1.02 / FRAME_RATE - (end - start)
        if missing > 0:  # no hold may fall between two frames
            start, end = start - missing / 2, end + missing / 2
        # a short vowel beside the contact keeps half of itself
        closing = (
            min(usual_closing, max(0.03, 0.5 * (before.end - before.start))) if before else usual_closing
        )
        release = min(usual_release, max(0.03, 0.5 * (after.end - after.start))) if after else usual_release
        bump = np.minimum(_smooth((t - start) / closing + 1.0), _smooth((end - t) / release + 1.0))
        out = np.maximum(out, bump * (strength[phone.name] if strength else 1.0))
    return out


def closed(t, phones, sharpness=1.0):
    """How far the lips are closed in p, b and m: (T,) in 0..1. t: (T,) seconds; sharpness: factor on the lips' speed."""
    return _contact(t, phones, BILABIALS, _closure_hold, sharpness=sharpness)


def _closure_hold(phone, after):
    before, burst = HOLD[phone.name]
    burst = min(burst, 0.35 * (phone.end - phone.start) - 0.005)
    if after is not None and after.name in BILABIALS:
        burst = -0.005
    return phone.start + before, phone.end - burst


def _friction_hold(phone, after):
    before, left = HOLD[phone.name]
    return phone.start + before, phone.end - left


def _tongue_hold(phone, after):
    return phone.start + 0.01, phone.end - 0.01


def awake(t, phones):
    """(T,): 1 in speech, 0 in pauses over 120 ms, from REST["wait"] + REST["fall"] after their start on."""
    out = np.ones(len(t))
    for i, phone in enumerate(phones):
        if phone.name != "pau" or phone.end - phone.start < 0.12:
            continue
        leaving = (
            np.zeros(len(t)) if i == 0 else 1.0 - _smooth((t - phone.start - REST["wait"]) / REST["fall"])
        )
        waking = (
            np.zeros(len(t))
            if i == len(phones) - 1
            else _smooth((t - phone.end + REST["wake"]) / REST["wake"])
        )
        inside = (t >= phone.start) & (t < phone.end)
        out[inside] = np.minimum(out, np.maximum(leaving, waking))[inside]
    if phones:
        out[t >= phones[-1].end] *= 1.0 if phones[-1].name != "pau" else 0.0
    return out


def effort(phones, pcm=None):
    """How wide each phone opens, (N,): 1 is usual; loud and slow vowels open wider, quiet and hurried less.

    pcm: (n,) float32 at 16 kHz from the time 0 of the phones; without it only durations count. Loudness is
    taken against the clip's own vowels, since the distance to a robot's microphone says nothing about effort.
    """
    out = np.ones(len(phones))
    vowels = [i for i, phone in enumerate(phones) if phone.name in VOWELS]
    if not vowels:
        return out
    spans = np.array([max(phones[i].end - phones[i].start, 0.01) for i in vowels])
    out[vowels] += FITTED_PARAMETERS["effort"]["length"] * np.tanh(np.log(spans / 0.10))
    if pcm is not None:
        power = np.array(
            [
                np.mean(
                    np.square(
                        pcm[int(phones[i].start * SAMPLE_RATE) : int(phones[i].end * SAMPLE_RATE) + 1],
                        dtype=np.float64,
                    )
                )
                if phones[i].start * SAMPLE_RATE < len(pcm)
                else 0.0
                for i in vowels
            ]
        )
        level = 10.0 * np.log10(power + 1e-9)
        out[vowels] += FITTED_PARAMETERS["effort"]["level"] * np.tanh((level - np.median(level)) / 6.0)
    return np.clip(out, 0.65, 1.45)


def lips(phones, frames, pcm=None, manner=Manner()):
    """The lower face of speech: phones with times, int T -> ARKit weights (T, 52) float32 in 0..1.

    pcm: (n,) float32 at 16 kHz that the phones belong to, for `effort`.
    Lips are closed (mouthClose == jawOpen, nothing parts them) over the hold of every p, b and m; REST's time into
    a pause the mouth rests.
    """
    t = times(frames)
    out = np.zeros((frames, len(ARKIT_NAMES)))
    if not phones or not frames:
        return out.astype(np.float32)
    wide = dict(zip(((phone.start, phone.name) for phone in phones), effort(phones, pcm)))
    scale = np.concatenate(
        [[wide[phone.start, phone.name]] * len(viseme_targets([phone])) for phone in phones]
    )
    rows = viseme_targets(phones)
    start, end = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    table = {column: np.array([row[0][column] for row in rows]) for column in TARGET_COLUMNS}
    blend = {}
    for group, columns in (("jaw", ["jaw"]), ("shape", ["pucker", "funnel", "spread"]), ("part", ["part"])):
        weight = (
            _dominance(t, start, end, *REACH[group], PLATEAU[group]) * table[f"{group}_dominance"]
        )  # (T, N)
        weight /= weight.sum(1, keepdims=True) + NEUTRAL[group]
        for column in columns:
            blend[column] = weight @ (table[column] * (scale if group != "shape" else 1.0))

    speaking = awake(t, phones)
    quick = {"sharpness": manner.sharpness}
    shut = closed(t, phones, manner.sharpness)
    bitten = _contact(t, phones, LABIODENTALS, _friction_hold, "teeth", **quick)
    pressed = _contact(t, phones, BILABIALS, _closure_hold, strength=PRESS, **quick)
    tongue = _contact(t, phones, {"th", "dh"}, _tongue_hold, strength={"th": 0.16, "dh": 0.09})
    parting = (1.0 - shut) * speaking * manner.amplitude
    jaw = np.clip(manner.amplitude * blend["jaw"], 0.0, 0.95) * speaking
    part = blend["part"] * parting * (1.0 - bitten)
    spread = blend["spread"] * speaking * manner.rounding * (1.0 - 0.3 * shut)
    pucker = np.clip(blend["pucker"] * ROUNDING * manner.rounding, 0.0, 1.0) * speaking
    funnel = np.clip(blend["funnel"] * manner.rounding, 0.0, 1.0) * speaking * (1.0 - shut)

    def put(value, *names) -> None:
        for name in names:
            out[:, INDEX[name]] += value

    put(jaw, "jawOpen")
    put(jaw * (1.0 - (1.0 - shut) * (1.0 - BITE * bitten)), "mouthClose")
    put(pucker * (1.0 - 0.3 * shut), "mouthPucker")
    put(funnel * (1.0 - 0.5 * bitten), "mouthFunnel")
    put(0.2 * funnel, "jawForward")
    put(0.48 * spread, "mouthSmileLeft", "mouthSmileRight")
    put(0.50 * spread, "mouthStretchLeft", "mouthStretchRight")
    put(0.10 * spread, "mouthDimpleLeft", "mouthDimpleRight", "cheekSquintLeft", "cheekSquintRight")
    put(0.65 * part + 0.16 * bitten * speaking * (1.0 - shut), "mouthUpperUpLeft", "mouthUpperUpRight")
    put(part, "mouthLowerDownLeft", "mouthLowerDownRight")
    put(pressed, "mouthPressLeft", "mouthPressRight")
    put(0.25 * pressed + 0.45 * bitten * (1.0 - shut), "mouthRollLower")
    put(0.25 * pressed, "mouthRollUpper")
    put(0.25 * pressed, "mouthShrugUpper")
    put(tongue * parting, "tongueOut")
    return np.clip(out, 0.0, 1.0).astype(np.float32)
