# SPDX-License-Identifier: Apache-2.0
"""Correction of the dominance model's lip aperture and width by a small network over the surrounding phones.

`synthesize_lips` returns the lips of `dominance.synthesize_lips` with the inner-lip gap and the mouth's width
that the network predicts; bilabial contacts, pauses, the tongue and everything else are unchanged. A phone
enters the network by its viseme targets and its class, never by its name, so that phones absent from the
training corpus are interpolated. `data/coarticulation_residual.npz` holds the weights; `train
coarticulation-residual` writes it.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import HOP_LENGTH
from streamingtalker_ros.coarticulation import dominance
from streamingtalker_ros.coarticulation.dominance import DEFAULT_STYLE, SpeakingStyle
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.phonetics.phones import (
    BILABIALS,
    LABIODENTALS,
    TARGET_COLUMNS,
    VOWELS,
    Phone,
    viseme_targets,
)

Array = npt.NDArray[np.floating]
Network = Mapping[str, npt.NDArray[np.float32]]  # mean, scale, weight0 … weight2, bias0 … bias2, gain

WEIGHTS_PATH = Path(__file__).parent.parent / "data" / "coarticulation_residual.npz"
NUM_PHONES_BEFORE, NUM_PHONES_AFTER = 3, 4  # context phones around the current one
CONTEXT_FRAMES = (-2, -1, 0, 1, 2)  # offsets at which the rules' curves and the loudness are read
PHONE_CLASSES: tuple[Collection[str], ...] = (
    VOWELS,
    BILABIALS,
    LABIODENTALS,
    {"pau"},
    {"n", "ng"},
    set("tdkg"),
    set("sz") | {"sh", "zh", "ch", "jh"},
    {"th", "dh"},
    set("lrwy"),
    {"hh"},
)
EDGE_SCALE_S = 0.15  # distances to phone edges are squashed by tanh(distance / EDGE_SCALE_S)
MIN_OPEN_GAP_MM = 0.7  # between contacts the lips stay apart: lips that nearly touch would look closed
WIDTH_SHAPES = (
    "mouthPucker",
    *(f"mouth{shape}{side}" for shape in ("Smile", "Stretch", "Dimple") for side in ("Left", "Right")),
)
SEARCH_RADIUS = 1e3  # units of a direction, more than any weight has to move
BISECTION_STEPS = 40


@dataclass(frozen=True)
class LipFeatures:
    """Input of the network and the rules' lips that it corrects, for T frames.

    Attributes:
        inputs: (T, F) float32.
        rule_lips: (T, 2) lip gap and mouth width above rest, mm.
        closure: (T,) degree of bilabial closure, 0..1.
        speech: (T,) speech mask, 0..1.
    """

    inputs: npt.NDArray[np.float32]
    rule_lips: Array
    closure: Array
    speech: Array


def compute_features(
    phones: Sequence[Phone], num_frames: int, pcm: npt.NDArray[np.float32] | None
) -> LipFeatures:
    """Network input of an utterance.

    Args:
        phones: the utterance, not empty.
        num_frames: number of frames T.
        pcm: (n,) at 16 kHz, or None if only phones are available.
    """
    t = dominance.frame_times(num_frames)
    gap, width = measure_lips(dominance.synthesize_lips(phones, num_frames, pcm))
    closure, speech = dominance.bilabial_closure(t, phones), dominance.speech_mask(t, phones)
    descriptors = np.array(
        [_phone_descriptor("pau")] * NUM_PHONES_BEFORE
        + [_phone_descriptor(phone.name) for phone in phones]
        + [_phone_descriptor("pau")] * NUM_PHONES_AFTER
    )
    first, last = phones[0].start, phones[-1].end
    starts = np.array(
        [
            *(first - k for k in range(NUM_PHONES_BEFORE, 0, -1)),
            *(phone.start for phone in phones),
            *(last + k for k in range(NUM_PHONES_AFTER)),
        ]
    )
    ends = np.append(starts[1:], starts[-1] + 1.0)
    ends[NUM_PHONES_BEFORE : NUM_PHONES_BEFORE + len(phones)] = [phone.end for phone in phones]
    effort = np.concatenate(
        (np.ones(NUM_PHONES_BEFORE), dominance.articulation_effort(phones, pcm), np.ones(NUM_PHONES_AFTER))
    )
    current = NUM_PHONES_BEFORE + np.clip(
        np.searchsorted([phone.start for phone in phones], t, "right") - 1, 0, None
    )
    columns: list[Array] = []
    for row in (current + k for k in range(-NUM_PHONES_BEFORE, NUM_PHONES_AFTER + 1)):
        edges = np.stack((t - starts[row], ends[row] - t, ends[row] - starts[row]), 1)
        columns += [descriptors[row], np.tanh(edges / EDGE_SCALE_S), effort[row, None] - 1.0]
    curves = (0.2 * gap, 0.2 * width, closure, speech, _relative_level(pcm, num_frames))
    columns += [np.stack([_shift(curve, k) for k in CONTEXT_FRAMES], 1) for curve in curves]
    return LipFeatures(
        np.concatenate(columns, 1, dtype=np.float32), np.stack((gap, width), 1), closure, speech
    )


def synthesize_lips(
    phones: Sequence[Phone],
    num_frames: int,
    pcm: npt.NDArray[np.float32] | None = None,
    style: SpeakingStyle = DEFAULT_STYLE,
) -> npt.NDArray[np.float32]:
    """Lower-face motion of an utterance as `dominance.synthesize_lips`, corrected by the network.

    Args:
        phones: the utterance, with times in seconds.
        num_frames: number of frames T.
        pcm: (n,) at 16 kHz that the phones belong to.
        style: the speaker's factors.

    Returns:
        ARKit weights (T, 52) in 0..1.
    """
    weights = dominance.synthesize_lips(phones, num_frames, pcm, style)
    if not phones or not num_frames:
        return weights
    features = compute_features(phones, num_frames, pcm)
    speech = features.speech
    closure = dominance.bilabial_closure(dominance.frame_times(num_frames), phones, style.sharpness)
    gap, width = predict(load_network(), features.inputs, features.rule_lips).T
    # the predicted gap already falls towards a contact: closure**4 acts on the last of it only
    gap = np.maximum(style.amplitude * gap, MIN_OPEN_GAP_MM) * (1.0 - closure**4) * speech
    width = style.rounding * width * speech
    gap_bias, gap_row = default_rig().lip_gap_map()
    width_row: Array = np.asarray(default_rig().lip_width_map()[1])
    free = (closure < 1.0) & (speech > 0.0)
    weights = move_along(weights, width_row * _shape_mask(WIDTH_SHAPES), width_row, 1e-3 * width)
    weights[free] = move_along(
        weights[free], gap_row * ~_shape_mask(("mouthClose",)), gap_row, 1e-3 * gap[free] - gap_bias
    )
    close, jaw = INDEX["mouthClose"], INDEX["jawOpen"]
    weights[:, close] = np.minimum(weights[:, close], weights[:, jaw])  # mouthClose never exceeds jawOpen
    return weights


def move_along(weights: Array, direction: Array, measure: Array, value: Array) -> npt.NDArray[np.float32]:
    """Move weights along a direction until a linear measure reaches a value, within 0..1, by bisection.

    Args:
        weights: (T, S) in 0..1.
        direction: (S,).
        measure: (S,); the measure of a row of weights is their dot product.
        value: (T,) target measure.

    Returns:
        (T, S) in 0..1 whose measure is `value`, or as near to it as the range allows.
    """
    low, high = np.full(len(weights), -SEARCH_RADIUS), np.full(len(weights), SEARCH_RADIUS)
    for _ in range(BISECTION_STEPS):
        middle = 0.5 * (low + high)
        below = np.clip(weights + middle[:, None] * direction, 0.0, 1.0) @ measure < value
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.clip(weights + high[:, None] * direction, 0.0, 1.0).astype(np.float32)


def predict(network: Network, inputs: Array, rule_lips: Array) -> Array:
    """Lip gap and mouth width above rest in mm, (T, 2): a two-layer SiLU network's correction of the rules.

    Args:
        network: arrays as in `data/coarticulation_residual.npz`.
        inputs: (T, F), of `compute_features`.
        rule_lips: (T, 2), of `compute_features`.
    """
    x = (inputs - network["mean"]) / network["scale"]
    for layer in (0, 1):
        x = _silu(x @ network[f"weight{layer}"].T + network[f"bias{layer}"])
    return network["gain"] * (rule_lips + x @ network["weight2"].T + network["bias2"])


@functools.lru_cache(maxsize=1)
def load_network() -> Network:
    """The arrays of `data/coarticulation_residual.npz`, as float32."""
    with np.load(WEIGHTS_PATH) as file:
        return {name: file[name].astype(np.float32) for name in file.files}


@functools.cache
def _phone_descriptor(name: str) -> Array:
    """A phone's first and last viseme target and its classes, one-hot: (26,)."""
    rows = [[row[column] for column in TARGET_COLUMNS] for row, *_ in viseme_targets([Phone(name, 0.0, 1.0)])]
    return np.array([*rows[0], *rows[-1], *(float(name in members) for members in PHONE_CLASSES)])


