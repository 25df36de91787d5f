# SPDX-License-Identifier: Apache-2.0
"""The training loop that all stages share: AdamW under a schedule, averaged weights, resumable state, a log.

A stage is `loss(step, rng) -> (loss, figures)`; the loop owns everything else. What a stage changes by itself, without
gradients, it names in `kept`, a dict of tensors. A run folder holds `state.pt` (to resume, bit for bit on a CPU) and
`log.csv` (one row each `log_every` steps); with TensorBoard installed, its curves. Under `accelerate launch` each
process draws batches of its own and all step with the mean of their gradients: see `machines`.
"""

import csv
import math
import pickle
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.training import distributed

SCHEDULES = ("cosine", "halving", "constant")


@dataclass(frozen=True)
class LoopConfig:
    steps: int = 2000
    batch: int = 24
    rate: float = 5e-4
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0  # of the gradient's norm
    average: float = 0.998  # decay of the averaged weights, which are the ones that ship
    seed: int = 0
    mixed: bool = True  # bfloat16 where it is safe and quick: 2.5 times faster on a CPU that has it
    log_every: int = 25
    save_every: int = 250
    schedule: str = "cosine"  # "cosine" falls to 2 %; "halving" halves each `halve_every` steps; "constant"
    halve_every: int = 1000
    momentum: float = 0.99  # AdamW's beta_2, of the squared gradients

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise TalkerError(
                f"schedule {self.schedule!r} of the training is unknown: give {', '.join(SCHEDULES)}"
            )


def rate_at(step, config):
    """Linear warm-up, then the schedule: half a cosine down to 2 %, halvings, or nothing."""
    if step < config.warmup:
        return config.rate * (step + 1) / config.warmup
    if config.schedule != "cosine":
        return config.rate * (0.5 ** (step // config.halve_every) if config.schedule == "halving" else 1.0)
    progress = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.rate * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0))))


def curves(folder, step):
    """TensorBoard's writer for a run folder from `step` on, None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder, purge_step=step)


class Loop:
    """Trains `parameters` (name -> tensor) in place. machine: where it runs, default what `machines.find` says."""

    def __init__(self, parameters, config, folder, title, machine=None) -> None:
        self.parameters, self.config, self.title = parameters, config, title
        self.machine = machine or distributed.find()
        self.folder = Path(folder)
        self.optimizer = torch.optim.AdamW(
            parameters.values(),
            lr=config.rate,
            betas=(0.9, config.momentum),
            weight_decay=config.weight_decay,
        )
        self.machine.share(parameters.values())  # one beginning for all
        self.average = {name: tensor.detach().clone() for name, tensor in parameters.items()}
        self.step, self._kept = 0, None
        self._resume()
        self._curves = None
        if self.machine.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._cut_log()
            self._curves = curves(self.folder, self.step)

    def run(self, loss) -> None:
        """Train to the end of the configuration. loss(step, rng) -> (scalar tensor, dict of floats to log)."""
        config, machine = self.config, self.machine
        kept = getattr(loss, "kept", {})
        self._restore(kept)
        with tqdm(
            total=config.steps, initial=self.step, desc=self.title, unit="step", disable=machine.rank > 0
        ) as bar:
            while self.step < config.steps:
                value, figures = self._learn(loss, kept)
                bar.update()
                last = self.step == config.steps
                if machine.rank == 0 and (self.step % config.log_every == 0 or last):
                    self._log(value, figures)
                    bar.set_postfix({name: f"{figure:.3g}" for name, figure in figures.items()})
                if machine.rank == 0 and (self.step % config.save_every == 0 or last):
                    self.save(kept)

    def _learn(self, loss, kept):
        """One step; what `loss` gave."""
        config, machine = self.config, self.machine
        # one generator per step: a resumed run draws what an uninterrupted one would
        rng = np.random.default_rng([config.seed, self.step] + [machine.rank] * (machine.rank > 0))
        torch.manual_seed(int(rng.integers(2**31)))
        value, figures = loss(self.step, rng)
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, config)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        machine.average(self.parameters.values())
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), config.clip)
        machine.share(kept.values())
        self.optimizer.step()
        self.step += 1
        self._follow()
        return value.detach(), figures

    def adopt_average(self) -> None:
        """Put the averaged weights into the network."""
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(self.average[name])

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(
            list(self.average.values()), [p.detach() for p in self.parameters.values()], 1 - decay
        )

    def _log(self, value, figures) -> None:
        value, figures = float(value), {name: float(figure) for name, figure in figures.items()}
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "time", "loss", *figures])
            writer.writerow(
                [self.step, f"{time.time():.0f}", f"{value:.5g}", *(f"{f:.5g}" for f in figures.values())]
            )
        if self._curves is not None:
            for name, figure in {"loss": value, **figures}.items():
                self._curves.add_scalar(f"{self.title}/{name}", figure, self.step)
            self._curves.flush()

    def _cut_log(self) -> None:
        """Forget the rows that an interrupted run wrote after its last save: they come again."""
        path = self.folder / "log.csv"
        rows = path.read_text().splitlines(keepends=True) if path.exists() else []
        if rows:
            path.write_text(
                "".join([rows[0], *(row for row in rows[1:] if int(row.split(",")[0]) <= self.step)])
            )

    def save(self, kept=None) -> None:
        """Write the state that resumes this run; replaced in one move, so that a cut leaves the older one."""
        state = {
            "step": self.step,
            "config": asdict(self.config),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "parameters": {n: p.detach() for n, p in self.parameters.items()},
            "kept": {name: tensor.detach() for name, tensor in (kept or {}).items()},
        }
        torch.save(state, self.folder / "state.tmp")
        (self.folder / "state.tmp").replace(self.folder / "state.pt")

    @torch.no_grad()
    def _resume(self) -> None:
        path = self.folder / "state.pt"
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
            for name, tensor in self.parameters.items():
                tensor.copy_(state["parameters"][name])
                self.average[name].copy_(state["average"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self._kept = state["step"], state.get("kept")
        if not self.machine.agree(self.step):
            raise TalkerError(
                f"{path} is not seen by every machine: put the run folder on a disk that they share"
            )

    @torch.no_grad()
    def _restore(self, kept) -> None:
        for name, tensor in (self._kept or {}).items():
            if name in kept:
                kept[name].copy_(tensor)
        self._kept = None
