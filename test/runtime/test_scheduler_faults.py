# SPDX-License-Identifier: Apache-2.0
"""Fault injection: the session survives all faults, and its frames are right soon after their end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from streamingtalker_ros.streaming import Talker
from support import fault_injection
from support.backends import VARIANTS
from support.scheduler_harness import SchedulerHarness, small_talker


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def talker(request: pytest.FixtureRequest) -> Talker:
    return small_talker(request.param)


@pytest.mark.parametrize("kind", fault_injection.KINDS, ids=lambda kind: kind.__name__)
def test_frames_are_right_200_ms_after_any_fault_ends(
    talker: Talker, kind: Callable[[np.random.Generator], fault_injection.FaultScenario]
) -> None:
    fault_injection.check_recovery(talker, kind)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("pacing", ["audio", "none"])
def test_state_is_clean_after_random_faults(talker: Talker, seed: int, pacing: str) -> None:
    seconds = 8.0
    harness = SchedulerHarness(talker, pacing=pacing, queue_seconds=5.0)
    end, _ = fault_injection.schedule_random_faults(harness, np.random.default_rng(seed), seconds)
    harness.run(end - harness.now)
    fault_injection.check_after_random_faults(harness)
    assert harness.statistics.frames > 4 * seconds and harness.statistics.packets > 25 * seconds
