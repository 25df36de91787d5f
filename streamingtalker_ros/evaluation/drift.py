# SPDX-License-Identifier: Apache-2.0
"""An hour of speech in one breath: whether the face of the last five minutes is still that of the first.

The speech of a section is repeated in blocks, so that all blocks say the same and differ only by when they are said.
Blinks and head motion are random: one voice's five minutes scatter by several percent, so several seeds speak at once
and the standard error over them is told.
"""

import numpy as np
from tqdm import tqdm

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.evaluation import dynamics
from streamingtalker_ros.evaluation.inference import inter_ocular, opening_of

BLOCKS = 12
PIECE = 10.0  # seconds heard at a time
STATISTICS = ("opening_mean", "opening_std", "width_std", "blinks_per_minute", "head_std_degrees")


def block_of(clips, seconds, rate=SAMPLE_RATE):
    """Speech of exactly `seconds`: the clips one after the other, from the start again where they do not suffice."""
    joined = np.concatenate([clip.pcm for clip in clips]).astype(np.float32)
    return np.resize(joined, int(round(seconds * rate)))


def hour(talker, rig, clips, minutes=60.0, voices=4, progress=False, **options):
    """Statistics of each of 12 blocks of `minutes` of speech: dict.

    clips: with pcm; voices: seeds that speak at once. Gives minutes, voices, "blocks" {statistic: (12, voices) lists}
    and "late_over_early" {statistic: {"ratio", "error"}}: last block over first, and the ratio's standard error.
    Works in pieces: an hour takes 12 MB a voice.
    """
    seconds = round(60.0 * minutes / BLOCKS, 2)
    block = block_of(clips, seconds)
    streams = [talker.open_stream(seed=seed, **options) for seed in range(voices)]
    piece = int(PIECE * SAMPLE_RATE)
    rows = []
    with tqdm(
        total=round(60.0 * minutes),
        unit="s",
        desc=f"{minutes:g} minutes of speech",
        leave=False,
        disable=None if progress else True,
    ) as bar:
        for number in range(BLOCKS):
            frames = [[] for _ in streams]
            for start in range(0, len(block), piece):
                heard = block[start : start + piece]
                for kept, new in zip(frames, talker.accept(streams, [heard] * voices)):
                    kept += new
                bar.update(round(len(heard) / SAMPLE_RATE))
            if number == BLOCKS - 1:
                for kept, stream in zip(frames, streams):
                    kept += stream.finish()
            rows.append([_statistics(rig, kept, talker.frame_rate) for kept in frames])
    blocks = {name: np.array([[voice[name] for voice in row] for row in rows]) for name in STATISTICS}
    return {
        "minutes": minutes,
        "voices": voices,
        "block_seconds": seconds,
        "blocks": {name: values.tolist() for name, values in blocks.items()},
        "blinks_per_minute": float(blocks["blinks_per_minute"].mean()),
        "late_over_early": {name: _late_over_early(values) for name, values in blocks.items()},
    }


def _statistics(rig, frames, frame_rate):
    weights, head = np.stack([f.weights for f in frames]), np.stack([f.head for f in frames])
    unit = inter_ocular(rig)
    opening = opening_of(rig, weights) / unit
    turned = 2.0 * head[:, :3] * np.sign(head[:, 3:])  # rotation vectors, rad, for small turns
    return {
        "opening_mean": float(opening.mean()),
        "opening_std": float(opening.std()),
        "width_std": float((rig.lip_width(weights) / unit).std()),
        "blinks_per_minute": 60.0 * len(dynamics.blinks(weights)) * frame_rate / len(frames),
        "head_std_degrees": float(np.degrees(np.sqrt(turned.var(0).sum()))),
    }


def _late_over_early(values):
    """(12, voices) -> the last block's mean over voices as a share of the first's, with its standard error."""
    first, last = values[0], values[-1]
    ratio = float(last.mean() / first.mean()) if first.mean() else float("nan")
    error = float("nan")
    if len(first) > 1 and first.mean():
        relative = [
            part.std(ddof=1) / np.sqrt(len(part)) / part.mean() if part.mean() else 0.0
            for part in (first, last)
        ]
        error = float(ratio * np.hypot(*relative))
    return {"ratio": ratio, "error": error}
