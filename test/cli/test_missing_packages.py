# SPDX-License-Identifier: Apache-2.0
"""A command whose extra is not installed names it in one line; the base installation needs no extra.

The packages are hidden in a separate process, since a module that is imported already cannot be hidden.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from streamingtalker_ros.cli.main import COMMANDS, main
from streamingtalker_ros.errors import EXTRAS, TalkerError, describe_missing_package, require
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.resources import DEMO_AUDIO
from support import vertex_reference as reference

ALL_EXTRAS = ",".join((*EXTRAS, "vtkmodules"))  # vtk imports its modules from vtkmodules
HIDE = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
from streamingtalker_ros.cli import main
codes = []
for command in sys.argv[2:]:
    try:
        codes.append(main(command.split()))
    except SystemExit as end:  # after --help
        codes.append(end.code or 0)
    for stream in (sys.stdout, sys.stderr):
        stream.write("\\0")
        stream.flush()
print(*codes)
"""


class Done(NamedTuple):
    """The end of a command."""

    returncode: int
    stdout: str
    stderr: str


def run_without(packages: str, folder: Path, *commands: str) -> list[Done]:
    """Run commands in one process where packages, separated by commas, are not installed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = [sys.executable, "-c", HIDE, packages, *commands]
    done = subprocess.run(process, cwd=folder, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    *outputs, codes = done.stdout.split("\0")
    ends = zip(map(int, codes.split()), outputs, done.stderr.split("\0"), strict=False)
    return [Done(*end) for end in ends]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a voice, a published checkpoint and the same converted."""
    folder = tmp_path_factory.mktemp("missing")
    shutil.copy(DEMO_AUDIO, folder / "voice.flac")
    (folder / "texts").mkdir()
    reference.write_checkpoint(folder, reference.VOCASET)
    files = ["--config", str(folder / "config.yaml"), "--hubert-config", str(folder / "hubert_config.json")]
    assert main(["convert", str(folder / "checkpoint.ckpt"), *files, "--out", str(folder / "vertex")]) == 0
    return folder


