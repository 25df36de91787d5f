# SPDX-License-Identifier: Apache-2.0
"""The frame step of a talker's network as few, large operations: the same numbers as `network.listen` and `speak`.

At one frame a network of 4 M parameters is bound by reading its weights and by the number of its operations. So here
matrices lie as the product reads them, maps that follow each other without a bend between them are one (the audio's
value and output maps of all layers; the head's way out of one step and into the next), and what depends only on the
number of steps is summed up beforehand. State and arguments are the network's own; test/model/test_fused_inference.py holds the two
equal. Nothing asks the host for a number, so that a CUDA graph can record it.
"""

import torch
from torch import layer_norm
from torch.nn.functional import scaled_dot_product_attention, silu

from streamingtalker_ros.model.blendshape.features import FLOOR, QUIET, STRIDE, WINDOW
from streamingtalker_ros.model.ddim import ddim_coefficients

FEW = 1024  # elements; below, what oneDNN takes to set up its gelu is longer than the plain kernel takes for twice as many


def gelu(x):
    """torch's gelu; of few elements on a CPU by the plain kernel, which it chooses for what is not contiguous."""
    if x.is_cuda or x.numel() > FEW:
        return torch.nn.functional.gelu(x)
    return torch.nn.functional.gelu(x.expand(2, *x.shape))[0]


def pack(weight):
    """(outputs, inputs) -> the same matrix stored by columns: half the time of a product with one row."""
    return weight.t().contiguous()


def share(linear):
    """The map of an nn.Linear as (bias, matrix) for torch.addmm; the layer itself keeps working on that storage."""
    packed = pack(linear.weight.detach())
    linear.weight.data = packed.t()
    return linear.bias, packed


class FusedNetwork:
    """network: a TalkerNetwork in evaluation mode on its device, whose weights no longer change."""

    def __init__(self, network) -> None:
        with torch.no_grad():
            self.ear, self.predictor = _Ear(network.encoder), _Predictor(network.predictor)
            self.decoder = _Decoder(network.codec)

    def listen(self, hop, state):
        """See `TalkerNetwork.listen`."""
        return self.ear(hop, state.encoder)

    def speak(self, feature, noise, style, sampler, state, history=None, guidance=None, blind=None):
        """See `TalkerNetwork.speak`; sampler: a FusedSampler."""
        condition = self.predictor(state.latent, feature, style, state.predictor, history)
        if guidance is None:
            latent = sampler(condition, noise)
        else:
            unheard = self.predictor(state.latent, torch.zeros_like(feature), style, blind, history)
            latent = sampler.guided(condition, unheard, guidance, noise)
        state.latent.copy_(latent)
        return self.decoder(latent, state.codec)


class _Block:
    """A ResidualBlock at `rows` rows of each voice: (B·rows, width) -> the same."""

    def __init__(self, block, rows=1) -> None:
        conv = block.conv
        self.rows, self.kernel, self.taps = rows, conv.kernel, conv.kernel * conv.inputs
        self.shape, self.norm = block.norm.normalized_shape, (block.norm.weight, block.norm.bias)
        self.step, self.conv, self.out = conv.dilation, share(conv.linear), share(block.out)

    def __call__(self, x, context):
        new = layer_norm(x, self.shape, *self.norm).view(len(context), self.rows, -1)
        joined = torch.cat((context, new), 1)  # (B, reach + rows, width)
        context.copy_(joined[:, self.rows :])
        if self.rows == 1:
            taps = joined[:, :: self.step].flatten(1)  # (B, kernel·width)
        elif self.step == 1:
            taps = joined.flatten(1).unfold(1, self.taps, *self.shape).flatten(0, 1)  # (B·rows, kernel·width)
        else:
            places = range(0, self.kernel * self.step, self.step)
            taps = torch.cat([joined[:, i : i + self.rows] for i in places], 2).flatten(0, 1)
        bias, matrix = self.conv
        bias_out, out = self.out
        return x.addmm(gelu(torch.addmm(bias, taps, matrix)), out).add_(bias_out)


