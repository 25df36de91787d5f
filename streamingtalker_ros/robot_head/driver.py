# SPDX-License-Identifier: Apache-2.0
"""The head driver's core: FaceMotion messages in at any time, one limited command out per tick.

    driver = HeadDriver(load_head("jaw"))
    driver.hear(face_motion, now_ns)                    # for each message
    command = driver.step(now_ns)                       # head.rate times a second

Times are ns of the node's clock, which is the clock of the stamps. Whatever comes in, and if nothing does, the
commands stay within the limits of the head's joints; see `limits`.
"""

from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.face.rotation import quaternion_to_euler
from streamingtalker_ros.process import never_raising
from streamingtalker_ros.process import warn as warn_user
from streamingtalker_ros.robot_head.config import ANGLES, SOURCES
from streamingtalker_ros.robot_head.joint_limits import Limiter
from streamingtalker_ros.robot_head.playout_buffer import Playout

_STALLED = 4  # ticks; after a longer pause the joints are taken to have braked meanwhile
_FEEDBACK = 2.0  # s to wait for the joints' own positions
_SHAPES = len(SOURCES) - len(ANGLES) - 1


@dataclass(frozen=True)
class Command:
    """positions, velocities: (J,) float64 in the joints' units; sources: (len(SOURCES),) what they follow;
    state: "following", or "resting" where no motion is there."""

    positions: np.ndarray
    velocities: np.ndarray
    sources: np.ndarray
    state: str


