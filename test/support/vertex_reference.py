# SPDX-License-Identifier: Apache-2.0
"""Independent reference implementation of the published network, for the tests.

It uses the published parameter names with torch's TransformerDecoder, full masks, the textbook formula of
DDIM, and loops instead of batches. It also writes recording folders of any size in the published layout.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import yaml
from torch import nn
from torch.nn import functional as F

Size: TypeAlias = dict[str, Any]
StateDict: TypeAlias = dict[str, torch.Tensor]

VOCASET: dict[str, Any] = dict(
    name="vocaset",
    fps=30,
    period=30,
    activation=None,
    identities=8,
    window=60,
    heads=4,
    width=24,
    ff=40,
    vertices=10,
    slots=4,
    code=6,
    codes=16,
    codec_width=24,
    codec_heads=4,
    codec_ff=32,
    codec_layers=2,
)
BIWI: dict[str, Any] = dict(
    name="biwi",
    fps=25,
    period=25,
    activation="gelu",
    identities=6,
    window=120,
    heads=4,
    width=32,
    ff=48,
    vertices=14,
    slots=2,
    code=10,
    codes=24,
    codec_width=16,
    codec_heads=2,
    codec_ff=24,
    codec_layers=3,
)
HUBERT: dict[str, Any] = dict(
    model_type="hubert",
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=32,
    conv_dim=[12] * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
)


def sinusoids(rows: int, width: int) -> torch.Tensor:
    """Sinusoidal positional table, (rows, width)."""
    table = torch.zeros(rows, width)
    for p in range(rows):
        for i in range(0, width, 2):
            angle = p * math.exp(-i * math.log(10000.0) / width)
            table[p, i], table[p, i + 1] = math.sin(angle), math.cos(angle)
    return table


def random_state_dict(size: Size, seed: int) -> StateDict:
    """Random weights under the published names, of a size such as VOCASET or BIWI."""
    import transformers

    torch.manual_seed(seed)
    sd: StateDict = {}

    def linear(name: str, n_in: int, n_out: int, bias: bool = True) -> None:
        sd[f"{name}.weight"] = torch.randn(n_out, n_in) * n_in**-0.5
        if bias:
            sd[f"{name}.bias"] = torch.randn(n_out) * 0.1

    def norm(name: str, n: int) -> None:
        sd[f"{name}.weight"], sd[f"{name}.bias"] = 1 + 0.1 * torch.randn(n), 0.1 * torch.randn(n)

    hubert = transformers.HubertModel(transformers.HubertConfig(**HUBERT)).state_dict()
    for name, value in hubert.items():  # the older names, as in the release
        name = name.replace("parametrizations.weight.original0", "weight_g")
        name = name.replace("parametrizations.weight.original1", "weight_v")
        sd[f"audio_encoder.{name}"] = (
            value
            if "layer_norm" in name
            else torch.randn_like(value) * (value.std().clamp(min=0.05) if value.numel() > 1 else 1)
        )
    W, Z, d, V3 = size["codec_width"], size["slots"] * size["code"], size["width"], 3 * size["vertices"]
    table = sinusoids(100, W)  # the release stores 5,000 rows of it
    for side, conv in (("encoder", "squasher"), ("decoder", "expander")):
        root = f"autoencoder.{side}"
        sd[f"{root}.{conv}.0.0.weight"] = torch.randn(W, W, 5) * (5 * W) ** -0.5
        sd[f"{root}.{conv}.0.0.bias"] = torch.randn(W)
        linear(f"{root}.{side}_linear_embedding.net", W, W)
        sd[f"{root}.{side}_pos_embedding.pe"] = table[:, None].clone()
        for i in range(size["codec_layers"]):
            attention, mlp = (f"{root}.{side}_transformer.net.{j}.fn" for j in (2 * i, 2 * i + 1))
            norm(f"{attention}.norm", W)
            linear(f"{attention}.fn.to_qkv", W, 3 * W, bias=False)
            linear(f"{attention}.fn.to_out", W, W)
            norm(f"{mlp}.norm", W)
            linear(f"{mlp}.fn.l1", W, size["codec_ff"])
            linear(f"{mlp}.fn.l2", size["codec_ff"], W)
    linear("autoencoder.encoder.vertice_mapping.0", V3, W)
    linear("autoencoder.decoder.vertice_map_reverse", W, V3)
    if size["name"] == "biwi":
        linear("autoencoder.encoder.encoder_linear_embedding_post.net", W, Z)
        linear("autoencoder.decoder.decoder_linear_embedding_pre.net", Z, W)
    sd["autoencoder.quantize.embedding.weight"] = torch.randn(size["codes"], size["code"])
    net = "diff_ar_network"
    linear(f"{net}.vq_latent_map", Z, d)
    linear(f"{net}.audio_feature_map", HUBERT["hidden_size"], d)
    linear(f"{net}.denoiser.0", 2 * d, d)
    linear(f"{net}.latent_vq_map", d, Z)
    linear(f"{net}.time_emb.mlp.0", 256, d)
    linear(f"{net}.time_emb.mlp.2", d, d)
    sd[f"{net}.obj_vector.weight"] = torch.randn(size["identities"], d)
    sd[f"{net}.PPE.pe"] = sinusoids(size["period"], d).repeat(4, 1)[None]
    for name, value in _decoder(size).state_dict().items():
        sd[f"{net}.transformer_decoder.{name}"] = value + 0.1 * torch.randn_like(value)
    return sd


def _decoder(size: Size) -> nn.TransformerDecoder:
    layer = nn.TransformerDecoderLayer(
        size["width"], size["heads"], size["ff"], 0.0, size["activation"] or "relu", batch_first=True
    )
    return nn.TransformerDecoder(layer, 2).eval()


class Reference:
    """The published computation on one clip.

    Args:
        size: Sizes of the network.
        sd: Weights under the published names.
    """

    def __init__(self, size: Size, sd: StateDict) -> None:
        import transformers

        self.size, self.sd = size, sd
        config = transformers.HubertConfig(**HUBERT)
        config._attn_implementation = "eager"
        self.hubert = transformers.HubertModel(config).eval()
        renamed = {}
        for name, value in self._subset("audio_encoder.").items():
            name = name.replace("conv.weight_g", "conv.parametrizations.weight.original0")
            renamed[name.replace("conv.weight_v", "conv.parametrizations.weight.original1")] = value
        self.hubert.load_state_dict(renamed)
        self.decoder = _decoder(size)
        self.decoder.load_state_dict(self._subset("diff_ar_network.transformer_decoder."))

    def _subset(self, prefix: str) -> StateDict:
        return {name[len(prefix) :]: value for name, value in self.sd.items() if name.startswith(prefix)}

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.sd[f"{name}.weight"], self.sd.get(f"{name}.bias"))

    def _codec_half(self, side: str, conv: str, x: torch.Tensor) -> torch.Tensor:
        """Codec encoder or decoder between its outer linear maps, (T, W) to (T, W)."""
        root, W, heads = f"autoencoder.{side}", self.size["codec_width"], self.size["codec_heads"]
        padded = torch.cat((x[:1], x[:1], x, x[-1:], x[-1:]))  # replicate
        kernel = self.sd[f"{root}.{conv}.0.0.weight"]
        x = torch.stack(
            [torch.stack([kernel[:, :, k] @ padded[t + k] for k in range(5)]).sum(0) for t in range(len(x))]
        )
        x = F.leaky_relu(x + self.sd[f"{root}.{conv}.0.0.bias"], 0.2)
        x = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
        x = self._linear(f"{root}.{side}_linear_embedding.net", x)
        x = x + self.sd[f"{root}.{side}_pos_embedding.pe"][0, 0]
        for i in range(self.size["codec_layers"]):
            a, m = (f"{root}.{side}_transformer.net.{j}.fn" for j in (2 * i, 2 * i + 1))
            y = F.layer_norm(x, (W,), self.sd[f"{a}.norm.weight"], self.sd[f"{a}.norm.bias"])
            q, k, v = self._linear(f"{a}.fn.to_qkv", y).chunk(3, -1)
            attended = []
            for q1, k1, v1 in zip(*(z.chunk(heads, -1) for z in (q, k, v)), strict=True):
                attended.append(torch.softmax(q1 @ k1.T / math.sqrt(W), -1) @ v1)
            x = x + self._linear(f"{a}.fn.to_out", torch.cat(attended, -1))
            y = F.layer_norm(x, (W,), self.sd[f"{m}.norm.weight"], self.sd[f"{m}.norm.bias"])
            x = x + self._linear(f"{m}.fn.l2", F.gelu(self._linear(f"{m}.fn.l1", y)))
        return x

    def encode(self, motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantize motion (T, 3V) to codes (T·H, C) and their indices (T·H,)."""
        x = F.leaky_relu(self._linear("autoencoder.encoder.vertice_mapping.0", motion), 0.2)
        x = self._codec_half("encoder", "squasher", x)
        if self.size["name"] == "biwi":
            x = self._linear("autoencoder.encoder.encoder_linear_embedding_post.net", x)
        codes = self.sd["autoencoder.quantize.embedding.weight"]
        slots = x.reshape(-1, self.size["code"])
        indices = torch.tensor([int(((codes - slot) ** 2).sum(1).argmin()) for slot in slots])
        return codes[indices], indices

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents (T, H·C) to motion (T, 3V)."""
        if self.size["name"] == "biwi":
            latents = self._linear("autoencoder.decoder.decoder_linear_embedding_pre.net", latents)
        decoded = self._codec_half("decoder", "expander", latents)
        return self._linear("autoencoder.decoder.vertice_map_reverse", decoded)

    def self_attention_mask(self, T: int) -> torch.Tensor:
        """Causal mask with the temporal bias, (heads, T, T), computed entry by entry."""
        heads, period = self.size["heads"], self.size["period"]
        bias = torch.full((heads, T, T), float("-inf"))
        for h in range(heads):
            for i in range(T):
                for j in range(i + 1):
                    bias[h, i, j] = -(2.0 ** (-8 * (h + 1) / heads)) * ((i - j) // period)
        return bias

    def condition(self, past: torch.Tensor, audio: torch.Tensor, identity: int) -> torch.Tensor:
        """Conditions (n, d) from past latents (n, H·C) and audio features (L, d)."""
        x = self._linear("diff_ar_network.vq_latent_map", past)
        x = x + self.sd["diff_ar_network.obj_vector.weight"][identity]
        x = x + self.sd["diff_ar_network.PPE.pe"][0, : len(past)]
        diagonal = torch.ones(len(past), len(audio), dtype=torch.bool)
        diagonal[range(len(past)), range(len(past))] = False
        return self.decoder(
            x[None], audio[None], tgt_mask=self.self_attention_mask(len(past)), memory_mask=diagonal
        )[0]

    def denoise(self, condition: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Run 50 DDIM steps from noise z (H·C,) under a condition (d,)."""
        net, betas = "diff_ar_network", torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        abar = torch.cumprod(1 - betas, 0)
        for t in range(981, 0, -20):
            angle = torch.tensor([t * math.exp(-math.log(10000) * i / 128) for i in range(128)])
            time = self._linear(f"{net}.time_emb.mlp.0", torch.cat((angle.cos(), angle.sin())))
            time = self._linear(f"{net}.time_emb.mlp.2", time * torch.sigmoid(time))
            joined = torch.cat((self._linear(f"{net}.vq_latent_map", z), condition + time))
            x0 = self._linear(f"{net}.latent_vq_map", self._linear(f"{net}.denoiser.0", joined))
            noise = (z - abar[t].sqrt() * x0) / (1 - abar[t]).sqrt()
            before = abar[t - 20] if t >= 20 else abar[0]
            z = before.sqrt() * x0 + (1 - before).sqrt() * noise
        return z

    @torch.no_grad()
    def record(
        self,
        audio: torch.Tensor,
        identity: int,
        template: torch.Tensor,
        noise_seed: int,
        motion: torch.Tensor,
    ) -> dict[str, np.ndarray]:
        """Compute all arrays of a recording."""
        raw = self.hubert(audio[None]).last_hidden_state
        count = int(raw.shape[1] * (self.size["fps"] / 50))
        features = F.interpolate(raw.transpose(1, 2), size=count, mode="linear", align_corners=True)[0].T
        mapped_audio = self._linear("diff_ar_network.audio_feature_map", features)
        noise = torch.randn(
            count, self.size["slots"] * self.size["code"], generator=torch.Generator().manual_seed(noise_seed)
        )
        start = self.encode(torch.zeros(2, 3 * self.size["vertices"]))[0].reshape(2, -1)[0]
        latents, conditions, frames = [start], [], []
        for n in range(count):
            conditions.append(self.condition(torch.stack(latents), mapped_audio, identity)[-1])
            latents.append(self.denoise(conditions[-1], noise[n]))
            frames.append(self.decode(torch.stack(latents))[-1].view(-1, 3) + template.view(-1, 3))
        quantized, indices = self.encode(motion)
        one_hot = F.one_hot(torch.tensor(identity), self.size["identities"]).float()
        arrays = dict(
            audio=audio,
            identity=one_hot,
            template=template,
            noise=noise,
            audio_encoder_output=raw[0],
            audio_features=features,
            start_latent=start,
            conditions=torch.stack(conditions),
            latents=torch.stack(latents),
            frames=torch.stack(frames),
            vq_motion=motion,
            vq_quantized=quantized,
            vq_indices=indices,
            vq_decoded=self.decode(quantized.reshape(len(motion), -1)),
        )
        return {name: value.numpy() for name, value in arrays.items()}


