# SPDX-License-Identifier: Apache-2.0
"""Sheets of film beside face: the chart of a clip as an image, with frames of its video above the faces."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.corpus.storage import find_files
from streamingtalker_ros.corpus.video.tracking import VIDEO_SUFFIXES, read_images
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation.report.charts.clip import HEAD_VIEW, clip_chart
from streamingtalker_ros.evaluation.report.charts.style import PAGE_COLOUR
from streamingtalker_ros.evaluation.results import EvaluationResults, clips_at_percentiles
from streamingtalker_ros.evaluation.test_set import TestSet
from streamingtalker_ros.output_files import atomic_output

SHEET_DPI: Final = 160

SHEET_PERCENTILES: Final = (100, 50, 0)
"""Percentiles of r at which a clip has a sheet."""


def find_videos(test_sets: Iterable[TestSet], folders: Iterable[str | os.PathLike[str]]) -> dict[str, Path]:
    """Find the video of each clip of the captured test sets.

    Args:
        test_sets: the test sets.
        folders: searched with the folders below them; the first video of a name is taken.

    Returns:
        Name of a clip -> its video.

    Raises:
        TalkerError: If a clip has none.
    """
    files = [file for folder in folders for file in find_files(folder)]
    by_name = {file.stem: file for file in reversed(files) if file.suffix.lower() in VIDEO_SUFFIXES}
    videos: dict[str, Path] = {}
    for test_set in test_sets:
        for clip in () if test_set.is_rule_based else test_set.clips:
            recording, _, number = clip.name.rpartition("_")
            video = by_name.get(clip.name) or (by_name.get(recording) if number.isdigit() else None)
            if video is None:
                raise TalkerError(
                    f"the clip {clip.name} of {test_set.name} has no video in the folders of --videos: name "
                    "the folder of the videos that its corpus was made of"
                )
            videos[clip.name] = video
    return videos


def write_sheets(
    results: EvaluationResults, folder: str | os.PathLike[str], videos: Mapping[str, Path]
) -> list[Path]:
    """Write sheets of the best, the median and the worst clip by r of each captured test set.

    Args:
        results: the evaluation.
        folder: folder to write r0.81_CLIP.png to; it is made.
        videos: result of `find_videos`.

    Returns:
        The files, worst clip first.

    Raises:
        TalkerError: If a video cannot be read, or a file not be written.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    clips = {
        Path(folder) / f"r{r:.2f}_{test_set.clips[i].name}.png": (test_set, i)
        for test_set in results.test_sets
        if not test_set.is_rule_based
        for i, r in clips_at_percentiles(results, test_set, SHEET_PERCENTILES)
    }
    for path, (test_set, i) in clips.items():
        film = functools.partial(_read_film, videos[test_set.clips[i].name], test_set.clips[i].start_s)
        figure = clip_chart(results, test_set, i, film)
        with atomic_output(path) as partial:
            figure.savefig(partial, format="png", dpi=SHEET_DPI, facecolor=PAGE_COLOUR)
    return sorted(clips)


def _read_film(video: Path, start_s: float, times: npt.NDArray[np.float64]) -> list[npt.NDArray[np.uint8]]:
    """The middle of a video's frames at times of a clip, in the proportions of the faces below them."""
    return [_crop(image) for image in read_images(video, times + start_s)]


def _crop(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = image.shape[:2]
    crop_width = min(width, round(height * HEAD_VIEW.width / HEAD_VIEW.height))
    crop_height = min(height, round(width * HEAD_VIEW.height / HEAD_VIEW.width))
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return image[top : top + crop_height, left : left + crop_width]
