# SPDX-License-Identifier: Apache-2.0
"""Stage 1: the motion codec learns to say motion in codes (paper, stage 1).

Loss: L1 of the reconstruction + ||sg(zq) - z||² + 0.25 ||zq - sg(z)||². Added: the squared error, without which a
blink (one frame in twenty) is dropped, since the median lid is open; the velocity; and, because closed lips are what
people look at, L1 of the inner-lip gap on the rig. A code that nothing uses is put where data is: a collapsed codebook
is a failure, so use and perplexity are logged.
"""

import numpy as np
import torch
from torch.nn import functional

COMMIT = 0.25  # weight of the commitment, as published
WEIGHT_FLOOR, HEAD_FLOOR = 0.04, 0.005  # what hardly moves is not magnified beyond this (head: rad)


def measure_motion(codec, motions) -> None:
    """Store mean and scale of the training motion (list of (T, 55)) in the codec's buffers."""
    joined = torch.from_numpy(np.concatenate(motions))
    codec.motion_mean.copy_(joined.mean(0))
    floor = torch.tensor([WEIGHT_FLOOR] * 52 + [HEAD_FLOOR] * 3)
    codec.motion_scale.copy_(torch.maximum(joined.std(0), floor))


class CodecStage:
    """The loss of stage 1 over windows of motion."""

    def __init__(self, codec, windows, lips, batch) -> None:
        self.codec, self.windows, self.lips, self.batch = codec, windows, lips, batch
        self.device = codec.codebook.device
        self.used = torch.zeros(len(codec.codebook), device=self.device)
        self.kept = {"codebook": codec.codebook, "used": self.used}  # what `_restart` changes: see `loop`

    def __call__(self, step, rng):
        codec = self.codec
        motion = self.windows.draw(self.batch, rng).motion.to(self.device)
        features = codec.features(motion)
        quantized, indices = codec.quantize(features)
        codebook = functional.mse_loss(quantized, features.detach())
        commitment = functional.mse_loss(features, quantized.detach())
        straight = features + (quantized - features).detach()  # gradients pass the arg-min
        made = codec.decoder(straight) * codec.motion_scale + codec.motion_mean
        difference = (made - motion) / codec.motion_scale
        weights, square = difference.abs().mean(), difference.square().mean()
        gap = (self.lips.gap(made) - self.lips.gap(motion)).abs().mean()
        velocity = difference.diff(dim=1).abs().mean()
        self._restart(step, indices, features, rng)
        loss = weights + square + 4.0 * gap + 0.5 * velocity + codebook + COMMIT * commitment
        return loss, {
            "weights": weights.detach(),
            "square": square.detach(),
            "gap": gap.detach(),
            "codebook": codebook.detach(),
            "perplexity": perplexity(indices, len(codec.codebook)),
        }

    @torch.no_grad()
    def _restart(self, step, indices, features, rng) -> None:
        """Every 20 steps move the codes that went unused onto random features of the batch."""
        self.used += torch.bincount(indices.flatten(), minlength=len(self.used))
        if step % 20 == 19:
            dead = (self.used < 2).nonzero()[:, 0]
            slots = features.unflatten(-1, (self.codec.num_codebooks, self.codec.code_dim)).reshape(
                -1, self.codec.code_dim
            )
            pick = torch.from_numpy(rng.integers(0, len(slots), len(dead))).to(self.device)
            self.codec.codebook[dead] = slots[pick]
            self.used.zero_()


def perplexity(indices, codes):
    """exp of the entropy of the codes' use: `codes` when all are used alike, 1 when collapsed."""
    share = torch.bincount(indices.flatten(), minlength=codes).double()
    share = share[share > 0] / share.sum()
    return float(torch.exp(-(share * share.log()).sum()))


@torch.no_grad()
def measure_latents(codec, motions):
    """Store mean and scale of the quantized latents in the codec's buffers; returns use and perplexity."""
    latents, used = [], []
    for motion in motions:
        quantized, indices = codec.quantize(codec.features(torch.from_numpy(motion)[None]))
        latents.append(quantized[0])
        used.append(indices.flatten())
    joined, indices = torch.cat(latents), torch.cat(used)
    codec.latent_mean.copy_(joined.mean(0))
    codec.latent_scale.copy_(joined.std(0).clamp(min=1e-3))
    return {
        "codes_used": int(indices.unique().numel()),
        "codes": len(codec.codebook),
        "perplexity": perplexity(indices, len(codec.codebook)),
    }
