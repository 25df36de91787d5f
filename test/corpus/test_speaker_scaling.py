# SPDX-License-Identifier: Apache-2.0
"""Speaker scaling: audio, phones and motion change together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus import storage
from streamingtalker_ros.corpus.speaker_scaling import SCALE_RANGES, scale_speakers
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.phonetics.phones import Phone
from support.command_line import run_command

PHONES = [
    Phone("pau", 0.0, 0.4),
    Phone("aa", 0.4, 0.8, 1),
    Phone("p", 0.8, 0.92),
    Phone("aa", 0.92, 1.4, 1),
    Phone("pau", 1.4, 2.0),
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A corpus with one training clip, a tone of 500 Hz labelled a-pa with rule-based motion, and one for
    test."""
    samples = np.arange(32000)
    tone = np.where((samples > 6400) & (samples < 22400), 0.2, 0.0)
    tone = (tone * np.sin(2 * np.pi * 500.0 * samples / 16000)).astype(np.float32)
    entries = []
    for split in ("train", "test"):
        clip = storage.Clip.at_rest(tone, PHONES, "somebody", split, f"apa_{split}")
        clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, "somebody")
        entries.append(storage.save_clip(tmp_path / "source", clip, speaker="somebody"))
    storage.write_index(tmp_path / "source", {"kind": "speech", "clips": entries})
    return tmp_path / "source"


def test_scaled_speakers_change_pitch_and_tempo_and_close_at_their_own_p(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scaled"
    assert run_command("corpus", "resize", source, "--out", out, "--jobs", 1) == 0
    clips = storage.load_corpus(out)
    assert len(clips) == len(SCALE_RANGES)
    assert {clip.split for clip in clips} == {"train"}, "clips for test are not scaled"
    for clip, (low, high) in zip(clips, SCALE_RANGES, strict=True):
        scale = float(clip.voice.partition("*")[2])
        assert low <= scale <= high
        assert len(clip.pcm) == 640 * len(clip.weights) and abs(len(clip.pcm) - 32000 / scale) < 640
        hertz = np.abs(np.fft.rfft(clip.pcm)).argmax() * 16000 / len(clip.pcm)
        assert hertz == pytest.approx(500.0 * scale, abs=2.0)
        assert [phone.name for phone in clip.phones] == [phone.name for phone in PHONES]
        closure = clip.phones[2]
        assert closure.start == pytest.approx(0.8 / scale, abs=1e-3)
        gap = default_rig().lip_gap(clip.weights)
        middle = int((closure.start + closure.end) / 2 * 25)
        assert gap[middle] <= 1e-6 < gap[middle - 5] and gap[middle + 4] > 0.003


def test_equal_seeds_give_equal_speakers(source: Path, tmp_path: Path) -> None:
    first, second = (scale_speakers(source, tmp_path / name, num_workers=1) for name in "ab")
    assert first == second
    assert [entry["speaker_scale"] for entry in first["clips"]] == [
        float(clip.voice.partition("*")[2]) for clip in storage.load_corpus(tmp_path / "a")
    ]


def test_the_corpus_itself_is_rejected_as_output(source: Path) -> None:
    with pytest.raises(TalkerError, match="is the corpus itself"):
        scale_speakers(source, source)


def test_captured_motion_is_rejected(source: Path, tmp_path: Path) -> None:
    index = storage.read_index(source)
    for entry in index["clips"]:
        entry["style"] = "grid_s1"
    (source / "index.json").write_text(json.dumps(index))
    with pytest.raises(TalkerError, match="corpus revoice"):
        scale_speakers(source, tmp_path / "scaled")
