# SPDX-License-Identifier: Apache-2.0
"""A small vertex talker with random weights, at any frame rate."""

from __future__ import annotations

from typing import Any

from streamingtalker_ros.evaluation.random_vertex_network import random_network
from streamingtalker_ros.model.vertex.streaming import VertexTalker

_TINY_HUBERT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def tiny_vertex_talker(chunk_frames: int, **network: Any) -> VertexTalker:
    """A talker of 20 vertices that generates `chunk_frames` frames at a time.

    Args:
        chunk_frames: Frames per step.
        network: Other values of the network's configuration.
    """
    size = {
        "vertices": 20,
        "num_codebooks": 4,
        "code_dim": 8,
        "codec_width": 32,
        "codec_layers": 2,
        "codec_heads": 2,
        "codec_feedforward": 48,
        "width": 32,
        "audio_dim": 32,
        "feedforward": 48,
        "num_inference_steps": 5,
        "hubert": _TINY_HUBERT,
    }
    return VertexTalker(random_network(**{**size, **network}), chunk_frames=chunk_frames, window=1.0)
