# SPDX-License-Identifier: Apache-2.0
"""Measures of face motion on arrays alone; nothing here knows where the motion came from.

Lip opening is max(0, signed inner-lip gap) everywhere, so overlapping lips count as closed. A frame's motion stands
for the middle of its audio, (n + 1/2) / frame_rate.
"""

from dataclasses import astuple, dataclass

import numpy as np

from streamingtalker_ros.phonetics.phones import BILABIALS, OPEN_VOWELS, has_unreliable_alignment

CLOSED = 0.1  # of the median open-vowel opening: under it the lips count as closed
EDGE = 0.02  # seconds: half a frame, by which a phone may miss the middle of its frames


@dataclass
class Closures:
    """How well lips close, as counts, so that clips add up."""

    bilabials: int = 0  # where an aligner had room for them, see `phones.has_unreliable_alignment`
    closed: int = 0  # bilabials with a frame of closed lips
    vowels: int = 0
    false: int = 0  # open vowels with a frame of closed lips in their middle half
    squeezed: int = 0  # bilabials of which nobody knows where they are
    closed_there: int = 0  # squeezed ones with a frame of closed lips where they were put

    def __add__(self, other):
        return Closures(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other))))

    @property
    def recall(self):
        return self.closed / self.bilabials if self.bilabials else float("nan")

    @property
    def recall_of_all(self):
        """With the squeezed ones."""
        count = self.bilabials + self.squeezed
        return (self.closed + self.closed_there) / count if count else float("nan")

    @property
    def false_rate(self):
        return self.false / self.vowels if self.vowels else float("nan")


def frames_within(start, end, frames, frame_rate):
    """Indices of the frames whose middle lies in [start, end] seconds; the nearest frame when none does."""
    first, last = int(np.ceil(start * frame_rate - 0.5)), int(np.floor(end * frame_rate - 0.5))
    if last < first:
        first = last = int(np.floor(0.5 * (start + end) * frame_rate))
    return np.arange(max(first, 0), min(last, frames - 1) + 1)


def vowel_opening(openings, phones, frame_rate):
    """Median over open vowels of the widest opening in each. openings: list of (T,), phones: a list for each."""
    peaks = []
    for opening, sounds in zip(openings, phones):
        for phone in sounds:
            rows = frames_within(phone.start, phone.end, len(opening), frame_rate)
            if phone.name in OPEN_VOWELS and len(rows):
                peaks.append(opening[rows].max())
    return float(np.median(peaks)) if peaks else float("nan")


def closures(opening, phones, frame_rate, reference):
    """Count closures in one clip. opening (T,) in any unit, reference: `vowel_opening` in the same unit."""
    count, limit = Closures(), CLOSED * reference
    for phone in phones:
        if phone.name in BILABIALS:
            rows = frames_within(phone.start - EDGE, phone.end + EDGE, len(opening), frame_rate)
            if len(rows):
                closed = int(opening[rows].min() < limit)
                count += (
                    Closures(squeezed=1, closed_there=closed)
                    if has_unreliable_alignment(phone)
                    else Closures(1, closed)
                )
        elif phone.name in OPEN_VOWELS:
            quarter = 0.25 * (phone.end - phone.start)
            rows = frames_within(phone.start + quarter, phone.end - quarter, len(opening), frame_rate)
            if len(rows):
                count += Closures(vowels=1, false=int(opening[rows].min() < limit))
    return count


def loudness(pcm, hop=640):
    """Level of each frame's audio, dBFS, -90 and up: (n,) pcm -> (n / hop,)."""
    power = np.square(pcm[: len(pcm) // hop * hop], dtype=np.float64).reshape(-1, hop).mean(1)
    return 10.0 * np.log10(power + 1e-9)


def correlation(a, b):
    """Pearson's r of two curves (T,); 0 where one of them does not move."""
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 1e-12 else 0.0


def cross_correlation(made, reference, most=5):
    """r of `made` shifted by -most … most frames against `reference`: (2 most + 1,); positive shifts: it is late."""

    def shifted(k):
        return correlation(
            made[max(k, 0) : len(made) + min(k, 0)], reference[max(-k, 0) : len(reference) - max(k, 0)]
        )

    return np.array([shifted(k) for k in range(-most, most + 1)])


def lag(made, reference, most=5):
    """Frames by which `made` comes after `reference`: the shift of highest correlation, -most … most."""
    return int(cross_correlation(made, reference, most).argmax()) - most


def peak_of(values):
    """Where the highest of equally spaced values (N,) truly lies: a parabola through it and its neighbours; a float
    index."""
    k = int(np.argmax(values))
    if not 0 < k < len(values) - 1:
        return float(k)
    before, here, after = (float(v) for v in values[k - 1 : k + 2])
    bend = before - 2.0 * here + after
    return k + (0.5 * (before - after) / bend if bend else 0.0)


def amplitude_ratio(made, reference):
    """How far `made` moves for what `reference` moves: the ratio of their standard deviations over time. (T,) each, in
    inter-ocular distances of their own faces; NaN where the reference does not move."""
    return float(made.std() / reference.std()) if reference.std() > 1e-9 else float("nan")


def closing_time(opening, last_sound, frame_rate, limit):
    """Seconds from the last sound (s) until the lips are closed for good: opening (T,) stays under `limit`."""
    start = int(last_sound * frame_rate)
    above = np.flatnonzero(opening[start:] >= limit)
    return 0.0 if not len(above) else (start + above[-1] + 1) / frame_rate - last_sound
