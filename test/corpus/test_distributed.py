# SPDX-License-Identifier: Apache-2.0
"""Corpora on a Dask cluster equal serial ones, resume, and lose failed items only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.corpus import non_speech, storage
from streamingtalker_ros.corpus.storage import read_index
from support.command_line import run_command

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with two workers, each a thread of this process."""
    address = "127.0.0.1:0"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=address, memory_limit=0
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve files of noise, 9 s each."""
    folder = tmp_path_factory.mktemp("sounds")
    for k in range(12):
        noise = 0.1 * np.random.default_rng(k).standard_normal(9 * 16000)
        soundfile.write(folder / f"{k:02d}.wav", noise, 16000)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def build(sounds: Path, out: Path, *options: object) -> int:
    return run_command("corpus", "quiet", sounds, "--out", out, "--minutes", 1.6, *options)


def test_a_cluster_makes_the_files_of_the_serial_run(sounds: Path, scheduler: str, tmp_path: Path) -> None:
    assert build(sounds, tmp_path / "serial", "--jobs", 1) == 0
    assert build(sounds, tmp_path / "cluster", "--scheduler", scheduler) == 0
    serial = contents(tmp_path / "serial")
    assert len(serial) == 1 + 3 * 12 and serial == contents(tmp_path / "cluster")


def test_what_is_there_and_whole_is_not_made_again(sounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert build(sounds, out, "--jobs", 1) == 0
    before = contents(out)
    damaged = sorted(out.glob("*/*.flac"))[3]
    missing = sorted(out.glob("*/*.npz"))[7]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    missing.unlink()
    times = {path: path.stat().st_mtime_ns for path in out.glob("*/*.flac")}
    assert build(sounds, out, "--jobs", 1) == 0
    assert contents(out) == before
    changed = {path for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {damaged, missing.with_suffix(".flac")}


def test_a_failed_item_ends_no_other_and_a_second_call_tries_it_again(
    sounds: Path,
    scheduler: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert build(sounds, tmp_path / "whole", "--jobs", 1) == 0
    synthesize = non_speech.face_motion.synthesize_speaker_motion

    def fail_once(clip: storage.Clip, speaker: str) -> tuple[np.ndarray, np.ndarray]:
        if clip.name.startswith("quiet_0004"):
            raise KeyError(clip.name)  # a defect, which no boundary expects
        return synthesize(clip, speaker)

    with monkeypatch.context() as patch:
        patch.setattr(non_speech, "face_motion", SimpleNamespace(synthesize_speaker_motion=fail_once))
        assert build(sounds, tmp_path / "out", "--scheduler", scheduler) == 1
    error = capsys.readouterr().err
    assert "1 failed; run the command again" in error and "04.wav: " in error
    index = read_index(tmp_path / "out")
    assert len(index["clips"]) == 11 and [row["name"] for row in index["failed"]] == ["04.wav"]
    assert build(sounds, tmp_path / "out", "--scheduler", scheduler) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