class HeadDriver:
    """head: Head; warn: callable taking a sentence, called once per kind of trouble."""

    def __init__(self, head, warn=warn_user) -> None:
        self.head, self._warn, self._told = head, never_raising(warn), set()
        self._gains, self._offset, self._rest = head.matrix(), head.column("offset"), head.column("rest")
        self._smoothing, self._deadband = head.column("smoothing"), head.column("deadband")
        leads = np.round(head.column("lead") * NS_PER_S).astype(np.int64)
        self._leads = [(int(lead), leads == lead) for lead in np.unique(leads)] or [(0, leads == 0)]
        self._limiter = Limiter(
            head.column("min"),
            head.column("max"),
            head.column("max_velocity"),
            head.column("max_acceleration"),
            self._rest,
        )
        self._playout = Playout(head.delay)
        self._smooth, self._held = self._rest.copy(), self._rest.copy()
        self._last = self._waits = None
        self._unplaced = {joint.name for joint in head.joints} if head.feedback else set()
        self.refused = 0  # messages that could not be used
        self._released = False
        self._names, self._order = None, None

    def place(self, names, positions) -> None:
        """The joints' own positions (a JointState's name and position), taken until the first command."""
        where = {name: value for name, value in zip(names, positions) if np.isfinite(value)}
        if self._last is not None or not where:
            return
        index = {joint.name: place for place, joint in enumerate(self.head.joints)}
        start = self._limiter.position.copy()
        for name in index.keys() & where.keys():
            start[index[name]] = where[name]
            self._unplaced.discard(name)
        self._limiter.place(start)
        self._smooth, self._held = self._limiter.position.copy(), self._limiter.position.copy()

    def hear(self, motion, now) -> None:
        """A FaceMotion message. One that cannot be used is left out and counted in `refused`."""
        values = None if self._released else self._sources(motion)
        if values is None:
            return
        stamp = motion.header.stamp.sec * NS_PER_S + motion.header.stamp.nanosec
        if not self._playout.add(stamp, values, now):
            self._refuse(
                "ahead",
                "the motion is stamped over a minute ahead of this clock and is left out: check "
                "the clocks, or set delay",
            )

    def release(self) -> None:
        """Hear no motion any more: the next steps bring the head to rest."""
        self._released = True

    @property
    def at_rest(self):
        """Whether every joint stands at its rest."""
        return bool(
            (self._limiter.speed == 0).all()
            and (np.abs(self._limiter.position - self._rest) <= self._deadband + 1e-6).all()
        )

    def step(self, now):
        """The Command of this moment, or None while the joints' own positions are waited for."""
        if self._unplaced:
            self._waits = now if self._waits is None else self._waits
            if 0 <= now - self._waits < _FEEDBACK * NS_PER_S:
                return None
            missing, self._unplaced = ", ".join(sorted(self._unplaced)), set()
            self._tell(
                "feedback", f"{self.head.feedback} does not tell where {missing} is: beginning at rest"
            )
        dt = 0.0 if self._last is None else (now - self._last) / NS_PER_S
        self._last = now
        try:
            values, state = self._due(now)
            self._move(values, dt)
        except (
            Exception
        ) as fault:  # whatever was heard: the joints go to rest, they do not stay where they are
            self._playout.clear()
            self._refuse(
                "step", f"the motion cannot be followed and is forgotten ({type(fault).__name__}: {fault})"
            )
            values, state = self._nothing(), "resting"
            self._move(values, dt)
        return Command(self._limiter.position.copy(), self._limiter.speed.copy(), values[-1], state)

    def _due(self, now):
        """[sources (S,) for each lead, …, for no lead], state."""
        if not self._released and not self._playout.lost(now, round(self.head.timeout * NS_PER_S)):
            values = [self._playout.at(now, lead) for lead in (*(lead for lead, _ in self._leads), 0)]
            self._playout.drop(now, 0)
            if any(value is not None for value in values):
                return [np.zeros(len(SOURCES)) if value is None else value for value in values], "following"
        return self._nothing(), "resting"

    def _nothing(self):
        return [None] * len(self._leads) + [np.zeros(len(SOURCES))]

    def _move(self, values, dt) -> None:
        if dt > _STALLED / self.head.rate:
            self._limiter.brake(dt)
        elif dt > 0:
            self._limiter.follow(self._targets(values, dt), dt)

    def _targets(self, values, dt):
        """Where the joints are to go, smoothed and without what lies in the dead band."""
        target = self._rest.copy()
        for (_, joints), value in zip(self._leads, values):
            if value is not None:
                target[joints] = (self._offset + self._gains @ value)[joints]
        target = np.clip(target, self._limiter.low, self._limiter.high)
        keep = np.where(self._smoothing > 0, np.exp(-dt / np.maximum(self._smoothing, 1e-9)), 0.0)
        self._smooth = target + keep * (self._smooth - target)
        moves = np.abs(self._smooth - self._held) > self._deadband
        ends = (target == self._limiter.low) | (target == self._limiter.high) | (target == self._rest)
        self._held = np.where(moves | ends, self._smooth, self._held)
        return self._held

    def _sources(self, motion):
        """The values of SOURCES, (S,) float64; None for a message that contradicts itself or is not finite."""
        names, weights = tuple(motion.names), np.asarray(motion.weights, np.float64)
        if len(names) != len(weights):
            return self._refuse(
                "length", f"a FaceMotion has {len(names)} names and {len(weights)} weights: check its sender"
            )
        if names != self._names:
            places = {name: place for place, name in enumerate(names)}
            self._names = names
            self._order = np.array([places.get(name, len(names)) for name in SOURCES[:_SHAPES]])
            used = {source for joint in self.head.joints for source in joint.gains} & set(SOURCES[:_SHAPES])
            if missing := sorted(used - set(names)):
                self._tell("missing", f"the motion has no {', '.join(missing)}: taken as 0")
        values = np.append(weights, 0.0)[self._order]
        head = np.array([motion.head.x, motion.head.y, motion.head.z, motion.head.w], np.float64)
        if not (np.isfinite(values).all() and np.isfinite(head).all()):
            return self._refuse(
                "finite", "a FaceMotion holds NaN or infinity and is left out: check its sender"
            )
        size = np.abs(head).max()  # the length itself could overflow
        angles = quaternion_to_euler(head / size) if size > 1e-6 else np.zeros(3)
        return np.concatenate([values.clip(0, 1), angles, [float(bool(motion.speaking))]])

    def _refuse(self, kind, sentence) -> None:
        self.refused += 1
        self._tell(kind, sentence)

    def _tell(self, kind, sentence) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._warn(sentence)
