# SPDX-License-Identifier: Apache-2.0
"""Gaze aversion in conversation: when, for how long and where a person looks away from the partner.

Lengths, gaps and directions are those of Andrist, Tan, Gleicher & Mutlu 2014, "Conversational gaze aversion
for humanlike robots", after Andrist, Mutlu & Gleicher 2013: a speaker looks away at the start of a turn and
in thought, both take turns at looking away for shorter times, and the speaker looks back when the turn ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.conversation.frame import FrameContext, Purpose


@dataclass(frozen=True)
class _Timing:
    """Mean and standard deviation in seconds of lengths and gaps; probabilities of up and down.

    Attributes:
        length: Of an aversion.
        gap: From the end of one to the next.
        up: Probability that it goes up.
        down: Probability that it goes down; otherwise sideways.
    """

    length: tuple[float, float]
    gap: tuple[float, float]
    up: float
    down: float


class AversionCause(Enum):
    """Why the gaze is averted."""

    THINKING = "in thought"
    TURN_START = "at the start of a turn"
    SPEAKING = "within a turn"
    LISTENING = "while the partner speaks"


_TIMINGS: Final = {
    AversionCause.THINKING: _Timing((3.54, 1.26), (0.5, 0.1), 0.393, 0.294),
    AversionCause.TURN_START: _Timing((2.23, 0.63), (4.75, 1.39), 0.393, 0.294),  # from the first sound on
    AversionCause.SPEAKING: _Timing((1.96, 0.32), (4.75, 1.39), 0.137, 0.288),
    AversionCause.LISTENING: _Timing((1.14, 0.27), (7.21, 1.88), 0.213, 0.295),
}
MIN_LENGTH_S: Final = 0.4
TURN_GAP_S: Final = 0.8
"""Silence of this length and more lies between two turns."""
TURN_END_S: Final = 0.4
"""Silence after which a turn counts as ended: the gaze returns."""
SIDEWAYS_RAD: Final = math.radians(18.0)
VERTICAL_RAD: Final = math.radians(12.0)
_NUM_DRAWS: Final = 9


@dataclass
class Aversion:
    """State of the aversion of one stream; times in frames.

    Attributes:
        remaining: Of the present aversion; 0: none.
        until_next: Until the next one.
        silence: Since the last voice activity.
        cause: Of the present aversion, or of the times of the next.
        offset: (yaw to the left, pitch up) in rad of the present aversion.
    """

    remaining: int = 0
    until_next: int = 0
    silence: int = 0
    cause: AversionCause = AversionCause.LISTENING
    offset: tuple[float, float] = (0.0, 0.0)

    def reset(self) -> None:
        """Return to the initial state, in place."""
        for field in fields(self):
            setattr(self, field.name, field.default)

    def step(self, context: FrameContext, in_conversation: bool) -> tuple[float, float]:
        """Advance by one frame.

        Args:
            context: Of the frame.
            in_conversation: Whether turns and listening avert the gaze; thought does in any case.

        Returns:
            (yaw to the left, pitch up) in rad, to be added to the direction of the target.
        """
        rate = context.frame_rate
        if context.index == 0:  # a stream begins after a pause
            self.silence = max(self.silence, round(TURN_GAP_S * rate))
        turn_starts = context.speaking and self.silence >= TURN_GAP_S * rate
        turn_ends = not context.speaking and self.silence == round(TURN_END_S * rate)
        self.silence = 0 if context.speaking else self.silence + 1
        is_thinking = context.modulation.is_thinking
        if is_thinking != (self.cause is AversionCause.THINKING):
            self._end(context, AversionCause.THINKING if is_thinking else self._cause_of(context))
            if is_thinking:
                self._begin(context)
        elif is_thinking:
            self._alternate(context)
        elif not in_conversation:
            self.remaining = self.until_next = 0
        elif turn_starts:
            self.cause = AversionCause.TURN_START
            self._begin(context)
        elif turn_ends:
            self._end(context, AversionCause.LISTENING)
        else:
            self._alternate(context)
        return self.offset if self.remaining else (0.0, 0.0)

    def _cause_of(self, context: FrameContext) -> AversionCause:
        is_turn = self.silence < TURN_END_S * context.frame_rate
        return AversionCause.SPEAKING if is_turn else AversionCause.LISTENING

    def _alternate(self, context: FrameContext) -> None:
        if self.remaining:
            self.remaining -= 1
            if not self.remaining:
                is_thinking = self.cause is AversionCause.THINKING
                self._end(context, self.cause if is_thinking else self._cause_of(context))
        elif self.until_next > 1:
            self.until_next -= 1
        elif self.until_next == 1:
            self._begin(context)
        else:
            self._end(context, self._cause_of(context))

    def _begin(self, context: FrameContext) -> None:
        timing = _TIMINGS[self.cause]
        draws = context.draw_uniform(Purpose.GAZE, _NUM_DRAWS)
        seconds = max(_normal(timing.length, draws[:3]), MIN_LENGTH_S)
        self.remaining, self.until_next = max(round(seconds * context.frame_rate), 1), 0
        kind, side, size = (float(value) for value in draws[6:])
        scale = 0.8 + 0.4 * size
        if kind < timing.up:
            self.offset = (0.0, scale * VERTICAL_RAD)
        elif kind < timing.up + timing.down:
            self.offset = (0.0, -scale * VERTICAL_RAD)
        else:
            self.offset = (math.copysign(scale * SIDEWAYS_RAD, side - 0.5), 0.0)

    def _end(self, context: FrameContext, cause: AversionCause) -> None:
        self.remaining, self.cause = 0, cause
        gap = _normal(_TIMINGS[cause].gap, context.draw_uniform(Purpose.GAZE, _NUM_DRAWS)[3:6])
        self.until_next = max(round(gap * context.frame_rate), 1)


def _normal(moments: tuple[float, float], draws: npt.NDArray[np.float64]) -> float:
    """Return a number of about normal distribution, within three standard deviations, of three draws."""
    mean, deviation = moments
    return mean + deviation * 2.0 * (float(draws.sum()) - 1.5)
