# SPDX-License-Identifier: Apache-2.0
"""The diffusion head: predicts the clean latent z_0 of one frame from a noisy one under the frame's condition.

x0-prediction (paper, equation of the light head) with a small residual network; the published head is affine, which
makes its "diffusion" a Gaussian around a linear mean, this one is not. The condition enters each block as a scale and
a shift that are computed once per frame (`prepare`), the diffusion time as a shift that is a table over steps
(`times`), so that a denoising step runs only what truly changes with it.
"""

import math

import torch
from torch import nn

from streamingtalker_ros.model.ddim import ddim_coefficients, sample


def time_sinusoids(t, size=128):
    """(S,) diffusion times 0…train_steps-1 -> (S, size), cosines first, frequencies 10000^(-i/(size/2))."""
    rate = torch.exp(torch.arange(size // 2, device=t.device) * (-math.log(10000.0) / (size // 2)))
    angle = t.to(torch.float32)[:, None] * rate
    return torch.cat((angle.cos(), angle.sin()), 1)


class DiffusionHead(nn.Module):
    def __init__(self, config) -> None:
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

    def prepare(self, condition):
        """(B, config.width) -> what the condition gives to every step: (B, width·(1 + 2·blocks))."""
        return self.condition(condition)

    def times(self, t):
        """(S,) diffusion times -> their shifts (S, blocks·width)."""
        return self.time(time_sinusoids(t))

    def forward(self, z, prepared, shift):
        """z (B, D) noisy latents, prepared (B, …), shift (B or 1, blocks·width) -> predicted z_0 (B, D)."""
        first, scales, shifts = prepared.split((self.width, *[self.blocks * self.width] * 2), -1)
        scales, shifts = (scales + 1.0).chunk(self.blocks, -1), (shifts + shift).chunk(self.blocks, -1)
        x = self.latent_in(z) + first
        for i in range(self.blocks):
            y = nn.functional.layer_norm(x, (self.width,)) * scales[i] + shifts[i]
            x = x + self.down[i](nn.functional.silu(self.up[i](y)))
        return self.out(self.norm(x))


class HeadSampler:
    """DDIM through a head in a fixed number of steps; calling it turns (condition, noise) into a latent.

    What depends on the steps alone (coefficients, time shifts) is computed here, what depends on the condition
    once per frame, so that a step costs one pass of the head.
    """

    def __init__(self, head, steps, schedule) -> None:
        self.head = head
        self.coefficients = ddim_coefficients(steps, "trailing", schedule=schedule)
        times = torch.from_numpy(self.coefficients.timesteps).to(head.out.weight.device)
        with torch.no_grad():
            self.shifts = head.times(times)  # (S, blocks·width)

    def __call__(self, condition, noise):
        """condition (B, width), noise (B, D) -> latent (B, D)."""
        prepared = self.head.prepare(condition)
        return sample(lambda z, s: self.head(z, prepared, self.shifts[s]), noise, self.coefficients)

    def guided(self, condition, blind, guidance, noise):
        """Classifier-free guidance (Ho and Salimans 2022) in terms of z_0: every step's prediction is
        z_0(blind) + guidance · (z_0(condition) - z_0(blind)), both from one pass.

        condition, blind (B, width): with the audio and without it; guidance (B, 1); noise (B, D) -> latent (B, D).
        """
        prepared = self.head.prepare(torch.cat((condition, blind)))

        def denoise(z, s):
            heard, unheard = self.head(torch.cat((z, z)), prepared, self.shifts[s]).chunk(2)
            return unheard + guidance * (heard - unheard)

        return sample(denoise, noise, self.coefficients)