@pytest.mark.parametrize(
    "extra, package, commands",
    [
        ("dds", "cyclonedds", ["talk", "play voice.flac", "head", "markers", "demo"]),
        ("dds", "rosbags", ["talk", "markers --picture markers.png", "demo"]),
        ("bag", "rosbags", ["replay bag --out bag2"]),
        ("microphone", "sounddevice", ["play --microphone --wait 0"]),
        ("render", "av", ["animate voice.flac --out a.mp4"]),
        ("render", "vtk", ["animate voice.flac --out a.mp4", "animate voice.flac --out a.png", "demo"]),
        (
            "render",
            "PIL",
            ["animate voice.flac --out a.png", "markers --picture markers.png", "pictures --out pictures"],
        ),
        ("web", "starlette", ["web --port 0"]),
        ("web", "uvicorn", ["web --port 0"]),
        ("web", "websockets", ["web --port 0"]),
        (
            "vertex",
            "transformers",
            [
                "animate voice.flac --model vertex --out a.npz",
                "convert checkpoint.ckpt --config config.yaml --out v",
                "parity .",
                "bench --paper",
            ],
        ),
        ("export", "onnx", ["convert --onnx"]),
        (
            "report",
            "matplotlib",
            ["evaluate --corpus corpus --report report.html", "train curves codec=run --picture curves.png"],
        ),
        ("train", "pocketsphinx", ["corpus speech texts --out corpus"]),
        ("voices", "pyworld", ["corpus revoice corpus --out corpus2"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_missing_package_is_reported_with_its_extra(
    extra: str, package: str, commands: list[str], folder: Path
) -> None:
    hidden = "vtk,vtkmodules" if package == "vtk" else package
    for command, done in zip(commands, run_without(hidden, folder, *commands), strict=True):
        assert done.returncode == 2, (command, done)
        assert done.stderr.startswith("streamingtalker: error: ") and done.stderr.count("\n") == 1, command
        assert {"PIL": "pillow"}.get(package, package) in done.stderr, command
        assert f"pip install 'streamingtalker_ros[{extra}]'" in done.stderr, command
        assert f"pip install -e '.[{extra}]'" in done.stderr, command


def test_without_torch_the_install_command_is_shown(folder: Path) -> None:
    options = ("--backend torch", "--device cuda", "--model vertex")
    commands = [f"animate voice.flac --out a.npz {option}" for option in options]
    for done in run_without("torch", folder, *commands):
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert "needs torch" in done.stderr and "pip install torch" in done.stderr, done.stderr
        assert "CPU or CUDA" in done.stderr


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_motion_files_are_evaluated_without_torch(kind: str, folder: Path) -> None:
    motion = folder / f"motion_{kind}"
    motion.mkdir()
    shutil.copy(folder / "voice.flac", motion)
    assert main(["animate", str(folder / "voice.flac"), "--out", str(motion / f"voice.{kind}")]) == 0
    done, of_a_model = run_without(
        "torch", folder, f"evaluate --generated {motion.name} --json {kind}.json", "evaluate --corpus corpus"
    )
    assert done.returncode == 0, done.stderr
    assert "1 clips" in done.stdout and (folder / f"{kind}.json").stat().st_size > 500
    assert of_a_model.returncode == 2 and of_a_model.stderr.count("\n") == 1, of_a_model.stderr


def test_animate_writes_csv_and_npz_without_any_extra(folder: Path) -> None:
    commands = [f"animate voice.flac --device cpu --out base.{kind}" for kind in ("csv", "npz")]
    for done in run_without(ALL_EXTRAS, folder, *commands):
        assert done.returncode == 0, done.stderr
    assert (folder / "base.csv").exists()
    with np.load(folder / "base.npz") as clip:
        assert tuple(clip["names"]) == ARKIT_NAMES


def test_the_default_face_is_exported_without_any_extra(folder: Path) -> None:
    (done,) = run_without(f"torch,{ALL_EXTRAS}", folder, "face export --out head.glb")
    assert done.returncode == 0, done.stderr


def test_every_module_outside_the_web_server_is_imported_without_any_extra() -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        "sys.modules.update(dict.fromkeys(sys.argv[1].split(',')))\n"
        "import streamingtalker_ros as package\n"
        "for module in pkgutil.walk_packages(package.__path__, 'streamingtalker_ros.'):\n"
        "    if module.name.split('.')[1] not in ('ros', 'web', '__main__'):\n"
        "        importlib.import_module(module.name)\n"
    )
    # torch needs jinja2 for itself
    hidden = ",".join(name for name in ALL_EXTRAS.split(",") if name != "jinja2")
    done = subprocess.run([sys.executable, "-c", code, hidden], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_talker_generates_frames_without_importing_any_extra() -> None:
    code = (
        "import sys, numpy as np\n"
        "from streamingtalker_ros import Talker\n"
        "frames = Talker.load(device='cpu').open_stream().accept(np.zeros(16000, np.float32))\n"
        "assert frames\n"
        f"print(*{set(EXTRAS)!r} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # torch imports these by itself where they are installed
    assert set(done.stdout.split()) <= {"jinja2", "scipy"}


def test_help_imports_neither_torch_nor_any_extra(tmp_path: Path) -> None:
    commands = [f"{command} --help" for command in COMMANDS]
    for command, done in zip(commands, run_without(f"torch,{ALL_EXTRAS}", tmp_path, *commands), strict=True):
        assert done.returncode == 0 and "usage: streamingtalker" in done.stdout, (command, done)


def test_a_package_whose_dependency_is_missing_is_named_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package_with_gap.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TalkerError, match="needs package_with_gap, whose dependency no_such_dependency"):
        require("package_with_gap", "the test")


def test_only_dependencies_of_the_package_are_described() -> None:
    message = describe_missing_package("PIL.Image", "the picture")
    assert message is not None and message.startswith("the picture needs pillow, which is not installed")
    assert describe_missing_package("streamingtalker_ros.no_such_module", "x") is None
