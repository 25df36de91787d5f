# SPDX-License-Identifier: Apache-2.0
"""The published diffusion head: affine, so that its S sampling steps compose into one affine map.

`Head.x0` predicts the clean latent; `sample_stepped` runs the S steps as published and is the reference;
`ComposedSampler` is the same map as one precomputed matrix per S: latent = matrix [noise, condition] + bias.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from streamingtalker_ros.model.ddim import DdimCoefficients, NoiseSchedule, ddim_coefficients, sample
from streamingtalker_ros.model.vertex.config import VertexConfig


class Head(nn.Module):
    """Affine prediction of the clean latent from a noisy one, the condition and the diffusion time.

    Args:
        config: Sizes of the network.
    """

    frequency: torch.Tensor

    def __init__(self, config: VertexConfig) -> None:
        super().__init__()
        self.time_up, self.time_out = nn.Linear(256, config.width), nn.Linear(config.width, config.width)
        self.join = nn.Linear(2 * config.width, config.width)  # of [projected latent, condition + time]
        # no activation in between: the head is affine
        self.leave = nn.Linear(config.width, config.latent_dim)
        frequency = torch.exp(-math.log(10000.0) * torch.arange(128, dtype=torch.float32) / 128)
        self.register_buffer("frequency", frequency, persistent=False)

    def embed_time(self, t: torch.Tensor) -> torch.Tensor:
        """Embed integer diffusion times: (S,) -> (S, d).

        Args:
            t: (S,) integer times 0 … num_train_timesteps − 1.
        """
        angle = t[:, None].float() * self.frequency
        return self.time_out(F.silu(self.time_up(torch.cat((angle.cos(), angle.sin()), -1))))

    def x0(
        self, z: torch.Tensor, condition: torch.Tensor, time: torch.Tensor, latent_in: nn.Linear
    ) -> torch.Tensor:
        """Predict the clean latent.

        Args:
            z: (…, H·C) noisy latent.
            condition: (…, d).
            time: (d,) of `embed_time`.
            latent_in: The predictor's projection of latents, which the head shares.

        Returns:
            (…, H·C).
        """
        return self.leave(self.join(torch.cat((latent_in(z), condition + time), -1)))


def coefficients(config: VertexConfig, steps: int) -> DdimCoefficients:
    """Return the DDIM coefficients of a configuration's published schedule, for `steps` steps.

    Args:
        config: Its noise schedule and its spacing of the steps are used.
        steps: Number of steps, 1 … num_train_timesteps.
    """
    schedule = NoiseSchedule(config.beta_start, config.beta_end, config.num_train_timesteps)
    final_alpha = 1.0 if config.set_alpha_to_one else "first"
    return ddim_coefficients(steps, config.timestep_spacing, config.steps_offset, final_alpha, schedule)


def sample_stepped(
    head: Head,
    latent_in: nn.Linear,
    condition: torch.Tensor,
    noise: torch.Tensor,
    coefficients: DdimCoefficients,
) -> torch.Tensor:
    """Sample latents in S steps, as published.

    Args:
        head: The diffusion head.
        latent_in: The predictor's projection of latents.
        condition: (…, d).
        noise: (…, H·C) white noise.
        coefficients: Of S steps.

    Returns:
        (…, H·C) latents.
    """
    times = head.embed_time(torch.from_numpy(coefficients.timesteps).to(noise.device))  # (S, d)
    return sample(lambda z, s: head.x0(z, condition, times[s], latent_in), noise, coefficients)


class ComposedSampler:
    """S steps of the head as one affine map, composed in float64.

    With x0 = A z + B c + e_s (A = leave·join_z·latent_in, B = leave·join_c) a DDIM step is
        z ← keep_s z + add_s (A z + B c + e_s) = K_s z + add_s (B c + e_s),  K_s = keep_s I + add_s A,
    and S of them give z = P noise + G B c + r: P = Π K_s, G = Σ_s (Π_{later} K) add_s, r likewise.
    A passes through d channels, A = U V with U = leave·join_z, V = latent_in, so that P = p I + U X V and
    G = g I + U Y V for scalars p, g and small X, Y (d, d; here x, y): these are carried from step to step.

    Args:
        head: The network.
        latent_in: The predictor's projection of latents.
        coefficients: Of S steps.

    Attributes:
        matrix: (H·C, H·C + d) float32.
        bias: (H·C,) float32.
    """

    @torch.no_grad()
    def __init__(self, head: Head, latent_in: nn.Linear, coefficients: DdimCoefficients) -> None:
        double = {name: p.double() for name, p in head.named_parameters()}
        V, bias_in = latent_in.weight.double(), latent_in.bias.double()  # (d, H·C), (d,)
        d, device = len(V), V.device
        join_z, join_c = double["join.weight"].split(d, 1)
        U, B = double["leave.weight"] @ join_z, double["leave.weight"] @ join_c  # (H·C, d) both
        fixed = double["leave.weight"] @ (join_z @ bias_in + double["join.bias"]) + double["leave.bias"]
        times = head.embed_time(torch.from_numpy(coefficients.timesteps).to(device)).double()  # (S, d)
        e = times @ B.T + fixed  # (S, H·C)
        eye, inner = torch.eye(d, dtype=V.dtype, device=device), V @ U
        x, y, r, p, g = torch.zeros_like(eye), torch.zeros_like(eye), torch.zeros_like(fixed), 1.0, 0.0
        steps = zip(coefficients.keep.tolist(), coefficients.add.tolist(), strict=True)
        for s, (keep, add) in enumerate(steps):
            x = keep * x + add * (p * eye + inner @ x)
            y = keep * y + add * (g * eye + inner @ y)
            r = keep * r + add * (U @ (V @ r) + e[s])
            p, g = keep * p, keep * g + add
        P = cast(torch.Tensor, U @ (x @ V))
        P.diagonal().add_(p)
        self.matrix = torch.cat((P, g * B + U @ (y @ (V @ B))), 1).float()
        self.bias = r.float()

    def __call__(self, noise: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Sample latents (…, H·C) from noise (…, H·C) and condition (…, d)."""
        return F.linear(torch.cat((noise, condition), -1), self.matrix, self.bias)
