# SPDX-License-Identifier: Apache-2.0
"""The diffusion schedule, the DDIM sampler and the noise of a frame; no network is known here.

Takes: a function that predicts the clean latent x0 from a noisy one (numpy arrays or torch tensors alike).
Gives: the sampled latent. Everything that depends only on the number of steps is computed once, in float64.

Notation of Song, Meng, Ermon, "Denoising Diffusion Implicit Models" (arXiv 2010.02502); alpha-bar is written
`alphas_cumprod` as in the diffusers library, to which the coefficients are equal (test/model/test_ddim.py).
"""

from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.errors import TalkerError


@dataclass(frozen=True)
class Schedule:
    """Forward noising z_t = sqrt(abar_t) z_0 + sqrt(1 − abar_t) noise over `train_steps` times.

    Scaled linear: the square roots of the betas are evenly spaced. Defaults are those of the paper's release.
    """

    beta_start: float = 0.00085
    beta_end: float = 0.012
    train_steps: int = 1000

    @property
    def alphas_cumprod(self):
        """(train_steps,) float64, abar_t for t = 0 … train_steps − 1.

        The values are those of float32 arithmetic: 1 − abar_0 is 8.5e-4, where float32's rounding of abar
        shows in its fifth digit, and the published networks were trained and sampled with the rounded table.
        """
        roots = np.linspace(self.beta_start**0.5, self.beta_end**0.5, self.train_steps).astype(np.float32)
        alphas = np.float32(1.0) - roots * roots
        return np.cumprod(alphas, dtype=np.float64).astype(np.float32).astype(np.float64)

    def add_noise(self, z0, noise, t):
        """Noise the clean latents z0 (B, …) to the integer times t (B,); arrays or tensors, shape kept.

        DDIM eq. 4: q(z_t | z_0) = N(sqrt(abar_t) z_0, (1 − abar_t) I).
        """
        abar = self.alphas_cumprod
        signal, spread = np.sqrt(abar), np.sqrt(1.0 - abar)  # (train_steps,)
        if hasattr(z0, "new_tensor"):  # a torch tensor: index on its own device
            signal, spread = z0.new_tensor(signal), z0.new_tensor(spread)
        else:
            signal, spread = signal.astype(z0.dtype), spread.astype(z0.dtype)
        shape = (-1,) + (1,) * (z0.ndim - 1)
        return signal[t].reshape(shape) * z0 + spread[t].reshape(shape) * noise


@dataclass(frozen=True)
class Coefficients:
    """One row per sampling step, noisiest first: z ← keep·z + add·x0 at time `timesteps`."""

    timesteps: np.ndarray  # (S,) int64
    keep: np.ndarray  # (S,) float32
    add: np.ndarray  # (S,) float32

    @property
    def steps(self):
        return len(self.timesteps)


def ddim_coefficients(steps, spacing="trailing", steps_offset=1, final_alpha=1.0, schedule=Schedule()):
    """Precompute deterministic (eta 0) DDIM for a network that predicts x0.

    steps: S, 1 … schedule.train_steps.
    spacing: "trailing" begins at the very last time, which few steps need; "leading" is the published one,
        its times are shifted up by `steps_offset` (which "trailing" ignores, as diffusers does).
    final_alpha: abar after the last step; 1.0, or "first" for alphas_cumprod[0] as published.
    Returns Coefficients. Raises TalkerError for a number of steps out of range.

    DDIM eq. 12 with sigma = 0 and the predicted noise (z_t − sqrt(abar_t) x0) / sqrt(1 − abar_t):
        z_prev = sqrt(abar_prev) x0 + sqrt(1 − abar_prev) (z_t − sqrt(abar_t) x0) / sqrt(1 − abar_t)
               = keep z_t + add x0,
        keep = sqrt((1 − abar_prev) / (1 − abar_t)),  add = sqrt(abar_prev) − keep sqrt(abar_t).
    """
    total = schedule.train_steps
    if steps != int(steps) or not 1 <= steps <= total:
        raise TalkerError(f"{steps} diffusion steps cannot be taken: choose a whole number from 1 to {total}")
    steps = int(steps)
    if spacing == "leading":
        t = np.arange(steps)[::-1] * (total // steps) + steps_offset
    elif spacing == "trailing":
        t = np.round(total - np.arange(steps) * (total / steps)).astype(np.int64) - 1
    else:
        raise ValueError(f'spacing is "trailing" or "leading", not {spacing!r}')
    t = np.minimum(t, total - 1)  # the offset would step over the end when steps = train_steps
    abar = schedule.alphas_cumprod
    final = abar[0] if final_alpha == "first" else float(final_alpha)
    # not the next t: rounded spacings differ by one there, and diffusers does this
    previous = t - total // steps
    now = abar[t]
    then = np.where(previous >= 0, abar[np.maximum(previous, 0)], final)
    keep = np.sqrt((1.0 - then) / (1.0 - now))
    add = np.sqrt(then) - keep * np.sqrt(now)
    return Coefficients(t.astype(np.int64), keep.astype(np.float32), add.astype(np.float32))


def sample(denoise, noise, coefficients):
    """Carry noise (…, C) to a clean latent (…, C) in `coefficients.steps` steps.

    denoise: called as denoise(z, s) with z (…, C) and the step's index s = 0 … S − 1; returns the predicted
    x0.
    """
    z = noise
    for s, (keep, add) in enumerate(zip(coefficients.keep.tolist(), coefficients.add.tolist())):
        z = keep * z + add * denoise(z, s)
    return z


def frame_noise(seed, n, shape):
    """White noise of frame n: float32 of `shape`, a function of (seed, n) alone.

    A counter-based generator (Philox) is placed directly at frame n, so that no frame's noise depends on what
    was drawn before it, on the device or on the batch. seed: any integer (taken modulo 2^64); n ≥ 0.
    """
    bits = np.random.Philox(key=seed % 2**64, counter=[0, n, 0, 0])  # word 0 counts within the frame
    return np.random.Generator(bits).standard_normal(shape, dtype=np.float32)
