# SPDX-License-Identifier: Apache-2.0
"""Chooses the backend of a blendshape checkpoint and loads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from streamingtalker_ros.config_files import describe
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.model.blendshape import onnx_files
from streamingtalker_ros.model.blendshape.backend import BACKENDS, PRECISIONS, FrameBackend, Precision
from streamingtalker_ros.model.devices import choose_device, has_package

_ONNX_PRECISIONS: Final[tuple[Precision, ...]] = ("float32", "int8")  # the preferred one first


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
    """Load a checkpoint into a backend.

    What "auto" is: the first line that applies.

    | backend | where |
    |---|---|
    | torch | there is a GPU, and the device is not "cpu" |
    | onnx | onnxruntime is installed, and the folder has graphs |
    | torch | torch is installed |
    | onnx | the packages onnxruntime and onnx are installed: graphs are built in memory |

    Args:
        folder: Checkpoint folder of the blendshape family.
        device: "auto", "cpu", "cuda" or "cuda:N"; "auto" takes CUDA where torch and a GPU are.
        backend: One of `BACKENDS`.
        precision: One of `PRECISIONS`. "auto" is float32: in int8, rounding of the audio moves the face
            visibly (docs/model.md). int8 is a precision of onnx alone.

    Raises:
        TalkerError: If the folder, its files, the device or the backend are not available.
    """
    check_choices(backend, precision)
    onnx_precision: Precision = "int8" if precision == "int8" else "float32"
    if onnx_precision == "int8":
        backend = "onnx"
    device = choose_device("cpu" if backend == "onnx" and device == "auto" else device)
    if backend == "auto":
        can_load = has_package("onnxruntime") and onnx_files.has_graphs(folder, onnx_precision)
        prefers_onnx = device == "cpu" and (can_load or not has_package("torch"))
        backend = "onnx" if prefers_onnx else "torch"
    if backend == "torch":
        return _load_torch(folder, device)
    if device != "cpu":
        raise TalkerError(
            f"backend onnx runs on the CPU, not on {device}: choose device cpu, or backend torch with "
            "precision float32"
        )
    return _load_onnx(folder, onnx_precision)


def _load_onnx(folder: str | Path, precision: Precision) -> FrameBackend:
    """Load the graphs of a folder, or build them in memory if it has none in this precision."""
    if onnx_files.has_graphs(folder, precision):
        return onnx_files.load(folder, precision)
    require("onnxruntime", "the model")
    if not has_package("onnx"):
        raise TalkerError(
            f"{folder} has no ONNX graphs in {precision}: run `streamingtalker convert --onnx {folder}` "
            "where the package onnx is installed (pip install onnx), or install torch for backend torch"
        )
    return onnx_files.build(folder, precision)


def _load_torch(folder: str | Path, device: str) -> FrameBackend:
    require("torch", "backend torch")
    from streamingtalker_ros.model.blendshape import checkpoint
    from streamingtalker_ros.model.blendshape.torch_backend import TorchBackend

    return TorchBackend(checkpoint.load(folder), device)


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise TalkerError(f"unknown {name} {describe(value)}: choose {', '.join(choices)}")
