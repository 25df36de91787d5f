# SPDX-License-Identifier: Apache-2.0
"""Diffusion head: predicts the clean latent z_0 of one frame from a noisy one under the frame's condition.

x0-prediction (paper, equation of the light head) with a small residual network. The published head is affine,
which makes its diffusion a Gaussian around a linear mean; this one is not. The condition enters each block as
a scale and a shift that are computed once per frame (`project_condition`), the diffusion time as a shift from
a table over the steps (`timestep_shifts`), so that a denoising step computes only what changes with it.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.ddim import NoiseSchedule, ddim_coefficients, sample


def timestep_embedding(t: torch.Tensor, size: int = 128) -> torch.Tensor:
    """Return sinusoids of diffusion times, cosines first, frequencies 10000^(-i/(size/2)).

    Args:
        t: (S,) times 0 … num_train_timesteps - 1.
        size: Even number of channels.

    Returns:
        (S, size).
    """
    frequency = torch.exp(torch.arange(size // 2, device=t.device) * (-math.log(10000.0) / (size // 2)))
    angle = t.to(torch.float32)[:, None] * frequency
    return torch.cat((angle.cos(), angle.sin()), 1)


class DiffusionHead(nn.Module):
    """Residual network with adaptive layer norms: (noisy latent, condition, time) -> clean latent.

    Args:
        config: Sizes of the network.
    """

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        width, self.blocks = config.head_width, config.head_blocks
        self.width = width
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, self.blocks * width))
        self.condition = nn.Linear(config.width, width + 2 * self.blocks * width)
        self.latent_in = nn.Linear(config.latent_dim, width)
        self.up = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(self.blocks))
        self.down = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(self.blocks))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.latent_dim)

    def project_condition(self, condition: torch.Tensor) -> torch.Tensor:
        """Compute the condition's part of every step: (B, config.width) -> (B, width·(1 + 2·blocks))."""
        return self.condition(condition)

    def timestep_shifts(self, t: torch.Tensor) -> torch.Tensor:
        """Compute the shifts of diffusion times: (S,) -> (S, blocks·width).

        Args:
            t: (S,) times 0 … num_train_timesteps - 1.
        """
        return self.time(timestep_embedding(t))

    def forward(self, z: torch.Tensor, projected: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """Predict the clean latent.

        Args:
            z: (B, D) noisy latents.
            projected: (B, width·(1 + 2·blocks)) of `project_condition`.
            shift: (B or 1, blocks·width) of `timestep_shifts`.

        Returns:
            (B, D) predicted z_0.
        """
        first, scales, shifts = projected.split((self.width, *[self.blocks * self.width] * 2), -1)
        block_scales = (scales + 1.0).chunk(self.blocks, -1)
        block_shifts = (shifts + shift).chunk(self.blocks, -1)
        x = self.latent_in(z) + first
        for i in range(self.blocks):
            y = nn.functional.layer_norm(x, (self.width,)) * block_scales[i] + block_shifts[i]
            x = x + self.down[i](nn.functional.silu(self.up[i](y)))
        return self.out(self.norm(x))


class HeadSampler:
    """DDIM through a diffusion head in a fixed number of steps.

    What depends on the steps alone (coefficients, time shifts) is computed here, what depends on the
    condition once per frame, so that a step costs one pass of the head.

    Args:
        head: The network.
        steps: Number of DDIM steps.
        schedule: Noise schedule of the training.

    Raises:
        TalkerError: If the number of steps is out of range.
    """

    def __init__(self, head: DiffusionHead, steps: int, schedule: NoiseSchedule) -> None:
        self.head = head
        self.coefficients = ddim_coefficients(steps, "trailing", schedule=schedule)
        times = torch.from_numpy(self.coefficients.timesteps).to(head.out.weight.device)
        with torch.no_grad():
            self.shifts = head.timestep_shifts(times)  # (S, blocks·width)

    def __call__(self, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Sample latents: condition (B, width), noise (B, D) -> (B, D)."""
        projected = self.head.project_condition(condition)
        return sample(lambda z, s: self.head(z, projected, self.shifts[s]), noise, self.coefficients)

    def guided(
        self, cond: torch.Tensor, uncond: torch.Tensor, guidance: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """Sample latents with classifier-free guidance (Ho and Salimans 2022) in terms of z_0.

        Every step's prediction is z_0(uncond) + guidance · (z_0(cond) - z_0(uncond)), both from one pass.

        Args:
            cond: (B, width) condition with the audio.
            uncond: (B, width) condition without it.
            guidance: (B, 1) scale.
            noise: (B, D).

        Returns:
            (B, D) latents.
        """
        projected = self.head.project_condition(torch.cat((cond, uncond)))

        def denoise(z: torch.Tensor, s: int) -> torch.Tensor:
            z_cond, z_uncond = self.head(torch.cat((z, z)), projected, self.shifts[s]).chunk(2)
            return z_uncond + guidance * (z_cond - z_uncond)

        return sample(denoise, noise, self.coefficients)
