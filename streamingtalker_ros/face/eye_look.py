# SPDX-License-Identifier: Apache-2.0
"""The angle scale of the eye-look shapes, and conversion between their weights and the angles of the eyes.

ARKit does not define by how much an eye turns at weight 1. Here it is 30° in each of the four directions,
linear in the weight. The eye angles of Live Link Face and Face Cap, the robot heads of `config/heads`,
avatars with eye bones on the page and films that are tracked all use this scale.
"""

from __future__ import annotations

import math
from typing import Final

from streamingtalker_ros.face.arkit import INDEX

MAX_EYE_ANGLE_RAD: Final = math.radians(30.0)
"""rad, angle of an eye-look shape at weight 1, in each direction."""

EYE_LOOK_INDICES: Final = tuple(
    tuple(INDEX[f"eyeLook{direction}{side}"] for direction in directions)
    for side, directions in (("Left", ("Out", "In", "Up", "Down")), ("Right", ("In", "Out", "Up", "Down")))
)
"""Of the left, then the right eye: indices of its shapes: to the person's left, to the right, up, down."""
