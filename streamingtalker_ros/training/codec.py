# SPDX-License-Identifier: Apache-2.0
"""Stage 1: the motion codec, a VQ-VAE (paper, stage 1).

Loss: L1 of the reconstruction + ||sg(zq) - z||² + 0.25 ||zq - sg(z)||². Added here: the squared error,
without which a blink (one frame in twenty) is lost, since the median lid is open; the velocity; and L1 of the
inner-lip gap on the rig. Unused codes are moved onto data; use and perplexity of the codebook are logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from streamingtalker_ros.face.lip_shape import LipShape
from streamingtalker_ros.model.blendshape.codec import MotionCodec
from streamingtalker_ros.model.codebook import codebook_perplexity
from streamingtalker_ros.training.batches import WindowSampler

COMMITMENT_WEIGHT = 0.25  # as published
MIN_WEIGHT_SCALE, MIN_HEAD_SCALE = 0.04, 0.005  # smallest scale of a weight, and of a head axis in rad
RESTART_INTERVAL = 20  # steps
MIN_CODE_USES = 2  # within an interval; a code used less often is moved

Array = npt.NDArray[np.float32]


def measure_motion(codec: MotionCodec, motions: Sequence[Array]) -> None:
    """Store the mean and standard deviation of the training motion in the codec's buffers.

    Args:
        codec: the codec.
        motions: (T, 55) each.
    """
    motion = torch.from_numpy(np.concatenate(motions))
    codec.motion_mean.copy_(motion.mean(0))
    floor = torch.tensor([MIN_WEIGHT_SCALE] * 52 + [MIN_HEAD_SCALE] * 3)
    codec.motion_scale.copy_(torch.maximum(motion.std(0), floor))


class CodecStage:
    """Loss of stage 1 over random windows of motion.

    Args:
        codec: the codec.
        sampler: the windows.
        lips: the rig's lip measures.
        batch_size: windows per step.
    """

    def __init__(self, codec: MotionCodec, sampler: WindowSampler, lips: LipShape, batch_size: int) -> None:
        self.codec, self.sampler, self.lips, self.batch_size = codec, sampler, lips, batch_size
        self.device = codec.codebook.device
        self.used = torch.zeros(len(codec.codebook), device=self.device)
        self.buffers: dict[str, torch.Tensor] = {"codebook": codec.codebook, "used": self.used}

    def __call__(
        self, step: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        """Loss and metrics of a random batch; see `trainer.Stage`."""
        codec = self.codec
        motion = self.sampler.sample(self.batch_size, rng).motion.to(self.device)
        features = codec.features(motion)
        quantized, indices = codec.quantize(features)
        codebook = functional.mse_loss(quantized, features.detach())
        commitment = functional.mse_loss(features, quantized.detach())
        straight_through = features + (quantized - features).detach()
        decoded = codec.decoder(straight_through) * codec.motion_scale + codec.motion_mean
        difference = (decoded - motion) / codec.motion_scale
        absolute, square = difference.abs().mean(), difference.square().mean()
        gap = (self.lips.gap(decoded) - self.lips.gap(motion)).abs().mean()
        velocity = difference.diff(dim=1).abs().mean()
        self.restart_unused_codes(step, indices, features, rng)
        loss = absolute + square + 4.0 * gap + 0.5 * velocity + codebook + COMMITMENT_WEIGHT * commitment
        return loss, {
            "weights": absolute.detach(),
            "square": square.detach(),
            "gap": gap.detach(),
            "codebook": codebook.detach(),
            "perplexity": codebook_perplexity(indices, len(codec.codebook)),
        }

    @torch.no_grad()
    def restart_unused_codes(
        self, step: int, indices: torch.Tensor, features: torch.Tensor, rng: np.random.Generator
    ) -> None:
        """Every `RESTART_INTERVAL` steps move rarely used codes onto random features of the batch.

        Args:
            step: number of the step, from 0.
            indices: (B, T, H) codes of the batch.
            features: (B, T, H·C) of the batch, not quantised.
            rng: source of randomness.
        """
        self.used += torch.bincount(indices.flatten(), minlength=len(self.used))
        if step % RESTART_INTERVAL == RESTART_INTERVAL - 1:
            unused = (self.used < MIN_CODE_USES).nonzero()[:, 0]
            vectors = features.unflatten(-1, (self.codec.num_codebooks, self.codec.code_dim))
            vectors = vectors.reshape(-1, self.codec.code_dim)
            chosen = torch.from_numpy(rng.integers(0, len(vectors), len(unused))).to(self.device)
            self.codec.codebook[unused] = vectors[chosen]
            self.used.zero_()


@torch.no_grad()
def measure_latents(codec: MotionCodec, motions: Sequence[Array]) -> dict[str, Any]:
    """Store the mean and standard deviation of the quantised latents in the codec's buffers.

    Args:
        codec: the trained codec.
        motions: (T, 55) each.

    Returns:
        codes_used, codes and perplexity of the codebook on these motions.
    """
    latents: list[torch.Tensor] = []
    used: list[torch.Tensor] = []
    for motion in motions:
        quantized, indices = codec.quantize(codec.features(torch.from_numpy(motion)[None]))
        latents.append(quantized[0])
        used.append(indices.flatten())
    latent, indices = torch.cat(latents), torch.cat(used)
    codec.latent_mean.copy_(latent.mean(0))
    codec.latent_scale.copy_(latent.std(0).clamp(min=1e-3))
    return {
        "codes_used": int(indices.unique().numel()),
        "codes": len(codec.codebook),
        "perplexity": codebook_perplexity(indices, len(codec.codebook)),
    }
