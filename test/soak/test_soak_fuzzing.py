# SPDX-License-Identifier: Apache-2.0
"""Minutes of damaged input for every boundary: the long form of test_fuzzing.py and dds/test_wire_fuzzing.py.

`FUZZ_SECONDS` and `FUZZ_INPUTS` bound each target, `FUZZ_SEED` sets the seed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from support import bag_fuzzing, checkpoint_fuzzing, fuzz_web
from support.fuzz_targets import SEED, TARGETS
from support.fuzz_wire import FuzzedNodes
from support.fuzzing import FuzzTarget
from support.scheduler_harness import small_talker
from support.soak_length import SECONDS, print_measurement

pytestmark = pytest.mark.soak

_SECONDS: Final = float(os.environ.get("FUZZ_SECONDS") or SECONDS / 5)  # of each target
_INPUTS: Final = int(os.environ.get("FUZZ_INPUTS") or 100_000)
_SEED: Final = int(os.environ.get("FUZZ_SEED") or SEED + 1)
_BATCH: Final = 2000


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_input_is_read_or_rejected(target: FuzzTarget, capsys: pytest.CaptureFixture[str]) -> None:
    report = target.run(_SEED, _INPUTS, _SECONDS)
    print_measurement(capsys, report.summary())
    report.check()


def test_nodes_survive_damaged_samples_and_packets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(_SEED)
    with FuzzedNodes(tmp_path) as nodes:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end and nodes.samples + nodes.packets < _INPUTS:
            nodes.attack(random, _BATCH)
        growth = nodes.check_bounds()
    megabytes = ", ".join(f"{name} {value:+.1f} MB" for name, value in growth.items())
    print_measurement(capsys, f"nodes: {nodes.samples} samples and {nodes.packets} packets; {megabytes}")


@pytest.mark.parametrize(
    "run, batch",
    [
        (bag_fuzzing.run, 50),
        (checkpoint_fuzzing.run_configs, 300),
        (checkpoint_fuzzing.run_weights, 100),
        (checkpoint_fuzzing.run_published, 100),
    ],
    ids=["bags", "configurations of checkpoints", "weights of checkpoints", "published checkpoints"],
)
def test_damaged_folders_are_read_or_rejected(
    run: Callable[[Path, int, int], int],
    batch: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    end, inputs, read, seed = time.monotonic() + _SECONDS, 0, 0, _SEED
    while time.monotonic() < end and inputs < _INPUTS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        read += run(folder, seed, batch)
        shutil.rmtree(folder)
        inputs, seed = inputs + batch, seed + 1
    print_measurement(capsys, f"{inputs} inputs in {_SECONDS:.0f} s, {read} read")


def test_hostile_clients_of_the_web_server_disturb_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    report = fuzz_web.run(small_talker(), _SEED, _INPUTS, seconds=_SECONDS)
    print_measurement(
        capsys,
        f"web: {report.clients} clients in {_SECONDS:.0f} s, {report.growth / 1e6:+.1f} MB; a visitor beside "
        f"them got {report.frames} frames, at most {1000 * report.max_gap:.0f} ms apart",
    )
    assert not report.findings, "\n".join(report.findings)
