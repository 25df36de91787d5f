# SPDX-License-Identifier: Apache-2.0
"""A web server that loses any of its threads ends visibly, at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from streamingtalker_ros.supervision import EXIT_THREAD_FAILED
from support.dds_domain import own_domain
from support.thread_killer import KillableProcess
from support.web_client import WebClient

END_TIMEOUT_S = 4.0  # below that of the supervisor; the law is 1 s on a machine without other load
MAIN = "MainThread"


@contextlib.contextmanager
def running_web() -> Iterator[tuple[KillableProcess, Callable[[], None]]]:
    """The command with a client that speaks and one that watches, so that all of its threads run.

    The function that is yielded with it wakes the topic watcher, which waits for subscriptions.
    """
    with KillableProcess("web", "--port", 0, "--device", "cpu", "--domain", own_domain()) as process:
        line = process.read_line()
        while line and not line.startswith("open "):
            line = process.read_line()
        server: Any = SimpleNamespace(origin=line.split()[1].rstrip("/"))
        with WebClient(server) as speaking, WebClient(server) as watching:
            speaking.send(type="rest", epoch=1)
            watching.send(type="watch", epoch=1)
            assert speaking.wait_until(lambda: speaking.frames) and watching.wait_for_text("watching")

            def wake() -> None:
                with contextlib.suppress(ConnectionClosed):  # the server has ended
                    watching.send(type="watch", epoch=2)

            yield process, wake


@pytest.mark.timeout(300)
def test_the_web_server_ends_with_an_error_when_it_loses_any_thread() -> None:
    killed: set[str] = set()
    remaining = {MAIN}
    while remaining:
        with running_web() as (process, wake):
            threads = process.threads()
            assert "unknown to threading" not in threads.values()
            remaining = set(threads.values()) - killed
            if not remaining:
                break
            name = remaining.pop()
            ident = next(number for number, each in threads.items() if each == name)
            killed.add(name)
            process.kill_thread(ident, wake)
            code, output, seconds = process.end(END_TIMEOUT_S)
            assert "ThreadKilledError" in output
            if name == MAIN:
                assert code in (1, EXIT_THREAD_FAILED)
            else:
                assert code == EXIT_THREAD_FAILED and output.count("Traceback") == 1, output
                assert f"the thread '{name}' ended by an exception" in output
            print(f"{name}: code {code} after {seconds:.2f} s")
    assert {MAIN, "batch worker", "topic watcher"} < killed
