# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C ends a command without a traceback, also while it imports its modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamingtalker_ros.interruption import EXIT_INTERRUPTED

ROOT = Path(__file__).parents[2]
# raises SIGINT where the program imports the module that the first argument names
PROGRAM = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
module = sys.argv.pop(1)
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
if os.path.exists(sys.argv[1]):
    runpy.run_path(sys.argv[1], run_name="__main__")
else:
    runpy.run_module("streamingtalker_ros", run_name="__main__")
"""


def interrupted_at(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, module, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "module", ["streamingtalker_ros.cli", "argparse", "logging", "streamingtalker_ros.cli.play", "numpy"]
)
def test_a_command_that_is_interrupted_at_any_import_ends_without_a_traceback(module: str) -> None:
    done = interrupted_at(module, "play", "--help")
    assert done.returncode == EXIT_INTERRUPTED, done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 1 and not done.stdout


@pytest.mark.parametrize("name", ["talker", "play", "face_markers", "head_driver"])
def test_an_executable_of_ros_that_is_interrupted_at_its_start_ends_without_a_traceback(name: str) -> None:
    done = interrupted_at("streamingtalker_ros.ros.entry_points", str(ROOT / "scripts" / name))
    assert (done.returncode, done.stderr) == (EXIT_INTERRUPTED, "")
