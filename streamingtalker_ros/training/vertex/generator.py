# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of the vertex family: HuBERT, condition predictor and diffusion head learn motion from audio.

The paper's loss, mean squared errors with weight 1 as released: of the clean latent predicted from a noised
one (one timestep per window), of the vertices and of their velocity. The codec is frozen, or its decoder
continues to train (BIWI). Where the release begins every window at rest, here windows begin mid-speech with
real history, at their own places in the periodic encoding. Against drift the history is dropped, truncated,
blurred with noise, or replaced by the network's own output. In a fraction of the windows the subject is
replaced by the neutral style.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from streamingtalker_ros.model.ddim import NoiseSchedule
from streamingtalker_ros.model.vertex.codec import Codec
from streamingtalker_ros.model.vertex.network import VertexNetwork
from streamingtalker_ros.training.distributed import SingleProcess
from streamingtalker_ros.training.vertex.audio_context import AudioContextEncoder
from streamingtalker_ros.training.vertex.conditions import teacher_forced_conditions
from streamingtalker_ros.training.vertex.dataset import VertexClip
from streamingtalker_ros.training.vertex.recipe import Recipe


@dataclass
class VertexBatch:
    """B windows of T frames.

    Attributes:
        clips: B clips.
        first: (B,) int64 index of row 0 in its clip.
        past: (B, T, H·C) latents of the frames before.
        latents: (B, T, H·C) latents of the frames.
        offsets: (B, T, 3V) vertex offsets.
        style: (B,) int64 rows of the identity embedding.
        loss_mask: (B, T) 1 where the loss counts.
    """

    clips: list[VertexClip]
    first: torch.Tensor
    past: torch.Tensor
    latents: torch.Tensor
    offsets: torch.Tensor
    style: torch.Tensor
    loss_mask: torch.Tensor


def initialize_projections(network: VertexNetwork) -> None:
    """Initialise the maps between latents and model width as released.

    Args:
        network: Changed in place.
    """
    for linear in (network.predictor.latent_in, network.head.leave):
        nn.init.xavier_normal_(linear.weight)


@torch.no_grad()
def encode_latents(
    codec: Codec, clips: Sequence[VertexClip], device: torch.device | str
) -> list[torch.Tensor]:
    """Encode clips to quantised latents.

    Args:
        codec: the trained codec.
        clips: the clips, of T frames each.
        device: of the codec.

    Returns:
        (T + 1, H·C) for each clip; row 0 is the start latent of every stream.
    """
    start = codec.start_latent()[None]
    latents: list[torch.Tensor] = []
    for clip in clips:
        rows = torch.from_numpy(clip.rows(0, len(clip) + 1)).to(device)
        latents.append(torch.cat((start, codec.quantize(codec.encode(rows[None]))[0][0, 1:])))
    return latents


