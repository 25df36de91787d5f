# SPDX-License-Identifier: Apache-2.0
"""The level of /diagnostics covers the last ten seconds; its values are the counters since the start."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.messaging.diagnostics import ERROR, OK, WARN, DiagnosticsReporter
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.worker import TalkerWorker
from support.scheduler_harness import small_talker

STAMP = 5_000_000_007


class CountedWorker(TalkerWorker):
    """A real worker to whose counters a test adds."""

    def __init__(self) -> None:
        super().__init__(small_talker(), TalkerParameters(device="cpu"), lambda frame: None)
        self.added: Counter[str] = Counter()

    def statistics(self) -> dict[str, Any]:
        return {name: value + self.added[name] for name, value in super().statistics().items()}


class Health:
    """A reporter under a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.outputs: list[dict[str, Any]] = []
        self.worker = CountedWorker()
        self.reporter = DiagnosticsReporter(
            self.worker,
            message_types.message_class,
            "robot/talker",
            clock=lambda: self.now,
            outputs=lambda: self.outputs,
        )

    def report_after(self, seconds: int = 1) -> tuple[int, str]:
        """Report once per second; return the last level and message."""
        for _ in range(seconds - 1):
            self.now += 1.0
            self.reporter.build(STAMP)
        self.now += 1.0
        status = self.reporter.build(STAMP).status[0]
        return status.level, status.message

    def values(self) -> dict[str, str]:
        return {item.key: item.value for item in self.reporter.build().status[0].values}


@pytest.fixture
def health() -> Health:
    return Health()


def test_the_report_names_the_node_and_carries_the_stamp(health: Health) -> None:
    message = health.reporter.build(STAMP)
    assert stamp_to_ns(message.header.stamp) == STAMP and message.status[0].name == "robot/talker"


def test_frames_in_time_are_ok(health: Health) -> None:
    health.worker.added.update(frames=25)
    assert health.report_after() == (OK, "waiting, in time")


@pytest.mark.parametrize(
    "counters, level, reason",
    [
        ({"errors": 1}, ERROR, "1 frames failed"),
        ({"dropped": 5, "frames": 20}, WARN, "5 frames were skipped"),
        ({"dropped": 15, "frames": 10}, ERROR, "too slow"),
        ({"rejected": 3}, WARN, "3 packets were rejected"),
        ({"late": 2, "gaps": 1}, WARN, "2 packets were late"),
        ({"discontinuities": 1}, WARN, "had 1 gaps"),
    ],
)
def test_a_problem_sets_the_level_for_ten_seconds_and_its_counters_stay(
    health: Health, counters: dict[str, int], level: int, reason: str
) -> None:
    health.report_after(3)
    health.worker.added.update(counters)
    reported_level, message = health.report_after()
    assert reported_level == level and reason in message
    assert health.report_after(7)[0] == level
    assert health.report_after(4) == (OK, "waiting, in time")
    values = health.values()
    assert all(values[name] == str(count) for name, count in counters.items())


def test_a_mistake_of_the_sender_is_the_reason_while_it_is_present(health: Health) -> None:
    health.worker.added.update(late=5, gaps=3)
    health.worker.report_sender_fault("stamps", "stamps are sending times: mend them")
    assert health.report_after() == (WARN, "waiting, stamps are sending times: mend them")
    health.worker.added.update(errors=1)
    assert health.report_after()[0] == ERROR  # what is worse comes first


def test_the_values_hold_model_device_latency_and_every_counter(health: Health) -> None:
    expected = {
        "model",
        "device",
        "state",
        "real_time_factor",
        "latency_p50_ms",
        "latency_p99_ms",
        "queued_seconds",
        "frames",
        "dropped",
        "gaps",
        "late",
        "duplicates",
        "discontinuities",
        "format_changes",
        "rejected",
    }
    assert expected <= health.values().keys()


def test_each_output_is_counted_and_one_that_loses_poses_is_named_for_ten_seconds(health: Health) -> None:
    counts = {"address": "vmc://10.0.0.3:39539", "frames": 9, "sent": 20, "dropped": 0, "faults": 0}
    health.outputs = [counts, {**counts, "address": "osc://10.0.0.4:9000", "sent": 7}]
    assert health.report_after(2) == (OK, "waiting, in time")
    values = health.values()
    assert values["output vmc://10.0.0.3:39539 sent"] == "20"
    assert values["output osc://10.0.0.4:9000 sent"] == "7"
    counts.update(dropped=3, faults=2)
    level, message = health.report_after()
    assert level == WARN and "vmc://10.0.0.3:39539 lost 3 poses" in message
    assert health.values()["output vmc://10.0.0.3:39539 faults"] == "2"
    assert health.report_after(12) == (OK, "waiting, in time")
