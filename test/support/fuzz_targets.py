# SPDX-License-Identifier: Apache-2.0
"""All fuzz targets that run in one process."""

from __future__ import annotations

from typing import Final

from support import fuzz_audio, fuzz_config, fuzz_faces, fuzz_messages

SEED: Final = 20261129
TARGETS: Final = (*fuzz_audio.TARGETS, *fuzz_faces.TARGETS, *fuzz_config.TARGETS, *fuzz_messages.TARGETS)
