# SPDX-License-Identifier: Apache-2.0
"""Drift over long streams: whether the motion of an hour's last five minutes equals that of the first.

The speech of a test set is repeated in blocks, so that the blocks differ only by their position in time.
Blinks and head motion are random, and five minutes of one stream scatter by several percent; so several seeds
run at once, and the result carries the standard error over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.corpus.storage import Clip
from streamingtalker_ros.evaluation import dynamics
from streamingtalker_ros.evaluation.inference import inter_ocular_distance, lip_aperture
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.model.protocol import BlendshapeFrame
from streamingtalker_ros.process import progress_bar

if TYPE_CHECKING:
    from streamingtalker_ros.streaming import Talker

NUM_BLOCKS: Final = 12
CHUNK_SECONDS: Final = 10.0
"""Audio that a stream accepts at a time, which bounds the memory."""

STATISTICS: Final = ("opening_mean", "opening_std", "width_std", "blinks_per_minute", "head_std_degrees")


def speech_block(clips: Sequence[Clip], seconds: float, rate: int = SAMPLE_RATE) -> npt.NDArray[np.float32]:
    """Concatenate clips, repeated as needed, to speech of exactly `seconds`.

    Args:
        clips: clips with audio.
        seconds: duration.
        rate: samples per second.

    Returns:
        (round(seconds * rate),) audio.
    """
    joined = np.concatenate([clip.pcm for clip in clips]).astype(np.float32)
    return np.resize(joined, round(seconds * rate))


def measure_drift(
    talker: Talker,
    rig: Rig,
    clips: Sequence[Clip],
    minutes: float = 60.0,
    voices: int = 4,
    progress: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Measure statistics of each of `NUM_BLOCKS` blocks of a long stream of speech.

    Args:
        talker: a blendshape talker.
        rig: the face.
        clips: speech to repeat.
        minutes: duration of the stream.
        voices: concurrent streams, each with a different seed.
        progress: whether to show a progress bar.
        options: further arguments of `Talker.open_stream`.

    Returns:
        minutes, voices, block_seconds; blinks_per_minute over all; "blocks": statistic -> (12, voices) lists;
        "late_over_early": statistic -> "ratio" of the last block to the first, and its standard "error".
    """
    seconds = round(60.0 * minutes / NUM_BLOCKS, 2)
    block = speech_block(clips, seconds)
    streams = [talker.open_stream(seed=seed, **options) for seed in range(voices)]
    chunk_length = int(CHUNK_SECONDS * SAMPLE_RATE)
    rows = []
    with progress_bar()(
        total=round(60.0 * minutes),
        unit="s",
        desc=f"{minutes:g} minutes of speech",
        leave=False,
        disable=None if progress else True,
    ) as bar:
        for number in range(NUM_BLOCKS):
            frames: list[list[BlendshapeFrame]] = [[] for _ in streams]
            for start in range(0, len(block), chunk_length):
                chunk = block[start : start + chunk_length]
                completed = talker.accept(streams, [chunk] * voices)
                for collected, new_frames in zip(frames, completed, strict=True):
                    collected += new_frames
                bar.update(round(len(chunk) / SAMPLE_RATE))
            if number == NUM_BLOCKS - 1:
                for collected, stream in zip(frames, streams, strict=True):
                    collected += stream.finish()
            rows.append([_statistics(rig, collected, talker.frame_rate) for collected in frames])
    blocks = {name: np.array([[voice[name] for voice in row] for row in rows]) for name in STATISTICS}
    return {
        "minutes": minutes,
        "voices": voices,
        "block_seconds": seconds,
        "blocks": {name: values.tolist() for name, values in blocks.items()},
        "blinks_per_minute": float(blocks["blinks_per_minute"].mean()),
        "late_over_early": {name: _late_over_early(values) for name, values in blocks.items()},
    }


def _statistics(rig: Rig, frames: Sequence[BlendshapeFrame], frame_rate: float) -> dict[str, float]:
    weights = np.stack([frame.weights for frame in frames])
    head = np.stack([frame.head for frame in frames])
    unit = inter_ocular_distance(rig)
    opening = lip_aperture(rig, weights) / unit
    rotation = 2.0 * head[:, :3] * np.sign(head[:, 3:])  # rotation vectors in radians, for small angles
    return {
        "opening_mean": float(opening.mean()),
        "opening_std": float(opening.std()),
        "width_std": float((rig.lip_width(weights) / unit).std()),
        "blinks_per_minute": 60.0 * len(dynamics.blink_onsets(weights)) * frame_rate / len(frames),
        "head_std_degrees": float(np.degrees(np.sqrt(rotation.var(0).sum()))),
    }


def _late_over_early(values: np.ndarray) -> dict[str, float]:
    """Ratio of the last block's mean over voices to the first's, and its standard error."""
    first, last = values[0], values[-1]
    ratio = float(last.mean() / first.mean()) if first.mean() else float("nan")
    error = float("nan")
    if len(first) > 1 and first.mean():
        relative = [
            block.std(ddof=1) / np.sqrt(len(block)) / block.mean() if block.mean() else 0.0
            for block in (first, last)
        ]
        error = float(ratio * np.hypot(relative[0], relative[1]))
    return {"ratio": ratio, "error": error}
