# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is, apart from how it speaks: size, use of its codebook, cost of a frame."""

from pathlib import Path

import numpy as np

from streamingtalker_ros.errors import require
from streamingtalker_ros.evaluation import bench
from streamingtalker_ros.model.codebook import codebook_perplexity

MOST = 24  # clips looked at for the codebook


def size(folder):
    """{"megabytes": of weights.safetensors in a checkpoint folder}; NaN where there is none."""
    path = Path(folder) / "weights.safetensors"
    return {"megabytes": path.stat().st_size / 1e6 if path.is_file() else float("nan")}


def codebook(talker, clips):
    """How a default talker's codec uses its codes on the clips' own motion: codes, codes_used, perplexity."""
    torch = require("torch", "the model")
    codec, used = talker.network.codec, []
    with torch.inference_mode():
        for clip in clips[:: max(1, len(clips) // MOST)][:MOST]:
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


def cost(talker, frames=400):
    """Milliseconds of a frame of one voice on this machine, and the machine."""
    figures = bench.one_voice(talker, frames)
    return {"p50_ms": figures["p50"], "p99_ms": figures["p99"], **bench.machine(), "device": talker.device}
