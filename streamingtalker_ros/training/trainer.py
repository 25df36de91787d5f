# SPDX-License-Identifier: Apache-2.0
"""The training loop of all stages: AdamW, a learning-rate schedule, averaged weights, resumable state.

A stage computes a loss; `Trainer` owns everything else. A run folder holds `state.pt` (to resume, bit for bit
on a CPU) and `log.csv` (one row each `log_every` steps); with TensorBoard installed, also its event files.
Under `accelerate launch` each process draws its own batches and all step with the mean of their gradients:
see `distributed`.
"""

from __future__ import annotations

import csv
import math
import pickle
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.output_files import atomic_output, write_text
from streamingtalker_ros.process import progress_bar
from streamingtalker_ros.training import distributed

LR_SCHEDULES = ("cosine", "halving", "constant")
STATE_FILE, LOG_FILE = "state.pt", "log.csv"
MIN_LR_RATIO = 0.02  # of the cosine schedule's end

Metrics = Mapping[str, "torch.Tensor | float"]


class Stage(Protocol):
    """A stage's loss.

    It may have an attribute `buffers`, name -> tensor: state that it changes without gradients.
    """

    def __call__(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, Metrics]:
        """The loss of a random batch, a scalar, and values to log.

        Args:
            step: number of the step, from 0.
            rng: with PyTorch's generator the only source of randomness.
        """
        ...


@dataclass(frozen=True)
class TrainerConfig:
    """Settings of a training loop."""

    steps: int = 2000
    batch_size: int = 24
    lr: float = 5e-4
    warmup_steps: int = 100  # linear
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float = 0.998  # of the averaged weights, which are exported
    seed: int = 0
    mixed_precision: bool = True  # bfloat16 where it is safe and fast
    log_every: int = 25
    save_every: int = 250
    lr_schedule: str = (
        "cosine"  # "cosine" falls to 2 %; "halving" halves every `lr_halving_steps`; "constant"
    )
    lr_halving_steps: int = 1000
    beta2: float = 0.99  # of AdamW

    def __post_init__(self) -> None:
        if self.lr_schedule not in LR_SCHEDULES:
            raise TalkerError(
                f"the learning-rate schedule {self.lr_schedule!r} is unknown: give {', '.join(LR_SCHEDULES)}"
            )


def learning_rate_at(step: int, config: TrainerConfig) -> float:
    """Learning rate of a step: linear warm-up, then the schedule.

    Args:
        step: Number of the step, from 0.
        config: Settings of the loop.

    Returns:
        The rate, 0 or more and at most `config.lr`.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.lr_schedule == "halving":
        return config.lr * 0.5 ** (step // config.lr_halving_steps)
    if config.lr_schedule == "constant":
        return config.lr
    progress = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return config.lr * (MIN_LR_RATIO + (1.0 - MIN_LR_RATIO) * cosine)


def tensorboard_writer(folder: Path, step: int) -> Any | None:
    """Open a `SummaryWriter` for a run folder from `step` on; None without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder, purge_step=step)  # pyright: ignore[reportPrivateImportUsage]


def _row_step(row: str, default: int) -> int:
    """Return the step of a row of the log; `default` for a row that a kill has cut."""
    step = row.split(",")[0]
    return int(step) if row.endswith("\n") and step.isdigit() else default


