# SPDX-License-Identifier: Apache-2.0
"""What the tests share: markers that skip a test where it cannot run, the shipped talker, and a real voice.

A test that needs more than the extra `test` says so by a marker, alone or with others:

    @pytest.mark.ros        needs rclpy, that is, a sourced ROS 2 installation
    @pytest.mark.browser    needs a Chromium
    @pytest.mark.gpu        needs a CUDA device
    @pytest.mark.soak       takes minutes to hours: runs with `--soak`, or where SOAK_SECONDS is set

For a whole module: `pytestmark = pytest.mark.browser`. A marked test is collected everywhere, so a module must import
what may be absent inside of its tests or fixtures. Everything else is in the extra `test` and is simply imported.
"""

import importlib.util
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: small networks only lose by more threads

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

# For `tools.*`, and for a package that is not installed. Behind everything else: under colcon the source tree must not
# hide the built package, which holds the generated messages.
sys.path.append(str(Path(__file__).parents[1]))

if TYPE_CHECKING:
    from collections.abc import Callable


if int(pytest.__version__.split(".")[0]) >= 7:  # Humble's is older, and looks at the asked folder alone

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(module_path, parent):
        """Every module is a plain one. Where ROS is sourced, launch_testing's plugin would import it outside of
        pytest's own collection, and one that asks to be skipped as a whole would end the collection of all."""
        return pytest.Module.from_parent(parent, path=module_path)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--soak`, and takes the settings of pyproject.toml that a missing plugin would take."""
    parser.addoption(
        "--soak", action="store_true", help="run the tests marked soak, which take minutes to hours"
    )
    if importlib.util.find_spec("pytest_timeout") is None:
        parser.addini("timeout", "of pytest-timeout, which is not installed: ignored")


def _no_ros(config: pytest.Config) -> str:
    return "" if importlib.util.find_spec("rclpy") else "rclpy is absent: source a ROS 2 installation"


def _no_browser(config: pytest.Config) -> str:
    from tools.browser import chromium

    return (
        ""
        if chromium.find()
        else "no Chromium is installed: `apt install chromium`, or name one with CHROMIUM=…"
    )


def _no_gpu(config: pytest.Config) -> str:
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    import torch

    return "" if torch.cuda.is_available() else "no CUDA device is available"


def _no_soak(config: pytest.Config) -> str:
    asked = config.getoption("--soak") or "SOAK_SECONDS" in os.environ
    return "" if asked else "takes long: give --soak, or run `make soak`"


# marker -> why a test so marked cannot run here; an empty string where it can
_OBSTACLES: "dict[str, Callable[[pytest.Config], str]]" = {
    "ros": _no_ros,
    "browser": _no_browser,
    "gpu": _no_gpu,
    "soak": _no_soak,
}


def pytest_collection_modifyitems(config: pytest.Config, items: "list[pytest.Item]") -> None:
    """Skips each test whose marker names something that is not here, with the reason."""
    for marker, obstacle in _OBSTACLES.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = obstacle(config) if marked else ""
        for item in marked if reason else ():
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def talker():
    """The default model on the CPU."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from streamingtalker_ros import Talker

    return Talker.load(device="cpu")


@pytest.fixture(scope="session")
def voice_path():
    """The demo's voice, a few seconds of speech."""
    from streamingtalker_ros.cli.demo import VOICE

    return Path(VOICE)


@pytest.fixture(scope="session")
def speech(voice_path):
    """Four seconds of a real voice: (64000,) float32 at 16 kHz."""
    from streamingtalker_ros.audio.files import read_audio
    from streamingtalker_ros.audio.resample import to_16k

    pcm = to_16k(*read_audio(voice_path))
    return np.ascontiguousarray(pcm[:64000], np.float32)
