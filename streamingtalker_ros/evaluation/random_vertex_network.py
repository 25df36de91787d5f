# SPDX-License-Identifier: Apache-2.0
"""The paper's VOCASET network with random weights, for benchmarks without a published checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamingtalker_ros.errors import require
from streamingtalker_ros.model.vertex.config import SUBJECTS, VertexConfig

if TYPE_CHECKING:
    from streamingtalker_ros.model.vertex.network import VertexNetwork

VOCASET: Final[dict[str, Any]] = {
    "dataset": "vocaset",
    "vertices": 5023,
    "frame_rate": 30.0,
    "num_codebooks": 16,
    "code_dim": 64,
    "codebook_size": 256,
    "codec_width": 1024,
    "codec_layers": 6,
    "codec_heads": 8,
    "codec_feedforward": 1536,
    "codec_slope": 0.2,
    "codec_affine": False,
    "width": 768,
    "audio_dim": 768,
    "heads": 4,
    "layers": 2,
    "feedforward": 1024,
    "activation": "relu",
    "positional_period": 30,
    "identities": SUBJECTS["vocaset"],
    "context_frames": 60,
}
"""Sizes of the paper and of the released configuration; HuBERT's are the defaults of transformers (base)."""


def random_network(seed: int = 0, **overrides: Any) -> VertexNetwork:
    """Construct a network of VOCASET's size, 240 M parameters, with random weights.

    Args:
        seed: seed of the weights.
        overrides: fields of `VertexConfig` that differ from `VOCASET`.

    Returns:
        The network.

    Raises:
        TalkerError: If torch or transformers is missing.
    """
    torch = require("torch", "the vertex model")
    require("transformers", "the vertex model's audio encoder")
    from streamingtalker_ros.model.vertex.network import VertexNetwork

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VertexNetwork(VertexConfig(**{**VOCASET, **overrides}))
