# SPDX-License-Identifier: Apache-2.0
"""Lip motion from timed phones by dominance functions (Cohen and Massaro, 1993).

`synthesize_lips(phones, num_frames, …)` returns ARKit weights (T, 52) in 0..1 at 25 frames/s; frame n shows
the moment (n + 0.5) / 25 s. The result is a function of the phones, their loudness and a `SpeakingStyle`. The
parameters were fitted on tracked lips (`data/coarticulation.json`; see docs/coarticulation.md).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.coarticulation.parameters import DominanceParameters
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.phonetics.phones import (
    BILABIALS,
    FITTED_PARAMETERS,
    LABIODENTALS,
    TARGET_COLUMNS,
    VOWELS,
    Phone,
    viseme_targets,
)

Array = npt.NDArray[np.floating]

PARAMETERS = DominanceParameters.from_json(FITTED_PARAMETERS)
MAX_ANTICIPATION_S = (
    0.10  # the talker's look-ahead is 80 ms: it cannot follow an articulator that moves earlier
)
ROUNDING_GAIN = 2.0  # chosen, not fitted: a frontal camera measures narrower lips, not their protrusion
PRESS_WEIGHTS = {"p": 0.40, "b": 0.34, "m": 0.26}  # mouthPress of each bilabial contact
TONGUE_WEIGHTS = {"th": 0.35, "dh": 0.25, "l": 0.12}  # tongueOut of phones that show the tongue's tip
MIN_CONTACT_RAMP_S = 0.03  # shortest time in which a contact forms or opens
MIN_PAUSE_S = 0.12  # the mouth does not close in a shorter pause


@dataclass(frozen=True)
class SpeakingStyle:
    """A speaker's factors on lip aperture, lip rounding and contact speed; 1 is the fitted speaker."""

    amplitude: float = 1.0
    rounding: float = 1.0
    sharpness: float = 1.0


DEFAULT_STYLE = SpeakingStyle()


def speaker_style(speaker: str, clip: str = "") -> SpeakingStyle:
    """Random style of a speaker, with a small variation per clip; a pure function of the two names.

    Args:
        speaker: name of the speaker.
        clip: name of the clip.
    """
    speaker_rng, clip_rng = (
        np.random.default_rng(zlib.crc32(text.encode())) for text in (str(speaker), f"{speaker} {clip}")
    )
    by_speaker = speaker_rng.normal(0.0, (0.12, 0.15, 0.10))
    by_clip = clip_rng.normal(0.0, (0.04, 0.04, 0.03))
    return SpeakingStyle(*np.exp(np.clip(by_speaker + by_clip, -0.3, 0.3)))


def frame_times(num_frames: int) -> Array:
    """Centre times of the first `num_frames` frames: (T,) seconds."""
    return (np.arange(num_frames) + 0.5) / FRAME_RATE


