# SPDX-License-Identifier: Apache-2.0
"""Who only talks needs no torch: in processes that cannot import it, the commands give all frames."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.resources import DEMO_AUDIO
from support.dds_domain import own_domain
from support.processes import ProcessGroup

# a module that is None cannot be imported, as if it were not installed
WITHOUT_TORCH = (
    "import sys\n"
    "sys.modules['torch'] = None\n"
    "from streamingtalker_ros.cli import main\n"
    "code = main(sys.argv[1:])\n"
    "assert sys.modules['torch'] is None\n"
    "sys.exit(code)"
)
SECONDS = 2.0
FRAMES = 50
MAX_RESIDENT_MB = 150.0  # 106 were measured


def run_command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a process that cannot import torch."""
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture()
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """start(*arguments): a command in a process that cannot import torch, in a domain of the test."""
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(own_domain()))
    with ProcessGroup() as processes:
        yield lambda *arguments, **options: processes.start(
            sys.executable, "-c", WITHOUT_TORCH, *arguments, env=dict(os.environ), text=True, **options
        )


@pytest.mark.parametrize("precision", ["auto", "float32", "int8"])
def test_animate_gives_the_motion_of_the_demos_voice(precision: str, tmp_path: Path) -> None:
    done = run_command(
        "animate", str(DEMO_AUDIO), "--out", "a.csv", "--precision", precision, folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 219  # 8.73 s


def test_talk_and_play_give_every_frame_over_dds(start: Any, tmp_path: Path) -> None:
    pytest.importorskip("cyclonedds")
    pytest.importorskip("rosbags")
    pcm, rate = read_audio(DEMO_AUDIO)
    soundfile.write(tmp_path / "voice.wav", pcm[: round(SECONDS * rate)], rate)
    statistics = tmp_path / "statistics.json"
    talk = start("talk", "--until-idle", "0.5", "--stats", str(statistics), stdout=subprocess.PIPE)
    assert "talker ready" in talk.stdout.readline()
    play = start("play", str(tmp_path / "voice.wav"), "--quiet")
    assert play.wait(60) == 0
    status = Path(f"/proc/{talk.pid}/status")
    if status.exists():
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        assert found is not None and int(found[1]) / 1e3 < MAX_RESIDENT_MB
    assert talk.wait(60) == 0
    figures = json.loads(statistics.read_text())
    assert figures["frames"] == FRAMES and figures["errors"] == 0 and figures["idle_frames"] > 0


def test_the_library_gives_frames_of_every_backend_but_torchs_own(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from streamingtalker_ros import Talker, TalkerError\n"
        "frames = Talker.load().open_stream().accept(np.zeros(16000, np.float32))\n"
        "assert len(frames) == 23 and np.isfinite(frames[-1].weights).all()\n"
        "for options in ({'backend': 'torch'}, {'device': 'cuda'}):\n"
        "    try:\n"
        "        Talker.load(**options)\n"
        "    except TalkerError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sentences = done.stdout.splitlines()
    assert len(sentences) == 2 and all(
        "needs torch" in text and "pip install torch" in text for text in sentences
    )


def test_every_module_outside_of_networks_and_training_is_imported_without_torch() -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        "sys.modules['torch'] = None\n"
        "import streamingtalker_ros as package\n"
        "for module in pkgutil.walk_packages(package.__path__, 'streamingtalker_ros.'):\n"
        "    if module.name.split('.')[1] not in ('ros', 'model', 'training', '__main__'):\n"
        "        importlib.import_module(module.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
