# SPDX-License-Identifier: Apache-2.0
"""Lighting of markers with colours, which RViz does not light itself."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

# direction towards each light (x out of the face, y to the person's left, z up) and its strength
_LIGHTS: Final = (((0.80, -0.40, 0.45), 0.55), ((0.75, 0.62, 0.10), 0.25), ((-0.6, 0.3, 0.6), 0.12))
_AMBIENT: Final = 0.42


def vertex_brightness(normals: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Return the brightness (V,) of vertices with unit normals (V, 3)."""
    brightness = np.full(len(normals), _AMBIENT, np.float32)
    for direction, strength in _LIGHTS:
        to_light = np.asarray(direction, np.float32) / np.float32(np.linalg.norm(direction))
        brightness += np.float32(strength) * np.maximum(normals @ to_light, 0)
    return brightness
