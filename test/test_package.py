# SPDX-License-Identifier: Apache-2.0
"""The wheel: what pip installs, built from this source and used in another directory."""

from __future__ import annotations

import email
import email.message
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

import streamingtalker_ros
from streamingtalker_ros.errors import EXTRAS
from streamingtalker_ros.runtime import parameters

SOURCE = Path(__file__).absolute().parents[1]
COPIED = ("streamingtalker_ros", "msg", "config", "setup.py", "pyproject.toml", "README.md", "LICENSE")
BASE = {"numpy", "onnxruntime", "soxr", "soundfile", "safetensors", "pyyaml", "tqdm", "python-osc"}
FEATURES = {"dds", "bag", "microphone", "vertex", "web", "render", "export"} | {
    "report",
    "train",
    "video",
    "voices",
}
WORK = {"all", "test", "docs", "check"}
DISTRIBUTIONS = {"PIL": "pillow"}  # where the name differs from the module's
MAX_BYTES = 40e6


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network from a copy, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        if (SOURCE / name).is_dir():
            shutil.copytree(SOURCE / name, folder / "source" / name, ignore=ignore)
        elif (SOURCE / name).exists():
            shutil.copy(SOURCE / name, folder / "source" / name)
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", str(folder))
    command = [sys.executable, "-m", "pip", "wheel", *options, str(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder in which the wheel is installed."""
    target = wheel.parent / "site"
    options = ("--no-deps", "--quiet", "--target", str(target))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True)
    return target


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    """Names of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def metadata(wheel: Path, names: list[str]) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(
            archive.read(next(name for name in names if name.endswith("METADATA")))
        )


@pytest.fixture(scope="module")
def requirements(metadata: email.message.Message) -> list[str]:
    """Such as `rosbags>=0.10.9; extra == "dds"`, without spaces and with double quotes."""
    return [need.replace(" ", "").replace("'", '"') for need in metadata.get_all("Requires-Dist") or ()]


def run_python(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder with the installed wheel."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_the_wheel_contains_weights_messages_and_configuration(wheel: Path, names: list[str]) -> None:
    assert len(names) == len(set(names))
    for kind in ("msg", "config"):
        for path in (SOURCE / kind).rglob("*"):
            if path.suffix in (".msg", ".yaml", ".rviz"):
                assert f"streamingtalker_ros/{path.relative_to(SOURCE).as_posix()}" in names
    for path in (SOURCE / "streamingtalker_ros").rglob("*.py"):
        assert path.relative_to(SOURCE).as_posix() in names
    assert "streamingtalker_ros/data/voice.flac" in names
    assert "streamingtalker_ros/py.typed" in names
    page = SOURCE / "streamingtalker_ros" / "web" / "static"
    for path in page.rglob("*"):  # empty where the page is not built
        assert path.is_dir() or path.relative_to(SOURCE).as_posix() in names
    for path in (SOURCE / "streamingtalker_ros" / "weights").rglob("*"):  # weights and their ONNX graphs
        assert path.is_dir() or path.relative_to(SOURCE).as_posix() in names
    assert "streamingtalker_ros/weights/default/weights.safetensors" in names
    assert "streamingtalker_ros/weights/default/encoder.int8.onnx" in names
    assert not [name for name in names if name.startswith(("test/", "msg/", "config/"))]
    assert wheel.stat().st_size < MAX_BYTES


def test_the_base_requires_eight_packages_with_lower_bounds_and_never_torch(
    metadata: email.message.Message, requirements: list[str]
) -> None:
    assert metadata["Requires-Python"] == ">=3.10"
    assert not [need for need in requirements if need.startswith("torch")]
    assert {need.partition(">")[0] for need in requirements if "extra==" not in need} == BASE
    # the extras `all` and `test` refer to others of this package; only linters are pinned
    outside = [need for need in requirements if not need.startswith("streamingtalker_ros[")]
    assert all(">=" in need for need in outside if not need.endswith('extra=="check"'))
    assert "numpy>=1.21" in requirements  # rclpy of Humble is compiled against it


def test_extras_are_those_that_the_error_messages_name(
    metadata: email.message.Message, requirements: list[str]
) -> None:
    assert set(metadata.get_all("Provides-Extra") or ()) == FEATURES | WORK
    for module, extra in EXTRAS.items():
        name = DISTRIBUTIONS.get(module, module)
        found = [need for need in requirements if need.startswith((f"{name}>", f"{name}["))]
        assert any(need.endswith(f'extra=="{extra}"') for need in found), (name, extra)


def test_the_version_of_the_wheel_is_that_of_the_ros_package(metadata: email.message.Message) -> None:
    package = ElementTree.parse(SOURCE / "package.xml").getroot()
    assert metadata["Version"] == package.findtext("version") == streamingtalker_ros.__version__


def test_animate_runs_from_the_wheel_in_another_directory(installed: Path, tmp_path: Path) -> None:
    code = "import streamingtalker_ros; print(streamingtalker_ros.__file__)"
    imported = run_python(installed, tmp_path, "-c", code)
    assert imported.stdout.strip().startswith(str(installed)), imported.stdout + imported.stderr
    voice = installed / "streamingtalker_ros" / "data" / "voice.flac"
    command = ("animate", str(voice), "--out", "a.csv", "--device", "cpu")
    done = run_python(installed, tmp_path, "-m", "streamingtalker_ros", *command)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 219  # 8.73 s


def test_the_page_is_served_from_the_wheel_in_another_directory(installed: Path, tmp_path: Path) -> None:
    """As far as it is built: the files of the page are those of the checkout."""
    code = (
        "import hashlib, json; from streamingtalker_ros.web import assets\n"
        "assert assets.__file__.startswith(%r)\n"
        "files = assets.load_page() if assets.is_built() else {}\n"
        "print(json.dumps({path: hashlib.sha256(files[path].body).hexdigest() for path in files}))"
    )
    pages = [run_python(folder, tmp_path, "-c", code % str(folder)) for folder in (installed, SOURCE)]
    assert pages[0].returncode == 0, pages[0].stderr
    assert pages[0].stdout == pages[1].stdout
    assert ("/app.js" in pages[0].stdout) == (SOURCE / "streamingtalker_ros/web/static/index.html").is_file()


def test_messages_and_configuration_are_found_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = (
        "from streamingtalker_ros import resources\n"
        "from streamingtalker_ros.dds import message_types\n"
        "print(resources.find('msg', 'FaceMotion.msg'), resources.find('config', 'talker.yaml'))\n"
        "print(message_types.message_class('streamingtalker_ros/msg/FaceMotion').__name__)"
    )
    done = run_python(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(installed)) == 2 and "FaceMotion" in done.stdout


def test_the_documents_list_every_parameter_with_its_default() -> None:
    page = (SOURCE / "docs" / "parameters.md").read_text(encoding="utf-8")
    values = vars(parameters.TalkerParameters())
    for name in parameters.PARAMETERS:
        value = '""' if values[name] == "" else str(values[name])
        value = json.dumps(values[name]) if isinstance(values[name], tuple) else value
        value = value.lower() if isinstance(values[name], bool) else value
        assert f"| `{name}` | `{value}` |" in page
