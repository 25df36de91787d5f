# SPDX-License-Identifier: Apache-2.0
"""Chooses the backend of a blendshape checkpoint and loads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamingtalker_ros.config_files import describe
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.model.blendshape.backend import BACKENDS, PRECISIONS, FrameBackend


def check_choices(backend: object, precision: object) -> None:
    """Raise TalkerError unless both are among the values of their parameters and go together.

    Args:
        backend: One of `BACKENDS`.
        precision: One of `PRECISIONS`.
    """
    _check_choice("backend", backend, BACKENDS)
    _check_choice("precision", precision, PRECISIONS)
    if backend == "torch" and precision == "int8":
        raise TalkerError("backend torch has no precision int8: choose backend onnx, or precision float32")


def load_backend(
    folder: str | Path, device: str, backend: str = "auto", precision: str = "auto"
) -> FrameBackend:
    """Load a checkpoint into the backend that fits.

    Args:
        folder: Checkpoint folder of the blendshape family.
        device: A torch device, as `choose_device` returns it.
        backend: One of `BACKENDS`; "auto" is torch on CUDA.
        precision: One of `PRECISIONS`.

    Raises:
        TalkerError: If the folder, its files or the backend are not available.
    """
    check_choices(backend, precision)
    if backend == "onnx" or precision == "int8":
        raise TalkerError("backend onnx is not available: choose backend torch")
    require("torch", "the model")
    from streamingtalker_ros.model.blendshape import checkpoint
    from streamingtalker_ros.model.blendshape.torch_backend import TorchBackend

    return TorchBackend(checkpoint.load(folder), device)


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise TalkerError(f"unknown {name} {describe(value)}: choose {', '.join(choices)}")
