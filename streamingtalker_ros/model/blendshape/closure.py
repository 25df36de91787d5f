# SPDX-License-Identifier: Apache-2.0
"""Evidence for a closure of the lips, from the outputs of the encoder's articulation heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, overload

if TYPE_CHECKING:
    import torch

WIDE_OPEN_PENALTY: Final = 10.0
"""Of a logit: evidence of wide-open lips against closing them."""


@overload
def closure_logit(bilabial: float, aperture: float | None = None) -> float: ...


@overload
def closure_logit(bilabial: torch.Tensor, aperture: torch.Tensor | None = None) -> torch.Tensor: ...


def closure_logit(
    bilabial: float | torch.Tensor, aperture: float | torch.Tensor | None = None
) -> float | torch.Tensor:
    """Return the evidence for closing the lips: the logit of a bilabial, less for lips that are apart.

    Args:
        bilabial: Logit of a p, b or m; a float or a tensor.
        aperture: Lip aperture as a fraction of a wide-open mouth, of the same shape; None for a model without
            its head.
    """
    if aperture is None:
        return bilabial
    return bilabial - WIDE_OPEN_PENALTY * (0.5 * (aperture + abs(aperture)))
