# SPDX-License-Identifier: Apache-2.0
"""Metrics of lip motion on plain arrays.

Lip opening is max(0, signed inner-lip gap) everywhere, so overlapping lips count as closed. A frame's motion
stands for the middle of its audio, (n + 1/2) / frame_rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import HOP_LENGTH
from streamingtalker_ros.corpus.video.neutral_pose import MAX_REST_GAP
from streamingtalker_ros.phonetics.phones import BILABIALS, OPEN_VOWELS, Phone, has_unreliable_alignment

CLOSED_RATIO: Final = 0.1
"""Lips count as closed below this fraction of the median open-vowel opening."""

PHONE_MARGIN_S: Final = 0.02
"""Seconds, half a frame: tolerance at both ends of a phone."""

PARTED_WINDOW_S: Final = 0.32
"""Seconds before and after speech in which lips are parted or not."""

MIN_PAUSE_S: Final = 0.2
"""Seconds without a phone that are a pause (Heldner and Edlund 2010); closures of stops are shorter."""

MAX_LAG_FRAMES: Final = 5
"""Frames of shift, either way, over which curves are cross-correlated."""


@dataclass
class ClosureCounts:
    """Counts of lip closures; counts of several clips are added with `+`.

    Attributes:
        bilabials: bilabials whose alignment is reliable, see `phones.has_unreliable_alignment`.
        closed: those of them with a frame of closed lips.
        open_vowels: open vowels.
        false_contacts: open vowels with a frame of closed lips in their middle half.
        unreliable: bilabials whose alignment is unreliable.
        closed_unreliable: those of them with a frame of closed lips at the aligned time.
    """

    bilabials: int = 0
    closed: int = 0
    open_vowels: int = 0
    false_contacts: int = 0
    unreliable: int = 0
    closed_unreliable: int = 0

    def __add__(self, other: ClosureCounts) -> ClosureCounts:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return ClosureCounts(*(first + second for first, second in pairs))

    @property
    def recall(self) -> float:
        """Fraction of the reliably aligned bilabials that close the lips; NaN without any."""
        return self.closed / self.bilabials if self.bilabials else float("nan")

    @property
    def recall_of_all(self) -> float:
        """Fraction of all bilabials, unreliably aligned ones included, that close the lips."""
        count = self.bilabials + self.unreliable
        return (self.closed + self.closed_unreliable) / count if count else float("nan")

    @property
    def false_contact_rate(self) -> float:
        """Fraction of the open vowels with closed lips; NaN without any."""
        return self.false_contacts / self.open_vowels if self.open_vowels else float("nan")


def frames_within(start: float, end: float, frames: int, frame_rate: float) -> npt.NDArray[np.intp]:
    """Select the frames of a span of time.

    Args:
        start: seconds.
        end: seconds.
        frames: number of frames of the clip.
        frame_rate: frames per second.

    Returns:
        Indices of the frames whose middle lies in the span; the nearest frame when none does.
    """
    first, last = int(np.ceil(start * frame_rate - 0.5)), int(np.floor(end * frame_rate - 0.5))
    if last < first:
        first = last = int(np.floor(0.5 * (start + end) * frame_rate))
    return np.arange(max(first, 0), min(last, frames - 1) + 1)


def speech_span(phones: Iterable[Phone]) -> tuple[float, float] | None:
    """The time from the first to the last phone of a clip.

    Args:
        phones: normalized phones.

    Returns:
        (start, end) in seconds; None without speech.
    """
    spoken = [phone for phone in phones if phone.name != "pau"]
    return (spoken[0].start, spoken[-1].end) if spoken else None


def parted_around_speech(
    opening: np.ndarray, speech: tuple[float, float], frame_rate: float
) -> tuple[float, float]:
    """Fraction of the frames with parted lips just before and just after speech.

    Args:
        opening: (T,) lip opening in inter-ocular distances.
        speech: `speech_span` of the clip.
        frame_rate: frames per second.

    Returns:
        Fractions in the `PARTED_WINDOW_S` before and after; NaN where the clip has no such frame.
    """
    start, end = speech
    return (
        _parted_fraction(opening, [(start - PARTED_WINDOW_S, start)], frame_rate),
        _parted_fraction(opening, [(end, end + PARTED_WINDOW_S)], frame_rate),
    )


def parted_in_pauses(opening: np.ndarray, phones: Iterable[Phone], frame_rate: float) -> float:
    """Fraction of the frames with parted lips just before speech goes on after a pause.

    Args:
        opening: (T,) lip opening in inter-ocular distances.
        phones: normalized phones of the clip.
        frame_rate: frames per second.

    Returns:
        The fraction in the `PARTED_WINDOW_S` at the end of each pause of `MIN_PAUSE_S`; NaN without a pause.
    """
    spoken = [phone for phone in phones if phone.name != "pau"]
    windows = [
        (max(before.end, after.start - PARTED_WINDOW_S), after.start)
        for before, after in pairwise(spoken)
        if after.start - before.end >= MIN_PAUSE_S
    ]
    return _parted_fraction(opening, windows, frame_rate)


def _parted_fraction(opening: np.ndarray, windows: Sequence[tuple[float, float]], frame_rate: float) -> float:
    """Fraction of the frames of some windows, each (start, end) in seconds, with parted lips; NaN of none."""
    middles = (np.arange(len(opening)) + 0.5) / frame_rate
    frames = np.zeros(len(opening), bool)
    for start, end in windows:
        frames |= (start <= middles) & (middles < end)
    return float((opening[frames] > MAX_REST_GAP).mean()) if frames.any() else float("nan")


def vowel_opening(
    openings: Iterable[np.ndarray], phones: Iterable[Sequence[Phone]], frame_rate: float
) -> float:
    """Median over open vowels of the largest opening in each.

    Args:
        openings: for each clip (T,) lip opening in any unit.
        phones: for each clip its phones.
        frame_rate: frames per second.

    Returns:
        The median in the unit of `openings`; NaN without open vowels.
    """
    peaks = []
    for opening, sequence in zip(openings, phones, strict=True):
        for phone in sequence:
            rows = frames_within(phone.start, phone.end, len(opening), frame_rate)
            if phone.name in OPEN_VOWELS and len(rows):
                peaks.append(opening[rows].max())
    return float(np.median(peaks)) if peaks else float("nan")


def count_closures(
    opening: np.ndarray, phones: Iterable[Phone], frame_rate: float, reference: float
) -> ClosureCounts:
    """Count the closures of one clip.

    Args:
        opening: (T,) lip opening in any unit.
        phones: the clip's phones.
        frame_rate: frames per second.
        reference: `vowel_opening` of the same system, in the same unit.

    Returns:
        The counts.
    """
    counts, limit = ClosureCounts(), CLOSED_RATIO * reference
    for phone in phones:
        if phone.name in BILABIALS:
            rows = frames_within(
                phone.start - PHONE_MARGIN_S, phone.end + PHONE_MARGIN_S, len(opening), frame_rate
            )
            if len(rows):
                closed = int(opening[rows].min() < limit)
                counts += (
                    ClosureCounts(unreliable=1, closed_unreliable=closed)
                    if has_unreliable_alignment(phone)
                    else ClosureCounts(1, closed)
                )
        elif phone.name in OPEN_VOWELS:
            quarter = 0.25 * (phone.end - phone.start)
            rows = frames_within(phone.start + quarter, phone.end - quarter, len(opening), frame_rate)
            if len(rows):
                counts += ClosureCounts(open_vowels=1, false_contacts=int(opening[rows].min() < limit))
    return counts


def frame_levels(pcm: np.ndarray, hop: int = HOP_LENGTH) -> npt.NDArray[np.float64]:
    """Level of each frame's audio.

    Args:
        pcm: (n,) audio, -1..1.
        hop: samples of a frame.

    Returns:
        (n // hop,) dBFS, -90 and up.
    """
    power = np.square(pcm[: len(pcm) // hop * hop], dtype=np.float64).reshape(-1, hop).mean(1)
    return 10.0 * np.log10(power + 1e-9)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two curves (T,); 0 where one of them is constant.

    Args:
        a: (T,) in any unit.
        b: (T,) in any unit.

    Returns:
        The correlation, -1..1.
    """
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 1e-12 else 0.0


def cross_correlation(
    generated: np.ndarray, reference: np.ndarray, max_lag: int = MAX_LAG_FRAMES
) -> npt.NDArray[np.float64]:
    """Correlation of two curves at every shift.

    Args:
        generated: (T,).
        reference: (T,).
        max_lag: largest shift in frames.

    Returns:
        (2 max_lag + 1,): shifts from -max_lag to max_lag; positive shifts: `generated` is late.
    """

    def correlation_at(shift: int) -> float:
        return correlation(
            generated[max(shift, 0) : len(generated) + min(shift, 0)],
            reference[max(-shift, 0) : len(reference) - max(shift, 0)],
        )

    return np.array([correlation_at(shift) for shift in range(-max_lag, max_lag + 1)])


def lag(generated: np.ndarray, reference: np.ndarray, max_lag: int = MAX_LAG_FRAMES) -> int:
    """Frames by which `generated` is later than `reference`: the shift of highest correlation.

    Args:
        generated: (T,) in any unit.
        reference: (T,) in any unit.
        max_lag: Largest shift in frames, less than T.

    Returns:
        Frames, -max_lag..max_lag; negative if `generated` is early.
    """
    return int(cross_correlation(generated, reference, max_lag).argmax()) - max_lag


def peak_position(values: np.ndarray) -> float:
    """Position of the maximum of equally spaced samples, refined by a parabola through its neighbours.

    Args:
        values: (N,).

    Returns:
        A fractional index.
    """
    k = int(np.argmax(values))
    if not 0 < k < len(values) - 1:
        return float(k)
    before, peak, after = (float(value) for value in values[k - 1 : k + 2])
    curvature = before - 2.0 * peak + after
    return k + (0.5 * (before - after) / curvature if curvature else 0.0)


def amplitude_ratio(generated: np.ndarray, reference: np.ndarray) -> float:
    """Ratio of two curves' standard deviations over time.

    Args:
        generated: (T,) in inter-ocular distances of its face.
        reference: (T,) in inter-ocular distances of its face.

    Returns:
        Generated over reference; NaN where the reference is constant.
    """
    return float(generated.std() / reference.std()) if reference.std() > 1e-9 else float("nan")


def finite_percentile(values: npt.ArrayLike, q: float) -> float:
    """Percentile of the values that are finite.

    Args:
        values: (N,).
        q: 0..100.

    Returns:
        The percentile; NaN without a finite value.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return float(np.percentile(finite, q)) if len(finite) else float("nan")


def finite_mean(values: npt.ArrayLike) -> float:
    """Mean of the values that are finite.

    Args:
        values: (N,).

    Returns:
        The mean; NaN without a finite value.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return float(finite.mean()) if len(finite) else float("nan")


def closing_time(opening: np.ndarray, last_sound: float, frame_rate: float, limit: float) -> float:
    """Time from the last sound until the lips stay closed.

    Args:
        opening: (T,) lip opening.
        last_sound: seconds.
        frame_rate: frames per second.
        limit: opening below which the lips are closed, in the unit of `opening`.

    Returns:
        Seconds.
    """
    start = int(last_sound * frame_rate)
    above = np.flatnonzero(opening[start:] >= limit)
    return 0.0 if not len(above) else float((start + above[-1] + 1) / frame_rate - last_sound)
