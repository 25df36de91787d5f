# SPDX-License-Identifier: Apache-2.0
"""Chooses the device of a talker; torch is loaded only where a GPU is there, or is asked for."""

from __future__ import annotations

import ctypes
import importlib.util
import os

from streamingtalker_ros.config_files import describe
from streamingtalker_ros.errors import TalkerError, require

_CUDA_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
_ROCM_DEVICE = "/dev/kfd"  # torch calls AMD's GPUs cuda, too


def choose_device(device: str) -> str:
    """Resolve "auto", "cpu", "cuda" or "cuda:N" to a torch device.

    Args:
        device: The name; "auto" is CUDA where torch and a GPU are, else the CPU.

    Raises:
        TalkerError: If the device is unknown or not available.
    """
    device = str(device)  # of a torch.device, too
    if device == "auto":
        return "cuda" if _is_cuda_available() else "cpu"
    kind, _, number = device.partition(":")
    is_number = number.isascii() and number.isdecimal() and len(number) < 6
    if kind not in ("cpu", "cuda") or (number and not (is_number and kind == "cuda")):
        raise TalkerError(f"unknown device {describe(device)}: choose auto, cpu, cuda or cuda:N")
    if kind == "cpu":
        return device
    torch = require("torch", f"device {device!r}")
    if not torch.cuda.is_available():
        raise TalkerError(
            f"device {device!r} is not available: this PyTorch sees no CUDA, choose auto or cpu"
        )
    if number and int(number) >= torch.cuda.device_count():
        raise TalkerError(
            f"device {device!r} is not available: {torch.cuda.device_count()} CUDA devices are seen"
        )
    return device


def has_package(name: str) -> bool:
    """Return whether a package is installed, without loading it.

    Args:
        name: Of its module.
    """
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # hidden from this process
        return False


def _is_cuda_available() -> bool:
    """Ask torch, which takes a second to load, only where there is a driver of a GPU."""
    if not has_package("torch") or not _has_gpu_driver():
        return False
    import torch

    return torch.cuda.is_available()


def _has_gpu_driver() -> bool:
    if os.path.exists(_ROCM_DEVICE):
        return True
    for name in _CUDA_DRIVERS:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False
