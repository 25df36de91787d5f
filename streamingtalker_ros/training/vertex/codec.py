# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of the vertex family: the VQ-VAE learns vertex offsets (paper, stage 1).

Loss: |reconstruction error| + ||sg(z) − ẑ||² + 0.25 ||z − sg(ẑ)||², all means, in the vertices' unit. Encoder
and decoder attend to all rows of their input, whose number varies in streaming. Therefore segments of many
lengths are trained on, and the decoder often receives only a part of the encoded rows. A row of rest precedes
each clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from streamingtalker_ros.model.codebook import codebook_perplexity
from streamingtalker_ros.model.vertex.codec import Codec
from streamingtalker_ros.training.codec import COMMITMENT_WEIGHT
from streamingtalker_ros.training.distributed import SingleProcess
from streamingtalker_ros.training.trainer import TrainerConfig
from streamingtalker_ros.training.vertex.dataset import VertexClip
from streamingtalker_ros.training.vertex.recipe import SegmentConfig


def initialize_codebook(codec: Codec) -> None:
    """Initialise a new codebook as released: uniform in ± 1 / N.

    Args:
        codec: Its codebook of N codes is changed in place.
    """
    nn.init.uniform_(
        codec.codebook.weight, -1.0 / codec.config.codebook_size, 1.0 / codec.config.codebook_size
    )


class CodecStage:
    """Loss of stage 1 over random segments of clips.

    Args:
        codec: the codec.
        clips: the training clips.
        segments: how clips are cut.
        config: settings of the loop.
        process: the process that trains.
    """

    def __init__(
        self,
        codec: Codec,
        clips: Sequence[VertexClip],
        segments: SegmentConfig,
        config: TrainerConfig,
        process: SingleProcess,
    ) -> None:
        self.codec, self.clips, self.segments, self.process = codec, clips, segments, process
        self.batch_size, self.mixed_precision = config.batch_size, config.mixed_precision
        lengths = np.array([len(clip) for clip in clips], np.float64)
        self.clip_probs = lengths / lengths.sum()
        self.used = torch.zeros(codec.config.codebook_size, device=process.device)
        self.buffers: dict[str, torch.Tensor] = {}
        if segments.restart_interval:
            self.buffers = {"codebook": codec.codebook.weight, "used": self.used}

    def sample(self, rng: np.random.Generator) -> torch.Tensor:
        """Offsets (B, L, 3V) of segments of one random length L.

        Args:
            rng: Draws the clips, in proportion to their length, the length L and the places.

        Returns:
            (B, L, 3V) float32 offsets from the template in the vertices' unit, L ≥ 2, on the CPU.
        """
        chosen = rng.choice(len(self.clips), self.batch_size, p=self.clip_probs)
        clips = [self.clips[i] for i in chosen]
        max_length = min(len(clip) + 1 for clip in clips)  # rows of the shortest, its row of rest included
        length = (
            max_length
            if rng.random() < self.segments.full_clip_prob
            else int(rng.integers(2, min(self.segments.max_frames, max_length) + 1))
        )
        starts = [int(rng.integers(0, len(clip) + 2 - length)) for clip in clips]
        rows = [clip.rows(start, length) for clip, start in zip(clips, starts, strict=True)]
        return torch.from_numpy(np.stack(rows))

    def __call__(
        self, step: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        """Loss and metrics of a random batch; see `trainer.Stage`."""
        codec, motion = self.codec, self.sample(rng).to(self.process.device)
        with self.process.autocast(self.mixed_precision):
            features = codec.encode(motion).float()
        quantized, indices = codec.quantize(features)
        codebook = F.mse_loss(quantized, features.detach())
        commitment = F.mse_loss(features, quantized.detach())
        straight_through = features + (quantized - features).detach()
        visible = self._visible_rows(motion.shape[1], rng)
        with self.process.autocast(self.mixed_precision):
            decoded = codec.decode(straight_through[:, visible]).float()
        error = (decoded - motion[:, visible]).abs().mean()
        if self.segments.restart_interval:
            self._restart_unused_codes(step, indices, features, rng)
        return error + codebook + COMMITMENT_WEIGHT * commitment, {
            "vertices": error.detach(),
            "codebook": codebook.detach(),
            "perplexity": codebook_perplexity(indices, codec.config.codebook_size),
        }

    def _visible_rows(self, length: int, rng: np.random.Generator) -> slice:
        """The rows that the decoder sees."""
        if length < 3 or rng.random() >= self.segments.decoder_crop_prob:
            return slice(0, length)
        count = int(rng.integers(2, length + 1))
        start = int(rng.integers(0, length - count + 1))
        return slice(start, start + count)

    @torch.no_grad()
    def _restart_unused_codes(
        self, step: int, indices: torch.Tensor, features: torch.Tensor, rng: np.random.Generator
    ) -> None:
        """Every `restart_interval` steps move unused codes onto random features of the batch."""
        self.used += torch.bincount(indices.flatten(), minlength=len(self.used))
        if step % self.segments.restart_interval == self.segments.restart_interval - 1:
            unused = (self.used < 1).nonzero()[:, 0]
            vectors = features.reshape(-1, self.codec.config.code_dim)
            chosen = torch.from_numpy(rng.integers(0, len(vectors), len(unused))).to(vectors.device)
            self.codec.codebook.weight[unused] = vectors[chosen]
            self.used.zero_()


@torch.no_grad()
def evaluate_codec(codec: Codec, clips: Sequence[VertexClip], device: torch.device) -> dict[str, Any]:
    """Reconstruction error and use of the codebook on held-out clips.

    Args:
        codec: the codec, in evaluation mode.
        clips: held-out clips.
        device: of the codec.

    Returns:
        distance, the mean distance of a vertex from its place, in the vertices' unit; distance_at_rest, that
        of a face at rest; codes_used, codes and perplexity.
    """
    errors: list[torch.Tensor] = []
    rest_errors: list[torch.Tensor] = []
    used: list[torch.Tensor] = []
    for clip in clips:
        target = torch.from_numpy(clip.rows(0, len(clip) + 1)).to(device)
        latents, indices = codec.quantize(codec.encode(target[None]))
        decoded = codec.decode(latents)[0]
        errors.append(mean_vertex_distance(decoded - target))
        rest_errors.append(mean_vertex_distance(target))
        used.append(indices.flatten().cpu())
    codes = torch.cat(used)
    return {
        "distance": float(torch.stack(errors).mean()),
        "distance_at_rest": float(torch.stack(rest_errors).mean()),
        "codes_used": int(codes.unique().numel()),
        "codes": codec.config.codebook_size,
        "perplexity": codebook_perplexity(codes, codec.config.codebook_size),
    }


def mean_vertex_distance(offsets: torch.Tensor) -> torch.Tensor:
    """Mean length of the vertices' offsets (T, 3V): a scalar."""
    return offsets.unflatten(-1, (-1, 3)).norm(dim=-1).mean()
