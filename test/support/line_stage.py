# SPDX-License-Identifier: Apache-2.0
"""The smallest training stage, which fits a line to noise; also a program that trains it in one process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamingtalker_ros.training.trainer import Trainer, TrainerConfig

DISTRIBUTED_CONFIG = TrainerConfig(steps=6, lr=1e-2, warmup_steps=2, save_every=4, mixed_precision=False)


class LineStage:
    """Fits a line to noise; counts its calls in a buffer, which enters the loss."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.line = torch.nn.Linear(4, 1)
        self.unused = torch.nn.Parameter(torch.ones(2))
        self.calls = torch.zeros(1)
        self.buffers = {"calls": self.calls}

    def parameters(self) -> dict[str, torch.Tensor]:
        return {**dict(self.line.named_parameters()), "unused": self.unused}

    def __call__(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, Any]]:
        self.calls += 1
        x = torch.from_numpy(rng.normal(size=(8, 4)).astype(np.float32)) + 0.1 * torch.randn(8, 4)
        loss = (self.line(x) - x.sum(1, keepdim=True) * (1 + self.calls)).square().mean()
        return loss, {"first": float(x[0, 0])}


def train_one_process(folder: Path) -> None:
    """Train in the process of this rank, from other weights in each, and save the parameters."""
    rank = int(os.environ["RANK"])
    stage = LineStage(seed=rank)
    Trainer(stage.parameters(), DISTRIBUTED_CONFIG, folder / "run", "line").run(stage)
    torch.save(stage.parameters(), folder / f"{rank}.pt")


if __name__ == "__main__":
    train_one_process(Path(sys.argv[1]))
