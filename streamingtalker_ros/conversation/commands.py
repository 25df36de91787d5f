# SPDX-License-Identifier: Apache-2.0
"""Commands that change a stream's behaviour in conversation; one typed value for library, nodes and bags.

`Stream.apply` lets a command take effect from the next frame on; `VoiceSession.command` gives it a stamp.
A command checks itself when it is constructed, so that only valid ones are queued.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.config_files import describe
from streamingtalker_ros.conversation.emotion_table import emotion_name
from streamingtalker_ros.conversation.neck import NeckLimits
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.expression import check_float

MAX_TARGET_DISTANCE_M: Final = 1e6  # far beyond any room; larger numbers are no positions
MIN_DECAY_S, MAX_DECAY_S = 0.04, 86_400.0
GESTURE_NAMES: Final = ("nod", "shake", "tilt", "lean")
MAX_GESTURE_AMPLITUDE_DEG: Final = 30.0
MAX_GESTURE_COUNT: Final = 10


@dataclass(frozen=True)
class LookAt:
    """Look at a point, or release the gaze.

    Attributes:
        point: Metres in the axes of the face (x out of the face, y to the person's left, z up) from the point
            between the eyes in the neutral pose of the head; None releases the gaze.
        timeout_s: Seconds after which the gaze is released unless another target is set; None: it is held.
        aversion: Whether the gaze is averted at times, as from a partner in conversation (`aversion`).
        age_s: Seconds from the time of the point until the frame that takes effect is shown, by which a
            moving target is predicted.

    Raises:
        TalkerError: If the point is not three finite numbers, or is the point between the eyes itself.
    """

    point: Sequence[float] | None
    timeout_s: float | None = None
    aversion: bool = False
    age_s: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        if self.point is not None:
            object.__setattr__(self, "point", _check_point(self.point))

    @property
    def target(self) -> tuple[float, float, float] | None:
        """The point as three floats, or None."""
        if self.point is None:
            return None
        x, y, z = self.point
        return x, y, z


def _check_point(point: Any) -> tuple[float, float, float]:
    try:
        x, y, z = (float(value) for value in point)
    except Exception:  # of any object's iteration or __float__
        raise TalkerError(
            f"the gaze target is {describe(point)}: give three numbers, metres from between the eyes"
        ) from None
    if not all(math.isfinite(value) and abs(value) <= MAX_TARGET_DISTANCE_M for value in (x, y, z)):
        raise TalkerError(
            f"the gaze target is ({x:g}, {y:g}, {z:g}): give finite numbers, metres from between the eyes"
        )
    if x == y == z == 0.0:
        raise TalkerError("the gaze target is the point between the eyes itself: it has no direction")
    return x, y, z


@dataclass(frozen=True)
class Express:
    """Show an emotion, or return to the lasting one (the control `emotion`).

    Attributes:
        name: Of `emotion_table.EMOTIONS` or `SYNONYMS`; "" for valence and arousal alone, and without them to
            return to the lasting emotion.
        strength: 0 to 1.
        valence: -1 to 1, or None for that of the emotion.
        arousal: -1 to 1, or None for that of the emotion.
        decay_s: Seconds after which it has faded; None: it stays.

    Raises:
        TalkerError: If the name is unknown or a number is out of range.
    """

    name: str
    strength: float = 1.0
    valence: float | None = None
    arousal: float | None = None
    decay_s: float | None = None

    def __post_init__(self) -> None:
        if self.name != "":
            emotion_name(self.name)
        for name, low, high in (
            ("strength", 0.0, 1.0),
            ("valence", -1.0, 1.0),
            ("arousal", -1.0, 1.0),
            ("decay_s", MIN_DECAY_S, MAX_DECAY_S),
        ):
            value = getattr(self, name)
            if value is not None or name == "strength":
                object.__setattr__(self, name, check_float(f"{name} of the emotion", value, low, high))

    @property
    def is_release(self) -> bool:
        """Whether it returns to the lasting emotion."""
        return not self.name and self.valence is None and self.arousal is None


@dataclass(frozen=True)
class Gesture:
    """Move the head once.

    Attributes:
        name: Of `GESTURE_NAMES`.
        amplitude: Degrees, peak to peak, -30 to 30; below 0 to the other side (up, left, back); None for that
            of the gesture.
        count: Repetitions, 1 to 10; None for that of the gesture.

    Raises:
        TalkerError: If the name is unknown or a number is out of range.
    """

    name: str
    amplitude: float | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        if self.name not in GESTURE_NAMES:
            raise TalkerError(
                f"unknown gesture {describe(self.name)}: choose one of {', '.join(GESTURE_NAMES)}"
            )
        if self.amplitude is not None:
            limit = MAX_GESTURE_AMPLITUDE_DEG
            amplitude = check_float("amplitude of the gesture in degrees", self.amplitude, -limit, limit)
            object.__setattr__(self, "amplitude", amplitude)
        if self.count is not None:
            count = check_float("count of the gesture", self.count, 1, MAX_GESTURE_COUNT)
            if count != int(count):
                raise TalkerError(f"count of the gesture is {describe(self.count)}: give a whole number")
            object.__setattr__(self, "count", int(count))


@dataclass(frozen=True, eq=False)
class PartnerAudio:
    """Audio of the conversation partner.

    Attributes:
        pcm: (n,) float32 mono 16 kHz in -1..1, which continues the audio before.
    """

    pcm: npt.NDArray[np.float32]


ConversationCommand: TypeAlias = LookAt | Express | Gesture | PartnerAudio | NeckLimits
