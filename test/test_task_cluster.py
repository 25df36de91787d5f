# SPDX-License-Identifier: Apache-2.0
"""Items that processes work on: results in order, failures that cost their item only, processes that end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.task_cluster import TaskCluster
from support.processes import ProcessGroup
from support.tasks import invert, is_running
from support.waiting import wait_for

distributed = pytest.importorskip("distributed")
ROOT = Path(__file__).parents[1]
OWNER = """
import os, sys
from streamingtalker_ros.task_cluster import TaskCluster
from support.tasks import process_id, sleep_long
if __name__ == "__main__":
    with TaskCluster(2) as cluster:
        workers = set()
        while len(workers) < 2:
            workers |= set(cluster.map(process_id, range(8), list("abcdefgh")))
        print(*workers, flush=True)
        list(cluster.map(sleep_long, range(2), list("ab")))
"""


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with two workers, each a thread of this process."""
    options: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "memory_limit": 0}
    with distributed.LocalCluster(n_workers=2, processes=False, **options) as cluster:
        yield cluster.scheduler_address


@pytest.mark.parametrize("is_distributed", [False, True])
def test_results_come_in_order_and_a_failure_costs_its_item(
    is_distributed: bool, scheduler: str, caplog: pytest.LogCaptureFixture
) -> None:
    items = [4, 0, 5, "x", 0, -1, *range(1, 60)]
    with TaskCluster(1, scheduler if is_distributed else None) as cluster:
        results = list(cluster.map(invert, items, [f"item {k}" for k in range(len(items))]))
    assert results == [0.25, None, 0.2, None, None, None, *(1 / k for k in range(1, 60))]
    reasons = {failure.name: failure.reason for failure in cluster.failures}
    assert list(reasons) == ["item 1", "item 3", "item 4", "item 5"]
    assert reasons["item 5"] == "negative: give a positive number"
    assert "division by zero" in reasons["item 1"] and "TypeError" in reasons["item 3"]
    # a defect is logged with its traceback, once; what a boundary refuses is not
    assert [record.getMessage().count("Traceback") for record in caplog.records] == [1, 1]


def test_a_caller_that_stops_early_leaves_the_cluster_usable(scheduler: str) -> None:
    with TaskCluster(scheduler=scheduler) as cluster:
        assert next(iter(cluster.map(invert, range(1, 100), [""] * 99))) == 1
        assert list(cluster.map(invert, [2], ["two"])) == [0.5]


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamingtalker_ros.task_cluster.CONNECT_TIMEOUT_S", 0.3)
    for address in ("tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1", ""):
        with pytest.raises(TalkerError, match="dask scheduler") as error, TaskCluster(scheduler=address):
            pass
        assert "\n" not in str(error.value)


def test_a_scheduler_without_workers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamingtalker_ros.task_cluster.CONNECT_TIMEOUT_S", 0.3)
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address
        with pytest.raises(TalkerError, match="has no workers"), TaskCluster(scheduler=address):
            pass


def test_workers_of_another_version_or_without_the_folder_are_named(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TaskCluster(scheduler=scheduler, folder=tmp_path / "new"):
        assert not list((tmp_path / "new").iterdir())  # the probe is gone
    with monkeypatch.context() as patch:
        patch.setattr("streamingtalker_ros.task_cluster._is_file", lambda path: False)
        with (
            pytest.raises(TalkerError, match="does not see"),
            TaskCluster(scheduler=scheduler, folder=tmp_path),
        ):
            pass
    monkeypatch.setattr("streamingtalker_ros.task_cluster._package_version", lambda: "0.0.1")
    with pytest.raises(TalkerError, match=r"has version 0\.0\.1"), TaskCluster(scheduler=scheduler):
        pass


def test_more_than_one_process_without_dask_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with TaskCluster(1) as cluster:
        assert list(cluster.map(invert, [2], ["two"])) == [0.5]
    with pytest.raises(TalkerError, match=r"pip install 'streamingtalker_ros\[train\]'"), TaskCluster(2):
        pass


def test_nothing_of_dask_is_imported_by_who_needs_one_process() -> None:
    code = (
        "import sys; import streamingtalker_ros.streaming, streamingtalker_ros.corpus.synthetic\n"
        "from streamingtalker_ros.task_cluster import TaskCluster\n"
        "with TaskCluster(1) as cluster: assert list(cluster.map(abs, [-1], ['one'])) == [1]\n"
        "assert not {'dask', 'distributed', 'multiprocessing.pool'} & sys.modules.keys()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_processes_outlive_crashes_of_items_and_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    """The one test with processes of Dask's own, which take seconds to start."""
    script = tmp_path / "owner.py"
    script.write_text(OWNER.replace("    with TaskCluster(2) as cluster:\n", CRASHES))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "test")]),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",  # of an item: each costs the start of a process
    }
    with ProcessGroup() as processes:
        owner = processes.start(
            sys.executable, str(script), stdout=subprocess.PIPE, text=True, env=environment
        )
        assert owner.stdout is not None
        assert owner.stdout.readline() == "[1, 2, None, 4, 5, 6] ['crash']\n"
        workers = [int(word) for word in owner.stdout.readline().split()]
        assert len(workers) == 2 and all(map(is_running, workers))
        owner.kill()
        assert wait_for(lambda: not any(map(is_running, workers)))


CRASHES = """\
    from support.tasks import end_process_at_three
    with TaskCluster(2) as cluster:
        results = list(cluster.map(end_process_at_three, range(1, 7), ["a", "b", "crash", "d", "e", "f"]))
        print(results, [failure.name for failure in cluster.failures], flush=True)
"""
