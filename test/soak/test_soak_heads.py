# SPDX-License-Identifier: Apache-2.0
"""A head controller under minutes of faulty input: every limit of every joint holds."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.robot_head import HeadController, load_head
from support.head_harness import LimitCheck, drive_with_faults
from support.soak_length import SECONDS, print_measurement


@pytest.mark.parametrize("name", ["jaw", "animatronic", "pan_tilt", "arkit"])
def test_no_limit_is_exceeded(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    head, commands, messages, worst = load_head(name), 0, 0, np.zeros(2)
    for seed in range(100, 100 + max(1, round(SECONDS / 4))):
        controller = HeadController(head, lambda text: None)
        path, times = drive_with_faults(np.random.default_rng(seed), controller, 40)
        worst = np.maximum(worst, LimitCheck.of_head(head).worst_use(path, times))
        commands, messages = commands + len(path), messages + controller.rejected
    print_measurement(
        capsys,
        f"{name}: {commands} commands of {len(head.joints)} joints, {messages} messages rejected; at most "
        f"{worst[0]:.6f} of a velocity limit and {worst[1]:.6f} of an acceleration limit",
    )
    assert worst.max() <= 1 + 1e-6
