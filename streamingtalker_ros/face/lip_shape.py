# SPDX-License-Identifier: Apache-2.0
"""The measures of the mouth of motion as differentiable linear functions, for losses in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamingtalker_ros.face.mouth_measures import MEASURES, MouthMeasures
from streamingtalker_ros.face.rig import Rig

if TYPE_CHECKING:
    import torch

APERTURE = MEASURES.index("aperture")


class LipShape:
    """`MouthMeasures` of tensors of motion: 52 weights in the order of `ARKIT_NAMES`, then further channels.

    Args:
        rig: Face with landmarks of lips and corners, and the shape jawOpen.
        device: Torch device of the coefficients.

    Attributes:
        rows: (4, 52) measure per weight.
        bias: (4,) measures at rest.
    """

    def __init__(self, rig: Rig, device: str | torch.device = "cpu") -> None:
        import torch

        measures = MouthMeasures(rig)
        self.rows = torch.as_tensor(measures.rows, dtype=torch.float32).to(device)
        self.bias = torch.as_tensor(measures.bias, dtype=torch.float32).to(device)

    def measures(self, motion: torch.Tensor) -> torch.Tensor:
        """The measures of the mouth, (…, ≥ 52) -> (…, 4), in the order of `MEASURES`.

        Args:
            motion: (…, ≥ 52) on the coefficients' device; the first 52 channels are ARKit weights, 0..1.
        """
        return motion[..., :52] @ self.rows.T + self.bias

    def gap(self, motion: torch.Tensor) -> torch.Tensor:
        """Lip gap, (…, ≥ 52) -> (…), in units of the gap that jawOpen at 1 adds.

        Args:
            motion: as of `measures`.
        """
        return motion[..., :52] @ self.rows[APERTURE] + self.bias[APERTURE]
