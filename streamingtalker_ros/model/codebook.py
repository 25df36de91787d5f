# SPDX-License-Identifier: Apache-2.0
"""Statistics of a vector-quantised codec's codebook."""

from __future__ import annotations

import torch


def codebook_perplexity(indices: torch.Tensor, num_codes: int) -> float:
    """Perplexity of the codes' use: exp of the entropy of their distribution.

    Args:
        indices: int64 codes, of any shape.
        num_codes: size of the codebook.

    Returns:
        `num_codes` when all codes are used alike, 1 when the codebook has collapsed.
    """
    fraction = torch.bincount(indices.flatten(), minlength=num_codes).double()
    fraction = fraction[fraction > 0] / fraction.sum()
    return float(torch.exp(-(fraction * fraction.log()).sum()))
