# SPDX-License-Identifier: Apache-2.0
"""Causal convolution with explicit context, and a residual block: the layers of codec and encoder.

Both take (B, T, C) and serve whole clips and single frames alike. Without `context` the past is zeros, as at
the start of a clip. With `context` (B, reach, C) it is the past frames, and `context` is updated in place.
"""

from __future__ import annotations

import torch
from torch import nn


def stack_taps(
    x: torch.Tensor, kernel: int, dilation: int = 1, context: torch.Tensor | None = None
) -> torch.Tensor:
    """Put the frames that a causal convolution reads side by side, the oldest first.

    Args:
        x: (B, T, C), one row per frame.
        kernel: Taps k.
        dilation: Frames d between taps.
        context: (B, (k - 1)·d, C) past frames, updated in place; None for zeros, as at the start of a clip.

    Returns:
        (B, T, k·C): [x_{t-(k-1)d}, …, x_{t-d}, x_t] in row t.
    """
    frames, reach = x.shape[1], (kernel - 1) * dilation
    past = x.new_zeros(x.shape[0], reach, x.shape[2]) if context is None else context
    joined = torch.cat((past, x), 1)  # (B, reach + T, C)
    if context is not None:
        context.copy_(joined[:, frames:])
    return torch.cat([joined[:, i * dilation : i * dilation + frames] for i in range(kernel)], -1)


class CausalConv(nn.Module):
    """Convolution over time that depends on no later frame: y_t = W [x_{t-(k-1)d}, …, x_{t-d}, x_t] + b.

    Written as one matrix product over the concatenated taps: on a CPU, at one frame, that is several times
    faster than `nn.Conv1d`.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Taps k.
        dilation: Frames d between taps.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.inputs, self.kernel, self.dilation = inputs, kernel, dilation
        self.reach = (kernel - 1) * dilation  # past frames that it depends on
        self.linear = nn.Linear(kernel * inputs, outputs)

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Apply to (B, T, inputs); returns (B, T, outputs).

        Args:
            x: (B, T, inputs), one row per frame.
            context: (B, reach, inputs) past frames of `init_context`, updated in place; None for zeros, as at
                the start of a clip.
        """
        return self.linear(stack_taps(x, self.kernel, self.dilation, context))

    def init_context(self, batch: int) -> torch.Tensor:
        """Return a zero context (batch, reach, inputs) on this layer's device."""
        return self.linear.weight.new_zeros(batch, self.reach, self.inputs)


class ResidualBlock(nn.Module):
    """x + W2 gelu(causal_conv(layer_norm(x))): (B, T, width) -> (B, T, width).

    Args:
        width: Channels.
        kernel: Taps of the convolution.
        dilation: Frames between taps.
        dropout: Probability, in training alone.
    """

    def __init__(self, width: int, kernel: int = 3, dilation: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.conv = CausalConv(width, width, kernel, dilation)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Apply to (B, T, width); context: of the convolution.

        Args:
            x: (B, T, width), one row per frame.
            context: (B, reach, width) past frames of `init_context`, updated in place; None for zeros, as at
                the start of a clip.

        Returns:
            (B, T, width).
        """
        return x + self.out(self.dropout(nn.functional.gelu(self.conv(self.norm(x), context))))

    def init_context(self, batch: int) -> torch.Tensor:
        """Return a zero context of the convolution.

        Args:
            batch: Number of streams, 1 or more.

        Returns:
            (batch, reach, width) zeros on this block's device.
        """
        return self.conv.init_context(batch)
