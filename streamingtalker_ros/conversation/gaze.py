# SPDX-License-Identifier: Apache-2.0
"""Gaze of one stream: the eyes lead to the target by a saccade, the head follows, the lids go with the eyes.

- A target further than `SACCADE_RAD` from the line of sight is reached by a saccade (`saccade`), a nearer one
  by smooth pursuit of up to 100°/s, which also goes with a moving target, and goes on during saccades (de
  Brouwer et al. 2002). Where the target is, is predicted (`target_motion`).
- Beyond 10° from straight ahead the head takes its share (`neck`), one frame later than the eyes, as in
  people (25 to 50 ms: Goossens & Van Opstal 1997). While it turns, the eyes counter-rotate and the
  line of sight stays (vestibulo-ocular reflex), whatever turns the head: the gaze, the speech or a gesture.
- Each eye is turned to the target on its own (vergence).
- Blinks go with large shifts (Evinger et al. 1994: with 97 % of those beyond 33°).
- The network's own small eye movements go on around the target, limited to `MICRO_RAD`.

The gaze is a direction in the axes of the body; all angles are rad, yaw to the person's left, pitch up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from streamingtalker_ros.conversation.aversion import Aversion
from streamingtalker_ros.conversation.commands import LookAt
from streamingtalker_ros.conversation.frame import FrameContext, FramePose, Purpose
from streamingtalker_ros.conversation.gaze_geometry import (
    EYES_M,
    Matrix,
    Vector,
    angle_between,
    direction_angles,
    euler_of,
    eye_angles,
    eye_position,
    quaternion_matrix,
    quaternion_of,
    quaternion_of_euler,
    quaternion_product,
    rotate,
    rotate_back,
    rotation_vector_of,
    set_eye_angles,
    unit_vector,
)
from streamingtalker_ros.conversation.neck import (
    CUSTOMARY_PITCH_RAD,
    CUSTOMARY_YAW_RAD,
    PITCH_SHARE,
    YAW_SHARE,
    HeadTurn,
    NeckLimits,
    head_share,
)
from streamingtalker_ros.conversation.saccade import Saccade
from streamingtalker_ros.conversation.target_motion import TargetMotion
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.eye_look import MAX_EYE_ANGLE_RAD

MIN_DISTANCE_M: Final = 0.1
"""m; nearer targets are looked at as if they lay at this distance: eyes converge no further."""
MAX_AZIMUTH_RAD: Final = math.radians(110.0)
"""A target further to the side or behind releases the gaze; beyond the reach of eyes and head, both stay at
their limits."""
MAX_ELEVATION_RAD: Final = math.radians(80.0)
RETURN_RAD: Final = math.radians(10.0)  # by which it has to come back to be looked at again

SACCADE_RAD: Final = math.radians(1.5)
FIXATION_RAD: Final = math.radians(0.3)  # within which the gaze does not follow
PURSUIT_RAD_PER_S: Final = math.radians(100.0)  # Meyer, Lasker & Robinson 1985: limit of smooth pursuit
SACCADE_INTERVAL_S: Final = 0.12  # between two saccades, the least of people
HEAD_LAG_S: Final = 0.24  # of the head's turn behind a steady motion (`neck`) and one frame: it is predicted
MICRO_RAD: Final = math.radians(0.4)  # most microsaccades are smaller
MICRO_MEAN_S: Final = 1.0  # time constant of the mean that the network's eye movements are taken around
VERGENCE_S: Final = 0.1  # time constant
MAX_EYE_YAW_RAD: Final = math.radians(28.0)  # of both eyes together; vergence comes on top
MAX_EYE_PITCH_RAD: Final = math.radians(26.0)

BLINK_SHIFT_RAD: Final = (math.radians(17.0), math.radians(33.0))
BLINK_PROBABILITY: Final = 0.97  # at the second of them, rising from 0 at the first
LID_FOLLOW: Final = 0.25  # eyelids fall with the eyes (Becker & Fuchs 1988): weight at 30° beyond eyeLookDown
FREE_DISTANCE_M: Final = 2.0  # where eyes without a target look

REST_RAD: Final = math.radians(0.05)  # a turn of the head that is not seen
REST_RAD_PER_S: Final = math.radians(0.5)

LONG_AGO_FRAMES: Final = 1000
_THOUGHT_TARGET: Final[Vector] = (FREE_DISTANCE_M, 0.0, 0.0)
_LIDS: Final = tuple((INDEX[f"eyeBlink{side}"], INDEX[f"eyeWide{side}"]) for side in ("Left", "Right"))
_Angles = tuple[float, float]


@dataclass
class GazeState:
    """State of the gaze of one stream.

    Attributes:
        command: Target, or None.
        age: Frames since it was set.
        is_out_of_reach: Whether the target lies behind.
        is_free: Whether the eyes are the network's own.
        is_pinned: Whether the eyes are at the end of their range on the way to a target.
        gaze: Direction of the line of sight.
        target: Point that the gaze was directed to in the frame before; None for the network's own gaze.
        offset: Aversion in the frame before.
        lag: Of the gaze behind the direction of the target, in the frame before.
        motion: Of the target.
        is_new: Whether the position of `command` has not been taken yet.
        saccade: Saccade that is being made, or None.
        carried: Pursuit since it began.
        saccade_frames: Frames since it began.
        since_saccade: Frames since the last one ended.
        log_distance: Logarithm of the distance in metres at which the lines of sight meet.
        own_mean: Mean of the network's eye angles.
        head_goal: Turn of the head for the target in the frame before.
        turn: Turn of the head.
        aversion: Looks away from the target.
    """

    command: LookAt | None = None
    age: int = 0
    is_out_of_reach: bool = False
    is_free: bool = True
    is_pinned: bool = False
    gaze: _Angles = (0.0, 0.0)
    target: Vector | None = None
    offset: _Angles = (0.0, 0.0)
    lag: _Angles = (0.0, 0.0)
    motion: TargetMotion = field(default_factory=TargetMotion)
    is_new: bool = False
    saccade: Saccade | None = None
    carried: _Angles = (0.0, 0.0)
    saccade_frames: int = 0
    since_saccade: int = LONG_AGO_FRAMES
    log_distance: float = math.log(FREE_DISTANCE_M)
    own_mean: _Angles = (0.0, 0.0)
    head_goal: _Angles = (0.0, 0.0)
    turn: HeadTurn = field(default_factory=HeadTurn)
    aversion: Aversion = field(default_factory=Aversion)


def reach_problem(point: Vector) -> str | None:
    """Return why a target cannot be looked at as it is, as a sentence for the user; None if it can.

    Args:
        point: Metres in the axes of the face.
    """
    azimuth, elevation = direction_angles(point)
    if abs(azimuth) > MAX_AZIMUTH_RAD or abs(elevation) > MAX_ELEVATION_RAD:
        return (
            f"the gaze target ({point[0]:g}, {point[1]:g}, {point[2]:g}) lies behind the face or straight "
            "above or below it: the gaze is released until it comes back; x points out of the face"
        )
    if math.hypot(*point) < MIN_DISTANCE_M:
        return (
            f"the gaze target is {1000 * math.hypot(*point):.0f} mm from between the eyes: it is looked at "
            f"as if it were at {1000 * MIN_DISTANCE_M:.0f} mm; give metres"
        )
    return None


class GazeController:
    """Gaze of one stream.

    Attributes:
        limits: Of the neck; `reset` keeps them.
    """

    def __init__(self) -> None:
        self.limits = NeckLimits()
        self._state = GazeState()

    @property
    def has_target(self) -> bool:
        """Whether there is a target."""
        return self._state.command is not None

    @property
    def is_active(self) -> bool:
        """Whether there is a target, or eyes and head have not returned yet."""
        state = self._state
        return not (
            state.command is None
            and state.is_free
            and state.turn.is_near_rest(REST_RAD, REST_RAD_PER_S)
            and state.head_goal == (0.0, 0.0)
        )

    def reset(self) -> None:
        """Release the gaze at once."""
        self._state = GazeState()

    def look_at(self, command: LookAt) -> None:
        """Set or release the target from the next frame on.

        Args:
            command: The target; one without a point releases it.
        """
        state = self._state
        state.command = command if command.point is not None else None
        state.age, state.is_new = 0, True

    def step(self, context: FrameContext, pose: FramePose) -> None:
        """Turn eyes, lids and head of one frame.

        Args:
            context: Of the frame.
            pose: Changed in place.
        """
        state, seconds = self._state, 1.0 / context.frame_rate
        own_eyes = eye_angles(pose.weights)
        own = (0.5 * (own_eyes[0][0] + own_eyes[1][0]), 0.5 * (own_eyes[0][1] + own_eyes[1][1]))
        self._expire(context)
        self._follow_motion(seconds)
        target = self._choose_target(context)
        in_conversation = target is not None and state.command is not None and state.command.aversion
        offset = state.aversion.step(context, in_conversation)
        if target is None:
            offset = (0.0, 0.0)

        matrix = self._turn_head(pose, target, offset, seconds)
        origin = eye_position(matrix, (0.0, 0.0, 0.0))
        own_gaze = direction_angles(rotate(matrix, unit_vector(*own)))
        if state.is_free:
            state.gaze, state.own_mean = own_gaze, own
            state.target, state.lag, state.since_saccade = None, (0.0, 0.0), LONG_AGO_FRAMES
            if target is None:
                return
            state.is_free = False
        elif state.target is not None:  # the line of sight stays on its point while the head moves
            before = _add(direction_angles(_difference(state.target, origin)), state.offset)
            state.gaze = _add(before, state.lag)
        speed = PURSUIT_RAD_PER_S * seconds
        if target is not None and state.target is not None:
            speed -= self._pursue(origin, seconds, speed)

        desired = own_gaze if target is None else _add(direction_angles(_difference(target, origin)), offset)
        reachable, is_limited = _limit_eyes(matrix, desired)
        self._follow(context, reachable, is_limited, angle_between(state.gaze, desired), speed)
        state.target, state.offset = target, offset
        state.lag = (state.gaze[0] - desired[0], state.gaze[1] - desired[1])

        distance = FREE_DISTANCE_M if target is None else _distance(target, origin)
        blend = 1.0 - math.exp(-seconds / VERGENCE_S)
        state.log_distance += blend * (math.log(max(distance, MIN_DISTANCE_M)) - state.log_distance)
        if target is None and state.saccade is None and angle_between(state.gaze, own_gaze) < SACCADE_RAD:
            state.is_free = True
            return
        self._set_eyes(pose, matrix, origin, own, seconds)

    def _expire(self, context: FrameContext) -> None:
        state = self._state
        if state.command is not None and state.command.timeout_s is not None:
            state.age += 1
            if state.age > state.command.timeout_s * context.frame_rate:
                state.command = None

    def _follow_motion(self, seconds: float) -> None:
        """Take a new position of the target, or let it move on."""
        state = self._state
        target = None if state.command is None else state.command.target
        state.motion.advance(seconds)
        if target is None:
            state.motion.reset()
        elif state.is_new and state.command is not None:
            state.motion.measure(target, state.command.age_s)
        state.is_new = False

    def _pursue(self, origin: Vector, seconds: float, limit: float) -> float:
        """Move the gaze as the target has moved since the frame before.

        Args:
            origin: Of the line of sight, in metres.
            seconds: Duration of a frame.
            limit: rad, largest movement.

        Returns:
            rad that it has moved.
        """
        state = self._state
        step = state.motion.displacement(-seconds, 0.0)
        if step == (0.0, 0.0, 0.0) or state.target is None:
            return 0.0
        before = _difference(state.target, origin)
        start, end = direction_angles(before), direction_angles(_sum(before, step))
        size = angle_between(start, end)
        scale = min(size, limit) / size if size > 0.0 else 0.0
        turn = scale * (end[0] - start[0]), scale * (end[1] - start[1])
        state.gaze, state.carried = _add(state.gaze, turn), _add(state.carried, turn)
        return scale * size

    def _choose_target(self, context: FrameContext) -> Vector | None:
        """Return the point to look at, at least `MIN_DISTANCE_M` away; None for the network's own gaze."""
        state = self._state
        point = state.motion.predict()
        if point is not None:
            azimuth, elevation = direction_angles(point)
            margin = RETURN_RAD if state.is_out_of_reach else 0.0
            state.is_out_of_reach = (
                abs(azimuth) > MAX_AZIMUTH_RAD - margin or abs(elevation) > MAX_ELEVATION_RAD - margin
            )
            if state.is_out_of_reach:
                point = None
        if point is None:
            return _THOUGHT_TARGET if context.modulation.is_thinking else None
        distance = math.hypot(*point)
        if distance < MIN_DISTANCE_M:
            scale = MIN_DISTANCE_M / max(distance, 1e-9)
            return point[0] * scale, point[1] * scale, point[2] * scale
        return point

    def _turn_head(self, pose: FramePose, target: Vector | None, offset: _Angles, seconds: float) -> Matrix:
        """Turn the head of the frame and return its rotation."""
        state = self._state
        state.turn.advance(state.head_goal, self.limits, seconds)
        if target is None:
            state.head_goal = (0.0, 0.0)
        else:
            ahead = state.motion.displacement(0.0, HEAD_LAG_S)
            yaw, pitch = _add(direction_angles(_sum(target, ahead)), offset)
            state.head_goal = (
                head_share(yaw, YAW_SHARE, CUSTOMARY_YAW_RAD),
                -head_share(pitch, PITCH_SHARE, CUSTOMARY_PITCH_RAD),  # the head's pitch is down
            )
        turn = quaternion_of_euler(state.turn.yaw, state.turn.pitch, 0.0)
        head = quaternion_product(turn, quaternion_of(pose.rotation))
        limits = self.limits
        yaw, pitch, roll = euler_of(head)
        limited = (_clamp(yaw, *limits.yaw), _clamp(pitch, *limits.pitch), _clamp(roll, *limits.roll))
        if limited != (yaw, pitch, roll):
            head = quaternion_of_euler(*limited)
        pose.rotation[:] = rotation_vector_of(head)
        return quaternion_matrix(head)

    def _follow(
        self, context: FrameContext, goal: _Angles, is_limited: bool, shift: float, max_step: float
    ) -> None:
        """Move the gaze towards a direction by saccade or pursuit.

        Args:
            context: Of the frame.
            goal: Direction within the eyes' range.
            is_limited: Whether the target lies beyond that range.
            shift: rad from the gaze to the target.
            max_step: rad, the largest movement of pursuit.
        """
        state, seconds = self._state, 1.0 / context.frame_rate
        error = angle_between(state.gaze, goal)
        if state.saccade is None:
            state.since_saccade += 1
            is_due = state.since_saccade > SACCADE_INTERVAL_S * context.frame_rate
            if state.is_pinned and is_limited and error < 2.0 * self.limits.max_velocity * seconds:
                state.gaze = goal  # the head carries the eyes
                return
            state.is_pinned = False
            if error > SACCADE_RAD and is_due:
                state.saccade, state.saccade_frames = Saccade(state.gaze, goal, error), 0
                state.carried = (0.0, 0.0)
                self._blink_with(context, shift)
        saccade = state.saccade
        if saccade is not None:
            elapsed = (state.saccade_frames + 0.5) * seconds  # the middle of the frame: the first moves
            state.gaze = _add(saccade.position(elapsed), state.carried)
            state.saccade_frames += 1
            if elapsed >= saccade.duration:
                state.saccade, state.since_saccade = None, 0
                state.is_pinned = is_limited
        elif error > FIXATION_RAD:
            fraction = min(error - FIXATION_RAD, max_step) / error
            state.gaze = (
                state.gaze[0] + fraction * (goal[0] - state.gaze[0]),
                state.gaze[1] + fraction * (goal[1] - state.gaze[1]),
            )

    def _blink_with(self, context: FrameContext, shift: float) -> None:
        low, high = BLINK_SHIFT_RAD
        probability = BLINK_PROBABILITY * min((shift - low) / (high - low), 1.0)
        if probability > 0.0 and context.draw_uniform(Purpose.GAZE_BLINK, 1)[0] < probability:
            context.modulation.blink_requested = True

    def _set_eyes(
        self, pose: FramePose, matrix: Matrix, origin: Vector, own: _Angles, seconds: float
    ) -> None:
        """Turn each eye to the point where the lines of sight meet, and the lids with them."""
        state = self._state
        blend = 1.0 - math.exp(-seconds / MICRO_MEAN_S)
        yaw, pitch = own[0] - state.own_mean[0], own[1] - state.own_mean[1]
        state.own_mean = (state.own_mean[0] + blend * yaw, state.own_mean[1] + blend * pitch)
        size = math.hypot(yaw, pitch)
        scale = MICRO_RAD / size if size > MICRO_RAD else 1.0
        gaze = unit_vector(state.gaze[0] + scale * yaw, state.gaze[1] + scale * pitch)
        distance = math.exp(state.log_distance)
        point = tuple(o + distance * g for o, g in zip(origin, gaze, strict=True))
        for eye, (center, (blink, wide)) in enumerate(zip(EYES_M, _LIDS, strict=True)):
            sight = _difference((point[0], point[1], point[2]), eye_position(matrix, center))
            eye_yaw, eye_pitch = direction_angles(rotate_back(matrix, sight))
            set_eye_angles(pose.weights, eye, eye_yaw, eye_pitch)
            lowered = (own[1] - eye_pitch) / MAX_EYE_ANGLE_RAD  # beyond what the network's lids follow
            lid = LID_FOLLOW * min(max(lowered, -1.0), 1.0)
            moved = blink if lid > 0.0 else wide
            weight = float(pose.weights[moved])
            pose.weights[moved] = weight + (1.0 - weight) * abs(lid)


def _limit_eyes(matrix: Matrix, direction: _Angles) -> tuple[_Angles, bool]:
    """Return the nearest direction within the range of the eyes, and whether it is another one."""
    yaw, pitch = direction_angles(rotate_back(matrix, unit_vector(*direction)))
    limited = (
        _clamp(yaw, -MAX_EYE_YAW_RAD, MAX_EYE_YAW_RAD),
        _clamp(pitch, -MAX_EYE_PITCH_RAD, MAX_EYE_PITCH_RAD),
    )
    if limited == (yaw, pitch):
        return direction, False
    return direction_angles(rotate(matrix, unit_vector(*limited))), True


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _add(first: _Angles, second: _Angles) -> _Angles:
    return first[0] + second[0], first[1] + second[1]


def _sum(first: Vector, second: Vector) -> Vector:
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]


def _difference(first: Vector, second: Vector) -> Vector:
    return first[0] - second[0], first[1] - second[1], first[2] - second[2]


def _distance(first: Vector, second: Vector) -> float:
    return math.hypot(*_difference(first, second))
