# SPDX-License-Identifier: Apache-2.0
"""Speaking styles: how far a speaker opens, spreads, lifts and rounds the mouth.

The model learns from voices that were brought to one amplitude (`training/speaker_amplitude.py`); a style
gives the amplitude of one speaker back. Checkpoints hold those of the speakers that were filmed;
`Talker.add_style` measures that of an example, as ARTalk (Chu et al. 2025) and DiffPoseTalk (Sun et al. 2024)
take style codes from reference motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.motion_file import read_motion
from streamingtalker_ros.face.mouth_measures import MEASURES, SPEECH_STD, default_mouth_measures

if TYPE_CHECKING:
    from streamingtalker_ros.streaming.talker import AnyTalker

AMPLITUDE_RANGE: Final = (0.4, 1.8)
"""Least and greatest amplitude of a style, 1 is that of people."""

MIN_MOVING_S: Final = 1.0
"""Seconds in which the mouth of an example moves, at least."""

MIN_MOVING_STD: Final = 0.01
"""Standard deviation of the aperture within a second below which a mouth is at rest."""

MOVING_FRACTION: Final = 0.3
"""Fraction of the usual deviation within a second of speech below which a mouth is at rest."""


class SpeakingStyle(NamedTuple):
    """A style of a talker.

    Attributes:
        row: Row of the style embedding.
        amplitude: (4,) of the mouth's measures, 1 as people's; None for 1 in all.
    """

    row: int
    amplitude: npt.NDArray[np.float64] | None = None


def measure_amplitude(clips: Sequence[npt.NDArray[np.float32]], frame_rate: float) -> list[float]:
    """Measure the amplitude of a speaker.

    Args:
        clips: (T, 52) weights of one speaker each, in which speech and rest may alternate.
        frame_rate: Frames per second.

    Returns:
        Four ratios to people's amplitude (`SPEECH_STD`), in the order of `MEASURES`, within
        `AMPLITUDE_RANGE`.

    Raises:
        TalkerError: If the mouth moves for less than `MIN_MOVING_S`.
    """
    window = max(round(frame_rate), 2)
    measures = [default_mouth_measures()(clip) for clip in clips if len(clip) >= window]
    deviations = [_moving_std(clip[:, 0], window) for clip in measures]
    usual = np.percentile(np.concatenate(deviations), 90) if deviations else 0.0
    moving = [
        clip[deviation >= max(MOVING_FRACTION * usual, MIN_MOVING_STD)]
        for clip, deviation in zip(measures, deviations, strict=True)
    ]
    if sum(map(len, moving)) < MIN_MOVING_S * frame_rate:
        raise TalkerError(
            f"the mouth moves for less than {MIN_MOVING_S:g} s: a style is measured on motion of speech"
        )
    deviation = np.sqrt(np.mean([clip.var(0) for clip in moving if len(clip)], axis=0))
    return np.clip(deviation / np.array(SPEECH_STD), *AMPLITUDE_RANGE).tolist()


def add_style_example(talker: AnyTalker, path: str | Path) -> None:
    """Add the style of a motion file, under the file's name without its ending, as the default.

    Args:
        talker: Talker of the blendshape family.
        path: CSV (Live Link Face) or NPZ (`streamingtalker animate`).

    Raises:
        TalkerError: If the file holds no motion of speech, or the talker cannot take a style.
    """
    path = Path(path)
    if talker.family != "blendshape":
        raise TalkerError("a style example needs a checkpoint of the blendshape family, such as the default")
    weights, _, frame_rate = read_motion(path)
    try:
        talker.add_style(path.stem, weights.astype(np.float32), frame_rate)
    except TalkerError as error:
        raise TalkerError(f"{path}: {error}") from None


def read_styles(names: Sequence[str], amplitudes: Sequence[float]) -> dict[str, SpeakingStyle]:
    """Styles of a checkpoint.

    Args:
        names: Of the rows of its style embedding.
        amplitudes: Four of each, or none.

    Returns:
        Name -> style: the first, and those whose amplitude differs from it; all where none is known.
    """
    if not amplitudes:
        return {name: SpeakingStyle(row) for row, name in enumerate(names)}
    rows = np.reshape(amplitudes, (-1, len(MEASURES)))
    return {
        name: SpeakingStyle(row, None if (amplitude == 1.0).all() else amplitude)
        for row, (name, amplitude) in enumerate(zip(names, rows, strict=True))
        if row == 0 or not np.array_equal(amplitude, rows[0])
    }


def _moving_std(values: npt.NDArray[np.float64], window: int) -> npt.NDArray[np.float64]:
    """Standard deviation within `window` values around each of (T,)."""
    padded = np.pad(values, (window // 2, window - 1 - window // 2), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, window).std(-1)
