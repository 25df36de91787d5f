# SPDX-License-Identifier: Apache-2.0
"""Sample rate, hop length and frame rate that every module shares."""

from __future__ import annotations

from typing import Final

SAMPLE_RATE: Final = 16_000
"""Hz: the rate of the audio that models, corpora and text-to-speech work on."""

FRAME_RATE: Final = 25.0
"""Frames per second: the rate of face motion in corpora and of the default checkpoint."""

HOP_LENGTH: Final = 640
"""Samples at `SAMPLE_RATE` per frame at `FRAME_RATE`."""

NS_PER_S: Final = 1_000_000_000
"""Nanoseconds per second: stamps are integer nanoseconds."""
