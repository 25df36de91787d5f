# SPDX-License-Identifier: Apache-2.0
"""Noise schedule, DDIM sampler and the noise of a frame; independent of any network.

The sampler takes a function that predicts the clean latent x0 from a noisy one, for numpy arrays and torch
tensors alike. Everything that depends only on the number of steps is computed once, in float64.

Notation of Song, Meng, Ermon, "Denoising Diffusion Implicit Models" (arXiv 2010.02502); alpha-bar is written
`alphas_cumprod` as in the diffusers library, whose coefficients these are (test/model/test_ddim.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.model.stream_checks import check_steps

if TYPE_CHECKING:
    import torch

    ArrayT = TypeVar("ArrayT", npt.NDArray[np.floating[Any]], torch.Tensor)


_LOCAL: Final = threading.local()  # a generator for each thread: creating one costs more than its numbers
_NO_NUMBERS: Final = np.zeros(4, np.uint64)  # buffer of a generator that has drawn none


@dataclass(frozen=True)
class NoiseSchedule:
    """Forward noising z_t = sqrt(abar_t) z_0 + sqrt(1 − abar_t) noise at `num_train_timesteps` times.

    Scaled linear: the square roots of the betas are evenly spaced. The defaults are those of the paper's
    release.
    """

    beta_start: float = 0.00085
    beta_end: float = 0.012
    num_train_timesteps: int = 1000

    @property
    def alphas_cumprod(self) -> npt.NDArray[np.float64]:
        """(num_train_timesteps,) float64, abar_t for t = 0 … num_train_timesteps − 1.

        The values are those of float32 arithmetic: 1 − abar_0 is 8.5e-4, where float32's rounding of abar
        shows in its fifth digit, and the published networks were trained and sampled with the rounded table.
        """
        roots = np.linspace(self.beta_start**0.5, self.beta_end**0.5, self.num_train_timesteps)
        roots = roots.astype(np.float32)
        alphas = np.float32(1.0) - roots * roots
        return np.cumprod(alphas, dtype=np.float64).astype(np.float32).astype(np.float64)

    def add_noise(self, z0: ArrayT, noise: ArrayT, t: Any) -> ArrayT:
        """Add noise to clean latents, DDIM eq. 4: q(z_t | z_0) = N(sqrt(abar_t) z_0, (1 − abar_t) I).

        Args:
            z0: (B, …) clean latents, array or tensor.
            noise: Of the same shape.
            t: (B,) integer times, array or tensor.

        Returns:
            The noisy latents, of the same shape, type and device.
        """
        abar = self.alphas_cumprod
        signal: Any = np.sqrt(abar)  # (num_train_timesteps,)
        spread: Any = np.sqrt(1.0 - abar)
        if isinstance(z0, np.ndarray):
            signal, spread = signal.astype(z0.dtype), spread.astype(z0.dtype)
        else:  # a torch tensor: index on its own device
            signal, spread = z0.new_tensor(signal), z0.new_tensor(spread)
        shape = (-1,) + (1,) * (z0.ndim - 1)
        return signal[t].reshape(shape) * z0 + spread[t].reshape(shape) * noise


@dataclass(frozen=True)
class DdimCoefficients:
    """One row per sampling step, noisiest first: z ← keep·z + add·x0 at time `timesteps`.

    Attributes:
        timesteps: (S,) int64.
        keep: (S,) float32.
        add: (S,) float32.
    """

    timesteps: npt.NDArray[np.int64]
    keep: npt.NDArray[np.float32]
    add: npt.NDArray[np.float32]

    @property
    def steps(self) -> int:
        """Number of sampling steps S."""
        return len(self.timesteps)


def ddim_coefficients(
    steps: int,
    spacing: str = "trailing",
    steps_offset: int = 1,
    final_alpha: float | Literal["first"] = 1.0,
    schedule: NoiseSchedule | None = None,
) -> DdimCoefficients:
    """Compute deterministic (eta 0) DDIM for a network that predicts x0.

    DDIM eq. 12 with sigma = 0 and the predicted noise (z_t − sqrt(abar_t) x0) / sqrt(1 − abar_t):

        z_prev = sqrt(abar_prev) x0 + sqrt(1 − abar_prev) (z_t − sqrt(abar_t) x0) / sqrt(1 − abar_t)
               = keep z_t + add x0,
        keep = sqrt((1 − abar_prev) / (1 − abar_t)),  add = sqrt(abar_prev) − keep sqrt(abar_t).

    Args:
        steps: Number of steps S, 1 … num_train_timesteps.
        spacing: "trailing" begins at the very last time, which few steps need; "leading" is the published
            spacing.
        steps_offset: Added to the times of "leading"; "trailing" ignores it, as diffusers does.
        final_alpha: abar after the last step: 1.0, or "first" for alphas_cumprod[0] as published.
        schedule: The noise schedule; None for the default one.

    Raises:
        TalkerError: If the number of steps is out of range.
        ValueError: If the spacing is unknown.
    """
    schedule = schedule or NoiseSchedule()
    total = schedule.num_train_timesteps
    steps = check_steps(steps, total)
    if spacing == "leading":
        t = np.arange(steps)[::-1] * (total // steps) + steps_offset
    elif spacing == "trailing":
        t = np.round(total - np.arange(steps) * (total / steps)).astype(np.int64) - 1
    else:
        raise ValueError(f'spacing is "trailing" or "leading", not {spacing!r}')
    t = np.minimum(t, total - 1)  # the offset would step over the end when steps = num_train_timesteps
    abar = schedule.alphas_cumprod
    final = abar[0] if final_alpha == "first" else float(final_alpha)
    # not the next t: rounded spacings differ by one there, and diffusers does this
    t_prev = t - total // steps
    abar_t = abar[t]
    abar_prev = np.where(t_prev >= 0, abar[np.maximum(t_prev, 0)], final)
    keep = np.sqrt((1.0 - abar_prev) / (1.0 - abar_t))
    add = np.sqrt(abar_prev) - keep * np.sqrt(abar_t)
    return DdimCoefficients(t.astype(np.int64), keep.astype(np.float32), add.astype(np.float32))


def sample(denoise: Callable[[ArrayT, int], ArrayT], noise: ArrayT, coefficients: DdimCoefficients) -> ArrayT:
    """Turn noise into a clean latent.

    Args:
        denoise: Called as denoise(z, s) with z (…, C) and the step's index s = 0 … S − 1; returns the
            predicted x0.
        noise: (…, C) white noise.
        coefficients: Of S steps.

    Returns:
        (…, C) latent.
    """
    z = noise
    for s, (keep, add) in enumerate(zip(coefficients.keep.tolist(), coefficients.add.tolist(), strict=True)):
        z = keep * z + add * denoise(z, s)
    return z


def frame_noise(seed: int, n: int, shape: int | tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return the white noise of frame n, a function of (seed, n) alone.

    A counter-based generator is placed directly at frame n, so that no frame's noise depends on what was
    drawn before it, on the device or on the batch.

    Args:
        seed: Any integer, taken modulo 2^64.
        n: Frame index, 0 or more.
        shape: Of the result.
    """
    return counter_generator(seed, n, 0).standard_normal(shape, dtype=np.float32)


def counter_generator(seed: int, n: int, purpose: int) -> np.random.Generator:
    """Return Philox, a counter-based generator, placed at frame n; valid until the thread's next call.

    Args:
        seed: Any integer, taken modulo 2^64.
        n: Frame index, 0 or more.
        purpose: Numbers of different purposes are independent.
    """
    generator: np.random.Generator | None = getattr(_LOCAL, "generator", None)
    if generator is None:
        generator = _LOCAL.generator = np.random.Generator(np.random.Philox(key=0))
    generator.bit_generator.state = {
        "bit_generator": "Philox",
        "state": {
            "counter": np.array([0, n, purpose, 0], np.uint64),  # word 0 counts within the frame
            "key": np.array([seed % 2**64, 0], np.uint64),
        },
        "buffer": _NO_NUMBERS,
        "buffer_pos": len(_NO_NUMBERS),
        "has_uint32": 0,
        "uinteger": 0,
    }
    return generator
