# SPDX-License-Identifier: Apache-2.0
"""The published network, assembled: audio encoder, codec, predictor, head, with the template of one face.

`parameter_names()` maps the authors' parameter names to the ones here. No files are read.
"""

from __future__ import annotations

import torch
from torch import nn

from streamingtalker_ros.model.vertex import hubert
from streamingtalker_ros.model.vertex.codec import Codec
from streamingtalker_ros.model.vertex.config import VertexConfig
from streamingtalker_ros.model.vertex.diffusion_head import ComposedSampler, Head, coefficients
from streamingtalker_ros.model.vertex.predictor import Predictor


class VertexNetwork(nn.Module):
    """Audio encoder, codec, predictor and head, in evaluation mode.

    Args:
        config: Sizes of the network.

    Attributes:
        template: (V, 3) rest pose in the checkpoint's own unit, zeros unless one was given.
        triangles: (T, 3) int64, T = 0 unless a mesh was given.
    """

    template: torch.Tensor
    triangles: torch.Tensor

    def __init__(self, config: VertexConfig) -> None:
        super().__init__()
        self.config = config
        self.audio = hubert.build(config.hubert)
        self.codec = Codec(config)
        self.predictor = Predictor(config)
        self.head = Head(config)
        self.register_buffer("template", torch.zeros(config.vertices, 3))
        self.register_buffer("triangles", torch.zeros(0, 3, dtype=torch.int64))
        self.eval().requires_grad_(False)

    def composed_sampler(self, steps: int) -> ComposedSampler:
        """Return the head's S sampling steps as one affine map. Raises TalkerError if S is out of range."""
        return ComposedSampler(self.head, self.predictor.latent_in, coefficients(self.config, steps))


def parameter_names(config: VertexConfig) -> dict[str, str]:
    """Return {the authors' name: ours} of every parameter but HuBERT's, whose are transformers' own.

    Args:
        config: Sizes of the network; they decide which parameters exist.
    """
    table: dict[str, str] = {}

    def add(published: str, ours: str, *kinds: str) -> None:
        for kind in kinds or ("weight", "bias"):
            table[f"{published}.{kind}"] = f"{ours}.{kind}"

    add("autoencoder.quantize.embedding", "codec.codebook", "weight")
    add("autoencoder.encoder.vertice_mapping.0", "codec.enter")
    add("autoencoder.decoder.vertice_map_reverse", "codec.leave")
    if config.dataset == "biwi":
        add("autoencoder.encoder.encoder_linear_embedding_post.net", "codec.post")
        add("autoencoder.decoder.decoder_linear_embedding_pre.net", "codec.pre")
    for side, conv in (("encoder", "squasher"), ("decoder", "expander")):
        published, ours = f"autoencoder.{side}", f"codec.{side}"
        add(f"{published}.{conv}.0.0", f"{ours}.conv")
        if config.codec_affine:
            add(f"{published}.{conv}.0.2", f"{ours}.norm")
        add(f"{published}.{side}_linear_embedding.net", f"{ours}.linear")
        for i in range(config.codec_layers):  # attention and feed-forward alternate in one list
            stack = f"{published}.{side}_transformer.net"
            attention, mlp = f"{stack}.{2 * i}.fn", f"{stack}.{2 * i + 1}.fn"
            block = f"{ours}.blocks.{i}"
            add(f"{attention}.norm", f"{block}.norm1")
            add(f"{attention}.fn.to_qkv", f"{block}.attention.qkv", "weight")
            add(f"{attention}.fn.to_out", f"{block}.attention.out")
            add(f"{mlp}.norm", f"{block}.norm2")
            add(f"{mlp}.fn.l1", f"{block}.up")
            add(f"{mlp}.fn.l2", f"{block}.down")
    net = "diff_ar_network"
    add(f"{net}.vq_latent_map", "predictor.latent_in")
    add(f"{net}.audio_feature_map", "predictor.audio_in")
    add(f"{net}.obj_vector", "predictor.identity", "weight")
    add(f"{net}.denoiser.0", "head.join")
    add(f"{net}.latent_vq_map", "head.leave")
    add(f"{net}.time_emb.mlp.0", "head.time_up")
    add(f"{net}.time_emb.mlp.2", "head.time_out")
    for i in range(config.layers):
        published, ours = f"{net}.transformer_decoder.layers.{i}", f"predictor.layers.{i}"
        for kind in ("weight", "bias"):
            table[f"{published}.self_attn.in_proj_{kind}"] = f"{ours}.qkv.{kind}"
            # of the audio attention only the value is kept: with one allowed key the scores do not matter
            table[f"{published}.multihead_attn.in_proj_{kind}"] = f"{ours}.audio_v.{kind}"
        add(f"{published}.self_attn.out_proj", f"{ours}.out")
        add(f"{published}.multihead_attn.out_proj", f"{ours}.audio_out")
        add(f"{published}.linear1", f"{ours}.up")
        add(f"{published}.linear2", f"{ours}.down")
        for norm in ("norm1", "norm2", "norm3"):
            add(f"{published}.{norm}", f"{ours}.{norm}")
    return table


def position_tables(config: VertexConfig) -> dict[str, tuple[int | None, int]]:
    """Return the authors' stored position tables: name -> (rows after which they repeat, or None; width).

    Args:
        config: Sizes of the network.
    """
    return {
        "diff_ar_network.PPE.pe": (config.positional_period, config.width),
        "autoencoder.encoder.encoder_pos_embedding.pe": (None, config.codec_width),
        "autoencoder.decoder.decoder_pos_embedding.pe": (None, config.codec_width),
    }
