# SPDX-License-Identifier: Apache-2.0
"""Head controller: FaceMotion messages in at any time, one limited command out per tick.

    controller = HeadController(load_head("jaw"))
    controller.update(face_motion, now_ns)              # for each message
    command = controller.step(now_ns)                   # head.rate times per second

Times are ns of the node's clock, which is the clock of the stamps. Whatever messages arrive, or none, the
commands stay within the limits of the head's joints; see `joint_limits`. Messages and ticks may come from
different threads, so that messages that take long delay no command.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.face.rotation import quaternion_to_euler
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.process import never_raising, print_warning
from streamingtalker_ros.robot_head.config import ANGLES, SOURCES, RobotHead
from streamingtalker_ros.robot_head.joint_limits import FloatArray, JointLimiter
from streamingtalker_ros.robot_head.playout_buffer import PlayoutBuffer

_MAX_TICKS_BETWEEN_STEPS: Final = 4  # after a longer pause the joints are assumed to have braked meanwhile
_FEEDBACK_TIMEOUT_S: Final = 2.0  # to wait for the joints' own positions
_MAX_SHAPES: Final = 4096  # of one message; a face has tens
_SHAPE_COUNT: Final = len(SOURCES) - len(ANGLES) - 1

State = Literal["following", "resting"]


@dataclass(frozen=True)
class Command:
    """Joint command of one tick.

    Attributes:
        positions: (J,) in the joints' units.
        velocities: (J,) in the joints' units per second.
        sources: (len(SOURCES),) values that the joints follow.
        state: "following", or "resting" if there is no motion.
    """

    positions: FloatArray
    velocities: FloatArray
    sources: FloatArray
    state: State


class HeadController:
    """Follows face motion with a robot's joints.

    Args:
        head: joints, limits and outputs.
        warn: called with a sentence, once per kind of problem.

    Attributes:
        head: joints, limits and outputs.
        rejected: messages that could not be used so far.
    """

    def __init__(self, head: RobotHead, warn: Callable[[str], Any] = print_warning) -> None:
        self.head = head
        self.rejected = 0
        self._warn = never_raising(warn)
        self._warned: set[str] = set()
        self._lock = threading.Lock()  # guards what `step` uses
        self._gains, self._offset, self._rest = head.matrix(), head.column("offset"), head.column("rest")
        self._smoothing, self._deadband = head.column("smoothing"), head.column("deadband")
        leads = np.round(head.column("lead") * NS_PER_S).astype(np.int64)
        # (lead in ns, mask of its joints)
        self._leads = [(int(lead), leads == lead) for lead in np.unique(leads)] or [(0, leads == 0)]
        self._limiter = JointLimiter(
            head.column("min"),
            head.column("max"),
            head.column("max_velocity"),
            head.column("max_acceleration"),
            self._rest,
        )
        self._playout = PlayoutBuffer(head.delay)
        self._smoothed, self._held = self._rest.copy(), self._rest.copy()
        self._last_step: int | None = None
        self._waiting_since: int | None = None
        self._unplaced = {joint.name for joint in head.joints} if head.feedback else set[str]()
        self._stopping = False
        self._names: tuple[str, ...] | None = None  # of the last message
        self._order: npt.NDArray[np.int64] = np.zeros(0, np.int64)  # index of each source in its weights

    def set_joint_state(self, names: Iterable[str], positions: Iterable[float]) -> None:
        """Set the joints' own positions, as a JointState reports them; ignored after the first command.

        Args:
            names: Names of joints; unknown ones are ignored.
            positions: Position of each named joint in the joint's unit; NaN and infinities are ignored.
        """
        if self._last_step is not None:
            return
        reported = {name: value for name, value in zip(names, positions, strict=False) if np.isfinite(value)}
        index = {joint.name: i for i, joint in enumerate(self.head.joints)}
        with self._lock:
            if self._last_step is not None or not reported:
                return
            start = self._limiter.position.copy()
            for name in index.keys() & reported.keys():
                start[index[name]] = reported[name]
                self._unplaced.discard(name)
            self._limiter.set_position(start)
            self._smoothed, self._held = self._limiter.position.copy(), self._limiter.position.copy()

    def update(self, motion: Any, now: int) -> None:
        """Accept a FaceMotion message; one that cannot be used is dropped and counted in `rejected`.

        Args:
            motion: the message.
            now: ns, time of its arrival.
        """
        sources = None if self._stopping else self._read_sources(motion)
        if sources is None:
            return
        stamp = stamp_to_ns(motion.header.stamp)
        with self._lock:
            is_accepted = self._playout.add(stamp, sources, now)
        if not is_accepted:
            self._reject(
                "ahead",
                "the motion is stamped over a minute ahead of this clock and is dropped: check the clocks or "
                "set delay",
            )

    def begin_rest(self) -> None:
        """Ignore all further motion: the next steps bring the head to rest."""
        self._stopping = True

    @property
    def at_rest(self) -> bool:
        """Whether every joint stands at its rest position."""
        return bool(
            (self._limiter.velocity == 0).all()
            and (np.abs(self._limiter.position - self._rest) <= self._deadband + 1e-6).all()
        )

    def step(self, now: int) -> Command | None:
        """Return the command of this moment.

        Args:
            now: time in ns.

        Returns:
            The command, or None while the controller waits for the joints' own positions.
        """
        with self._lock:
            return self._step(now)

    def _step(self, now: int) -> Command | None:
        if self._unplaced:
            self._waiting_since = now if self._waiting_since is None else self._waiting_since
            if 0 <= now - self._waiting_since < _FEEDBACK_TIMEOUT_S * NS_PER_S:
                return None
            missing, self._unplaced = ", ".join(sorted(self._unplaced)), set()
            self._warn_once(
                "feedback",
                f"{self.head.feedback} does not report the position of {missing}: starting at rest",
            )
        dt = 0.0 if self._last_step is None else (now - self._last_step) / NS_PER_S
        self._last_step = now
        try:
            inputs, sources, state = self._current_inputs(now)
            self._move(inputs, dt)
        except Exception as fault:  # the joints must go to rest, not stay where they are
            self._playout.clear()
            self._reject(
                "step", f"the motion cannot be followed and is discarded ({type(fault).__name__}: {fault})"
            )
            _, sources, state = self._rest_inputs()
            self._limiter.step_toward(
                self._rest, min(max(dt, 0.0), _MAX_TICKS_BETWEEN_STEPS / self.head.rate)
            )
        return Command(self._limiter.position.copy(), self._limiter.velocity.copy(), sources, state)

    def _current_inputs(self, now: int) -> tuple[list[FloatArray | None], FloatArray, State]:
        """Return the source values for each lead (None: rest), those without lead, and the state."""
        if not self._stopping and not self._playout.is_stale(now, round(self.head.timeout * NS_PER_S)):
            samples = [self._playout.sample(now, lead) for lead in (*(lead for lead, _ in self._leads), 0)]
            self._playout.discard(now, 0)
            if any(sample is not None for sample in samples):
                inputs = [np.zeros(len(SOURCES)) if sample is None else sample for sample in samples]
                return list(inputs[:-1]), inputs[-1], "following"
        return self._rest_inputs()

    def _rest_inputs(self) -> tuple[list[FloatArray | None], FloatArray, State]:
        return [None] * len(self._leads), np.zeros(len(SOURCES)), "resting"

    def _move(self, inputs: Sequence[FloatArray | None], dt: float) -> None:
        if dt > _MAX_TICKS_BETWEEN_STEPS / self.head.rate:
            self._limiter.brake(dt)
        elif dt > 0:
            self._limiter.step_toward(self._targets(inputs, dt), dt)

    def _targets(self, inputs: Sequence[FloatArray | None], dt: float) -> FloatArray:
        """Return the target positions, (J,), after smoothing and dead band."""
        target = self._rest.copy()
        for (_, joints), sources in zip(self._leads, inputs, strict=True):
            if sources is not None:
                target[joints] = (self._offset + self._gains @ sources)[joints]
        target = np.clip(target, self._limiter.low, self._limiter.high)
        retained = np.where(self._smoothing > 0, np.exp(-dt / np.maximum(self._smoothing, 1e-9)), 0.0)
        self._smoothed = target + retained * (self._smoothed - target)
        exceeds_deadband = np.abs(self._smoothed - self._held) > self._deadband
        # the limits and the rest position are always reached
        at_end = (target == self._limiter.low) | (target == self._limiter.high) | (target == self._rest)
        self._held = np.where(exceeds_deadband | at_end, self._smoothed, self._held)
        return self._held

    def _read_sources(self, motion: Any) -> FloatArray | None:
        """Return the values of SOURCES, (S,), or None for a message that is inconsistent or not finite."""
        if len(motion.names) > _MAX_SHAPES or len(motion.weights) > _MAX_SHAPES:
            self._reject(
                "size",
                f"a FaceMotion has {max(len(motion.names), len(motion.weights))} shapes and is dropped: send "
                f"at most {_MAX_SHAPES}",
            )
            return None
        names, weights = tuple(motion.names), np.asarray(motion.weights, np.float64)
        if len(names) != len(weights):
            self._reject(
                "length", f"a FaceMotion has {len(names)} names and {len(weights)} weights: check its sender"
            )
            return None
        if names != self._names:
            index = {name: i for i, name in enumerate(names)}
            self._names = names
            self._order = np.array([index.get(name, len(names)) for name in SOURCES[:_SHAPE_COUNT]])
            used = {source for joint in self.head.joints for source in joint.gains}
            if missing := sorted(used & set(SOURCES[:_SHAPE_COUNT]) - set(names)):
                self._warn_once("missing", f"the motion has no {', '.join(missing)}: using 0")
        shapes = np.append(weights, 0.0)[self._order]
        head = np.array([motion.head.x, motion.head.y, motion.head.z, motion.head.w], np.float64)
        if not (np.isfinite(shapes).all() and np.isfinite(head).all()):
            self._reject("finite", "a FaceMotion holds NaN or infinity and is dropped: check its sender")
            return None
        size = np.abs(head).max()  # the length itself could overflow
        angles = quaternion_to_euler(head / size) if size > 1e-6 else np.zeros(3)
        return np.concatenate([shapes.clip(0, 1), angles, [float(bool(motion.speaking))]])

    def _reject(self, kind: str, reason: str) -> None:
        self.rejected += 1
        self._warn_once(kind, reason)

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(text)
