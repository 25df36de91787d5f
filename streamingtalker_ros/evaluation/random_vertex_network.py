# SPDX-License-Identifier: Apache-2.0
"""The paper-sized VOCASET network with random weights: what its cost is measured on where no checkpoint is at hand."""

from streamingtalker_ros.errors import require
from streamingtalker_ros.model.vertex.config import SUBJECTS, VertexConfig

# sizes of the paper and of the released configuration; HuBERT's are transformers' defaults, the base model
VOCASET = dict(
    dataset="vocaset",
    vertices=5023,
    frame_rate=30.0,
    num_codebooks=16,
    code_dim=64,
    codebook_size=256,
    codec_width=1024,
    codec_layers=6,
    codec_heads=8,
    codec_feedforward=1536,
    codec_slope=0.2,
    codec_affine=False,
    width=768,
    audio_dim=768,
    heads=4,
    layers=2,
    feedforward=1024,
    activation="relu",
    positional_period=30,
    identities=SUBJECTS["vocaset"],
    context_frames=60,
)


def random_network(seed=0, **changes):
    """A VertexNetwork of VOCASET's size, `changes` of its configuration apart, with random weights: 240 M
    parameters, made in a few seconds. Raises TalkerError where torch or transformers is missing."""
    torch = require("torch", "the published model")
    require("transformers", "the published model's audio encoder")
    from streamingtalker_ros.model.vertex.network import VertexNetwork

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VertexNetwork(VertexConfig(**{**VOCASET, **changes}))
