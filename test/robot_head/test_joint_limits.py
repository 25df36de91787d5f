# SPDX-License-Identifier: Apache-2.0
"""No joint ever leaves its limits of position, velocity and acceleration."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.robot_head.joint_limits import JointLimiter
from support.head_harness import LimitCheck


@pytest.mark.parametrize("seed", range(40))
def test_limits_hold_for_any_targets_and_step_lengths(seed: int) -> None:
    random, joints = np.random.default_rng(seed), 24
    low = random.uniform(-1, 0, joints)
    high = low + 10 ** random.uniform(-4, 1, joints)
    velocity, acceleration = 10 ** random.uniform(-2, 1.5, joints), 10 ** random.uniform(-1, 3.5, joints)
    limiter = JointLimiter(low, high, velocity, acceleration, random.uniform(low, high))
    path, times, target = [limiter.position], [0.0], random.uniform(low, high)
    for _ in range(300):
        dt = 0.02 * random.uniform(0.5, 2) if seed % 2 else 10 ** random.uniform(-4, -0.3)
        if random.random() < (0.1, 1.0)[seed % 4 == 3]:
            target = (
                random.choice([-1e9, 1e9, 0.0], joints)
                if random.random() < 0.5
                else random.uniform(low - 0.5, high + 0.5)
            )
        if random.random() < 0.02:
            limiter.brake(dt)
        else:
            limiter.step_toward(target, dt)
        assert (np.abs(limiter.velocity) <= velocity * (1 + 1e-12)).all()
        path.append(limiter.position)
        times.append(times[-1] + dt)
    worst = LimitCheck(low, high, velocity, acceleration).worst_use(path, times)
    assert max(worst) <= 1 + 1e-6
    assert worst[1] > 0.99, "the joints use the acceleration that they may"


@pytest.mark.parametrize("dt", [0.001, 0.02, 0.1])
def test_a_joint_reaches_its_target_without_overshoot_as_fast_as_the_limits_allow(dt: float) -> None:
    limiter = JointLimiter([0.0, -1.0], [1.0, 1.0], [2.0, 0.5], [20.0, 5.0], [0.0, 1.0])
    target, positions = np.array([0.73, -0.21]), []
    for _ in range(int(6 / dt)):
        limiter.step_toward(target, dt)
        positions.append(limiter.position)
    path = np.array(positions)
    assert path[:, 0].max() <= 0.73 + 1e-9 and path[:, 1].min() >= -0.21 - 1e-9
    np.testing.assert_allclose(path[-5:], np.tile(target, (5, 1)), rtol=0, atol=1e-12)
    assert (limiter.velocity == 0).all()
    shortest = np.array([0.73 / 2 + 2 / 20, 1.21 / 0.5 + 0.5 / 5])  # accelerate, cruise, brake
    assert (np.argmax(np.abs(path - target) < 1e-3, axis=0) * dt <= shortest + 2 * dt).all()


def test_an_overflow_never_leaves_a_position_that_is_not_finite() -> None:
    limiter = JointLimiter([0.0, 0.0], [1.0, 1.0], [1.0, 1e300], [1.0, 1e300], [float("nan"), 0.5])
    with np.errstate(all="ignore"):
        for k in range(100):
            limiter.step_toward([1.0, k % 2], 0.02)
            limiter.brake(0.02)
            assert np.isfinite(limiter.position).all() and np.isfinite(limiter.velocity).all()
    assert limiter.position[0] > 0.0
