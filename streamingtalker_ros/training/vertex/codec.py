# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of the published family: the VQ-VAE learns offsets of vertices (paper, stage 1).

Loss: |reconstruction error| + ||sg(z) − ẑ||² + 0.25 ||z − sg(ẑ)||², all means, in the vertices' unit. Encoder and
decoder look over all rows that they are given; streaming gives them few or many, so pieces of many lengths are
learned, and the decoder often sees only a part of what was coded. A row of rest precedes each clip.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from streamingtalker_ros.training.codec import COMMIT, perplexity


def prepare(codec) -> None:
    """Initialise a new codec as released: the codes lie evenly in ± 1 / N."""
    nn.init.uniform_(codec.codebook.weight, -1.0 / codec.config.codebook_size, 1.0 / codec.config.codebook_size)


class CodecStage:
    """The loss of stage 1 over pieces of clips."""

    def __init__(self, codec, clips, pieces, settings, machine) -> None:
        self.codec, self.clips, self.pieces, self.machine = codec, clips, pieces, machine
        self.batch, self.mixed = settings.batch, settings.mixed
        self.chance = np.array([len(clip) for clip in clips], np.float64)
        self.chance /= self.chance.sum()
        self.used = torch.zeros(codec.config.codebook_size, device=machine.device)
        self.kept = {"codebook": codec.codebook.weight, "used": self.used} if pieces.restart else {}

    def draw(self, rng):
        """Offsets (B, L, 3V) of pieces of one length."""
        clips = [self.clips[i] for i in rng.choice(len(self.clips), self.batch, p=self.chance)]
        most = min(len(clip) + 1 for clip in clips)  # rows of the shortest, its row of rest included
        length = (
            most
            if rng.random() < self.pieces.whole
            else int(rng.integers(2, min(self.pieces.frames, most) + 1))
        )
        starts = [int(rng.integers(0, len(clip) + 2 - length)) for clip in clips]
        return torch.from_numpy(np.stack([clip.rows(start, length) for clip, start in zip(clips, starts)]))

    def __call__(self, step, rng):
        codec, motion = self.codec, self.draw(rng).to(self.machine.device)
        with self.machine.autocast(self.mixed):
            features = codec.encode(motion).float()
        quantized, indices = codec.quantize(features)
        codebook, commitment = (
            F.mse_loss(quantized, features.detach()),
            F.mse_loss(features, quantized.detach()),
        )
        straight = features + (quantized - features).detach()  # gradients pass the arg-min
        seen = self._seen(motion.shape[1], rng)
        with self.machine.autocast(self.mixed):
            made = codec.decode(straight[:, seen]).float()
        error = (made - motion[:, seen]).abs().mean()
        if self.pieces.restart:
            self._restart(step, indices, features, rng)
        return error + codebook + COMMIT * commitment, {
            "vertices": error.detach(),
            "codebook": codebook.detach(),
            "perplexity": perplexity(indices, codec.config.codebook_size),
        }

    def _seen(self, length, rng):
        """The rows that the decoder sees."""
        if length < 3 or rng.random() >= self.pieces.cut:
            return slice(0, length)
        count = int(rng.integers(2, length + 1))
        start = int(rng.integers(0, length - count + 1))
        return slice(start, start + count)

    @torch.no_grad()
    def _restart(self, step, indices, features, rng) -> None:
        """Now and then move the codes that went unused onto random features of the batch."""
        self.used += torch.bincount(indices.flatten(), minlength=len(self.used))
        if step % self.pieces.restart == self.pieces.restart - 1:
            dead = (self.used < 1).nonzero()[:, 0]
            slots = features.reshape(-1, self.codec.config.code_dim)
            pick = torch.from_numpy(rng.integers(0, len(slots), len(dead))).to(slots.device)
            self.codec.codebook.weight[dead] = slots[pick]
            self.used.zero_()


@torch.no_grad()
def codec_figures(codec, clips, device):
    """Of held-out clips: mean distance of a vertex from its place, that of a face at rest, codes in use, perplexity."""
    errors, still, used = [], [], []
    for clip in clips:
        truth = torch.from_numpy(clip.rows(0, len(clip) + 1)).to(device)
        latents, indices = codec.quantize(codec.encode(truth[None]))
        made = codec.decode(latents)[0]
        errors.append(distance(made - truth))
        still.append(distance(truth))
        used.append(indices.flatten().cpu())
    used = torch.cat(used)
    return {
        "distance": float(torch.stack(errors).mean()),
        "distance_at_rest": float(torch.stack(still).mean()),
        "codes_used": int(used.unique().numel()),
        "codes": codec.config.codebook_size,
        "perplexity": perplexity(used, codec.config.codebook_size),
    }


def distance(offsets):
    """(T, 3V) -> the mean length of the vertices' offsets, a scalar tensor."""
    return offsets.unflatten(-1, (-1, 3)).norm(dim=-1).mean()
