# SPDX-License-Identifier: Apache-2.0
"""Chooses the backend of a blendshape checkpoint and loads it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from streamingtalker_ros.config_files import describe
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.model.blendshape.backend import BACKENDS, PRECISIONS, FrameBackend, Precision
from streamingtalker_ros.model.devices import choose_device, has_package

PREFERRED_BACKEND_VARIABLE: Final = "STREAMINGTALKER_BACKEND"
"""Environment variable: "onnx" lets `backend: auto` prefer ONNX Runtime where both are installed."""


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
    folder: str | Path, device: str = "auto", backend: str = "auto", precision: str = "auto"
) -> FrameBackend:
    """Load a checkpoint into the backend that fits.

    Args:
        folder: Checkpoint folder of the blendshape family.
        device: "auto", "cpu", "cuda" or "cuda:N"; "auto" takes CUDA where torch and a GPU are.
        backend: One of `BACKENDS`. "auto" is torch where it is installed, with the frames of earlier versions
            to the last bit, and ONNX Runtime where it is not; `PREFERRED_BACKEND_VARIABLE` can say otherwise.
        precision: One of `PRECISIONS`. "auto" on ONNX Runtime is int8 where the folder has its graphs.

    Raises:
        TalkerError: If the folder, its files, the device or the backend are not available.
    """
    check_choices(backend, precision)
    if backend == "auto" and precision != "int8":
        preferred = os.environ.get(PREFERRED_BACKEND_VARIABLE) or "torch"
        _check_choice(PREFERRED_BACKEND_VARIABLE, preferred, BACKENDS[1:])
        if preferred == "torch" and has_package("torch"):
            backend = "torch"
    wants_onnx = backend == "onnx" or precision == "int8"
    device = choose_device("cpu" if wants_onnx and device == "auto" else device)
    if device != "cpu":
        if wants_onnx:
            raise TalkerError(
                f"backend onnx runs on the CPU, not on {device}: choose device cpu, or backend torch with "
                "precision float32"
            )
        return _load_torch(folder, device)
    if backend == "torch":
        return _load_torch(folder, device)
    found = _load_graphs(folder, precision) if wants_onnx or has_package("onnxruntime") else None
    if found is not None:
        return found
    if not wants_onnx and has_package("torch"):
        return _load_torch(folder, device)
    from streamingtalker_ros.model.blendshape import onnx_files

    require("onnxruntime", "the model")
    if not has_package("onnx"):
        raise TalkerError(
            f"{folder} has no ONNX graphs: run `streamingtalker convert --onnx {folder}` where the package "
            "onnx is installed (pip install onnx), or install torch and choose backend torch"
        )
    return onnx_files.build(folder, "int8" if precision == "int8" else "float32")


def _load_graphs(folder: str | Path, precision: str) -> FrameBackend | None:
    """Load the graphs of a folder; None if it has none of this precision."""
    from streamingtalker_ros.model.blendshape import onnx_files

    candidates: tuple[Precision, ...] = ("int8", "float32")
    for candidate in candidates:
        if precision in ("auto", candidate) and onnx_files.has_graphs(folder, candidate):
            return onnx_files.load(folder, candidate)
    return None


def _load_torch(folder: str | Path, device: str) -> FrameBackend:
    require("torch", "backend torch")
    from streamingtalker_ros.model.blendshape import checkpoint
    from streamingtalker_ros.model.blendshape.torch_backend import TorchBackend

    return TorchBackend(checkpoint.load(folder), device)


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise TalkerError(f"unknown {name} {describe(value)}: choose {', '.join(choices)}")