class _Ear:
    """LogMel and AudioEncoder for one hop."""

    def __init__(self, encoder) -> None:
        mel = encoder.log_mel
        self.basis, self.columns, self.release = mel.basis, mel.columns, mel.release
        self.filters = torch.cat((mel.filters, mel.filters))  # of real and imaginary parts alike
        self.columns_in, self.frames_in = share(encoder.columns_in.linear), share(encoder.frames_in.linear)
        self.kernel, self.reach = encoder.columns_in.kernel, encoder.columns_in.reach
        self.column_blocks = [_Block(block, self.columns) for block in encoder.column_blocks]
        self.blocks = [_Block(block) for block in encoder.blocks]
        self.norm, self.cues = encoder.norm, encoder.cues

    def __call__(self, hop, state):
        batch, memory, contexts = len(hop), state.features, iter(state.contexts)
        joined = torch.cat((memory.samples, hop), 1)
        memory.samples.copy_(joined[:, hop.shape[1] :])
        spectrum = joined.unfold(1, WINDOW, STRIDE).flatten(0, 1) @ self.basis  # (B·columns, bins)
        power = (spectrum.square_() @ self.filters).view(batch, self.columns, -1)
        loudness = torch.log(power.mean((1, 2)) + FLOOR)  # (B,)
        level = torch.maximum(loudness, memory.level - self.release).clamp_(min=QUIET)
        memory.level.copy_(level)
        mels = (torch.log(power + FLOOR) - level[:, None, None]).mul_(0.25).add_(1.0).clamp_(-2.0, 2.0)
        context = next(contexts)
        joined = torch.cat((context, mels), 1)  # (B, reach + columns, mels)
        context.copy_(joined[:, self.columns :])
        bands = mels.shape[-1]
        taps = joined.flatten(1).unfold(1, self.kernel * bands, bands).flatten(0, 1)
        x = gelu(torch.addmm(self.columns_in[0], taps, self.columns_in[1]))  # (B·columns, narrow)
        for block in self.column_blocks:
            x = block(x, next(contexts))
        loud = (0.25 * (loudness - level).clamp_(min=-12.0) + 1.0)[:, None]
        context = next(contexts)
        taps = torch.cat((context[:, 0], x.view(batch, -1), loud), 1)
        context.copy_(taps[:, None, context.shape[2] :])
        x = gelu(torch.addmm(self.frames_in[0], taps, self.frames_in[1]))
        for block in self.blocks:
            x = block(x, next(contexts))
        feature = layer_norm(x, self.norm.normalized_shape, self.norm.weight, self.norm.bias)
        return feature, self.cues(feature)


class _Predictor:
    """ConditionPredictor.step."""

    def __init__(self, predictor) -> None:
        self.of, layers = predictor, predictor.layers
        self.latent_in, self.no_latent = share(predictor.latent_in), predictor.no_latent
        self.layers = [
            {
                "attended": share(layer.attended)[1],
                "qkv": share(layer.qkv),
                "up": share(layer.up),
                "down": share(layer.down),
                "self": (layer.norm_self.weight, layer.norm_self.bias),
                "out": (layer.norm_out.weight, layer.norm_out.bias),
            }
            for layer in layers
        ]
        # what the audio gives to every layer, in one product; the bias of `attended` is on its way
        maps, biases = zip(*[_chain(layer.audio_value, layer.audio_out) for layer in layers])
        self.audio = (
            torch.cat([b + layer.attended.bias for b, layer in zip(biases, layers)]),
            torch.cat(maps, 1),
        )

    def __call__(self, past, audio, style, state, history=None):
        of, frame = self.of, state.frame
        width, heads = of.position.shape[1], of.layers[0].heads
        x = torch.addmm(self.latent_in[0], past, self.latent_in[1])
        x = torch.where(((frame > 0) & (history != 0))[:, None], x, self.no_latent)
        x = x + of.style.weight[style] + of.position[frame % of.period]
        heard = torch.addmm(self.audio[0], audio, self.audio[1]).chunk(len(self.layers), 1)
        rows, bias = of.ring(state, history)
        ring = state.past.view(-1, 2 * width)
        for i, layer in enumerate(self.layers):
            bias_qkv, qkv = layer["qkv"]
            new = torch.addmm(bias_qkv, layer_norm(x, (width,), *layer["self"]), qkv)  # (B, 3·width): q, k, v
            ring.index_copy_(0, rows[:, i], new[:, width:])
            keys, values = state.past[:, i].view(len(x), of.history, 2, heads, -1).permute(2, 0, 3, 1, 4)
            query = new[:, :width].view(len(x), heads, 1, -1)
            attended = scaled_dot_product_attention(query, keys, values, attn_mask=bias).view(len(x), width)
            x = x.addmm(attended, layer["attended"]).add_(heard[i])
            up, down = layer["up"], layer["down"]
            x = x.addmm(
                gelu(torch.addmm(up[0], layer_norm(x, (width,), *layer["out"]), up[1])), down[1]
            ).add_(down[0])
        frame += 1
        state.held += 1
        return layer_norm(x, (width,), of.norm.weight, of.norm.bias)


