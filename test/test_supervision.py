# SPDX-License-Identifier: Apache-2.0
"""A supervisor learns of every thread that ends by an exception, and of nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from streamingtalker_ros.supervision import EXIT_THREAD_FAILED, Supervisor


def end_thread(name: str) -> None:
    thread = threading.Thread(target=lambda: 1 / 0, name=name)
    thread.start()
    thread.join()


def test_every_thread_is_supervised_and_the_first_failure_is_named() -> None:
    stopped: list[str] = []
    hook = threading.excepthook
    with Supervisor() as supervisor:
        supervisor.on_stop(lambda: stopped.append("stopped"))
        supervisor.on_stop(lambda: [][1])
        assert not supervisor.wait(0.01) and supervisor.exit_code == 0
        for name in ("first", "second"):
            end_thread(name)
        assert supervisor.wait(60) and supervisor.failed_thread == "first"
        assert supervisor.exit_code == EXIT_THREAD_FAILED and stopped == ["stopped"]
    assert threading.excepthook is hook


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_without_an_error_and_the_old_handlers_return(number: signal.Signals) -> None:
    inherited = signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored
    try:
        with Supervisor() as supervisor:
            os.kill(os.getpid(), number)
            assert supervisor.wait(60) and supervisor.exit_code == 0
            os.kill(os.getpid(), number)  # an impatient user does not end the way to rest
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, inherited)


def test_a_failed_thread_interrupts_a_main_thread_that_sleeps() -> None:
    start = time.monotonic()
    with Supervisor(interrupt_main=True) as supervisor, pytest.raises(KeyboardInterrupt):
        end_thread("worker")
        time.sleep(600)
    assert supervisor.exit_code == EXIT_THREAD_FAILED and time.monotonic() - start < 300


@pytest.mark.parametrize(
    "body, code",
    [
        ("threading.Thread(target=sys.exit).start(); time.sleep(600)", EXIT_THREAD_FAILED),  # main is stuck
        ("sys.exit()", EXIT_THREAD_FAILED),  # of the main thread, which nothing asks for
        ("pass", 0),
    ],
)
def test_the_process_of_a_failed_thread_ends_even_if_its_main_thread_does_not(body: str, code: int) -> None:
    script = (
        "import sys, threading, time\n"
        "from streamingtalker_ros import supervision\n"
        "supervision.SHUTDOWN_TIMEOUT_S = 0.5\n"
        f"with supervision.Supervisor() as supervisor:\n    {body}\n"
        "sys.exit(supervisor.exit_code)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == code
