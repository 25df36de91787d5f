# SPDX-License-Identifier: Apache-2.0
"""Laws of the sampler: equal to diffusers' DDIM scheduler, exact noising, noise of (seed, frame)."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.ddim import (
    NoiseSchedule,
    counter_generator,
    ddim_coefficients,
    frame_noise,
    sample,
)


@pytest.fixture(scope="module")
def diffusers() -> Any:
    """The reference implementation, imported by the process that runs these tests; its types are partial."""
    return importlib.import_module("diffusers")


def predict_x0(z: np.ndarray, s: int) -> np.ndarray:
    """Return a fixed prediction of x0 that changes with the step."""
    return np.float32(0.6) * np.tanh(z) + np.float32(0.01 * s)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 8, 16, 25, 50, 100])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("to_one", [False, True])
def test_equals_diffusers(diffusers: Any, steps: int, spacing: str, to_one: bool) -> None:
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=to_one,
        steps_offset=1,
        prediction_type="sample",
        timestep_spacing=spacing,
    )
    scheduler.set_timesteps(steps)
    noise = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    z = torch.from_numpy(noise)
    for s, t in enumerate(scheduler.timesteps):
        z = scheduler.step(torch.from_numpy(predict_x0(z.numpy(), s)), t, z, eta=0.0).prev_sample
    result = ddim_coefficients(steps, spacing, final_alpha=1.0 if to_one else "first")
    np.testing.assert_array_equal(result.timesteps, scheduler.timesteps.numpy())
    expected = z.numpy()
    assert np.abs(sample(predict_x0, noise, result) - expected).max() <= 1e-6 * np.abs(expected).max()


def test_published_sampler_equals_diffusers_with_a_random_network(diffusers: Any) -> None:
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.SiLU(), torch.nn.Linear(64, 32))
    net.requires_grad_(False)
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="sample",
    )
    scheduler.set_timesteps(50)
    z = noise = torch.randn(100, 32)
    for t in scheduler.timesteps:
        z = scheduler.step(net(z), t, z).prev_sample
    result = sample(lambda x, s: net(x), noise, ddim_coefficients(50, "leading", final_alpha="first"))
    assert (result - z).abs().max() <= 1e-6 * z.abs().max()


def test_one_trailing_step_to_alpha_one_gives_the_prediction() -> None:
    noise = np.ones((1, 4), np.float32)
    out = sample(lambda z, s: np.full_like(z, 7.0), noise, ddim_coefficients(1))
    np.testing.assert_array_equal(out, np.full((1, 4), 7.0, np.float32))


def test_a_perfect_prediction_of_x0_follows_the_forward_process() -> None:
    """With the true x0 every step reaches the forward process's z at the next time, with the same
    noise."""
    schedule = NoiseSchedule()
    rng = np.random.default_rng(1)
    z0, noise = rng.standard_normal((2, 1, 8))
    c = ddim_coefficients(20, "trailing")
    visited: list[np.ndarray] = []

    def record(z: np.ndarray, s: int) -> np.ndarray:
        visited.append(z)
        return z0

    start = schedule.add_noise(z0, noise, c.timesteps[:1])
    sample(record, start, c)
    for s, z in enumerate(visited):
        np.testing.assert_allclose(z, schedule.add_noise(z0, noise, c.timesteps[s : s + 1]), atol=3e-6)


def test_add_noise_equals_diffusers_and_takes_arrays_and_tensors(diffusers: Any) -> None:
    scheduler = diffusers.DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    z0, noise = torch.randn(5, 3, 16), torch.randn(5, 3, 16)
    t = torch.tensor([0, 1, 500, 998, 999])
    expected = scheduler.add_noise(z0, noise, t)
    result = NoiseSchedule().add_noise(z0, noise, t)
    assert result.dtype == torch.float32 and (result - expected).abs().max() <= 2e-6 * expected.abs().max()
    plain = NoiseSchedule().add_noise(z0.numpy(), noise.numpy(), t.numpy())
    assert plain.dtype == np.float32
    np.testing.assert_allclose(plain, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("seed", [0, 5, -3, 2**63, 2**64 - 1, 2**70 + 9])
def test_the_noise_of_a_frame_is_that_of_a_philox_generator_placed_at_it(seed: int) -> None:
    for n, purpose in ((0, 0), (1, 1), (17, 0), (2**40, 1)):
        placed = np.random.Philox(key=seed % 2**64, counter=[0, n, purpose, 0])
        expected = np.random.Generator(placed).standard_normal(7, dtype=np.float32)
        actual = counter_generator(seed, n, purpose).standard_normal(7, dtype=np.float32)
        np.testing.assert_array_equal(actual, expected)


def test_noise_is_a_function_of_seed_and_frame_alone() -> None:
    forward = [frame_noise(5, n, (64,)) for n in range(50)]
    backward = [frame_noise(5, n, (64,)) for n in reversed(range(50))][::-1]
    np.testing.assert_array_equal(forward, backward)
    assert frame_noise(-1, 10**9, (2, 3)).shape == (2, 3) and frame_noise(0, 0, 4).dtype == np.float32
    assert not np.array_equal(frame_noise(5, 0, 64), frame_noise(6, 0, 64))


def test_noise_is_white_within_and_across_frames_and_seeds() -> None:
    x = np.stack([frame_noise(seed, n, 64) for seed in range(4) for n in range(500)])  # (2000, 64)
    assert abs(x.mean()) < 0.02 and abs(x.std() - 1.0) < 0.02
    correlation = np.corrcoef(x.T)
    assert np.abs(correlation - np.eye(64)).max() < 0.12
    assert abs(np.mean(x[1:] * x[:-1])) < 0.02  # neighbouring frames
    assert len(np.unique(x[:, 0])) == len(x)


@pytest.mark.parametrize("steps", [0, -3, 1001, 2.5])
def test_an_impossible_number_of_steps_is_rejected(steps: int) -> None:
    with pytest.raises(TalkerError, match="whole number from 1 to 1000"):
        ddim_coefficients(steps)
