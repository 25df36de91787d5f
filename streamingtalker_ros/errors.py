# SPDX-License-Identifier: Apache-2.0
"""`TalkerError`, the error that users see, and `require`, the late import of optional dependencies."""

from __future__ import annotations

import importlib
import re
from typing import Any, Final

EXTRAS: Final = {
    "cyclonedds": "dds",
    "rosbags": "bag",
    "sounddevice": "microphone",
    "transformers": "vertex",
    "starlette": "web",
    "uvicorn": "web",
    "websockets": "web",
    "prometheus_client": "web",
    "vtk": "render",
    "av": "render",
    "PIL": "render",
    "onnx": "export",
    "matplotlib": "report",
    "jinja2": "report",
    "tensorboard": "train",
    "accelerate": "train",
    "pocketsphinx": "train",
    "scipy": "train",
    "distributed": "train",
    "pyworld": "voices",
}
"""Extra of pyproject.toml that installs a module; where several do, the one that most users want."""

INSTALL_HINTS: Final = {
    "torch": "pip install torch (choose the CPU or CUDA build for your machine on pytorch.org)",
    "numpy": "pip install numpy",
    "onnxruntime": "pip install onnxruntime",
    "soxr": "pip install soxr",
    "soundfile": "pip install soundfile",
    "safetensors": "pip install safetensors",
    "yaml": "pip install pyyaml",
    "tqdm": "pip install tqdm",
    "pythonosc": "pip install python-osc",
    **{
        module: f"pip install 'streamingtalker_ros[{extra}]', or in a checkout pip install -e '.[{extra}]'"
        for module, extra in EXTRAS.items()
    },
}
"""How to install each module that the package imports."""

_CONTROL_CHARACTERS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_DISTRIBUTIONS: Final = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "pythonosc": "python-osc",
}  # where the name differs from the module's


class TalkerError(Exception):
    """Invalid input or set-up; the text is one sentence that states the problem and its solution.

    Args:
        text: the sentence. It may quote what a file or a message holds: line ends and other control
            characters, which could forge lines of a log or command a terminal, become spaces.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(one_line(text))


def one_line(text: object) -> str:
    """Return a text on one line: each run of control characters is a space."""
    return _CONTROL_CHARACTERS.sub(" ", str(text))


def require(module: str, purpose: str, extra: str | None = None) -> Any:
    """Import an optional dependency.

    Args:
        module: dotted name.
        purpose: what needs it, as the error message begins ("rendering", "the model").
        extra: the extra that the message names, if another than that of `EXTRAS`.

    Returns:
        The module.

    Raises:
        TalkerError: if it or one of its own dependencies is not installed, with the command that installs
            it, or if it does not load.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        missing = (error.name or package).partition(".")[0]
        hint = _install_hint(package, extra)
        subject = f"{purpose} needs {_DISTRIBUTIONS.get(package, package)}"
        if missing != package:
            raise TalkerError(f"{subject}, whose dependency {missing} is not installed: {hint}") from None
        raise TalkerError(f"{subject}, which is not installed: {hint}") from None
    except OSError as error:  # a wheel whose shared library is missing, such as PortAudio
        raise TalkerError(f"{purpose} needs {module}, which does not load here: {error}") from None


def describe_missing_package(module: str, purpose: str) -> str | None:
    """Describe a failed import.

    Args:
        module: dotted name of the module that was not found.
        purpose: what needs it.

    Returns:
        The sentence that `require` would raise; None if the module is not a dependency of this package.
    """
    package = module.partition(".")[0]
    if package not in INSTALL_HINTS:
        return None
    name = _DISTRIBUTIONS.get(package, package)
    return f"{purpose} needs {name}, which is not installed: {_install_hint(package)}"


def _install_hint(package: str, extra: str | None = None) -> str:
    if extra is not None:
        return f"pip install 'streamingtalker_ros[{extra}]', or in a checkout pip install -e '.[{extra}]'"
    return INSTALL_HINTS.get(package, f"pip install {package}")
