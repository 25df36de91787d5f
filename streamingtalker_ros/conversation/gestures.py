# SPDX-License-Identifier: Apache-2.0
"""Head gestures of one stream: those that are commanded, and those that go with the voice.

`nod`, `shake`, `tilt` and `lean` are commanded; one at a time moves each axis of the head. With `liveliness`
above 0 the head and the brows also beat time with the voice (`beats.BeatGenerator`). All is added to the
network's motion, and the sum is limited.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

import numpy as np

from streamingtalker_ros.conversation.beats import BeatGenerator
from streamingtalker_ros.conversation.commands import Gesture
from streamingtalker_ros.conversation.courses import smooth_step
from streamingtalker_ros.conversation.eye_shift import shift_gaze
from streamingtalker_ros.conversation.frame import FrameContext, FramePose


class Axis(IntEnum):
    """Component of the head's rotation vector."""

    ROLL = 0  # above 0: to the person's right shoulder
    PITCH = 1  # above 0: down
    YAW = 2  # above 0: to the person's left


MAX_HEAD_ANGLES_DEG: Final[Mapping[Axis, float]] = MappingProxyType(
    {Axis.ROLL: 20.0, Axis.PITCH: 25.0, Axis.YAW: 35.0}
)
"""Angles up to which gestures turn the head, together with network and emotion."""

_CYCLE_S, _CYCLE_S_PER_DEG = (
    0.3,
    0.02,
)  # duration of a nod or a shake: 2 Hz at 10 degrees (U. Hadar et al. 1983)
_NOD_DECAY: Final = 0.75  # amplitude of a nod, of the one before
_TILT_S, _TILT_HOLD_S = 0.4, 0.6
_LEAN_S, _LEAN_HOLD_S = 0.7, 1.2
_MAX_WAITING: Final = 8  # gestures of an axis, the moving one included; further ones are dropped


def _nod(t: float, amplitude: float, count: int) -> float:
    cycles = t / _cycle_s(amplitude)
    return amplitude * _NOD_DECAY ** int(cycles) * (0.5 - 0.5 * math.cos(2.0 * math.pi * cycles))


def _shake(t: float, amplitude: float, count: int) -> float:
    cycles = t / _cycle_s(amplitude)
    envelope = smooth_step(4.0 * cycles) * smooth_step(2.0 * (count - cycles))
    return 0.5 * amplitude * math.sin(2.0 * math.pi * cycles) * envelope


def _tilt(t: float, amplitude: float, count: int) -> float:
    return _hold(t, amplitude, count, _TILT_S, _TILT_HOLD_S, alternates=True)


def _lean(t: float, amplitude: float, count: int) -> float:
    return _hold(t, amplitude, count, _LEAN_S, _LEAN_HOLD_S, alternates=False)


def _hold(t: float, amplitude: float, count: int, move_s: float, hold_s: float, *, alternates: bool) -> float:
    """Angle of a head that moves to the amplitude, stays and returns, `count` times."""
    period = 2.0 * move_s + hold_s
    k = min(int(t / period), count - 1)
    t -= k * period
    sign = -1.0 if alternates and k % 2 else 1.0
    return sign * amplitude * smooth_step(t / move_s) * smooth_step((period - t) / move_s)


def _cycle_s(amplitude: float) -> float:
    return _CYCLE_S + _CYCLE_S_PER_DEG * abs(amplitude)


@dataclass(frozen=True)
class GestureKind:
    """A gesture that can be commanded.

    Attributes:
        axis: That it turns.
        angle_deg: Its course: of seconds, amplitude and count.
        duration_s: Of amplitude and count.
        amplitude_deg: Where the command states none.
        count: Where the command states none.
    """

    axis: Axis
    angle_deg: Callable[[float, float, int], float]
    duration_s: Callable[[float, int], float]
    amplitude_deg: float
    count: int


GESTURES: Final[Mapping[str, GestureKind]] = MappingProxyType(
    {
        "nod": GestureKind(Axis.PITCH, _nod, lambda a, n: n * _cycle_s(a), 10.0, 2),
        "shake": GestureKind(Axis.YAW, _shake, lambda a, n: n * _cycle_s(a), 18.0, 2),
        "tilt": GestureKind(Axis.ROLL, _tilt, lambda a, n: n * (2.0 * _TILT_S + _TILT_HOLD_S), 12.0, 1),
        "lean": GestureKind(Axis.PITCH, _lean, lambda a, n: n * (2.0 * _LEAN_S + _LEAN_HOLD_S), 8.0, 1),
    }
)
"""Gestures by name; the names are those of `commands.GESTURE_NAMES`."""


@dataclass
class _Moving:
    kind: GestureKind
    amplitude_deg: float
    count: int
    frames: int = 0


class GestureController:
    """State of the head gestures of one stream; a `LayerPart`.

    Attributes:
        liveliness: 0 to 1: how much head and brows move with the voice; 0 leaves each bit as it is.
    """

    def __init__(self) -> None:
        self.liveliness = 0.0
        self._beats = BeatGenerator()
        self._waiting: dict[Axis, deque[_Moving]] = {axis: deque() for axis in Axis}

    @property
    def is_active(self) -> bool:
        """Whether a gesture moves the head, or the voice may."""
        return self.liveliness > 0.0 or not self._beats.is_at_rest or any(self._waiting.values())

    def reset(self) -> None:
        """Drop all gestures at once."""
        self._beats.reset()
        for waiting in self._waiting.values():
            waiting.clear()

    def start(self, command: Gesture) -> None:
        """Begin a gesture with the next frame, or after the one that turns the same axis.

        Args:
            command: The gesture.
        """
        kind = GESTURES[command.name]
        amplitude = kind.amplitude_deg if command.amplitude is None else command.amplitude
        waiting = self._waiting[kind.axis]
        if amplitude != 0.0 and len(waiting) < _MAX_WAITING:
            waiting.append(_Moving(kind, amplitude, kind.count if command.count is None else command.count))

    def step(self, context: FrameContext, pose: FramePose) -> None:
        """Turn the head of one frame.

        Args:
            context: Of the frame.
            pose: Changed in place.
        """
        angles = [_advance(waiting, context.frame_rate) for waiting in self._waiting.values()]
        if self.liveliness > 0.0 or not self._beats.is_at_rest:
            beats = self._beats.step(context, pose.weights, self.liveliness)
            angles = [angle + beat for angle, beat in zip(angles, beats, strict=True)]
        for axis, limit in MAX_HEAD_ANGLES_DEG.items():
            before = math.degrees(float(pose.rotation[axis]))
            after = min(max(before + angles[axis], min(-limit, before)), max(limit, before))
            angles[axis] = after - before
            if angles[axis]:
                pose.rotation[axis] += np.float32(math.radians(angles[axis]))
        if not context.modulation.is_gaze_directed:  # else the gaze turns the eyes back
            shift_gaze(pose.weights, -angles[Axis.YAW], angles[Axis.PITCH])


def _advance(waiting: deque[_Moving], frame_rate: float) -> float:
    """Advance the first gesture of an axis by one frame and return its angle in degrees; 0 without one."""
    if not waiting:
        return 0.0
    moving = waiting[0]
    moving.frames += 1
    t, kind = moving.frames / frame_rate, moving.kind
    if t >= kind.duration_s(moving.amplitude_deg, moving.count):
        waiting.popleft()
        return 0.0
    return kind.angle_deg(t, moving.amplitude_deg, moving.count)
