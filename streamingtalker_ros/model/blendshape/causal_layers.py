# SPDX-License-Identifier: Apache-2.0
"""The two layers that everything else is built of: a causal convolution with explicit context, a residual block.

Both take (B, T, C) and serve whole clips and single frames alike: without `context` the past is zeros (a clip from
its start); with `context` (B, reach, C) it is what was heard before, and `context` is brought up to date in place.
"""

import torch
from torch import nn


class CausalConv(nn.Module):
    """Convolution over time that looks only backwards: y_t = W [x_{t-(k-1)d}, …, x_{t-d}, x_t] + b.

    Written as one matrix product over the concatenated taps: on a CPU, at one frame, that is several times
    faster than `nn.Conv1d`.
    """

    def __init__(self, inputs, outputs, kernel, dilation=1) -> None:
        super().__init__()
        self.inputs, self.kernel, self.dilation = inputs, kernel, dilation
        self.reach = (kernel - 1) * dilation  # frames of the past that it sees
        self.linear = nn.Linear(kernel * inputs, outputs)

    def forward(self, x, context=None):  # (B, T, inputs) -> (B, T, outputs)
        frames = x.shape[1]
        past = x.new_zeros(x.shape[0], self.reach, self.inputs) if context is None else context
        joined = torch.cat((past, x), 1)  # (B, reach + T, inputs)
        taps = [joined[:, i * self.dilation : i * self.dilation + frames] for i in range(self.kernel)]
        out = self.linear(torch.cat(taps, -1))
        if context is not None:
            context.copy_(joined[:, frames:])
        return out

    def context(self, batch):
        """A zero context (batch, reach, inputs) on this layer's device."""
        return self.linear.weight.new_zeros(batch, self.reach, self.inputs)


class ResidualBlock(nn.Module):
    """x + W2 gelu(causal_conv(layer_norm(x))): (B, T, width) -> (B, T, width)."""

    def __init__(self, width, kernel=3, dilation=1, dropout=0.0) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)  # dropout acts in training alone
        self.conv = CausalConv(width, width, kernel, dilation)
        self.out = nn.Linear(width, width)

    def forward(self, x, context=None):
        return x + self.out(self.dropout(nn.functional.gelu(self.conv(self.norm(x), context))))

    def context(self, batch):
        return self.conv.context(batch)
