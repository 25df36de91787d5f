# SPDX-License-Identifier: Apache-2.0
"""Output never blocks or ends a long-running command: closed or stalled readers, full disks, no streams."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamingtalker_ros import process
from streamingtalker_ros.config_files import shorten
from streamingtalker_ros.errors import TalkerError

SCRIPT = (
    "import sys\nfrom streamingtalker_ros import process\n"
    "process.log_to_stderr()\n"
    "for k in range(5):\n    process.print_line('x' * 100, error=(k == 4)); process.print_warning('w')\n"
    "process.FaultLog().log('a test', ValueError('v'))\n"
    "process.flush_output()\nopen(sys.argv[1], 'w').write('reached')\n"
)


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def closed_pipe() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.parametrize("broken", [("stdout",), ("stderr",), ("stdout", "stderr")])
@pytest.mark.parametrize("open_stream", [full_disk, closed_pipe])
def test_text_for_a_broken_stream_is_dropped_and_the_exit_code_unchanged(
    open_stream: Callable[[], int], broken: tuple[str, ...], tmp_path: Path
) -> None:
    streams: dict[str, Any] = {
        name: open_stream() if name in broken else subprocess.PIPE for name in ("stdout", "stderr")
    }
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "end")], timeout=60, **streams)
    assert (tmp_path / "end").read_text() == "reached" and done.returncode == 0
    if "stdout" not in broken:
        assert done.stdout.count(b"warning: w") == 5
    if "stderr" not in broken:
        assert b"ValueError: v" in done.stderr


BAR = (
    "import sys\nfrom streamingtalker_ros import process\n"
    "for k in process.progress_bar()(range(200), mininterval=0, miniters=1):\n    pass\n"
    "open(sys.argv[1], 'w').write('reached')\nprocess.flush_output()\n"
)


@pytest.mark.parametrize("open_stream", [full_disk, closed_pipe])
def test_a_progress_bar_does_not_end_the_work_when_its_terminal_is_gone(
    open_stream: Callable[[], int], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BAR, str(tmp_path / "end")], stderr=open_stream(), timeout=60
    )
    assert done.returncode == 0 and (tmp_path / "end").read_text() == "reached"


def test_streams_closed_before_the_start_are_ignored(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" "$2" >&- 2>&-', sys.executable, SCRIPT, str(tmp_path / "end")],
        timeout=60,
    )
    assert done.returncode == 0 and (tmp_path / "end").read_text() == "reached"


def test_a_warning_does_not_wait_for_a_stalled_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    try:
        os.set_blocking(write, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(write, b"x" * 4096)
        os.set_blocking(write, True)
        with os.fdopen(os.dup(write), "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            begin = time.monotonic()
            for _ in range(100):
                process.print_warning("dropped")
            assert time.monotonic() - begin < 0.5
            assert not process.print_line("dropped, too", timeout=0.05)
            os.read(read, 1 << 16)
            assert process.print_line("written")
            monkeypatch.undo()
        assert os.read(read, 1 << 16).endswith(b"written\n")
    finally:
        os.close(read)
        os.close(write)


def test_text_that_the_stream_cannot_encode_is_written_with_escapes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with open(tmp_path / "out", "w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert process.print_line("s² \ud800")
        monkeypatch.undo()
    assert (tmp_path / "out").read_text() == "s\\xb2 \\ud800\n"


def test_a_fault_is_logged_once_per_place_with_its_traceback_and_never_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    faults = process.FaultLog()
    for fault in (ValueError, ValueError, UnprintableError):
        try:
            raise fault("first")
        except Exception as error:
            faults.log("a test", error)
    assert caplog.text.count("Traceback") == 2 and "raise fault" in caplog.text


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_each_stop_signal_calls_the_handler_unless_it_was_ignored(name: str) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    stop = threading.Event()
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        process.on_stop_signals(lambda *_: stop.set())
        os.kill(os.getpid(), getattr(signal, name))
        assert stop.wait(5)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        process.on_stop_signals(lambda *_: stop.set())
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_an_error_or_warning_that_quotes_a_file_stays_on_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quoted = "a\nstreamingtalker: all is well\r\x1b[2J\x07\u2028b\x85\u202ec"
    for text in (str(TalkerError(f"no {quoted}: give another")), shorten(quoted)):
        assert text.isprintable() and "streamingtalker: all is well" in text
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    process.print_warning(quoted)
    assert len(stream.getvalue().splitlines()) == 1 and stream.getvalue().strip().isprintable()
