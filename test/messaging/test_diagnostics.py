# SPDX-License-Identifier: Apache-2.0
"""The level of /diagnostics tells of the last ten seconds, and of nothing before."""

from types import SimpleNamespace

import pytest

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.messaging import diagnostics
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.worker import TalkerWorker
from support.scheduler_harness import small_talker


@pytest.fixture
def health(monkeypatch):
    """count(name=number…) and then level(seconds later) -> (level, text)."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(diagnostics.time, "monotonic", lambda: clock.now)
    core = TalkerWorker(small_talker(), TalkerParameters(device="cpu"), lambda frame: None)
    watch = diagnostics.DiagnosticsReporter(core, message_types.message_class, "robot/talker")

    def count(**numbers) -> None:
        for name, number in numbers.items():
            setattr(core._statistics, name, getattr(core._statistics, name) + number)

    def level(seconds=1.0):
        for _ in range(int(seconds)):
            clock.now += 1.0
            array = watch.build(5_000_000_007)
        assert (array.header.stamp.sec, array.header.stamp.nanosec) == (5, 7)
        assert array.status[0].name == "robot/talker"
        return array.status[0].level, array.status[0].message

    return SimpleNamespace(count=count, level=level, core=core, watch=watch)


def test_all_is_well_until_something_happens(health) -> None:
    health.count(frames=25)
    assert health.level() == (diagnostics.OK, "waiting, in time")


@pytest.mark.parametrize(
    "numbers, level, text",
    [
        ({"errors": 1}, diagnostics.ERROR, "1 frames failed"),
        ({"dropped": 5, "frames": 20}, diagnostics.WARN, "5 frames were skipped"),
        ({"dropped": 15, "frames": 10}, diagnostics.ERROR, "too slow"),
        ({"rejected": 3}, diagnostics.WARN, "3 packets were rejected"),
        ({"late": 2, "gaps": 1}, diagnostics.WARN, "2 packets were late"),
        ({"discontinuities": 1}, diagnostics.WARN, "1 gaps"),
    ],
)
def test_trouble_is_told_and_forgotten_after_ten_seconds(health, numbers, level, text) -> None:
    health.level(3)
    health.count(**numbers)
    assert health.level()[0] == level and text in health.level()[1]
    assert health.level(6)[0] == level
    assert health.level(4) == (diagnostics.OK, "waiting, in time")
    values = {item.key: item.value for item in health.watch.build().status[0].values}
    assert all(values[name] == str(number) for name, number in numbers.items()), "the counters stay"


def test_the_values_tell_what_a_person_asks_for(health) -> None:
    values = {item.key for item in health.watch.build().status[0].values}
    assert {
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
    } <= values
