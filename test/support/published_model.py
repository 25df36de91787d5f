# SPDX-License-Identifier: Apache-2.0
"""The published checkpoint in miniature, converted as a user converts one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamingtalker_ros.cli.main import main

PUBLISHED = Path(__file__).parents[1] / "data" / "reference_parity"
VERTEX_COUNT = 24


def convert_miniature(folder: Path) -> Path:
    """Convert the recorded miniature with `streamingtalker convert`.

    Args:
        folder: Where to write; its template is a strip of triangles.

    Returns:
        The folder of the checkpoint.
    """
    points = np.random.default_rng(0).standard_normal((VERTEX_COUNT, 3)) * 0.1
    header = (
        f"ply\nformat ascii 1.0\nelement vertex {VERTEX_COUNT}\nproperty float x\nproperty float y\n"
        f"property float z\nelement face {VERTEX_COUNT - 2}\nproperty list uchar int vertex_indices\n"
        "end_header\n"
    )
    lines = [f"{x:.8f} {y:.8f} {z:.8f}" for x, y, z in points]
    lines += [f"3 {k} {k + 1} {k + 2}" for k in range(VERTEX_COUNT - 2)]
    (folder / "template.ply").write_text(header + "\n".join(lines) + "\n")
    arguments = [
        str(PUBLISHED / "checkpoint.ckpt"),
        *("--config", str(PUBLISHED / "config.yaml")),
        *("--hubert-config", str(PUBLISHED / "hubert_config.json")),
        *("--template", str(folder / "template.ply")),
        *("--out", str(folder / "model")),
    ]
    assert main(["convert", *arguments]) == 0
    return folder / "model"