def _smoothstep(x: Array) -> Array:
    """3x² - 2x³ of x clipped to 0..1."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _dominance(
    t: Array, start: Array, end: Array, reach_before: float, reach_after: float, skirt_ratio: float
) -> Array:
    """Dominance functions of segments (Cohen and Massaro, 1993): 1 in the middle, raised-cosine skirts.

    Args:
        t: (T,) seconds.
        start: (N,) seconds.
        end: (N,) seconds.
        reach_before: seconds before the segment at which the function is 0.
        reach_after: seconds after it.
        skirt_ratio: fraction of the segment that each skirt takes.

    Returns:
        (T, N) in 0..1.
    """
    inner = skirt_ratio * (end - start)
    before = (start + inner - t[:, None]) / (reach_before + inner)
    after = (t[:, None] - end + inner) / (reach_after + inner)
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(np.maximum(before, after), 0.0, 1.0))


ContactSpan = Callable[[Phone, "Phone | None"], "tuple[float, float]"]


def _contact_curve(
    t: Array,
    phones: Sequence[Phone],
    names: Collection[str],
    contact_span: ContactSpan,
    kind: str = "lips",
    strength: Mapping[str, float] | None = None,
    sharpness: float = 1.0,
) -> Array:
    """Degree of contact, (T,) in 0..1: 1 over each contact, which lasts at least one frame.

    Args:
        t: (T,) seconds.
        phones: the utterance.
        names: phones that make this contact.
        contact_span: phone, next phone -> start and end of the contact in seconds.
        kind: contact kind, "lips" or "teeth", whose closing and release times apply.
        strength: phone name -> height of the curve; 1 when None.
        sharpness: factor on the speed of closing and release.
    """
    curve = np.zeros(len(t))
    usual_closing = PARAMETERS.closing_s[kind] / sharpness
    usual_release = PARAMETERS.release_s[kind] / sharpness
    for i, phone in enumerate(phones):
        if phone.name not in names:
            continue
        before, after = phones[i - 1] if i else None, phones[i + 1] if i + 1 < len(phones) else None
        start, end = contact_span(phone, after)
        missing = 1.02 / FRAME_RATE - (end - start)
        if missing > 0:  # no contact may fall between two frames
            start, end = start - missing / 2, end + missing / 2
        # a short vowel beside the contact keeps half of its own time
        closing = min(usual_closing, _half_length(before)) if before else usual_closing
        release = min(usual_release, _half_length(after)) if after else usual_release
        bump = np.minimum(_smoothstep((t - start) / closing + 1.0), _smoothstep((end - t) / release + 1.0))
        curve = np.maximum(curve, bump * (strength[phone.name] if strength else 1.0))
    return curve


def _half_length(phone: Phone) -> float:
    return max(MIN_CONTACT_RAMP_S, 0.5 * (phone.end - phone.start))


def bilabial_closure(t: Array, phones: Sequence[Phone], sharpness: float = 1.0) -> Array:
    """Degree of lip closure in p, b and m: (T,) in 0..1.

    Args:
        t: (T,) seconds.
        phones: the utterance.
        sharpness: factor on the lips' speed.
    """
    return _contact_curve(t, phones, BILABIALS, _bilabial_span, sharpness=sharpness)


def _bilabial_span(phone: Phone, next_phone: Phone | None) -> tuple[float, float]:
    from_start, to_end = PARAMETERS.contact_offsets_s[phone.name]
    to_end = min(to_end, 0.35 * (phone.end - phone.start) - 0.005)
    if next_phone is not None and next_phone.name in BILABIALS:
        to_end = -0.005
    return phone.start + from_start, phone.end - to_end


def _labiodental_span(phone: Phone, next_phone: Phone | None) -> tuple[float, float]:
    from_start, to_end = PARAMETERS.contact_offsets_s[phone.name]
    return phone.start + from_start, phone.end - to_end


def _dental_span(phone: Phone, next_phone: Phone | None) -> tuple[float, float]:
    return phone.start + 0.01, phone.end - 0.01


def speech_mask(t: Array, phones: Sequence[Phone]) -> Array:
    """Speech activity of the mouth: (T,), 1 in speech, falling to 0 in pauses longer than `MIN_PAUSE_S`.

    Args:
        t: (T,) seconds.
        phones: the utterance.
    """
    mask = np.ones(len(t))
    parameters = PARAMETERS
    for i, phone in enumerate(phones):
        if phone.name != "pau" or phone.end - phone.start < MIN_PAUSE_S:
            continue
        closing = (
            np.zeros(len(t))
            if i == 0
            else 1.0 - _smoothstep((t - phone.start - parameters.pause_delay_s) / parameters.pause_closing_s)
        )
        opening = (
            np.zeros(len(t))
            if i == len(phones) - 1
            else _smoothstep((t - phone.end + parameters.pause_opening_s) / parameters.pause_opening_s)
        )
        inside = (t >= phone.start) & (t < phone.end)
        mask[inside] = np.minimum(mask, np.maximum(closing, opening))[inside]
    if phones:
        mask[t >= phones[-1].end] *= 1.0 if phones[-1].name != "pau" else 0.0
    return mask


def articulation_effort(phones: Sequence[Phone], pcm: npt.NDArray[np.float32] | None = None) -> Array:
    """Relative opening of each phone, (N,): above 1 in loud and slow vowels, below 1 in quiet and short ones.

    Loudness is measured against the clip's own vowels: the absolute level depends on the microphone's
    distance.

    Args:
        phones: the utterance.
        pcm: (n,) at 16 kHz, beginning at the phones' time 0; without it only durations count.
    """
    effort = np.ones(len(phones))
    vowels = [i for i, phone in enumerate(phones) if phone.name in VOWELS]
    if not vowels:
        return effort
    durations = np.array([max(phones[i].end - phones[i].start, 0.01) for i in vowels])
    effort[vowels] += PARAMETERS.effort_per_duration * np.tanh(np.log(durations / 0.10))
    if pcm is not None:
        power = np.array([_mean_power(pcm, phones[i]) for i in vowels])
        level = 10.0 * np.log10(power + 1e-9)
        effort[vowels] += PARAMETERS.effort_per_level * np.tanh((level - np.median(level)) / 6.0)
    return np.clip(effort, 0.65, 1.45)


def _mean_power(pcm: npt.NDArray[np.float32], phone: Phone) -> float:
    """Mean power of a phone's samples, 0 beyond the end of the audio."""
    if phone.start * SAMPLE_RATE >= len(pcm):
        return 0.0
    samples = pcm[int(phone.start * SAMPLE_RATE) : int(phone.end * SAMPLE_RATE) + 1]
    return float(np.mean(np.square(samples, dtype=np.float64)))


