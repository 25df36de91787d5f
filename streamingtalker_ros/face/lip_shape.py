# SPDX-License-Identifier: Apache-2.0
"""Lip gap and lip width of motion as differentiable linear functions, for losses in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamingtalker_ros.face.rig import Rig

if TYPE_CHECKING:
    import torch


class LipShape:
    """Measures lips in tensors of motion: 52 weights in the order of `ARKIT_NAMES`, further channels ignored.

    Args:
        rig: Face with landmarks of lips and corners, and the shape jawOpen.
        device: Torch device of the coefficients.

    Attributes:
        row: (52,) lip gap per weight, in units of the gap that jawOpen at 1 opens.
        bias: Lip gap at rest, in the same unit.
        across: (52,) change of the mouth's width per weight, in units of the width at rest.
    """

    def __init__(self, rig: Rig, device: str | torch.device = "cpu") -> None:
        import torch

        bias, row = rig.lip_gap_map()
        scale = float(row[rig.shape_names.index("jawOpen")])
        self.row = torch.as_tensor(np.asarray(row, np.float32) / scale).to(device)
        self.bias = float(bias) / scale
        rest, across = rig.lip_width_map()
        self.across = torch.as_tensor(across / np.float32(rest)).to(device)

    def gap(self, motion: torch.Tensor) -> torch.Tensor:
        """Lip gap, (…, ≥ 52) -> (…), in units of a wide-open mouth.

        Args:
            motion: (…, ≥ 52) on the coefficients' device; the first 52 channels are ARKit weights, 0..1.

        Returns:
            (…) lip gap, in units of the gap that jawOpen at 1 adds.
        """
        return motion[..., :52] @ self.row + self.bias

    def width(self, motion: torch.Tensor) -> torch.Tensor:
        """Change of the mouth's width against rest, (…, ≥ 52) -> (…), as a fraction of the width at rest.

        Args:
            motion: (…, ≥ 52) on the coefficients' device; the first 52 channels are ARKit weights, 0..1.

        Returns:
            (…) change of the width; negative for a mouth narrower than at rest.
        """
        return motion[..., :52] @ self.across