class FusedSampler:
    """HeadSampler with the way out of the latent and back into the head joined: what is carried from step to step is
    u = latent_in(z), of which a DDIM step makes keep·u + add·(latent_in(z_0) - bias) + (1 - keep)·bias."""

    @torch.no_grad()
    def __init__(self, head, steps, schedule) -> None:
        c = ddim_coefficients(steps, "trailing", schedule=schedule)
        self.keep, self.add = c.keep.tolist(), c.add.tolist()
        self.width, self.blocks = head.width, head.blocks
        times = head.times(torch.from_numpy(c.timesteps).to(head.out.weight.device))  # (S, blocks·width)
        bias, self.condition = share(head.condition)
        first, scales, shifts = bias.split((self.width, *[self.blocks * self.width] * 2))
        self.first, self.scales, self.shifts = (
            first,
            scales + 1.0,
            (shifts + times)[:, None],
        )  # the last (S, 1, …)
        self.latent_in, self.out = share(head.latent_in), share(head.out)
        self.up, self.down = [share(layer) for layer in head.up], [share(layer) for layer in head.down]
        self.norm = head.norm.weight, head.norm.bias
        self.again, bias = _chain(head.out, head.latent_in)[0], _chain(head.out, head.latent_in)[1]
        start = self.latent_in[0]
        self.constant = [
            add * (bias - start) + (1.0 - keep) * start for keep, add in zip(self.keep, self.add)
        ]

    def __call__(self, condition, noise):
        """condition (B, width), noise (B, D) -> latent (B, D)."""
        return self._sample(condition, noise, lambda x: x, lambda u: u)

    def guided(self, condition, blind, guidance, noise):
        """See HeadSampler.guided; mixing before the last map is mixing after it, since that map is affine."""

        def mix(x):
            heard, unheard = x.chunk(2)
            return unheard + guidance * (heard - unheard)

        return self._sample(torch.cat((condition, blind)), noise, mix, lambda u: torch.cat((u, u)))

    def _sample(self, condition, noise, mix, double):
        first, scales, shifts = (condition @ self.condition).split(
            (self.width, *[self.blocks * self.width] * 2), 1
        )
        first = first + self.first
        scales, shifts = (
            (scales + self.scales).chunk(self.blocks, 1),
            (shifts + self.shifts).chunk(self.blocks, 2),
        )
        u = torch.addmm(self.latent_in[0], noise, self.latent_in[1])
        last = len(self.keep) - 1
        for s, (keep, add) in enumerate(zip(self.keep, self.add)):
            x = double(u) + first
            for i, (up, down) in enumerate(zip(self.up, self.down)):
                y = torch.addcmul(shifts[i][s], layer_norm(x, (self.width,)), scales[i])
                x = x.addmm(silu(torch.addmm(up[0], y, up[1])), down[1]).add_(down[0])
            x = mix(layer_norm(x, (self.width,), *self.norm))
            if s == last:  # trailing spacing ends on the prediction itself: keep 0, add 1
                return torch.addmm(self.out[0], x, self.out[1])
            u = torch.addmm(u, x, self.again, beta=keep, alpha=add).add_(self.constant[s])


class _Decoder:
    """MotionCodec.decode at one frame: (B, D) -> (B, motion_dim)."""

    def __init__(self, codec) -> None:
        decoder = codec.decoder
        self.scale, self.mean = codec.latent_scale, codec.latent_mean
        self.first, self.blocks = share(decoder.first.linear), [_Block(block) for block in decoder.blocks]
        bias, out = share(decoder.out)
        self.out = bias * codec.motion_scale + codec.motion_mean, out * codec.motion_scale

    def __call__(self, latent, state):
        first, *contexts = state.contexts
        latent = torch.addcmul(self.mean, latent, self.scale)
        joined = torch.cat((first, latent[:, None]), 1)
        first.copy_(joined[:, 1:])
        x = gelu(torch.addmm(self.first[0], joined.flatten(1), self.first[1]))
        for block, context in zip(self.blocks, contexts):
            x = block(x, context)
        return torch.addmm(self.out[0], x, self.out[1])


def _chain(first, second):
    """Two nn.Linear in a row as one: (matrix (inputs, outputs), bias), composed in float64."""
    a, b = first.weight.double(), second.weight.double()
    bias = b @ first.bias.double() + second.bias.double()
    return pack(b @ a).float(), bias.float()
