# SPDX-License-Identifier: Apache-2.0
"""Fused frame step of a blendshape network: `encode_hop` and `generate_frame` in few, large operations.

At one frame a network of 4 M parameters is bound by reading its weights and by the number of its operations.
Therefore matrices are stored in the order in which the product reads them, linear layers that follow each
other without an activation are composed into one (the audio's value and output maps of all layers; the head's
output and the next step's input), and what depends only on the number of steps is computed beforehand. State
and arguments are the network's own; test/model/test_fused_inference.py asserts equality. No value is copied
to the host, so that a CUDA graph can record it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import layer_norm, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from streamingtalker_ros.model.blendshape.causal_layers import ResidualBlock
from streamingtalker_ros.model.blendshape.codec import CodecState, MotionCodec
from streamingtalker_ros.model.blendshape.config import COLUMN_SAMPLES
from streamingtalker_ros.model.blendshape.diffusion_head import DiffusionHead
from streamingtalker_ros.model.blendshape.encoder import AudioEncoder, EncoderState
from streamingtalker_ros.model.blendshape.feature_constants import MIN_LEVEL, POWER_FLOOR, WINDOW_SAMPLES
from streamingtalker_ros.model.blendshape.network import LatentSampler, NetworkState, TalkerNetwork
from streamingtalker_ros.model.blendshape.predictor import ConditionPredictor, Layer, PredictorState
from streamingtalker_ros.model.ddim import NoiseSchedule, ddim_coefficients

# elements; below, oneDNN takes longer to set up its gelu than the plain kernel takes for twice as many
MIN_ONEDNN_ELEMENTS = 1024

# bias (outputs,) and matrix (inputs, outputs), for torch.addmm
Affine: TypeAlias = tuple[torch.Tensor, torch.Tensor]
NormWeights: TypeAlias = tuple[torch.Tensor, torch.Tensor]  # scale, bias


def gelu(x: torch.Tensor) -> torch.Tensor:
    """Compute gelu; for few elements on a CPU by the plain kernel, which torch takes for strided input.

    Args:
        x: Tensor of any shape.

    Returns:
        Tensor of the same shape.
    """
    if x.is_cuda or x.numel() > MIN_ONEDNN_ELEMENTS:
        return torch.nn.functional.gelu(x)
    return torch.nn.functional.gelu(x.expand(2, *x.shape))[0]


def pack_linear(weight: torch.Tensor) -> torch.Tensor:
    """Return the transpose (inputs, outputs) of a weight, contiguous: twice as fast for one row."""
    return weight.t().contiguous()


def share_linear(linear: nn.Module) -> Affine:
    """Pack an nn.Linear's weight, whose storage it goes on using; returns (bias, matrix).

    Args:
        linear: Layer with a bias and a weight (outputs, inputs); its weight becomes a view of the matrix.

    Returns:
        Bias (outputs,) and matrix (inputs, outputs), both shared with the layer.
    """
    assert isinstance(linear, nn.Linear)
    packed = pack_linear(linear.weight.detach())
    linear.weight.data = packed.t()
    return linear.bias, packed


def compose_linear(first: nn.Linear, second: nn.Linear) -> Affine:
    """Compose two nn.Linear in a row into one, in float64; returns (bias, matrix) in float32.

    Args:
        first: Layer that is applied first, with a bias.
        second: Layer applied to its output, with a bias.

    Returns:
        Bias (outputs of second,) and matrix (inputs of first, outputs of second).
    """
    a, b = first.weight.double(), second.weight.double()
    bias = b @ first.bias.double() + second.bias.double()
    return bias.float(), pack_linear(b @ a).float()


def _norm_weights(norm: nn.LayerNorm) -> NormWeights:
    return norm.weight, norm.bias


class FusedNetwork:
    """Fused counterpart of a network's `encode_hop` and `generate_frame`.

    Args:
        network: In evaluation mode on its device; its weights must not change afterwards.
    """

    def __init__(self, network: TalkerNetwork) -> None:
        with torch.no_grad():
            self.encoder = _FusedEncoder(network.encoder)
            self.predictor = _FusedPredictor(network.predictor)
            self.decoder = _FusedDecoder(network.codec)

    def encode_hop(self, hop: torch.Tensor, state: NetworkState) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode one hop of audio; see `TalkerNetwork.encode_hop`.

        Args:
            hop: (B, config.hop) samples in -1..1.
            state: Its encoder is updated in place.

        Returns:
            Features (B, audio_width), and `AudioEncoder.auxiliary_logits` (B, 1 to 7).
        """
        return self.encoder(hop, state.encoder)

    def generate_frame(
        self,
        feature: torch.Tensor,
        noise: torch.Tensor,
        style: torch.Tensor,
        sampler: LatentSampler,
        state: NetworkState,
        context_frames: int | None = None,
        guidance: torch.Tensor | None = None,
        uncond: PredictorState | None = None,
    ) -> torch.Tensor:
        """Generate one frame of motion; see `TalkerNetwork.generate_frame`. sampler: a FusedSampler.

        Args:
            feature: (B, audio_width) of the hop that completes the frame's look-ahead.
            noise: (B, D) noise that sampling begins with.
            style: (B,) rows of the style embedding.
            sampler: The diffusion steps, a FusedSampler.
            state: Predictor, codec and latent are updated in place.
            context_frames: Frames that attention sees, at most h; None for h.
            guidance: (B, 1) scale of classifier-free guidance on the audio; None for none.
            uncond: With guidance, the state of the unconditional branch, updated in place.

        Returns:
            (B, motion_dim), weights not yet clipped to 0..1.
        """
        condition = self.predictor(state.latent, feature, style, state.predictor, context_frames)
        if guidance is None or uncond is None:
            latent = sampler(condition, noise)
        else:
            silence = torch.zeros_like(feature)
            unconditional = self.predictor(state.latent, silence, style, uncond, context_frames)
            latent = sampler.guided(condition, unconditional, guidance, noise)
        state.latent.copy_(latent)
        return self.decoder(latent, state.codec)


