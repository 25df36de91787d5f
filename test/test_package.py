# SPDX-License-Identifier: Apache-2.0
"""The wheel: what pip installs, built from this source and used in another directory."""

import email
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

SOURCE = Path(__file__).absolute().parents[1]
CARRIED = ("streamingtalker_ros", "msg", "config", "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built without a network, from a copy, so that the checkout stays clean."""
    for module in ("setuptools", "wheel"):
        pytest.importorskip(module, reason=f"{module} is not installed, so no wheel can be built offline")
    here = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in CARRIED:
        if (SOURCE / name).is_dir():
            shutil.copytree(SOURCE / name, here / "source" / name, ignore=ignore)
        elif (SOURCE / name).exists():
            shutil.copy(SOURCE / name, here / "source" / name)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            str(here),
            str(here / "source"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return next(here.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel):
    target = wheel.parent / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", str(target), str(wheel)],
        check=True,
    )
    return target


def run(installed, folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )


def test_the_wheel_carries_weights_messages_and_configuration(wheel) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names))
    for kind in ("msg", "config"):
        for path in (SOURCE / kind).rglob("*"):
            if path.suffix in (".msg", ".yaml", ".rviz"):
                assert f"streamingtalker_ros/{path.relative_to(SOURCE).as_posix()}" in names
    for path in (SOURCE / "streamingtalker_ros").rglob("*.py"):
        assert path.relative_to(SOURCE).as_posix() in names
    assert "streamingtalker_ros/data/voice.flac" in names
    assert "streamingtalker_ros/py.typed" in names
    for path in (SOURCE / "streamingtalker_ros" / "web" / "static").rglob(
        "*"
    ):  # empty where the page is not built
        assert path.is_dir() or path.relative_to(SOURCE).as_posix() in names
    assert "streamingtalker_ros/weights/default/weights.safetensors" in names
    assert not [name for name in names if name.startswith(("test/", "msg/", "config/"))]
    assert wheel.stat().st_size < 40e6


def test_the_wheel_asks_for_tested_bounds_and_never_for_torch(wheel) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    needs = metadata.get_all("Requires-Dist")
    assert metadata["Requires-Python"] == ">=3.10"
    assert not [need for need in needs if need.startswith("torch")]
    # the extras `all` and `test` refer to others of this package; only linters are pinned
    outside = [need for need in needs if not need.startswith("streamingtalker_ros[")]
    assert all(">=" in need for need in outside if not need.replace("'", '"').endswith('extra == "check"'))
    assert "numpy>=1.21" in [need.replace(" ", "") for need in needs]
    assert {need.partition(">")[0] for need in needs if "extra ==" not in need} == {
        "numpy",
        "soxr",
        "soundfile",
        "safetensors",
        "pyyaml",
        "tqdm",
    }
    assert {
        "dds",
        "bag",
        "microphone",
        "vertex",
        "web",
        "render",
        "report",
        "train",
        "video",
        "voices",
        "all",
        "test",
        "docs",
        "check",
    } == set(metadata.get_all("Provides-Extra"))


def test_the_version_of_the_wheel_is_that_of_the_ros_package(wheel) -> None:
    import streamingtalker_ros

    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    package = ElementTree.parse(SOURCE / "package.xml").getroot()
    assert metadata["Version"] == package.findtext("version") == streamingtalker_ros.__version__


def test_animate_runs_from_the_wheel_in_another_directory(installed, tmp_path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    where = run(installed, tmp_path, "-c", "import streamingtalker_ros; print(streamingtalker_ros.__file__)")
    assert where.stdout.strip().startswith(str(installed)), where.stdout + where.stderr
    voice = installed / "streamingtalker_ros" / "data" / "voice.flac"
    done = run(
        installed,
        tmp_path,
        "-m",
        "streamingtalker_ros",
        "animate",
        str(voice),
        "--out",
        "a.csv",
        "--device",
        "cpu",
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 219  # 8.73 s


def test_messages_are_found_in_the_wheel(installed, tmp_path) -> None:
    pytest.importorskip("rosbags", reason="rosbags is not installed")
    code = (
        "from streamingtalker_ros import resources\n"
        "from streamingtalker_ros.dds import message_types\n"
        "print(resources.find('msg', 'FaceMotion.msg'), resources.find('config', 'talker.yaml'))\n"
        "print(message_types.message_class('streamingtalker_ros/msg/FaceMotion').__name__)"
    )
    done = run(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(installed)) == 2 and "FaceMotion" in done.stdout


def test_the_documents_list_every_parameter_with_its_default() -> None:
    from streamingtalker_ros.runtime import parameters

    page = (SOURCE / "docs" / "parameters.md").read_text(encoding="utf-8")
    values = vars(parameters.TalkerParameters())
    for name in parameters.PARAMETERS:
        value = '""' if values[name] == "" else str(values[name])
        value = json.dumps(values[name]) if isinstance(values[name], tuple) else value
        value = value.lower() if isinstance(values[name], bool) else value
        assert f"| `{name}` | `{value}` |" in page
