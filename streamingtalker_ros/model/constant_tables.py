# SPDX-License-Identifier: Apache-2.0
"""Tensors that a network computes when it is built."""

from __future__ import annotations

from collections.abc import Callable

import torch


def build_table(
    shape: tuple[int, ...], compute: Callable[[], torch.Tensor], dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Return a computed tensor; on PyTorch's device "meta", which holds no values, one of its shape.

    The first arithmetic operation on that device imports PyTorch's compiler, which takes seconds.

    Args:
        shape: Of the tensor.
        compute: Computes it on the default device.
        dtype: Of the tensor.
    """
    if torch.empty(0).is_meta:
        return torch.empty(shape, dtype=dtype)
    return compute()
