# SPDX-License-Identifier: Apache-2.0
"""Where a training runs: one process, or several on some GPUs or machines, started by `accelerate launch`.

`find(device)` gives the place: `Alone` needs PyTorch only; `Together` needs accelerate. Every process draws its own
batches, the gradients' mean makes one step of all, and only the main process writes files.
"""

import os

import torch

from streamingtalker_ros.errors import TalkerError, require


def find(device="cpu"):
    """The place of this process. device: "cpu", "cuda", "cuda:N", or "auto" for CUDA where it is; several processes get
    theirs from accelerate. Raises TalkerError where accelerate is needed and absent, or asks what cannot be had."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return Together()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Alone(torch.device(device))


def autocast(device, mixed):
    """A context of bfloat16 on a torch.device where `mixed` asks for it and the device is quick at it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed and quick_halves(device))


def quick_halves(device):
    """Whether bfloat16 is faster than float32 on a torch.device. On a CPU without instructions for it, it is several
    times slower."""
    if device.type != "cpu":
        return True
    abilities = (
        torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    )  # since torch 2.10
    return any(abilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # of x86, of ARM


class Alone:
    """One process on one device."""

    rank, count = 0, 1

    def __init__(self, device) -> None:
        self.device = device

    def average(self, parameters) -> None:
        """Make every process's gradients their mean."""

    def share(self, tensors) -> None:
        """Overwrite tensors with those of the main process."""

    def agree(self, number) -> bool:
        """Whether every process has the same integer."""
        return True

    def autocast(self, mixed):
        """bfloat16 where it is safe and quick, or nothing. float16 would need its losses scaled."""
        return autocast(self.device, mixed)


class Together(Alone):
    """One of several processes of accelerate."""

    def __init__(self) -> None:
        accelerate = require("accelerate", "training in several processes")
        self._all = accelerate.Accelerator()
        if self._all.mixed_precision not in ("no", "bf16"):
            raise TalkerError(
                f"training in {self._all.mixed_precision} is not supported: launch it with "
                "--mixed_precision bf16 or no"
            )
        super().__init__(self._all.device)
        self.rank, self.count = self._all.process_index, self._all.num_processes

    def average(self, parameters) -> None:
        """One exchange for all of them; a parameter that no process used keeps no gradient, as it would alone."""
        parameters = list(parameters)
        used = torch.tensor([float(p.grad is not None) for p in parameters])
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat(
            [used.to(self.device), *(g.flatten().to(self.device, torch.float32) for g in gradients)]
        )
        used, *means = self._all.reduce(flat, "mean").split([len(used), *(p.numel() for p in parameters)])
        for p, share, mean in zip(parameters, used.tolist(), means):
            p.grad = mean.view_as(p).to(p) if share else None

    @torch.no_grad()
    def share(self, tensors) -> None:
        from accelerate.utils import broadcast

        for tensor in tensors:
            tensor.copy_(broadcast(tensor.detach().to(self.device, copy=True).contiguous()))

    def agree(self, number):
        return len(set(self._all.gather(torch.tensor([number], device=self.device)).tolist())) == 1