class GeneratorStage:
    """Loss of stage 2 over random windows of audio and motion.

    Args:
        network: the network; its codec is trained.
        audio_encoder: computes the windows' features; None where only `sample` is used.
        clips: the training clips.
        recipe: the recipe.
        process: the process that trains.
    """

    def __init__(
        self,
        network: VertexNetwork,
        audio_encoder: AudioContextEncoder | None,
        clips: Sequence[VertexClip],
        recipe: Recipe,
        process: SingleProcess,
    ) -> None:
        self.network, self.audio_encoder, self.clips = network, audio_encoder, list(clips)
        self.recipe, self.process = recipe, process
        self.latents = encode_latents(network.codec, clips, process.device)
        all_latents = torch.cat(self.latents)
        self.latent_std = all_latents.std(0)  # (H·C,)
        self.start_latent = all_latents[0]
        lengths = np.array([len(clip) for clip in clips], np.float64)
        self.clip_probs = lengths / lengths.sum()
        config = network.config
        identities = config.identities
        self.style_rows = [
            identities.index(clip.subject) if clip.subject in identities else 0 for clip in clips
        ]
        self.schedule = NoiseSchedule(config.beta_start, config.beta_end, config.num_train_timesteps)

    def sample(self, rng: np.random.Generator) -> VertexBatch:
        """A random batch.

        Args:
            rng: Draws the clips, where the windows begin, and which of them have the neutral style.

        Returns:
            B windows of T frames, history included; T is less than configured if a drawn clip is shorter.
        """
        windows, device = self.recipe.windows, self.process.device
        chosen = rng.choice(len(self.clips), self.recipe.generator.batch_size, p=self.clip_probs)
        clips = [self.clips[i] for i in chosen]
        length = min(windows.burn_in + windows.frames, min(map(len, clips)))
        burn_in = min(windows.burn_in, length // 2)
        starts = [
            0 if rng.random() < windows.start_prob else int(rng.integers(0, len(clip) - length + 1))
            for clip in clips
        ]
        style_dropout = self.recipe.learning.style_dropout
        style = [self.style_rows[i] if rng.random() >= style_dropout else 0 for i in chosen]
        latents = torch.stack(
            [self.latents[i][n : n + length + 1] for i, n in zip(chosen, starts, strict=True)]
        )  # (B, T + 1, H·C)
        offsets = np.stack([clip.rows(n + 1, length) for clip, n in zip(clips, starts, strict=True)])
        first = torch.tensor(starts, device=device)
        loss_mask = torch.ones(len(clips), length, device=device)
        loss_mask[:, :burn_in] = (first == 0)[:, None].float()
        return VertexBatch(
            clips,
            first,
            latents[:, :-1],
            latents[:, 1:],
            torch.from_numpy(offsets).to(device),
            torch.tensor(style, device=device),
            loss_mask,
        )

    def __call__(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss and metrics of a random batch; see `trainer.Stage`."""
        assert self.audio_encoder is not None
        network, window = self.network, self.sample(rng)
        with self.process.autocast(self.recipe.generator.mixed_precision):
            audio = self.audio_encoder(window.clips, window.first.tolist(), window.past.shape[1])
            past, reach = self.change_history(window, audio, step, rng)
            condition = teacher_forced_conditions(
                network.predictor,
                past,
                audio,
                window.style,
                window.first,
                reach,
                self.recipe.learning.dropout,
            )
            predicted = self._denoise(condition, window.latents).float()  # (B, T, H·C)
            known = torch.where(window.loss_mask[..., None] > 0, predicted, window.latents)
            rows = torch.cat(
                (window.past[:, :1], known), 1
            )  # the decoder attends to all rows, burn-in included
            decoded = network.codec.decode(rows)[:, 1:].float()
        latent, vertices, velocity = reconstruction_losses(predicted, decoded, window)
        return latent + vertices + velocity, {
            "latent": latent.detach(),
            "vertices": vertices.detach(),
            "velocity": velocity.detach(),
        }

    def _denoise(self, condition: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """Predict z_0 from a noised latent, one timestep per window: (B, T, H·C)."""
        head = self.network.head
        t = torch.randint(0, self.schedule.num_train_timesteps, (len(latents),), device=latents.device)
        noisy = self.schedule.add_noise(latents, torch.randn_like(latents), t)
        return head.x0(noisy, condition, head.embed_time(t)[:, None], self.network.predictor.latent_in)

    def change_history(
        self, window: VertexBatch, audio: torch.Tensor, step: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, int | None]:
        """Augment the history of a batch.

        Args:
            window: the batch.
            audio: (B, T, audio_dim) features of its frames.
            step: number of the step, from 0.
            rng: source of randomness.

        Returns:
            The history (B, T, H·C), and the reach of attention in frames, None for h.
        """
        history, past, steps = self.recipe.history, window.past, self.recipe.generator.steps
        batch_size, device = len(past), past.device
        begins = step >= history.scheduled_sampling_start * steps
        if begins and rng.random() < history.scheduled_sampling_prob:
            past = self._mix_own_history(past, audio, window)
        noise = torch.rand(batch_size, 1, 1, device=device) * history.max_noise
        past = past + noise * self.latent_std * torch.randn_like(past)
        is_dropped = torch.rand(batch_size, 1, 1, device=device) < history.dropout_prob
        past = torch.where(is_dropped, self.start_latent, past)
        is_truncated = rng.random() < history.truncation_prob
        reach = int(rng.integers(1, self.network.config.context_frames + 1)) if is_truncated else None
        return past, reach

    @torch.no_grad()
    def _mix_own_history(self, past: torch.Tensor, audio: torch.Tensor, window: VertexBatch) -> torch.Tensor:
        """History with random rows replaced by the network's own output: two steps from pure noise."""
        head, predictor, last = (
            self.network.head,
            self.network.predictor,
            self.schedule.num_train_timesteps - 1,
        )
        condition = teacher_forced_conditions(predictor, past, audio, window.style, window.first)
        predicted = torch.randn_like(window.latents)
        for time in (last, last // 2):
            t = torch.full((len(past),), time, device=past.device)
            if time < last:
                predicted = self.schedule.add_noise(predicted, torch.randn_like(predicted), t)
            predicted = head.x0(
                predicted, condition, head.embed_time(t)[:, None], predictor.latent_in
            ).float()
        generated = torch.cat((past[:, :1], predicted[:, :-1]), 1)  # the frame before the window stays true
        ratio = self.recipe.history.scheduled_sampling_ratio
        is_own = torch.rand(past.shape[:2], device=past.device)[..., None] < ratio
        return torch.where(is_own, generated, past)


def reconstruction_losses(
    predicted: torch.Tensor, decoded: torch.Tensor, window: VertexBatch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean squared errors of latents, vertices and velocities where the loss counts: three scalars.

    Args:
        predicted: (B, T, H·C) latents.
        decoded: (B, T, 3V) vertex offsets.
        window: the batch.
    """
    mask = window.loss_mask
    count, pairs = mask.sum(), mask[:, 1:] * mask[:, :-1]
    difference = decoded - window.offsets
    latent = ((predicted - window.latents).square().mean(-1) * mask).sum() / count
    vertices = (difference.square().mean(-1) * mask).sum() / count
    velocity = (difference.diff(dim=1).square().mean(-1) * pairs).sum() / pairs.sum().clamp(min=1)
    return latent, vertices, velocity
