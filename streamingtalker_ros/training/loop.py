"""The training loop that both stages share: AdamW with a cosine rate, averaged weights, resumable state, a log.

A stage is `loss(step, rng) -> (loss, figures)`; the loop owns everything else. A run folder holds `state.pt` (to
resume, bit for bit on a CPU) and `log.csv` (one row each `log_every` steps); with TensorBoard installed, its curves.
"""
import csv
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm


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
    mixed: bool = True  # bfloat16 where it is safe: 2.5 times faster on a CPU that has it
    log_every: int = 25
    save_every: int = 250


def rate_at(step, config):
    """Linear warm-up, then half a cosine down to 2 %."""
    if step < config.warmup:
        return config.rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.rate * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0))))


def curves(folder):
    """TensorBoard's writer for a run folder, None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder)


class Loop:
    """Trains `parameters` (name -> tensor) in place."""

    def __init__(self, parameters, config, folder, title):
        self.parameters, self.config, self.title = parameters, config, title
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.optimizer = torch.optim.AdamW(parameters.values(), lr=config.rate, betas=(0.9, 0.99),
                                           weight_decay=config.weight_decay)
        self.average = {name: tensor.detach().clone() for name, tensor in parameters.items()}
        self.step = 0
        self._curves = curves(self.folder)
        self._resume()

    def run(self, loss):
        """Train to the end of the configuration. loss(step, rng) -> (scalar tensor, dict of floats to log)."""
        bar = tqdm(total=self.config.steps, initial=self.step, desc=self.title, unit="step")
        while self.step < self.config.steps:
            # one generator per step: a resumed run draws what an uninterrupted one would
            rng = np.random.default_rng([self.config.seed, self.step])
            torch.manual_seed(int(rng.integers(2 ** 31)))
            value, figures = loss(self.step, rng)
            for group in self.optimizer.param_groups:
                group["lr"] = rate_at(self.step, self.config)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip)
            self.optimizer.step()
            self.step += 1
            self._follow()
            bar.update()
            if self.step % self.config.log_every == 0 or self.step == self.config.steps:
                self._log(float(value.detach()), figures)
                bar.set_postfix({name: f"{figure:.3f}" for name, figure in figures.items()})
            if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                self.save()
        bar.close()

    def adopt_average(self):
        """Put the averaged weights into the network."""
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(self.average[name])

    @torch.no_grad()
    def _follow(self):
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self.parameters.values()], 1 - decay)

    def _log(self, value, figures):
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "time", "loss", *figures])
            writer.writerow([self.step, f"{time.time():.0f}", f"{value:.5f}", *(f"{f:.5f}" for f in figures.values())])
        if self._curves is not None:
            for name, figure in {"loss": value, **figures}.items():
                self._curves.add_scalar(f"{self.title}/{name}", figure, self.step)
            self._curves.flush()

    def save(self):
        """Write the state that resumes this run; replaced in one move, so that a cut leaves the older one."""
        state = {"step": self.step, "config": asdict(self.config), "optimizer": self.optimizer.state_dict(),
                 "average": self.average, "parameters": {n: p.detach() for n, p in self.parameters.items()}}
        torch.save(state, self.folder / "state.tmp")
        (self.folder / "state.tmp").replace(self.folder / "state.pt")

    def _resume(self):
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(state["parameters"][name])
        self.average, self.step = state["average"], state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
