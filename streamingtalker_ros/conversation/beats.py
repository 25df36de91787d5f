# SPDX-License-Identifier: Apache-2.0
"""Beats of head and brows with the voice: at pitch accents, at the ends of phrases, and with the pitch.

Speakers nod and raise their brows at pitch accents and at boundaries of phrases (H. Graf, E. Cosatto, V.
Strom, F. Huang, Visual prosody, 2002; J. Cassell et al., BEAT, 2001); they raise the head with the pitch (K.
Munhall et al., Visual prosody and speech intelligibility, 2004); the posture changes at the beginning of a
phrase (U. Hadar et al., 1984). An accent is a peak of prominence, the mean of pitch and power in units of the
voice's own variation. The audio is ahead of the frame by the look-ahead, so that a beat is under way when its
syllable is heard.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.conversation.courses import smooth_step
from streamingtalker_ros.conversation.frame import FrameContext, Purpose
from streamingtalker_ros.conversation.prosody import ProsodyTracker
from streamingtalker_ros.face.arkit import INDEX

MIN_ACCENT_INTERVAL_S: Final = 0.36
"""Seconds between two accents: stressed syllables follow each other at 2 to 3 a second."""
ACCENT_PROMINENCE: Final = 0.45
"""Prominence from which on a peak counts as an accent."""

NOD_PROBABILITY: Final = 0.65
BROW_PROBABILITY: Final = 0.45
PHRASE_END_PROBABILITY: Final = 0.6
NOD_AMPLITUDE_DEG: Final = (4.0, 10.0)
"""Degrees of a nod at liveliness 1, uniformly drawn: with the rest 5 to 15 degrees, as in lively talk."""
NOD_SLANT: Final = (0.25, 0.5)
"""Largest roll and yaw of a nod, of its pitch."""
PHRASE_END_AMPLITUDE_DEG: Final = (4.0, 8.0)
BROW_WEIGHT: Final = (0.25, 0.6)
POSTURE_DEG: Final = (2.5, 2.0, 5.0)
"""Largest roll, pitch and yaw of a phrase's posture at liveliness 1."""
PITCH_GAIN_DEG: Final = 1.3
"""Degrees by which the head rises with the voice's pitch, per unit of its variation."""

MIN_PHRASE_S, MIN_PAUSE_S, REST_PAUSE_S = 0.7, 0.2, 1.5
_ADAPTATION_S: Final = 4.0  # time constant of the voice's mean and variation
_SPREADS: Final = (3.0, 6.0)  # semitones, dB: variation of a voice that is not known yet
_MIN_SPREADS: Final = (1.0, 2.0)
_PITCH_SMOOTHING_S: Final = 0.12
_POSTURE_S: Final = 0.9
_ATTACK_S, _ATTACK_S_PER_DEG, _RELEASE_S = 0.12, 0.01, 0.42  # of a nod
_BROW_ATTACK_S, _BROW_HOLD_S, _BROW_RELEASE_S = 0.12, 0.12, 0.4
_MAX_BEATS: Final = 4  # nods, and raised brows, that overlap
_BROWS: Final = (
    (INDEX["browInnerUp"], 0, 0.9),
    (INDEX["browOuterUpLeft"], 1, 1.0),
    (INDEX["browOuterUpRight"], 2, 1.0),
)


_Angles = tuple[float, float, float]
_NO_TURN: Final[_Angles] = (0.0, 0.0, 0.0)


@dataclass
class _Beat:
    """A movement up to a peak and back.

    Attributes:
        size: Degrees, or a weight.
        attack_s: Duration of the movement to the peak.
        hold_s: How long the peak lasts.
        release_s: Duration of the way back.
        direction: Of a nod: roll, pitch and yaw per degree.
        sides: Of brows: factors on the middle, the left and the right one.
        frames: Since it began.
    """

    size: float
    attack_s: float
    hold_s: float
    release_s: float
    direction: _Angles = (0.0, 1.0, 0.0)
    sides: tuple[float, float, float] = (1.0, 1.0, 1.0)
    frames: int = 0

    def advance(self, frame_rate: float) -> float:
        self.frames += 1
        t = self.frames / frame_rate
        release = (t - self.attack_s - self.hold_s) / self.release_s
        return self.size * smooth_step(t / self.attack_s) * (1.0 - smooth_step(release))

    def is_over(self, frame_rate: float) -> bool:
        return self.frames / frame_rate >= self.attack_s + self.hold_s + self.release_s