def synthesize_lips(
    phones: Sequence[Phone],
    num_frames: int,
    pcm: npt.NDArray[np.float32] | None = None,
    style: SpeakingStyle = DEFAULT_STYLE,
) -> npt.NDArray[np.float32]:
    """Lower-face motion of an utterance.

    The lips are closed (mouthClose equals jawOpen, nothing parts them) over the contact of every p, b and m.

    Args:
        phones: the utterance, with times in seconds.
        num_frames: number of frames T.
        pcm: (n,) at 16 kHz that the phones belong to, for `articulation_effort`.
        style: the speaker's factors.

    Returns:
        ARKit weights (T, 52) in 0..1.
    """
    t = frame_times(num_frames)
    weights = np.zeros((num_frames, len(ARKIT_NAMES)))
    if not phones or not num_frames:
        return weights.astype(np.float32)
    effort_by_phone = dict(
        zip(((phone.start, phone.name) for phone in phones), articulation_effort(phones, pcm), strict=True)
    )
    effort = np.concatenate(
        [[effort_by_phone[phone.start, phone.name]] * len(viseme_targets([phone])) for phone in phones]
    )
    rows = viseme_targets(phones)
    start, end = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    table = {column: np.array([row[0][column] for row in rows]) for column in TARGET_COLUMNS}
    blend: dict[str, Array] = {}
    for group, columns in (("jaw", ["jaw"]), ("shape", ["pucker", "funnel", "spread"]), ("part", ["part"])):
        dominance = _dominance(t, start, end, *PARAMETERS.reach_s[group], PARAMETERS.skirt_ratio[group])
        dominance = dominance * table[f"{group}_dominance"]  # (T, N)
        dominance /= dominance.sum(1, keepdims=True) + PARAMETERS.neutral_dominance[group]
        for column in columns:
            blend[column] = dominance @ (table[column] * (effort if group != "shape" else 1.0))

    speaking = speech_mask(t, phones)
    sharpness = style.sharpness
    closed = bilabial_closure(t, phones, sharpness)
    bitten = _contact_curve(t, phones, LABIODENTALS, _labiodental_span, "teeth", sharpness=sharpness)
    pressed = _contact_curve(
        t, phones, BILABIALS, _bilabial_span, strength=PRESS_WEIGHTS, sharpness=sharpness
    )
    tongue = _contact_curve(t, phones, TONGUE_WEIGHTS, _dental_span, strength=TONGUE_WEIGHTS)
    aperture = (1.0 - closed) * speaking * style.amplitude
    jaw = np.clip(style.amplitude * blend["jaw"], 0.0, 0.95) * speaking
    part = blend["part"] * aperture * (1.0 - bitten)
    spread = blend["spread"] * speaking * style.rounding * (1.0 - 0.3 * closed)
    pucker = np.clip(blend["pucker"] * ROUNDING_GAIN * style.rounding, 0.0, 1.0) * speaking
    funnel = np.clip(blend["funnel"] * style.rounding, 0.0, 1.0) * speaking * (1.0 - closed)
    jaw_under_contact = 1.0 - (1.0 - closed) * (1.0 - PARAMETERS.labiodental_jaw_reduction * bitten)

    def add(value: Array, *names: str) -> None:
        for name in names:
            weights[:, INDEX[name]] += value

    add(jaw, "jawOpen")
    add(jaw * jaw_under_contact, "mouthClose")
    add(pucker * (1.0 - 0.3 * closed), "mouthPucker")
    add(funnel * (1.0 - 0.5 * bitten), "mouthFunnel")
    add(0.2 * funnel, "jawForward")
    add(0.48 * spread, "mouthSmileLeft", "mouthSmileRight")
    add(0.50 * spread, "mouthStretchLeft", "mouthStretchRight")
    add(0.10 * spread, "mouthDimpleLeft", "mouthDimpleRight")
    add(0.25 * spread, "cheekSquintLeft", "cheekSquintRight")  # cheeks rise with the mouth's corners
    add(0.15 * part, "noseSneerLeft", "noseSneerRight")  # and the wings of the nose with the upper lip
    add(0.65 * part + 0.16 * bitten * speaking * (1.0 - closed), "mouthUpperUpLeft", "mouthUpperUpRight")
    add(part, "mouthLowerDownLeft", "mouthLowerDownRight")
    add(pressed, "mouthPressLeft", "mouthPressRight")
    add(0.25 * pressed + 0.45 * bitten * (1.0 - closed), "mouthRollLower")
    add(0.25 * pressed, "mouthRollUpper")
    add(0.25 * pressed, "mouthShrugUpper", "mouthShrugLower")
    add(0.20 * pressed, "cheekPuff")  # air pressure behind the lips
    add(tongue * aperture, "tongueOut")
    return np.clip(weights, 0.0, 1.0).astype(np.float32)
