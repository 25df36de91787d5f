# SPDX-License-Identifier: Apache-2.0
"""Averages the encoders of several checkpoints: `streamingtalker train average`.

Networks trained on from the same weights, with other data or for other lengths, mostly lie in one basin of
the loss, where their mean errs less than each (model soups, Wortsman et al. 2022). Heads that read the
averaged features are best trained on them once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.blendshape.network import TalkerNetwork


@torch.no_grad()
def average_encoders(
    folders: Sequence[str | Path],
    weights: Sequence[float] | None = None,
    base: str | Path | None = None,
) -> TalkerNetwork:
    """The weighted mean of the encoders of several checkpoints.

    Args:
        folders: checkpoint folders whose training began with the same weights.
        weights: a positive number per folder; equal when None.
        base: checkpoint folder of everything but the encoder; the first folder when None.

    Raises:
        TalkerError: if the encoders differ in shape, or weights and folders in number.
    """
    factors = list(weights or [1.0] * len(folders))
    if len(factors) != len(folders) or min(factors) <= 0.0:
        raise TalkerError(
            f"{len(folders)} checkpoints have {len(factors)} weights: give each one a number above 0"
        )
    networks = [checkpoint.load(folder) for folder in folders]
    mean = checkpoint.load(base or folders[0])
    for name, tensor in mean.encoder.state_dict().items():
        summands: list[torch.Tensor] = []
        for folder, network, factor in zip(folders, networks, factors, strict=True):
            other = network.encoder.state_dict().get(name)
            if other is None or other.shape != tensor.shape:
                raise TalkerError(f"the encoder in {folder} has another architecture: it differs at {name}")
            summands.append(factor * other)
        tensor.copy_(sum(summands) / sum(factors))  # pyright: ignore[reportArgumentType]
    return mean
