# SPDX-License-Identifier: Apache-2.0
"""The face around the mouth: blinks, gaze, brows and head, random for a seed, moved by stress and phrases.

`upper_face(phones, frames, seed)` gives weights (T, 52) that leave the mouth alone, and head
rotation vectors (T, 3). One recording of speech has many true motions up here; every seed is one of them.
"""

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.phonetics.phones import VOWELS

CLOSING, OPENING = 0.12, 0.20  # seconds of a lid's way down and up
HEAD_LIMIT = 0.08  # radians


def _bump(t, start, peak, end):
    """Raised-cosine rise from start to peak and fall to end: (T,)."""
    rise = np.clip((t - start) / (peak - start), 0.0, 1.0)
    fall = np.clip((end - t) / (end - peak), 0.0, 1.0)
    return (0.5 - 0.5 * np.cos(np.pi * rise)) * (0.5 - 0.5 * np.cos(np.pi * fall))


def _drift(rng, t, period):
    """Smooth noise of about unit variance whose waves are about `period` seconds and longer: (T,)."""
    out = np.zeros(len(t))
    for stretch in (1.0, 1.7, 2.9):
        out += np.sin(2 * np.pi * (t / (period * stretch * rng.uniform(0.8, 1.25)) + rng.random()))
    return out * np.sqrt(2.0 / 3.0)


def _blink_times(rng, seconds, ends):
    """Blink onsets: a gap of 1.6 s and more between them, about 17 a minute, drawn to the ends of phrases."""
    times, now = [], rng.uniform(-2.5, 2.5)
    while now < seconds:
        near = [end for end in ends if abs(end - now) < 1.0]
        moment = near[0] + rng.uniform(0.0, 0.25) if near and rng.random() < 0.6 else now
        if not times or moment - times[-1] > 0.8:
            times.append(moment)
        now = max(now, moment) + 1.6 + rng.gamma(2.0, 0.95)
    return times


def _lids(rng, t, seconds, ends, put) -> None:
    for start in _blink_times(rng, seconds, ends):
        depth, slow = rng.uniform(0.92, 1.0), rng.uniform(0.9, 1.15)
        bottom = start + CLOSING * slow
        # the lid rests shut for a frame, so that no blink slips between two frames half open
        shut = np.where(
            t <= bottom,
            _bump(t, start, bottom, bottom + 1.0),
            _bump(t, bottom - 1.0, bottom + 0.045, bottom + 0.045 + OPENING * slow),
        )
        shut[(t > bottom) & (t < bottom + 0.045)] = 1.0
        put(depth * shut, "eyeBlinkLeft")
        put((depth - 0.02) * shut, "eyeBlinkRight")
        put(0.15 * shut, "eyeSquintLeft", "eyeSquintRight")


def _gaze(rng, t, seconds, put) -> None:
    """Fixations of 0.5 to 3 s near the listener, jumps of about 40 ms between them, both eyes together."""
    side, up = np.zeros(len(t)), np.zeros(len(t))
    now, here = 0.0, rng.normal(0.0, [0.08, 0.05])
    side += here[0]
    up += here[1]
    while now < seconds:
        now += 0.5 + rng.gamma(2.0, 0.6)
        away = rng.random() < 0.75  # else back to the listener
        there = np.clip(rng.normal(0.0, [0.13, 0.08] if away else [0.05, 0.03]), -0.3, 0.3)
        jump = np.clip((t - now) / 0.04, 0.0, 1.0)
        side += jump * (there[0] - here[0])
        up += jump * (there[1] - here[1])
        here = there
    put(np.maximum(side, 0), "eyeLookOutLeft", "eyeLookInRight")  # side > 0: to the person's left
    put(np.maximum(-side, 0), "eyeLookInLeft", "eyeLookOutRight")
    put(np.maximum(up, 0), "eyeLookUpLeft", "eyeLookUpRight")
    put(np.maximum(-up, 0), "eyeLookDownLeft", "eyeLookDownRight")


def upper_face(phones, frames, seed=0, liveliness=1.0):
    """phones with times, int T, seed -> (weights (T, 52) float32 in 0..1, head (T, 3) float32 radians).

    Head: rotation vectors within ±0.08 rad per axis; x out of the face (roll), y left (nod), z up (turn).
    """
    rng = np.random.default_rng([int(seed), 52])
    t = (np.arange(frames) + 0.5) / FRAME_RATE
    seconds = frames / FRAME_RATE
    out = np.zeros((frames, len(ARKIT_NAMES)))

    def put(value, *names) -> None:
        for name in names:
            out[:, INDEX[name]] = np.maximum(out[:, INDEX[name]], value)

    ends = [phone.start for phone in phones[1:] if phone.name == "pau" and phone.end - phone.start > 0.12]
    _lids(rng, t, seconds, ends, put)
    _gaze(rng, t, seconds, put)

    calm = 0.04 + 0.03 * _drift(rng, t, 7.0)
    inner, outer = np.maximum(calm, 0.0), np.maximum(0.7 * calm, 0.0)
    head = np.stack(
        [size * _drift(rng, t, period) for size, period in ((0.010, 5.0), (0.012, 4.0), (0.016, 6.0))], 1
    )
    last_brow = last_nod = -9.0
    for phone in phones:
        if phone.name not in VOWELS or not phone.stress:
            continue
        if phone.start - last_brow > 0.7 and rng.random() < 0.22:
            last_brow, size = phone.start, rng.uniform(0.12, 0.40)
            raised = _bump(t, phone.start - 0.10, phone.start + 0.10, phone.end + rng.uniform(0.2, 0.5))
            inner = np.maximum(inner, size * raised)
            outer = np.maximum(outer, size * rng.uniform(0.3, 0.8) * raised)
        if phone.start - last_nod > 0.30 and rng.random() < 0.5:
            last_nod, size = phone.start, rng.uniform(0.008, 0.035)
            beat = _bump(t, phone.start - 0.12, phone.start + 0.12, phone.end + 0.40)
            head[:, 1] += size * beat  # a nod: forward and down
            head[:, 0] += 0.35 * size * rng.normal() * beat
            head[:, 2] += 0.35 * size * rng.normal() * beat
    put(liveliness * inner, "browInnerUp")
    put(liveliness * outer, "browOuterUpLeft")
    put(liveliness * 0.96 * outer, "browOuterUpRight")
    put(np.maximum(0.25 * inner - 0.03, 0.0) * liveliness, "eyeWideLeft", "eyeWideRight")
    out[:, INDEX["eyeWideLeft"]] *= 1.0 - out[:, INDEX["eyeBlinkLeft"]]
    out[:, INDEX["eyeWideRight"]] *= 1.0 - out[:, INDEX["eyeBlinkRight"]]
    head = HEAD_LIMIT * np.tanh(liveliness * head / HEAD_LIMIT)
    return np.clip(out, 0.0, 1.0).astype(np.float32), head.astype(np.float32)


# (52,) bool: the weights that this file moves
COLUMNS = np.array([name.startswith(("eye", "brow")) for name in ARKIT_NAMES])
