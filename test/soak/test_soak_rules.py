# SPDX-License-Identifier: Apache-2.0
"""Minutes of random faults and an hour of speech through a session, faster than real time."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from streamingtalker_ros.streaming import Talker
from support import fault_injection
from support.scheduler_harness import FRAME, MS, S0, SchedulerHarness, small_talker, voice
from support.soak_length import HOUR, LONG, SECONDS, memory, memory_growth, print_measurement


@pytest.fixture(scope="module")
def talker() -> Talker:
    return small_talker()


@pytest.mark.parametrize("pacing", ["audio", "none"] if LONG else ["audio"])
def test_minutes_of_random_faults_cause_no_errors_and_no_leak(
    talker: Talker, pacing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    harness, random, sizes = (
        SchedulerHarness(talker, pacing=pacing, queue_seconds=5.0),
        np.random.default_rng(17),
        [],
    )
    frames, duration = 0, min(10.0, SECONDS / 4)
    for _ in range(round(SECONDS / duration)):
        end, _ = fault_injection.schedule_random_faults(harness, random, duration)
        harness.run(end - harness.now)
        frames += len(harness.frames)
        harness.frames, harness.warnings = [], []
        sizes.append(memory())
    fault_injection.check_after_random_faults(harness)
    counted = harness.statistics.as_dict()
    print_measurement(
        capsys,
        f"{SECONDS:g} s, pacing {pacing}: {frames} frames, "
        + ", ".join(
            f"{name} {value}" for name, value in counted.items() if value and not name.startswith("latency")
        ),
    )
    print_measurement(
        capsys, f"{memory_growth(sizes):+.1f} MB after the first quarter, {sizes[-1] or 0:.0f} MB at the end"
    )
    assert counted["errors"] == 0 and frames > 4 * SECONDS
    assert memory_growth(sizes) < 20  # packets of 10 MB are allocated and freed


@pytest.mark.parametrize(
    "kind", fault_injection.KINDS if LONG else fault_injection.KINDS[:1], ids=lambda kind: kind.__name__
)
def test_frames_are_correct_after_every_fault_with_other_seeds(
    talker: Talker, kind: Callable[[np.random.Generator], fault_injection.FaultScenario]
) -> None:
    for seed in range(1, 6 if LONG else 2):
        fault_injection.check_recovery(talker, kind, seed)


@pytest.mark.parametrize("drift", [-1e-4, 1e-4] if LONG else [1e-4])
def test_an_hour_of_speech_neither_drifts_nor_leaks(
    talker: Talker, drift: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sender's clock drifts by 100 ppm: 0.36 s in an hour."""
    harness = SchedulerHarness(talker)
    start, packets, samples = harness.now, round(HOUR / 0.02), voice(10.0)
    cost, sizes, late, stamps, count = [], [], [], [], 0
    for first in range(0, packets, 500):
        for k in range(first, min(first + 500, packets)):
            arrival = start + (k + 1) * 0.02 * (1 + drift)
            block = samples[k % 500 * 320 : (k % 500 + 1) * 320]
            harness.send(block, S0 + round(k * 20 * MS * (1 + drift)), arrival)
        began = time.process_time()
        harness.run((first + 500) * 0.02 * (1 + drift) + start - harness.now)
        cost.append(1000 * (time.process_time() - began) / 250)
        late.append(
            [time_s - start - (frame.stamp - S0) / 1e9 for time_s, frame in harness.frames if not frame.idle]
        )
        stamps += [frame.stamp for frame in harness.faces if not frame.idle]
        count += len(harness.audio)
        harness.frames = []
        sizes.append(memory())
    statistics, frames = harness.statistics, round(HOUR / 0.04)
    assert (
        statistics.gaps
        == statistics.overlaps
        == statistics.discontinuities
        == statistics.dropped
        == statistics.errors
        == 0
    )
    assert statistics.streams == 1 and frames - 4 <= count <= frames
    steps = np.diff(np.array(stamps, np.float64))
    # the grid follows the sender's clock: one frame is 40 ms of that clock
    assert (
        abs(steps.mean() / FRAME - 1 - drift) < 3e-5 * max(1.0, 300 / HOUR)
        and np.abs(steps - FRAME).max() < 0.4 * MS
    )
    ends = [np.median(late[0]), np.median(late[-1])]
    assert abs(ends[1] - ends[0]) < 0.01 and max(max(latencies) for latencies in late if latencies) < 0.2
    if LONG:
        early, final = np.median(cost[1:31]), np.median(cost[-31:])
        print_measurement(
            capsys,
            f"{HOUR:g} s at {1e6 * drift:+.0f} ppm: {count} frames, "
            f"latency {1000 * ends[0]:.1f} ms at first, "
            f"{1000 * ends[1]:.1f} ms at last; {early:.2f} and {final:.2f} ms a frame; "
            f"{memory_growth(sizes):+.1f} MB after the first quarter",
        )
    assert memory_growth(sizes) < 12  # of which this test retains the stamps: 3 MB an hour
