# SPDX-License-Identifier: Apache-2.0
"""The head driver under minutes of abuse: every limit of every joint holds."""

import numpy as np
import pytest
from robot_head.test_robot_head import Law, abuse

from streamingtalker_ros.robot_head import HeadDriver, load_head
from support.soak_length import SECONDS, tell


@pytest.mark.parametrize("name", ["jaw", "animatronic", "pan_tilt", "arkit"])
def test_no_limit_is_ever_passed(name, capsys) -> None:
    robot, commands, messages, worst = load_head(name), 0, 0, np.zeros(2)
    law = Law(*(robot.column(field) for field in ("min", "max", "max_velocity", "max_acceleration")))
    for seed in range(100, 100 + max(1, round(SECONDS / 4))):
        driver = HeadDriver(robot, lambda sentence: None)
        path, times = abuse(np.random.default_rng(seed), driver, 40)
        worst = np.maximum(worst, law.judge(path, times))
        commands, messages = commands + len(path), messages + driver.refused
    tell(
        capsys,
        f"{name}: {commands} commands of {len(robot.joints)} joints, {messages} messages refused; at most "
        f"{worst[0]:.6f} of a velocity limit and {worst[1]:.6f} of an acceleration limit",
    )
    assert worst.max() <= 1 + 1e-6
