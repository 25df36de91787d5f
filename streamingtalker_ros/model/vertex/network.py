# SPDX-License-Identifier: Apache-2.0
"""The published network, assembled: audio encoder, codec, predictor, head, with the template of one face.

Takes a `VertexConfig`; `names()` ties the authors' parameter names to the ones here. No files.
"""

import torch
from torch import nn

from streamingtalker_ros.model.vertex import hubert
from streamingtalker_ros.model.vertex.codec import Codec
from streamingtalker_ros.model.vertex.diffusion_head import ComposedSampler, Head, coefficients
from streamingtalker_ros.model.vertex.predictor import Predictor


class VertexNetwork(nn.Module):
    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.audio = hubert.build(config.hubert)
        self.codec = Codec(config)
        self.predictor = Predictor(config)
        self.head = Head(config)
        self.register_buffer("template", torch.zeros(config.vertices, 3))  # in the checkpoint's own unit
        # none unless a mesh was given
        self.register_buffer("triangles", torch.zeros(0, 3, dtype=torch.int64))
        self.eval().requires_grad_(False)

    def composed_sampler(self, steps):
        """The head's S sampling steps as one affine map (head.ComposedSampler)."""
        return ComposedSampler(self.head, self.predictor.latent_in, coefficients(self.config, steps))


def names(config):
    """{the authors' name: ours} of every parameter; HuBERT's are transformers' own and are not here."""
    table = {}

    def both(theirs, ours, *kinds) -> None:
        for kind in kinds or ("weight", "bias"):
            table[f"{theirs}.{kind}"] = f"{ours}.{kind}"

    both("autoencoder.quantize.embedding", "codec.codebook", "weight")
    both("autoencoder.encoder.vertice_mapping.0", "codec.enter")
    both("autoencoder.decoder.vertice_map_reverse", "codec.leave")
    if config.dataset == "biwi":
        both("autoencoder.encoder.encoder_linear_embedding_post.net", "codec.post")
        both("autoencoder.decoder.decoder_linear_embedding_pre.net", "codec.pre")
    for side, conv in (("encoder", "squasher"), ("decoder", "expander")):
        theirs, ours = f"autoencoder.{side}", f"codec.{side}"
        both(f"{theirs}.{conv}.0.0", f"{ours}.conv")
        if config.codec_affine:
            both(f"{theirs}.{conv}.0.2", f"{ours}.norm")
        both(f"{theirs}.{side}_linear_embedding.net", f"{ours}.linear")
        for i in range(config.codec_layers):  # attention and feed-forward alternate in one list
            stack = f"{theirs}.{side}_transformer.net"
            attention, mlp = f"{stack}.{2 * i}.fn", f"{stack}.{2 * i + 1}.fn"
            block = f"{ours}.blocks.{i}"
            both(f"{attention}.norm", f"{block}.norm1")
            both(f"{attention}.fn.to_qkv", f"{block}.attention.qkv", "weight")
            both(f"{attention}.fn.to_out", f"{block}.attention.out")
            both(f"{mlp}.norm", f"{block}.norm2")
            both(f"{mlp}.fn.l1", f"{block}.up")
            both(f"{mlp}.fn.l2", f"{block}.down")
    net = "diff_ar_network"
    both(f"{net}.vq_latent_map", "predictor.latent_in")
    both(f"{net}.audio_feature_map", "predictor.audio_in")
    both(f"{net}.obj_vector", "predictor.identity", "weight")
    both(f"{net}.denoiser.0", "head.join")
    both(f"{net}.latent_vq_map", "head.leave")
    both(f"{net}.time_emb.mlp.0", "head.time_up")
    both(f"{net}.time_emb.mlp.2", "head.time_out")
    for i in range(config.layers):
        theirs, ours = f"{net}.transformer_decoder.layers.{i}", f"predictor.layers.{i}"
        for kind in ("weight", "bias"):
            table[f"{theirs}.self_attn.in_proj_{kind}"] = f"{ours}.qkv.{kind}"
            # of the audio attention only the value is kept: with one allowed key the scores do not matter
            table[f"{theirs}.multihead_attn.in_proj_{kind}"] = f"{ours}.audio_v.{kind}"
        both(f"{theirs}.self_attn.out_proj", f"{ours}.out")
        both(f"{theirs}.multihead_attn.out_proj", f"{ours}.audio_out")
        both(f"{theirs}.linear1", f"{ours}.up")
        both(f"{theirs}.linear2", f"{ours}.down")
        for norm in ("norm1", "norm2", "norm3"):
            both(f"{theirs}.{norm}", f"{ours}.{norm}")
    return table


def tables(config):
    """The authors' stored position tables: name -> (rows that must repeat every so many rows, width)."""
    return {
        "diff_ar_network.PPE.pe": (config.period, config.width),
        "autoencoder.encoder.encoder_pos_embedding.pe": (None, config.codec_width),
        "autoencoder.decoder.decoder_pos_embedding.pe": (None, config.codec_width),
    }
