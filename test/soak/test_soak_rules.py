# SPDX-License-Identifier: Apache-2.0
"""Minutes of abuse and an hour of speech through the node's rules, faster than real time: nothing grows, nothing drifts."""

import time

import numpy as np
import pytest
from runtime.test_scheduler_faults import judge
from runtime.test_scheduler_faults import test_frames_are_right_200_ms_after_any_trouble_ends as right_after

from support import fault_injection as abuse
from support.scheduler_harness import FRAME, MS, S0, SchedulerHarness, small_talker, voice
from support.soak_length import HOUR, LONG, SECONDS, grown, memory, tell


@pytest.fixture(scope="module")
def talker():
    return small_talker()


@pytest.mark.parametrize("pacing", ["audio", "none"] if LONG else ["audio"])
def test_minutes_of_abuse_break_nothing_and_leave_nothing_behind(talker, pacing, capsys) -> None:
    stage, random, held = (
        SchedulerHarness(talker, pacing=pacing, queue_seconds=5.0),
        np.random.default_rng(17),
        [],
    )
    frames, piece = 0, min(10.0, SECONDS / 4)
    for _ in range(round(SECONDS / piece)):
        end, _ = abuse.at_random(stage, random, piece)
        stage.run(end - stage.now)
        frames += len(stage.frames)
        stage.frames, stage.warnings = [], []
        held.append(memory())
    judge(stage)
    counted = stage.statistics.as_dict()
    tell(
        capsys,
        f"{SECONDS:g} s, pacing {pacing}: {frames} frames, "
        + ", ".join(
            f"{name} {value}" for name, value in counted.items() if value and not name.startswith("latency")
        ),
    )
    tell(capsys, f"{grown(held):+.1f} MB after the first quarter, {held[-1] or 0:.0f} MB at the end")
    assert counted["errors"] == 0 and frames > 4 * SECONDS
    assert grown(held) < 20  # packets of 10 MB come and go


# test_node_abuse.py is the short form
@pytest.mark.parametrize("kind", abuse.KINDS if LONG else abuse.KINDS[:1], ids=lambda kind: kind.__name__)
def test_every_trouble_again_with_other_chances(talker, kind, monkeypatch) -> None:
    for seed in range(1, 6 if LONG else 2):
        monkeypatch.setattr(
            np.random,
            "default_rng",
            lambda _=0, seed=seed, make=np.random.Generator: make(np.random.PCG64(seed)),
        )
        right_after(talker, kind)
        monkeypatch.undo()


@pytest.mark.parametrize("drift", [-1e-4, 1e-4] if LONG else [1e-4])
def test_an_hour_of_speech_neither_drifts_nor_grows(talker, drift, capsys) -> None:
    """The sender's clock runs off by 100 ppm: 0.36 s in an hour."""
    stage = SchedulerHarness(talker)
    start, packets, samples = stage.now, round(HOUR / 0.02), voice(10.0)
    cost, held, late, stamps, count = [], [], [], [], 0
    for first in range(0, packets, 500):
        for k in range(first, min(first + 500, packets)):
            at = start + (k + 1) * 0.02 * (1 + drift)
            part = samples[k % 500 * 320 : (k % 500 + 1) * 320]
            stage.send(part, S0 + round(k * 20 * MS * (1 + drift)), at)
        began = time.process_time()
        stage.run((first + 500) * 0.02 * (1 + drift) + start - stage.now)
        cost.append(1000 * (time.process_time() - began) / 250)
        late.append([at - start - (frame.stamp - S0) / 1e9 for at, frame in stage.frames if not frame.idle])
        stamps += [frame.stamp for frame in stage.faces if not frame.idle]
        count += len(stage.audio)
        stage.frames = []
        held.append(memory())
    statistics, frames = stage.statistics, round(HOUR / 0.04)
    assert (
        statistics.gaps
        == statistics.overlaps
        == statistics.discontinuities
        == statistics.dropped
        == statistics.errors
        == 0
    )
    assert statistics.streams == 1 and frames - 4 <= count <= frames
    steps = np.diff(np.array(stamps))
    # the grid follows the sender's clock: one frame is 40 ms of that clock, within a hair's breadth
    assert (
        abs(steps.mean() / FRAME - 1 - drift) < 3e-5 * max(1.0, 300 / HOUR)
        and np.abs(steps - FRAME).max() < 0.4 * MS
    )
    ends = [np.median(late[0]), np.median(late[-1])]
    assert abs(ends[1] - ends[0]) < 0.01 and max(max(part) for part in late if part) < 0.2
    if LONG:
        early, final = np.median(cost[1:31]), np.median(cost[-31:])
        tell(
            capsys,
            f"{HOUR:g} s at {1e6 * drift:+.0f} ppm: {count} frames, latency {1000 * ends[0]:.1f} ms at first, "
            f"{1000 * ends[1]:.1f} ms at last; {early:.2f} and {final:.2f} ms a frame; "
            f"{grown(held):+.1f} MB after the first quarter",
        )
    assert grown(held) < 12  # of which this test itself keeps the stamps: 3 MB an hour
