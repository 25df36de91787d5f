# SPDX-License-Identifier: Apache-2.0
"""Seeded random blinks, gaze, brow and head motion, driven by stress and phrase ends.

`synthesize_upper_face(phones, num_frames, seed)` returns weights (T, 52) that leave the mouth at 0, and head
rotation vectors (T, 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.phonetics.phones import VOWELS, Phone

Array = npt.NDArray[np.floating]
RaiseShapes = Callable[..., None]  # raise_shapes(values (T,), *shape names)

LID_CLOSING_S, LID_CLOSED_S, LID_OPENING_S = 0.12, 0.045, 0.20
SACCADE_S = 0.04
HEAD_LIMIT_RAD = 0.16  # per axis
# Lively talk turns the head by 5 to 15 degrees in an utterance (Hadar et al., 1983).
SWAY_RAD = (0.022, 0.030, 0.040)  # slow motion: roll, nod, turn
NOD_RAD = (0.02, 0.085)  # least and greatest nod on a stressed vowel
FROWN_PROB = 0.25  # of an accent that lowers the brows instead of raising them
ASYMMETRY = (0.75, 1.0)  # of the weaker side of a movement of the brows
MIN_PAUSE_S = 0.12  # a longer pause ends a phrase

UPPER_FACE_MASK = np.array([name.startswith(("eye", "brow")) for name in ARKIT_NAMES])
"""(52,) bool: the weights that this module sets."""


def _bump(t: Array, start: float, peak: float, end: float) -> Array:
    """Raised-cosine rise from start to peak and fall to end: (T,)."""
    rise = np.clip((t - start) / (peak - start), 0.0, 1.0)
    falling_edge = np.clip((end - t) / (end - peak), 0.0, 1.0)
    return (0.5 - 0.5 * np.cos(np.pi * rise)) * (0.5 - 0.5 * np.cos(np.pi * falling_edge))


def _smooth_noise(rng: np.random.Generator, t: Array, period: float) -> Array:
    """Sum of three sines of random phase with periods from about `period` s, of unit variance: (T,)."""
    noise = np.zeros(len(t))
    for stretch in (1.0, 1.7, 2.9):
        noise += np.sin(2 * np.pi * (t / (period * stretch * rng.uniform(0.8, 1.25)) + rng.random()))
    return noise * np.sqrt(2.0 / 3.0)


def _blink_times(rng: np.random.Generator, duration: float, phrase_ends: Sequence[float]) -> list[float]:
    """Blink onsets in seconds: about 17 a minute, at least 1.6 s apart, drawn towards the ends of phrases."""
    onsets: list[float] = []
    time = rng.uniform(-2.5, 2.5)
    while time < duration:
        nearby_ends = [end for end in phrase_ends if abs(end - time) < 1.0]
        onset = nearby_ends[0] + rng.uniform(0.0, 0.25) if nearby_ends and rng.random() < 0.6 else time
        if not onsets or onset - onsets[-1] > 0.8:
            onsets.append(onset)
        time = max(time, onset) + 1.6 + rng.gamma(2.0, 0.95)
    return onsets


def _add_blinks(
    rng: np.random.Generator,
    t: Array,
    duration: float,
    phrase_ends: Sequence[float],
    raise_shapes: RaiseShapes,
) -> None:
    for start in _blink_times(rng, duration, phrase_ends):
        depth, slowness = rng.uniform(0.92, 1.0), rng.uniform(0.9, 1.15)
        bottom = start + LID_CLOSING_S * slowness
        reopening = (
            bottom + LID_CLOSED_S
        )  # the lid stays shut for a frame, so that no blink falls between two
        lid = np.where(
            t <= bottom,
            _bump(t, start, bottom, bottom + 1.0),
            _bump(t, bottom - 1.0, reopening, reopening + LID_OPENING_S * slowness),
        )
        lid[(t > bottom) & (t < reopening)] = 1.0
        raise_shapes(depth * lid, "eyeBlinkLeft")
        raise_shapes((depth - 0.02) * lid, "eyeBlinkRight")
        raise_shapes(0.15 * lid, "eyeSquintLeft", "eyeSquintRight")


def _add_gaze(rng: np.random.Generator, t: Array, duration: float, raise_shapes: RaiseShapes) -> None:
    """Fixations of 0.5 to 3 s near straight ahead with saccades between them, both eyes together."""
    sideways, up = np.zeros(len(t)), np.zeros(len(t))
    time, target = 0.0, rng.normal(0.0, [0.08, 0.05])
    sideways += target[0]
    up += target[1]
    while time < duration:
        time += 0.5 + rng.gamma(2.0, 0.6)
        away = rng.random() < 0.75  # otherwise back to straight ahead
        new_target = np.clip(rng.normal(0.0, [0.13, 0.08] if away else [0.05, 0.03]), -0.3, 0.3)
        saccade = np.clip((t - time) / SACCADE_S, 0.0, 1.0)
        sideways += saccade * (new_target[0] - target[0])
        up += saccade * (new_target[1] - target[1])
        target = new_target
    raise_shapes(np.maximum(sideways, 0), "eyeLookOutLeft", "eyeLookInRight")  # positive: the person's left
    raise_shapes(np.maximum(-sideways, 0), "eyeLookInLeft", "eyeLookOutRight")
    raise_shapes(np.maximum(up, 0), "eyeLookUpLeft", "eyeLookUpRight")
    raise_shapes(np.maximum(-up, 0), "eyeLookDownLeft", "eyeLookDownRight")


def synthesize_upper_face(
    phones: Sequence[Phone], num_frames: int, seed: int = 0, liveliness: float = 1.0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Random upper-face and head motion of an utterance, a pure function of its arguments.

    Args:
        phones: the utterance, with times in seconds.
        num_frames: number of frames T.
        seed: seed of the random generator.
        liveliness: factor on brows and head.

    Returns:
        ARKit weights (T, 52) in 0..1 and head rotation vectors (T, 3) within ±`HEAD_LIMIT_RAD` per axis:
        x out of the face (roll), y to the left (nod), z up (turn).
    """
    rng = np.random.default_rng([int(seed), 52])
    t = (np.arange(num_frames) + 0.5) / FRAME_RATE
    duration = num_frames / FRAME_RATE
    weights = np.zeros((num_frames, len(ARKIT_NAMES)))

    def raise_shapes(value: Array, *names: str) -> None:
        for name in names:
            weights[:, INDEX[name]] = np.maximum(weights[:, INDEX[name]], value)

    phrase_ends = [
        phone.start for phone in phones[1:] if phone.name == "pau" and phone.end - phone.start > MIN_PAUSE_S
    ]
    _add_blinks(rng, t, duration, phrase_ends, raise_shapes)
    _add_gaze(rng, t, duration, raise_shapes)

    baseline = 0.04 + 0.03 * _smooth_noise(rng, t, 7.0)
    inner, frown = np.maximum(baseline, 0.0), np.zeros(num_frames)
    outer = np.repeat(np.maximum(0.7 * baseline, 0.0)[None], 2, axis=0)  # left, right
    sway = zip(SWAY_RAD, (5.0, 4.0, 6.0), strict=True)  # periods in seconds
    head = np.stack([size * _smooth_noise(rng, t, period) for size, period in sway], 1)
    last_brow = last_nod = -9.0
    for phone in phones:
        if phone.name not in VOWELS or not phone.stress:
            continue
        if phone.start - last_brow > 0.7 and rng.random() < 0.22:
            last_brow, size = phone.start, rng.uniform(0.12, 0.40)
            raised = _bump(t, phone.start - 0.10, phone.start + 0.10, phone.end + rng.uniform(0.2, 0.5))
            if rng.random() < FROWN_PROB:
                frown = np.maximum(frown, 0.8 * size * raised)
            else:
                inner = np.maximum(inner, size * raised)
                sides = rng.permutation((1.0, rng.uniform(*ASYMMETRY)))[:, None]
                outer = np.maximum(outer, size * rng.uniform(0.3, 0.8) * sides * raised)
        if phone.start - last_nod > 0.30 and rng.random() < 0.5:
            last_nod, size = phone.start, rng.uniform(*NOD_RAD)
            beat = _bump(t, phone.start - 0.12, phone.start + 0.12, phone.end + 0.40)
            head[:, 1] += size * beat  # a nod: forward and down
            head[:, 0] += 0.35 * size * rng.normal() * beat
            head[:, 2] += 0.35 * size * rng.normal() * beat
    raise_shapes(liveliness * inner, "browInnerUp")
    raise_shapes(liveliness * outer[0], "browOuterUpLeft")
    raise_shapes(liveliness * outer[1], "browOuterUpRight")
    raise_shapes(liveliness * frown, "browDownLeft", "browDownRight")
    raise_shapes(0.5 * liveliness * frown, "eyeSquintLeft", "eyeSquintRight")
    raise_shapes(np.maximum(0.4 * inner - 0.04, 0.0) * liveliness, "eyeWideLeft", "eyeWideRight")
    weights[:, INDEX["eyeWideLeft"]] *= 1.0 - weights[:, INDEX["eyeBlinkLeft"]]
    weights[:, INDEX["eyeWideRight"]] *= 1.0 - weights[:, INDEX["eyeBlinkRight"]]
    head = HEAD_LIMIT_RAD * np.tanh(liveliness * head / HEAD_LIMIT_RAD)
    return np.clip(weights, 0.0, 1.0).astype(np.float32), head.astype(np.float32)