def _shape_mask(names: Collection[str]) -> npt.NDArray[np.bool_]:
    """(52,) bool: the named shapes."""
    return np.isin(ARKIT_NAMES, list(names))


def measure_lips(weights: Array) -> tuple[Array, Array]:
    """Lip gap and mouth width above rest of weights (T, 52), in mm: two (T,)."""
    rig = default_rig()
    rest_width = rig.lip_width(np.zeros(weights.shape[1], np.float32))
    return 1e3 * np.maximum(rig.lip_gap(weights), 0.0), 1e3 * (rig.lip_width(weights) - rest_width)


def _relative_level(pcm: npt.NDArray[np.float32] | None, num_frames: int) -> Array:
    """Level of each frame over the clip's 90th percentile, (T,), in units of 10 dB; zeros without audio."""
    if pcm is None:
        return np.zeros(num_frames)
    samples = np.zeros(num_frames * HOP_LENGTH)
    samples[: min(len(pcm), len(samples))] = pcm[: len(samples)]
    level = 10.0 * np.log10(np.square(samples).reshape(num_frames, HOP_LENGTH).mean(1) + 1e-9)
    return np.clip((level - np.percentile(level, 90)) / 10.0, -4.0, 1.0)


def _shift(curve: Array, offset: int) -> Array:
    """Curve (T,) read `offset` frames later; beyond the ends the last value is repeated."""
    return curve[np.clip(np.arange(len(curve)) + offset, 0, len(curve) - 1)]


def _silu(x: Array) -> Array:
    return x / (1.0 + np.exp(-x))
