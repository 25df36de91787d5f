# SPDX-License-Identifier: Apache-2.0
"""What the tests share: markers that skip a test where it cannot run, the shipped talker, and a real voice.

A test that needs more than the extra `test` says so by a marker, alone or with others:

    @pytest.mark.ros        needs rclpy, that is, a sourced ROS 2 installation
    @pytest.mark.browser    needs a Chromium
    @pytest.mark.gpu        needs a CUDA device
    @pytest.mark.soak       takes minutes to hours: runs with `--soak`, or where SOAK_SECONDS is set

For a whole module: `pytestmark = pytest.mark.browser`. A marked test is collected everywhere, so a module
imports what may be absent inside of its tests or fixtures. Every other package is in the extra `test`, beside
torch, and is simply imported: no module skips itself.
"""

from __future__ import annotations

import gc
import importlib.util
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: small networks only lose by more threads

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pytest

# For `tools.*`, and for a package that is not installed. Behind everything else: under colcon the source tree
# must not hide the built package, which holds the generated messages.
sys.path.append(str(Path(__file__).parents[1]))

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamingtalker_ros import Talker
    from support.backends import Variant

SPEECH_SAMPLES: Final = 64_000  # 4 s
_REAL_TIME_FOLDERS: Final = ("dds", "ros", "soak")
_END_OF_BROWSER_TESTS: Final = 0.7  # where the last one begins, as a fraction of all files
_NICENESS: Final = 5  # of tests that do not follow the clock


if int(pytest.__version__.split(".")[0]) >= 7:  # Humble's is older, and looks at the asked folder alone

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
        """Make every module a plain one.

        Where ROS is sourced, launch_testing's plugin would import a module outside of pytest's own
        collection, and a module that skips itself as a whole would end the collection of all.
        """
        return pytest.Module.from_parent(parent, path=module_path)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--soak`, and accept the settings of plugins in pyproject.toml where the plugin is absent."""
    parser.addoption(
        "--soak", action="store_true", help="run the tests marked soak, which take minutes to hours"
    )
    if importlib.util.find_spec("pytest_timeout") is None:
        parser.addini("timeout", "setting of pytest-timeout, which is not installed: ignored")


def _why_no_ros(config: pytest.Config) -> str:
    return "" if importlib.util.find_spec("rclpy") else "rclpy is absent: source a ROS 2 installation"


def _why_no_browser(config: pytest.Config) -> str:
    from tools.browser import chromium

    return (
        ""
        if chromium.find()
        else "no Chromium is installed: `apt install chromium`, or name one with CHROMIUM=…"
    )


def _why_no_gpu(config: pytest.Config) -> str:
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    import torch

    return "" if torch.cuda.is_available() else "no CUDA device is available"


def _why_no_soak(config: pytest.Config) -> str:
    is_requested = config.getoption("--soak") or "SOAK_SECONDS" in os.environ
    return "" if is_requested else "takes long: give --soak, or run `make soak`"


_REASONS: Final[dict[str, Callable[[pytest.Config], str]]] = {
    "ros": _why_no_ros,
    "browser": _why_no_browser,
    "gpu": _why_no_gpu,
    "soak": _why_no_soak,
}
"""Marker -> function that returns why a test so marked cannot run here, or an empty string."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return how `make test` (`-n 3`) distributes the tests over its processes.

    Tests that follow the clock run one after another in one process, beside the other files: they mostly
    wait, so that two cores have work for three processes.
    """
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # the order is that of `_order_for_several_processes`

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "real time" if _follows_the_clock(nodeid) else super()._split_scope(nodeid)

    return Scheduling(config, log)


def _file(nodeid: str) -> Path:
    return Path(nodeid.partition("::")[0])


def _follows_the_clock(nodeid: str) -> bool:
    return not set(_file(nodeid).parts).isdisjoint(_REAL_TIME_FOLDERS)


def _order_for_several_processes(items: list[pytest.Item]) -> None:
    """Order the tests as several processes begin them: first those that follow the clock, in one process.

    Those of a browser take longest and compete for the processor, so they are spread over the others, and
    none is left at the end.
    """
    files = list(dict.fromkeys(_file(item.nodeid) for item in items))
    positions: dict[Path, float] = {}
    for is_web, end in ((True, _END_OF_BROWSER_TESTS), (False, 1.0)):
        group = [file for file in files if ("web" in file.parts) == is_web]
        positions |= {file: end * n / len(group) for n, file in enumerate(group)}
    items.sort(key=lambda item: (not _follows_the_clock(item.nodeid), positions[_file(item.nodeid)]))


def pytest_collection_finish() -> None:
    """Take what lives as long as the process out of garbage collection, which tests ask for often."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """In one of several processes, give way to tests that follow the clock."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    if is_worker and not _follows_the_clock(item.nodeid) and os.nice(0) < _NICENESS:
        os.nice(_NICENESS)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip each test whose marker names something that is absent, with the reason; order the tests."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        _order_for_several_processes(items)
    for marker, get_reason in _REASONS.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = get_reason(config) if marked else ""
        for item in marked if reason else ():
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def talker() -> Talker:
    """The default model on the CPU, as users get it."""
    from streamingtalker_ros import Talker

    return Talker.load(device="cpu")


@pytest.fixture(scope="session")
def torch_talker() -> Talker:
    """The default model on torch."""
    from streamingtalker_ros import Talker

    return Talker.load(device="cpu", backend="torch")


@pytest.fixture(scope="session")
def variant_talkers(torch_talker: Talker) -> dict[Variant, Talker]:
    """The default model on each backend, in each precision."""
    from streamingtalker_ros import Talker
    from support.backends import ONNX_VARIANTS, VARIANTS

    talkers = {VARIANTS[0]: torch_talker}
    for variant in ONNX_VARIANTS:
        talkers[variant] = Talker.load(device="cpu", backend=variant.backend, precision=variant.precision)
    return talkers


@pytest.fixture(scope="session")
def voice_path() -> Path:
    """A few seconds of speech, as of the demo."""
    from streamingtalker_ros.resources import DEMO_AUDIO

    return DEMO_AUDIO


@pytest.fixture(scope="session")
def speech(voice_path: Path) -> npt.NDArray[np.float32]:
    """Four seconds of a real voice, (64000,) at 16 kHz."""
    from streamingtalker_ros.audio.files import read_audio
    from streamingtalker_ros.audio.resample import to_16k

    pcm = to_16k(*read_audio(voice_path))
    return np.ascontiguousarray(pcm[:SPEECH_SAMPLES], np.float32)
