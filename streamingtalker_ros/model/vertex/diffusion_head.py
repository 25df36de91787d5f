# SPDX-License-Identifier: Apache-2.0
"""The published diffusion head: affine, so that its S sampling steps compose into one affine map.

`Head.x0` predicts the clean latent; `sample_stepped` walks the S steps as published and is the referee;
`ComposedSampler` is the same map as one precomputed matrix per S: latent = matrix [noise, condition] + bias.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from streamingtalker_ros.model.ddim import Schedule, ddim_coefficients, sample


class Head(nn.Module):
    def __init__(self, c) -> None:
        super().__init__()
        self.time_up, self.time_out = nn.Linear(256, c.width), nn.Linear(c.width, c.width)
        self.join = nn.Linear(2 * c.width, c.width)  # of [projected latent, condition + time]
        self.leave = nn.Linear(c.width, c.latent_dim)  # no activation in between: the head is affine
        frequency = torch.exp(-math.log(10000.0) * torch.arange(128, dtype=torch.float32) / 128)
        self.register_buffer("frequency", frequency, persistent=False)

    def time(self, t):  # (S,) integer times -> (S, d)
        angle = t[:, None].float() * self.frequency
        return self.time_out(F.silu(self.time_up(torch.cat((angle.cos(), angle.sin()), -1))))

    def x0(self, z, condition, time, latent_in):
        """The predicted clean latent (…, H·C); z (…, H·C), condition (…, d), time (d,)."""
        return self.leave(self.join(torch.cat((latent_in(z), condition + time), -1)))


def coefficients(c, steps):
    """DDIM coefficients of the published schedule of configuration c, for `steps` steps."""
    schedule = Schedule(c.beta_start, c.beta_end, c.train_steps)
    return ddim_coefficients(steps, c.spacing, c.steps_offset, 1.0 if c.alpha_to_one else "first", schedule)


def sample_stepped(head, latent_in, condition, noise, coefficients):
    """Noise (…, H·C) and condition (…, d) -> latent (…, H·C) in S steps, as published."""
    times = head.time(torch.from_numpy(coefficients.timesteps).to(noise.device))  # (S, d)
    return sample(lambda z, s: head.x0(z, condition, times[s], latent_in), noise, coefficients)


class ComposedSampler:
    """S steps of the head as one affine map, composed in float64.

    With x0 = A z + B c + e_s (A = leave·join_z·latent_in, B = leave·join_c) a DDIM step is
        z ← keep_s z + add_s (A z + B c + e_s) = K_s z + add_s (B c + e_s),  K_s = keep_s I + add_s A,
    and S of them give z = P noise + G B c + r: P = Π K_s, G = Σ_s (Π_{later} K) add_s, r likewise.
    A passes through d channels, A = U V with U = leave·join_z, V = latent_in, so that P = p I + U X V and
    G = g I + U Y V for scalars p, g and small X, Y (d, d): these are what is carried from step to step.
    """

    @torch.no_grad()
    def __init__(self, head, latent_in, coefficients) -> None:
        double = {name: p.double() for name, p in head.named_parameters()}
        V, bias_in = latent_in.weight.double(), latent_in.bias.double()  # (d, H·C), (d,)
        d, device = len(V), V.device
        join_z, join_c = double["join.weight"].split(d, 1)
        U, B = double["leave.weight"] @ join_z, double["leave.weight"] @ join_c  # (H·C, d) both
        still = double["leave.weight"] @ (join_z @ bias_in + double["join.bias"]) + double["leave.bias"]
        times = head.time(torch.from_numpy(coefficients.timesteps).to(device)).double()  # (S, d)
        moving = times @ B.T + still  # e_s: (S, H·C)
        eye, inner = torch.eye(d, dtype=V.dtype, device=device), V @ U
        X, Y, r, p, g = torch.zeros_like(eye), torch.zeros_like(eye), torch.zeros_like(still), 1.0, 0.0
        for s, (keep, add) in enumerate(zip(coefficients.keep.tolist(), coefficients.add.tolist())):
            X = keep * X + add * (p * eye + inner @ X)
            Y = keep * Y + add * (g * eye + inner @ Y)
            r = keep * r + add * (U @ (V @ r) + moving[s])
            p, g = keep * p, keep * g + add
        P = U @ (X @ V)
        P.diagonal().add_(p)
        self.matrix = torch.cat((P, g * B + U @ (Y @ (V @ B))), 1).float()  # (H·C, H·C + d)
        self.bias = r.float()

    def __call__(self, noise, condition):  # (…, H·C), (…, d) -> (…, H·C)
        return F.linear(torch.cat((noise, condition), -1), self.matrix, self.bias)