class _FusedBlock:
    """A ResidualBlock at `rows` rows of each stream: (B·rows, width) -> the same."""

    def __init__(self, block: nn.Module, rows: int = 1) -> None:
        assert isinstance(block, ResidualBlock)
        conv = block.conv
        self.rows, self.kernel, self.taps = rows, conv.kernel, conv.kernel * conv.inputs
        self.width, self.norm = conv.inputs, _norm_weights(block.norm)
        self.dilation = conv.dilation
        self.conv, self.out = share_linear(conv.linear), share_linear(block.out)

    def __call__(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        new = layer_norm(x, (self.width,), *self.norm).view(len(context), self.rows, -1)
        joined = torch.cat((context, new), 1)  # (B, reach + rows, width)
        context.copy_(joined[:, self.rows :])
        if self.rows == 1:
            taps = joined[:, :: self.dilation].flatten(1)  # (B, kernel·width)
        elif self.dilation == 1:
            taps = joined.flatten(1).unfold(1, self.taps, self.width).flatten(0, 1)  # (B·rows, kernel·width)
        else:
            offsets = range(0, self.kernel * self.dilation, self.dilation)
            taps = torch.cat([joined[:, i : i + self.rows] for i in offsets], 2).flatten(0, 1)
        bias, matrix = self.conv
        bias_out, out = self.out
        return x.addmm(gelu(torch.addmm(bias, taps, matrix)), out).add_(bias_out)


class _FusedEncoder:
    """LogMel and AudioEncoder for one hop."""

    def __init__(self, encoder: AudioEncoder) -> None:
        mel = encoder.log_mel
        self.basis, self.columns, self.release = mel.basis, mel.columns, mel.release
        self.filters = torch.cat((mel.filters, mel.filters))  # of real and imaginary parts alike
        self.column_conv = share_linear(encoder.column_conv.linear)
        self.frame_conv = share_linear(encoder.frame_conv.linear)
        self.kernel = encoder.column_conv.kernel
        self.column_blocks = [_FusedBlock(block, self.columns) for block in encoder.column_blocks]
        self.blocks = [_FusedBlock(block) for block in encoder.blocks]
        self.norm = _norm_weights(encoder.norm)
        self.vad_head = encoder.vad_head
        self.articulation_heads = list(encoder.articulation_heads.values())

    def __call__(self, hop: torch.Tensor, state: EncoderState) -> tuple[torch.Tensor, torch.Tensor]:
        batch, features = len(hop), state.features
        contexts: Iterator[torch.Tensor] = iter(state.contexts)
        joined = torch.cat((features.samples, hop), 1)
        features.samples.copy_(joined[:, hop.shape[1] :])
        spectrum = joined.unfold(1, WINDOW_SAMPLES, COLUMN_SAMPLES).flatten(0, 1) @ self.basis
        power = (spectrum.square_() @ self.filters).view(batch, self.columns, -1)
        loudness = torch.log(power.mean((1, 2)) + POWER_FLOOR)  # (B,)
        level = torch.maximum(loudness, features.level - self.release).clamp_(min=MIN_LEVEL)
        features.level.copy_(level)
        mels = torch.log(power + POWER_FLOOR) - level[:, None, None]
        mels = mels.mul_(0.25).add_(1.0).clamp_(-2.0, 2.0)
        context = next(contexts)
        joined = torch.cat((context, mels), 1)  # (B, reach + columns, num_mels)
        context.copy_(joined[:, self.columns :])
        bands = mels.shape[-1]
        taps = joined.flatten(1).unfold(1, self.kernel * bands, bands).flatten(0, 1)
        x = gelu(torch.addmm(self.column_conv[0], taps, self.column_conv[1]))  # (B·columns, channels)
        for block in self.column_blocks:
            x = block(x, next(contexts))
        relative = (0.25 * (loudness - level).clamp_(min=-12.0) + 1.0)[:, None]
        context = next(contexts)
        taps = torch.cat((context[:, 0], x.view(batch, -1), relative), 1)
        context.copy_(taps[:, None, context.shape[2] :])
        x = gelu(torch.addmm(self.frame_conv[0], taps, self.frame_conv[1]))
        for block in self.blocks:
            x = block(x, next(contexts))
        feature = layer_norm(x, (x.shape[1],), *self.norm)
        stacked = torch.cat((state.articulation.flatten(1), feature), 1)
        state.articulation.copy_(stacked[:, x.shape[1] :].view_as(state.articulation))
        articulation = [head(stacked) for head in self.articulation_heads]
        return feature, torch.cat((self.vad_head(feature), *articulation), -1)


@dataclass
class _FusedLayer:
    """Packed weights of one transformer layer."""

    norm_self: NormWeights
    qkv: Affine
    attention_out: torch.Tensor  # its bias is in the audio's part
    norm_feedforward: NormWeights
    up: Affine
    down: Affine

    @classmethod
    def from_layer(cls, layer: Layer) -> _FusedLayer:
        return cls(
            _norm_weights(layer.norm_self),
            share_linear(layer.qkv),
            share_linear(layer.attention_out)[1],
            _norm_weights(layer.norm_feedforward),
            share_linear(layer.up),
            share_linear(layer.down),
        )


class _FusedPredictor:
    """ConditionPredictor.step."""

    def __init__(self, predictor: ConditionPredictor) -> None:
        self.predictor = predictor
        layers = [layer for layer in predictor.layers if isinstance(layer, Layer)]
        self.heads = layers[0].heads
        self.latent_in, self.no_latent = share_linear(predictor.latent_in), predictor.no_latent
        self.layers = [_FusedLayer.from_layer(layer) for layer in layers]
        self.norm = _norm_weights(predictor.norm)
        # the audio's part of every layer in one product, the bias of `attention_out` included
        composed = [compose_linear(layer.audio_value, layer.audio_out) for layer in layers]
        self.audio = (
            torch.cat(
                [bias + layer.attention_out.bias for (bias, _), layer in zip(composed, layers, strict=True)]
            ),
            torch.cat([matrix for _, matrix in composed], 1),
        )

    def __call__(
        self,
        past: torch.Tensor,
        audio: torch.Tensor,
        style: torch.Tensor,
        state: PredictorState,
        context_frames: int | None = None,
    ) -> torch.Tensor:
        predictor, frame = self.predictor, state.frame
        width = predictor.position.shape[1]
        x = torch.addmm(self.latent_in[0], past, self.latent_in[1])
        x = torch.where(((frame > 0) & (context_frames != 0))[:, None], x, self.no_latent)
        x = x + predictor.style.weight[style] + predictor.position[frame % predictor.positional_period]
        audio_parts = torch.addmm(self.audio[0], audio, self.audio[1]).chunk(len(self.layers), 1)
        rows, bias = predictor.ring(state, context_frames)
        ring = state.cache.view(-1, 2 * width)
        for i, layer in enumerate(self.layers):
            bias_qkv, qkv = layer.qkv
            new = torch.addmm(bias_qkv, layer_norm(x, (width,), *layer.norm_self), qkv)  # (B, 3·width)
            ring.index_copy_(0, rows[:, i], new[:, width:])
            keys, values = (
                state.cache[:, i]
                .view(len(x), predictor.context_frames, 2, self.heads, -1)
                .permute(2, 0, 3, 1, 4)
            )
            query = new[:, :width].view(len(x), self.heads, 1, -1)
            attended = scaled_dot_product_attention(query, keys, values, attn_mask=bias).view(len(x), width)
            x = x.addmm(attended, layer.attention_out).add_(audio_parts[i])
            up, down = layer.up, layer.down
            hidden = gelu(torch.addmm(up[0], layer_norm(x, (width,), *layer.norm_feedforward), up[1]))
            x = x.addmm(hidden, down[1]).add_(down[0])
        frame += 1
        state.num_cached += 1
        return layer_norm(x, (width,), *self.norm)


class FusedSampler:
    """HeadSampler with the head's output layer and its input layer composed.

    The value carried from step to step is u = latent_in(z); a DDIM step turns it into
    keep·u + add·(latent_in(z_0) - bias) + (1 - keep)·bias.

    Args:
        head: The network.
        steps: Number of DDIM steps.
        schedule: Noise schedule of the training.

    Raises:
        TalkerError: If the number of steps is out of range.
    """

    @torch.no_grad()
    def __init__(self, head: DiffusionHead, steps: int, schedule: NoiseSchedule) -> None:
        coefficients = ddim_coefficients(steps, "trailing", schedule=schedule)
        self.keep, self.add = coefficients.keep.tolist(), coefficients.add.tolist()
        self.width, self.blocks = head.width, head.blocks
        times = torch.from_numpy(coefficients.timesteps).to(head.out.weight.device)
        time_shifts = head.timestep_shifts(times)  # (S, blocks·width)
        bias, self.condition = share_linear(head.condition)
        first, scales, shifts = bias.split((self.width, *[self.blocks * self.width] * 2))
        self.first, self.scales = first, scales + 1.0
        self.shifts = (shifts + time_shifts)[:, None]  # (S, 1, blocks·width)
        self.latent_in, self.out = share_linear(head.latent_in), share_linear(head.out)
        self.up = [share_linear(layer) for layer in head.up]
        self.down = [share_linear(layer) for layer in head.down]
        self.norm = _norm_weights(head.norm)
        bias, self.out_in = compose_linear(head.out, head.latent_in)
        start = self.latent_in[0]
        self.constant = [
            add * (bias - start) + (1.0 - keep) * start for keep, add in zip(self.keep, self.add, strict=True)
        ]

    def __call__(self, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Sample latents: condition (B, width), noise (B, D) -> (B, D)."""
        return self.sample(condition, noise, lambda x: x, lambda u: u)

    def guided(
        self, cond: torch.Tensor, uncond: torch.Tensor, guidance: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """Sample latents with guidance; see `HeadSampler.guided`.

        Args:
            cond: (B, width) condition with the audio.
            uncond: (B, width) condition without it.
            guidance: (B, 1) scale.
            noise: (B, D) noise that sampling begins with.

        Returns:
            (B, D) latents.
        """

        def mix(x: torch.Tensor) -> torch.Tensor:  # before the last, affine layer: equals mixing after it
            x_cond, x_uncond = x.chunk(2)
            return x_uncond + guidance * (x_cond - x_uncond)

        return self.sample(torch.cat((cond, uncond)), noise, mix, lambda u: torch.cat((u, u)))

    def sample(
        self,
        condition: torch.Tensor,
        noise: torch.Tensor,
        mix: Callable[[torch.Tensor], torch.Tensor],
        double: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Run the DDIM steps; calling the sampler, or `guided`, is this with the functions that they need.

        Args:
            condition: (R, width) conditions, R = B, or 2·B with guidance.
            noise: (B, D) noise that sampling begins with.
            mix: Combines the head's last hidden values (R, width) to (B, width).
            double: Repeats the sampler's value (B, width) to (R, width).

        Returns:
            (B, D) latents.
        """
        projected = condition @ self.condition
        first, scales, shifts = projected.split((self.width, *[self.blocks * self.width] * 2), 1)
        first = first + self.first
        block_scales = (scales + self.scales).chunk(self.blocks, 1)
        block_shifts = (shifts + self.shifts).chunk(self.blocks, 2)
        u = torch.addmm(self.latent_in[0], noise, self.latent_in[1])
        last = len(self.keep) - 1
        for s, (keep, add) in enumerate(zip(self.keep, self.add, strict=True)):
            x = double(u) + first
            for i, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
                y = torch.addcmul(block_shifts[i][s], layer_norm(x, (self.width,)), block_scales[i])
                x = x.addmm(silu(torch.addmm(up[0], y, up[1])), down[1]).add_(down[0])
            x = mix(layer_norm(x, (self.width,), *self.norm))
            if s < last:
                u = torch.addmm(u, x, self.out_in, beta=keep, alpha=add).add_(self.constant[s])
            else:  # trailing spacing ends on the prediction itself: keep 0, add 1
                u = torch.addmm(self.out[0], x, self.out[1])
        return u


class _FusedDecoder:
    """MotionCodec.decode at one frame: (B, D) -> (B, motion_dim)."""

    def __init__(self, codec: MotionCodec) -> None:
        decoder = codec.decoder
        self.scale, self.mean = codec.latent_scale, codec.latent_mean
        self.first = share_linear(decoder.first.linear)
        self.blocks = [_FusedBlock(block) for block in decoder.blocks]
        bias, out = share_linear(decoder.out)
        self.out = bias * codec.motion_scale + codec.motion_mean, out * codec.motion_scale

    def __call__(self, latent: torch.Tensor, state: CodecState) -> torch.Tensor:
        first, *contexts = state.contexts
        latent = torch.addcmul(self.mean, latent, self.scale)
        joined = torch.cat((first, latent[:, None]), 1)
        first.copy_(joined[:, 1:])
        x = gelu(torch.addmm(self.first[0], joined.flatten(1), self.first[1]))
        for block, context in zip(self.blocks, contexts, strict=True):
            x = block(x, context)
        return torch.addmm(self.out[0], x, self.out[1])
