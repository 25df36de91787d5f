# SPDX-License-Identifier: Apache-2.0
"""Sheets of film beside face: the images of the film are those of the clip's frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamingtalker_ros.corpus.video.tracking import read_images
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation.report.charts import clip as clip_chart
from streamingtalker_ros.evaluation.report.film_sheets import find_videos, write_sheets
from streamingtalker_ros.evaluation.results import EvaluationResults
from streamingtalker_ros.evaluation.test_set import TestSet, load_test_set
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rendering.video import write_video
from support.command_line import run_command
from support.evaluation_corpus import synthetic_clip, write_corpus

LEVELS_PER_S = 40  # brightness of the film


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with below it a video of 5 s that grows brighter, 30 images per second."""
    folder = tmp_path_factory.mktemp("films") / "day_1"
    folder.mkdir()
    images = (np.full((64, 96, 3), round(LEVELS_PER_S * (n + 0.5) / 30), np.uint8) for n in range(150))
    write_video(folder / "visit.mp4", images, 30.0, np.zeros(80000, np.float32))
    return folder.parent


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tracked clips of the film."""
    clips = [synthetic_clip(f"visit_{k:02d}", seed=k) for k in range(2)]
    return write_corpus(tmp_path_factory.mktemp("corpus") / "tracked", clips)


@pytest.fixture(scope="module")
def test_set(corpus: Path) -> TestSet:
    """The second clip begins at 1.5 s of the film."""
    loaded = load_test_set(default_rig(), corpus)
    return replace(loaded, clips=[loaded.clips[0], replace(loaded.clips[1], start_s=1.5)])


def test_images_of_a_film_are_the_nearest_to_the_times(film: Path) -> None:
    times = np.array([2.0, 0.5, 0.51, 4.9])
    levels = [image.mean() for image in read_images(film / "day_1" / "visit.mp4", times)]
    assert levels == pytest.approx(LEVELS_PER_S * times, abs=3.0)


def test_a_sheet_shows_the_film_at_the_times_of_its_faces(
    film: Path, test_set: TestSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_chart, "HEAD_VIEW", clip_chart.HEAD_VIEW._replace(count=2))
    results = EvaluationResults("model", default_rig(), test_sets=[test_set])
    late = np.maximum(np.arange(75) - 3, 0)
    results.add(test_set, "model", [test_set.reference[0], test_set.reference[1].select(late)])
    paths = write_sheets(results, tmp_path / "sheets", find_videos([test_set], [film]))
    assert [path.name[-12:] for path in paths] == ["visit_01.png", "visit_00.png"]
    assert paths[1].name == "r1.00_visit_00.png"
    # the film is the first row of images, grey; its last image is of the last second of the clip
    for path, start in zip(paths, (1.5, 0.0), strict=True):
        sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
        row = sheet[int(0.9 * 160)]
        is_film = (np.ptp(row, axis=1) <= 3) & (row[:, 0] < 250)
        levels = np.unique(row[is_film, 0])
        assert levels.min() >= LEVELS_PER_S * start - 3, path.name
        assert LEVELS_PER_S * (start + 1.4) < levels.max() < LEVELS_PER_S * (start + 3.0) + 3, path.name


def test_a_clip_without_a_video_is_named_before_the_work(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--sheets", tmp_path / "sheets", "--videos", tmp_path)
    assert run_command("evaluate", "--corpus", corpus, *options) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "visit_00" in error and "--videos" in error and not (tmp_path / "sheets").exists()


def test_sheets_and_videos_belong_together(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("evaluate", "--corpus", corpus, "--sheets", "sheets") == 2
    assert "belong together" in capsys.readouterr().err


def test_a_video_is_that_of_the_clip_s_name(test_set: TestSet, tmp_path: Path) -> None:
    (tmp_path / "visit_00.mov").touch()
    (tmp_path / "visit.txt").touch()
    with pytest.raises(TalkerError, match="visit_01"):
        find_videos([test_set], [tmp_path])
    (tmp_path / "visit.mkv").touch()
    videos = find_videos([test_set], [tmp_path])
    assert {name: path.name for name, path in videos.items()} == {
        "visit_00": "visit_00.mov",
        "visit_01": "visit.mkv",
    }