class Trainer:
    """Trains parameters in place, resuming from the run folder where it holds a state.

    Attributes:
        step: number of steps done.
        ema: name -> averaged parameter.

    Args:
        parameters: name -> parameter.
        config: settings of the loop.
        folder: the run folder.
        title: label of the progress bar and of TensorBoard's curves.
        process: the process that trains; by default what `distributed.get_process` returns.

    Raises:
        TalkerError: if the folder's state is damaged, belongs to another network, or is not visible to every
            process.
    """

    def __init__(
        self,
        parameters: Mapping[str, torch.Tensor],
        config: TrainerConfig,
        folder: str | Path,
        title: str,
        process: distributed.SingleProcess | None = None,
    ) -> None:
        self.parameters, self.config, self.title = parameters, config, title
        self.process = process or distributed.get_process()
        self.folder = Path(folder)
        self.optimizer = torch.optim.AdamW(
            parameters.values(),
            lr=config.lr,
            betas=(0.9, config.beta2),
            weight_decay=config.weight_decay,
        )
        self.process.broadcast(parameters.values())  # all processes begin with the weights of rank 0
        self.ema = {name: tensor.detach().clone() for name, tensor in parameters.items()}
        self.step = 0
        self._saved_buffers: dict[str, torch.Tensor] | None = None
        self._resume()
        self._writer: Any | None = None
        if self.process.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._truncate_log()
            self._writer = tensorboard_writer(self.folder, self.step)

    def run(self, stage: Stage) -> None:
        """Train to the last step of the configuration.

        Args:
            stage: The loss; its `buffers`, where it has some, are saved and restored with the state.
        """
        config, process = self.config, self.process
        buffers: Mapping[str, torch.Tensor] = getattr(stage, "buffers", {})
        self._restore_buffers(buffers)
        with progress_bar()(
            total=config.steps, initial=self.step, desc=self.title, unit="step", disable=process.rank > 0
        ) as bar:
            while self.step < config.steps:
                loss, metrics = self._train_step(stage, buffers)
                bar.update()
                is_last = self.step == config.steps
                if process.rank == 0 and (self.step % config.log_every == 0 or is_last):
                    self._log(loss, metrics)
                    bar.set_postfix({name: f"{value:.3g}" for name, value in metrics.items()})
                if process.rank == 0 and (self.step % config.save_every == 0 or is_last):
                    self.save(buffers)

    def _train_step(self, stage: Stage, buffers: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Metrics]:
        config, process = self.config, self.process
        # one generator per step: a resumed run draws what an uninterrupted one would
        rng = np.random.default_rng([config.seed, self.step] + [process.rank] * (process.rank > 0))
        torch.manual_seed(int(rng.integers(2**31)))
        loss, metrics = stage(self.step, rng)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, config)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        process.all_reduce_gradients(self.parameters.values())
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), config.max_grad_norm)
        process.broadcast(buffers.values())
        self.optimizer.step()
        self.step += 1
        self._update_ema()
        return loss.detach(), metrics

    def load_ema(self) -> None:
        """Copy the averaged weights into the parameters."""
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(self.ema[name])

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            list(self.ema.values()), [p.detach() for p in self.parameters.values()], 1 - decay
        )

    def _log(self, loss: torch.Tensor, metrics: Metrics) -> None:
        values = {name: float(value) for name, value in {"loss": loss, **metrics}.items()}
        path = self.folder / LOG_FILE
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["step", "time", *values])
            writer.writerow([self.step, f"{time.time():.0f}", *(f"{value:.5g}" for value in values.values())])
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{self.title}/{name}", value, self.step)
            self._writer.flush()

    def _truncate_log(self) -> None:
        """Remove the rows that an interrupted run wrote after its last save: they will be written again."""
        path = self.folder / LOG_FILE
        rows = path.read_text().splitlines(keepends=True) if path.exists() else []
        if rows:
            retained = [row for row in rows[1:] if _row_step(row, self.step + 1) <= self.step]
            write_text(path, "".join([rows[0], *retained]))

    def save(self, buffers: Mapping[str, torch.Tensor] | None = None) -> None:
        """Write the state that resumes this run, atomically.

        Args:
            buffers: the stage's buffers.
        """
        state = {
            "step": self.step,
            "config": asdict(self.config),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema,
            "parameters": {name: p.detach() for name, p in self.parameters.items()},
            "buffers": {name: tensor.detach() for name, tensor in (buffers or {}).items()},
        }
        with atomic_output(self.folder / STATE_FILE) as partial, partial.open("wb") as file:
            torch.save(state, file)

    @torch.no_grad()
    def _resume(self) -> None:
        path = self.folder / STATE_FILE
        if path.exists():
            try:
                state = torch.load(path, weights_only=True, map_location="cpu")
            except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
                raise TalkerError(f"{path} is damaged: remove it to begin this stage again") from None
            shapes = {name: tensor.shape for name, tensor in self.parameters.items()}
            if {name: tensor.shape for name, tensor in state["parameters"].items()} != shapes:
                raise TalkerError(
                    f"{path} is of another network: give another --out, or remove it to begin again"
                )
            # states of earlier versions have other names for these two, or lack the buffers
            ema = state.get("ema", state.get("average"))
            self._saved_buffers = state.get("buffers", state.get("kept"))
            for name, tensor in self.parameters.items():
                tensor.copy_(state["parameters"][name])
                self.ema[name].copy_(ema[name])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
        if not self.process.all_equal(self.step):
            raise TalkerError(f"{path} is not visible to every machine: put the run folder on a shared disk")

    @torch.no_grad()
    def _restore_buffers(self, buffers: Mapping[str, torch.Tensor]) -> None:
        for name, tensor in (self._saved_buffers or {}).items():
            if name in buffers:
                buffers[name].copy_(tensor)
        self._saved_buffers = None
