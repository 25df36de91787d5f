# SPDX-License-Identifier: Apache-2.0
"""Signals while `streamingtalker talk` loads its model."""

from __future__ import annotations

import os
import signal
import time
from typing import NoReturn

import pytest

from streamingtalker_ros.cli.main import main
from streamingtalker_ros.runtime import worker

LOADING_S = 60.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_while_the_model_is_being_loaded(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(_: object) -> NoReturn:
        os.kill(os.getpid(), number)
        time.sleep(LOADING_S)
        raise AssertionError("the signal was ignored")

    monkeypatch.setattr(worker, "load_talker", load)
    inherited = signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored
    try:
        assert main(["talk"]) == 128 + number
    finally:
        signal.signal(number, inherited)
    error = capsys.readouterr().err
    assert error == f"streamingtalker: error: stopped by {number.name} before the end: run it again\n"
