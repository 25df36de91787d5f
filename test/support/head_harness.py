# SPDX-License-Identifier: Apache-2.0
"""Tests of robot heads: FaceMotion messages, heads of one joint, a check of limits, and a faulty input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.messaging.header import set_stamp
from streamingtalker_ros.robot_head import HeadController, RobotHead
from streamingtalker_ros.robot_head.config import parse_head

START = 1_700_000_000_123_456_789  # ns
MS = 1_000_000  # ns
FRAME = 40 * MS


def motion_message(
    stamp: int,
    shapes: Mapping[str, float] | None = None,
    *,
    names: Iterable[str] = ARKIT_NAMES,
    weights: npt.ArrayLike | None = None,
    head: Iterable[float] = (0.0, 0.0, 0.0, 1.0),
) -> Any:
    """Return a FaceMotion by its fields: `weights` of `names`, or 52 weights of which `shapes` are not 0."""
    if weights is None:
        weights = np.zeros(52)
        for name, value in (shapes or {}).items():
            weights[INDEX[name]] = value
    header = SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0))
    set_stamp(header.stamp, stamp)
    return SimpleNamespace(
        header=header,
        names=list(names),
        weights=weights,
        head=SimpleNamespace(**dict(zip("xyzw", head, strict=True))),
        speaking=True,
    )


def make_head(joints: dict[str, dict[str, Any]], **values: Any) -> RobotHead:
    """Return a head with these joints and one output."""
    output = {"type": "JointState", "topic": "out"}
    return parse_head({"outputs": [output], "joints": joints, **values}, "test")


def make_jaw(joint: dict[str, Any] | None = None, **values: Any) -> RobotHead:
    """Return a head of one fast joint that follows jawOpen."""
    defaults = {
        "from": {"jawOpen": 1.0},
        "min": 0.0,
        "max": 1.0,
        "max_velocity": 50.0,
        "max_acceleration": 5000.0,
    }
    return make_head({"jaw": {**defaults, **(joint or {})}}, **values)


class LimitCheck:
    """Measures how much of its limits a commanded path uses.

    A path of bounded acceleration, sampled at any times, has mean velocities that differ by no more than the
    acceleration times the time between the middles of their intervals.
    """

    def __init__(
        self,
        low: npt.ArrayLike,
        high: npt.ArrayLike,
        max_velocity: npt.ArrayLike,
        max_acceleration: npt.ArrayLike,
    ) -> None:
        self.low, self.high = np.asarray(low), np.asarray(high)
        self.max_velocity, self.max_acceleration = np.asarray(max_velocity), np.asarray(max_acceleration)

    @classmethod
    def of_head(cls, head: RobotHead) -> LimitCheck:
        """Return the check of a head's joints."""
        return cls(*(head.column(field) for field in ("min", "max", "max_velocity", "max_acceleration")))

    def worst_use(self, positions: npt.ArrayLike, times: npt.ArrayLike) -> tuple[float, float]:
        """Return the largest fraction of the velocity and of the acceleration limit; 1 is the limit.

        Args:
            positions: (n, J), as they were sent.
            times: (n,) in seconds.
        """
        positions, times = np.asarray(positions), np.asarray(times)
        assert np.isfinite(positions).all()
        assert (positions >= self.low).all() and (positions <= self.high).all()
        duration = np.diff(times)[:, None]
        velocity = np.diff(positions, axis=0) / duration
        rounding = 4e-16 * max(1.0, float(np.abs(positions).max())) / duration.min()
        change = np.abs(np.diff(velocity, axis=0)) - 4 * rounding
        between = (duration[1:] + duration[:-1]) / 2
        return (
            float(((np.abs(velocity) - rounding) / self.max_velocity).max()),
            float((change / between / self.max_acceleration).max()),
        )


def drive_with_faults(
    random: np.random.Generator, controller: HeadController, seconds: float
) -> tuple[list[npt.NDArray[np.float64]], list[float]]:
    """Drive a controller with late, broken, jumping and missing messages and an irregular clock.

    Returns:
        The positions of the commands, and their times in seconds.
    """
    now, stamp = START + NS_PER_S, START
    pending: list[tuple[int, Any]] = []
    positions: list[npt.NDArray[np.float64]] = []
    times: list[float] = []
    end, tick = now + seconds * NS_PER_S, NS_PER_S / controller.head.rate
    weights = random.uniform(0, 1, 52)
    while now < end:
        event = random.random()
        if event < 0.5:
            if random.random() < 0.3:
                weights = random.uniform(0, 1, 52)
            values, rotation = weights.copy(), random.normal(0, 1, 4)
            kind = random.random()
            if kind < 0.05:
                values[random.integers(52)] = random.choice([np.nan, np.inf, -np.inf])
            elif kind < 0.10:
                values = random.uniform(-1e6, 1e6, 52)
            elif kind < 0.13:
                values = values[: random.integers(52)]
            elif kind < 0.16:
                rotation = random.choice([np.nan, 0.0, 1e300, -1e-300], 4)
            message = motion_message(stamp, weights=values, head=rotation)
            if random.random() < 0.05:
                message.names = list(random.permutation(message.names))[: len(message.weights)]
            pending.append((now + int(random.uniform(0, 0.2) * NS_PER_S), message))
            stamp += FRAME
        elif event < 0.502:
            stamp += int(random.uniform(-100, 100) * NS_PER_S)
        elif event < 0.504:
            stamp = int(random.choice([0, 1, 2**31 * NS_PER_S - 1]))
        for due, message in pending:
            if due <= now:
                controller.update(message, now)
        pending = [entry for entry in pending if entry[0] > now]
        command = controller.step(now)
        if command is not None and (not times or now - START > times[-1] * NS_PER_S):
            positions.append(command.positions)
            times.append((now - START) / NS_PER_S)
        now += int(tick * random.uniform(0.3, 1.7))
        if random.random() < 0.003:
            now += int(random.uniform(0, 5) * NS_PER_S)  # the process is suspended, or the clock is set
    return positions, times


def speech_with_closure(
    seconds: float, closed_at: float = 0.5, closed_for: float = 0.08
) -> Sequence[tuple[int, dict[str, float]]]:
    """Return frames, (stamp, shapes), of an open mouth that is closed for a while."""
    return [
        (
            START + frame * FRAME,
            {"jawOpen": 0.0 if closed_at <= frame * 0.04 < closed_at + closed_for else 0.8},
        )
        for frame in range(int(seconds * 25))
    ]