def configuration(size: Size) -> dict[str, Any]:
    """Published YAML configuration of a size."""
    predictor = dict(
        vq_dim=size["slots"] * size["code"],
        latent_dim=size["width"],
        audio_encode_dim=HUBERT["hidden_size"],
        period=size["period"],
        n_heads=size["heads"],
        max_seq_len=200,
        id_dim=size["identities"],
        feedforward_dim=size["ff"],
        num_layers=2,
        dropout=0.1,
    )
    if size["activation"]:
        predictor["activation"] = size["activation"]
    codec = dict(
        n_vert=3 * size["vertices"],
        n_embed=size["codes"],
        zquant_dim=size["code"],
        hidden_size=size["codec_width"],
        num_hidden_layers=size["codec_layers"],
        num_attention_heads=size["codec_heads"],
        intermediate_size=size["codec_ff"],
        window_size=1,
        quant_factor=0,
        face_quan_num=size["slots"],
        neg=0.2,
        INaffine=False,
    )
    schedule = dict(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="sample",
        set_alpha_to_one=False,
        steps_offset=1,
    )
    audio = dict(audio_fps=50, hidden_fps=size["fps"], model_name_or_path="facebook/hubert-base-ls960")
    return dict(
        DATASET=dict(NAME=size["name"]),
        MODEL=dict(
            TYPE="diff_ar",
            finetune_dec=size["name"] == "biwi",
            window_size=size["window"],
            AUDIO_ENCODER=audio,
            DIFF_AR_DEC=predictor,
            VAE=codec,
            SCHEDULER=schedule,
            num_inference_timesteps=50,
            eta=0.0,
        ),
    )


def write_checkpoint(folder: Path, size: Size, seed: int = 0) -> StateDict:
    """Write config.yaml, hubert_config.json and checkpoint.ckpt of a random network; return its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    sd = random_state_dict(size, seed)
    torch.save({"epoch": 3, "pytorch-lightning_version": "2.0", "state_dict": sd}, folder / "checkpoint.ckpt")
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration(size)))
    (folder / "hubert_config.json").write_text(json.dumps(HUBERT))
    return sd


def write_recording(folder: Path, size: Size, seconds: float = 1.1, seed: int = 0) -> None:
    """Write a complete recording folder, computed by this reference."""
    sd = write_checkpoint(folder, size, seed)
    rng = np.random.default_rng(seed)
    audio = torch.from_numpy(rng.standard_normal(int(seconds * 16000)).astype(np.float32))
    template = torch.from_numpy(rng.standard_normal(3 * size["vertices"]).astype(np.float32))
    motion = torch.from_numpy(rng.standard_normal((7, 3 * size["vertices"])).astype(np.float32))
    arrays: dict[str, Any] = Reference(size, sd).record(audio, 2, template, seed, motion)
    np.savez(folder / "expected.npz", **arrays)
