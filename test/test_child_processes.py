# SPDX-License-Identifier: Apache-2.0
"""Processes that a command starts end with it, even where it is killed without a warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.dds_domain import own_domain
from support.processes import ProcessGroup
from support.waiting import wait_for

STARTER = """
import subprocess, sys
from streamingtalker_ros.child_processes import start_command
child = start_command(sys.argv[1:], sys.stdout, subprocess.STDOUT)
print(child.pid, flush=True)
child.wait()
"""
POOL = """
import os, time
from streamingtalker_ros.child_processes import worker_pool
def process_id(_):
    return os.getpid()
with worker_pool(2) as pool:
    workers = set()
    while len(workers) < 2:
        workers |= set(pool.map(process_id, range(8)))
    print(*workers, flush=True)
    list(pool.map(time.sleep, [1000, 1000]))
"""


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that has ended may wait for a parent that asks for its code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("when", ["while it starts", "while it works"])
def test_a_command_ends_when_its_starter_is_killed(when: str) -> None:
    with ProcessGroup() as processes:
        starter = processes.start(
            *(sys.executable, "-c", STARTER, "head", "--config", "jaw", "--domain", str(own_domain())),
            stdout=subprocess.PIPE,
        )
        assert starter.stdout is not None
        child = int(starter.stdout.readline())
        if when == "while it works":
            assert starter.stdout.readline()
        assert is_running(child)
        starter.kill()
        assert wait_for(lambda: not is_running(child), 30)


def test_the_workers_of_a_pool_end_when_its_process_is_killed() -> None:
    with ProcessGroup() as processes:
        owner = processes.start(sys.executable, "-c", POOL, stdout=subprocess.PIPE)
        assert owner.stdout is not None
        workers = [int(word) for word in owner.stdout.readline().split()]
        assert len(workers) == 2 and all(map(is_running, workers))
        owner.kill()
        assert wait_for(lambda: not any(map(is_running, workers)), 30)
