# SPDX-License-Identifier: Apache-2.0
"""Statistics of a checkpoint: size of the weights, use of the codebook, cost of a frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamingtalker_ros.corpus.storage import Clip
from streamingtalker_ros.errors import require
from streamingtalker_ros.evaluation import bench

if TYPE_CHECKING:
    from streamingtalker_ros.streaming import Talker

MAX_CODEBOOK_CLIPS: Final = 24
"""Clips that are encoded to measure the use of the codebook."""


def weights_size(folder: str | os.PathLike[str]) -> dict[str, float]:
    """Size of weights.safetensors in a checkpoint folder as "megabytes"; NaN where there is none."""
    path = Path(folder) / "weights.safetensors"
    return {"megabytes": path.stat().st_size / 1e6 if path.is_file() else float("nan")}


def codebook_usage(talker: Talker, clips: Sequence[Clip], folder: str | os.PathLike[str]) -> dict[str, float]:
    """Measure how a blendshape talker's codec uses its codebook on the motion of clips.

    Args:
        talker: a blendshape talker.
        clips: clips with motion.
        folder: folder of its checkpoint, whose network is loaded where the talker does not run on torch.

    Returns:
        codes (size of the codebook), codes_used, perplexity.
    """
    torch = require("torch", "measuring the use of the codebook")
    from streamingtalker_ros.model.blendshape import checkpoint
    from streamingtalker_ros.model.codebook import codebook_perplexity

    network = talker.network if talker.backend.name == "torch" else checkpoint.load(Path(folder))
    codec, used = network.codec, []
    with torch.inference_mode():
        for clip in clips[:: max(1, len(clips) // MAX_CODEBOOK_CLIPS)][:MAX_CODEBOOK_CLIPS]:
            motion = np.concatenate((clip.weights, clip.head), 1).astype(np.float32)
            features = codec.features(torch.from_numpy(motion)[None].to(talker.device))
            used.append(codec.quantize(features)[1].flatten().cpu())
    indices = torch.cat(used)
    codes = len(codec.codebook)
    return {
        "codes": codes,
        "codes_used": int(indices.unique().numel()),
        "perplexity": codebook_perplexity(indices, codes),
    }


def frame_cost(talker: Talker, frames: int = 400) -> dict[str, Any]:
    """Measure the time of a frame of one stream on this machine.

    Args:
        talker: a blendshape talker.
        frames: frames to time.

    Returns:
        p50_ms, p99_ms, the talker's device and `bench.machine_info()`.
    """
    times = bench.measure_stream(talker, frames)
    return {"p50_ms": times["p50"], "p99_ms": times["p99"], **bench.machine_info(), "device": talker.device}
