# SPDX-License-Identifier: Apache-2.0
"""The process that trains: one alone, or one of several on GPUs or machines, started by `accelerate launch`.

`get_process(device)` returns a `SingleProcess`, which needs PyTorch only, or a `MultiProcess`, which needs
accelerate. Every process draws its own batches, the mean of the gradients makes one step of all, and only
rank 0 writes files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch

from streamingtalker_ros.errors import TalkerError, require


def get_process(device: str = "cpu") -> SingleProcess:
    """The current process, as the environment describes it.

    Args:
        device: "cpu", "cuda", "cuda:N", or "auto" for CUDA where it is available. Ignored under `accelerate
            launch`, which assigns a device to each process.

    Raises:
        TalkerError: if several processes are launched and accelerate is missing or set to float16.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return MultiProcess()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return SingleProcess(torch.device(device))


def autocast(device: torch.device, mixed_precision: bool) -> torch.autocast:
    """Context manager for bfloat16, enabled if it is requested and fast on the device.

    Args:
        device: Where the computation runs.
        mixed_precision: Whether bfloat16 is requested.
    """
    enabled = mixed_precision and has_fast_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32; on a CPU without instructions for it, it is much slower.

    Args:
        device: The device; every kind but a CPU counts as fast.
    """
    if device.type != "cpu":
        return True
    get_capabilities = getattr(torch.cpu, "get_capabilities", None)  # since torch 2.10
    capabilities: dict[str, Any] = get_capabilities() if get_capabilities else {}
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # x86, ARM


class SingleProcess:
    """A process that trains alone on one device.

    Attributes:
        rank: index of this process; rank 0 writes files.
        world_size: number of processes.
        device: where the tensors of training lie.
    """

    rank = 0
    world_size = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def all_reduce_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        """Replace every gradient by its mean over the processes.

        Args:
            parameters: Their gradients are changed in place; a single process leaves them as they are.
        """

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite tensors with those of rank 0."""

    def all_equal(self, number: int) -> bool:
        """Whether every process has the same integer.

        Args:
            number: This process's integer.

        Returns:
            True for a single process.
        """
        return True

    def autocast(self, mixed_precision: bool) -> torch.autocast:
        """As `autocast`, on this process's device.

        Args:
            mixed_precision: Whether bfloat16 is requested.
        """
        return autocast(self.device, mixed_precision)


class MultiProcess(SingleProcess):
    """One of several processes of `accelerate launch`.

    Raises:
        TalkerError: if accelerate is missing, or launched with a precision other than bf16 or no.
    """

    def __init__(self) -> None:
        accelerate = require("accelerate", "training in several processes")
        self._accelerator = accelerate.Accelerator()
        if self._accelerator.mixed_precision not in ("no", "bf16"):  # float16 would need its losses scaled
            raise TalkerError(
                f"training in {self._accelerator.mixed_precision} is not supported: launch it with "
                "--mixed_precision bf16 or no"
            )
        super().__init__(self._accelerator.device)
        self.rank = self._accelerator.process_index
        self.world_size = self._accelerator.num_processes

    def all_reduce_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        """One exchange for all gradients; a parameter that no process used keeps no gradient.

        Args:
            parameters: The same, in the same order, in every process; each gradient becomes its mean over
                the processes.
        """
        parameters = list(parameters)
        used = torch.tensor([float(p.grad is not None) for p in parameters])
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat(
            [used.to(self.device), *(g.flatten().to(self.device, torch.float32) for g in gradients)]
        )
        reduced: torch.Tensor = self._accelerator.reduce(flat, "mean")
        used_fraction, *means = reduced.split([len(used), *(p.numel() for p in parameters)])
        for p, fraction, mean in zip(parameters, used_fraction.tolist(), means, strict=True):
            p.grad = mean.view_as(p).to(p) if fraction else None

    @torch.no_grad()
    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite tensors with those of rank 0."""
        from accelerate.utils import broadcast

        for tensor in tensors:
            tensor.copy_(broadcast(tensor.detach().to(self.device, copy=True).contiguous()))

    def all_equal(self, number: int) -> bool:
        """Whether every process has the same integer.

        Args:
            number: This process's integer. Every process must make this call.

        Returns:
            The same answer in every process.
        """
        gathered: torch.Tensor = self._accelerator.gather(torch.tensor([number], device=self.device))
        return len(set(gathered.tolist())) == 1