class VoiceStatistics:
    """Mean and variation of pitch and power of the voiced blocks of one voice, by exponential forgetting."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the voice."""
        self._means: list[float] | None = None
        self._variances = [spread * spread for spread in _SPREADS]

    def normalize(self, values: tuple[float, float], seconds: float) -> list[float]:
        """Return values in units of the voice's variation, and adapt to them.

        Args:
            values: Semitones and dB.
            seconds: How long they lasted.
        """
        if self._means is None:
            self._means = list(values)
        rate = 1.0 - math.exp(-seconds / _ADAPTATION_S)
        result: list[float] = []
        for i, (value, min_spread) in enumerate(zip(values, _MIN_SPREADS, strict=True)):
            offset = value - self._means[i]
            self._means[i] += rate * offset
            self._variances[i] += rate * (offset * offset - self._variances[i])
            result.append(offset / max(math.sqrt(self._variances[i]), min_spread))
        return result


class BeatGenerator:
    """State of the beats of one stream."""

    def __init__(self) -> None:
        self._prosody = ProsodyTracker()
        self._voice = VoiceStatistics()
        self.reset()

    def reset(self) -> None:
        """Return to the state before any audio."""
        self._prosody.reset()
        self._voice.reset()
        self._prominence = [-9.0, -9.0]  # of the last two hops
        self._pitch = 0.0  # smoothed, in units of the voice's variation
        self._nods: list[_Beat] = []
        self._brows: list[_Beat] = []
        self._since_accent_s = self._phrase_s = 0.0
        self._pause_s = 1e9
        self._posture = self._posture_start = self._posture_target = _NO_TURN
        self._posture_s = _POSTURE_S

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing moves, so that a generator without liveliness need not be stepped."""
        return not (self._nods or self._brows or any(self._posture) or abs(self._pitch) > 0.0)

    def step(self, context: FrameContext, weights: npt.NDArray[np.float32], liveliness: float) -> _Angles:
        """Process the newest hop and move the brows of one frame.

        Args:
            context: Of the frame.
            weights: (52,), changed in place.
            liveliness: 0..1.

        Returns:
            Roll, pitch and yaw in degrees to add to the head.
        """
        hop_s = 1.0 / context.frame_rate
        is_accent, pitch = self._listen(context.hop, hop_s)
        amount = liveliness * context.modulation.expressiveness
        if amount > 0.0:
            if is_accent and context.speaking:
                self._accent(context, amount)
            self._follow_phrases(context, amount, hop_s)
        elif any(self._posture_target):
            self._set_posture(_NO_TURN)
        rate = hop_s / (hop_s + _PITCH_SMOOTHING_S)
        self._pitch += rate * (pitch * amount * context.speaking - self._pitch)
        if amount == 0.0 and abs(self._pitch) < 1e-3:
            self._pitch = 0.0
        return self._move(weights, context.frame_rate)

    def _listen(self, hop: npt.NDArray[np.float32], hop_s: float) -> tuple[bool, float]:
        """Return whether the hop before this one was an accent, and the pitch of this one, normalized."""
        blocks = self._prosody.update(hop)
        pairs = zip(blocks.pitch_hz, blocks.power_db, strict=True)
        voiced = [(12.0 * math.log2(pitch_hz), power_db) for pitch_hz, power_db in pairs if pitch_hz > 0.0]
        prominence, pitch = -9.0, 0.0
        if len(voiced) >= 2:
            semitones, levels = zip(*voiced, strict=True)
            normalized = self._voice.normalize((statistics.median(semitones), max(levels)), hop_s)
            pitch, power = (min(max(value, -2.5), 2.5) for value in normalized)
            prominence = 0.5 * (pitch + power)
        before, last = self._prominence
        self._prominence = [last, prominence]
        self._since_accent_s += hop_s
        is_accent = (
            last >= ACCENT_PROMINENCE
            and last > before
            and last >= prominence
            and self._since_accent_s >= MIN_ACCENT_INTERVAL_S
        )
        if is_accent:
            self._since_accent_s = 0.0
        return is_accent, pitch

    def _accent(self, context: FrameContext, amount: float) -> None:
        draws = _draw(context)
        if draws[0] < NOD_PROBABILITY:
            self._nod(_between(NOD_AMPLITUDE_DEG, draws[1]) * amount, draws[6:8])
        if draws[2] < BROW_PROBABILITY and len(self._brows) < _MAX_BEATS:
            sides = (1.0, 0.85 + 0.3 * draws[4], 0.85 + 0.3 * draws[5])
            size = _between(BROW_WEIGHT, draws[3]) * amount
            self._brows.append(_Beat(size, _BROW_ATTACK_S, _BROW_HOLD_S, _BROW_RELEASE_S, sides=sides))

    def _nod(self, amplitude_deg: float, draws: list[float]) -> None:
        if len(self._nods) < _MAX_BEATS:
            attack = _ATTACK_S + _ATTACK_S_PER_DEG * amplitude_deg
            roll, yaw = (limit * (2.0 * draw - 1.0) for limit, draw in zip(NOD_SLANT, draws, strict=True))
            self._nods.append(_Beat(amplitude_deg, attack, 0.0, _RELEASE_S, (roll, 1.0, yaw)))

    def _follow_phrases(self, context: FrameContext, amount: float, hop_s: float) -> None:
        if context.speaking:
            if self._pause_s >= MIN_PAUSE_S:  # a phrase begins
                self._phrase_s = 0.0
                draws = _draw(context)[6:9]
                roll, pitch, yaw = (
                    amount * limit * (2.0 * draw - 1.0)
                    for limit, draw in zip(POSTURE_DEG, draws, strict=True)
                )
                self._set_posture((roll, pitch, yaw))
            self._pause_s = 0.0
            self._phrase_s += hop_s
            return
        was_pause, self._pause_s = self._pause_s, self._pause_s + hop_s
        phrase_ends = was_pause < MIN_PAUSE_S <= self._pause_s and self._phrase_s >= MIN_PHRASE_S
        if phrase_ends:
            draws = _draw(context)
            if draws[9] < PHRASE_END_PROBABILITY:
                self._nod(_between(PHRASE_END_AMPLITUDE_DEG, draws[10]) * amount, draws[6:8])
        if was_pause < REST_PAUSE_S <= self._pause_s:
            self._set_posture(_NO_TURN)

    def _set_posture(self, target: _Angles) -> None:
        self._posture_start, self._posture_target, self._posture_s = self._posture, target, 0.0

    def _move(self, weights: npt.NDArray[np.float32], frame_rate: float) -> _Angles:
        """Advance all movements by one frame; returns the head's angles in degrees."""
        if self._posture_s < _POSTURE_S:
            self._posture_s += 1.0 / frame_rate
            fraction = smooth_step(self._posture_s / _POSTURE_S)
            kept = _add(_NO_TURN, self._posture_start, 1.0 - fraction)
            self._posture = _add(kept, self._posture_target, fraction)
        angles = _add(self._posture, (0.0, -PITCH_GAIN_DEG, 0.0), self._pitch)
        for nod in self._nods:
            angles = _add(angles, nod.direction, nod.advance(frame_rate))
        for brow in self._brows:
            raised = brow.advance(frame_rate)
            for shape, side, factor in _BROWS:
                weights[shape] = min(float(weights[shape]) + raised * factor * brow.sides[side], 1.0)
        self._nods = [nod for nod in self._nods if not nod.is_over(frame_rate)]
        self._brows = [brow for brow in self._brows if not brow.is_over(frame_rate)]
        return angles


def _between(limits: tuple[float, float], fraction: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * fraction


def _add(first: _Angles, second: _Angles, factor: float) -> _Angles:
    """Return first + factor · second."""
    return first[0] + factor * second[0], first[1] + factor * second[1], first[2] + factor * second[2]


def _draw(context: FrameContext) -> list[float]:
    """Return the uniform numbers of a frame."""
    return context.draw_uniform(Purpose.GESTURES, 12).tolist()
