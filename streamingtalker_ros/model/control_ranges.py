# SPDX-License-Identifier: Apache-2.0
"""Ranges and neutral values of a stream's controls, one definition for library, nodes, web and commands."""

from __future__ import annotations

from typing import Final

GAIN_RANGE: Final = (0.0, 2.0)
"""Of mouth_expressiveness and face_expressiveness."""
NEUTRAL_GAIN: Final = 1.0
GUIDANCE_RANGE: Final = (0.0, 4.0)
"""Scale of classifier-free guidance on the audio."""
NEUTRAL_GUIDANCE: Final = 1.0
LIVELINESS_RANGE: Final = (0.0, 1.0)
"""How much head and brows beat time with the voice."""
NEUTRAL_LIVELINESS: Final = 0.0
ASYMMETRY_RANGE: Final = (0.0, 1.0)
"""Fraction of the asymmetry of people's mouths."""
DEFAULT_ASYMMETRY: Final = 1.0
SEED_RANGE: Final = (0, 2**31 - 1)
NUMBER_CONTROLS: Final = {
    "mouth_expressiveness": (GAIN_RANGE, NEUTRAL_GAIN),
    "face_expressiveness": (GAIN_RANGE, NEUTRAL_GAIN),
    "guidance": (GUIDANCE_RANGE, NEUTRAL_GUIDANCE),
    "liveliness": (LIVELINESS_RANGE, NEUTRAL_LIVELINESS),
    "asymmetry": (ASYMMETRY_RANGE, DEFAULT_ASYMMETRY),
}
"""Controls with a floating-point value: name, (range, default)."""
