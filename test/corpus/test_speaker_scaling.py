# SPDX-License-Identifier: Apache-2.0
"""Speakers of other sizes: sound, phones and motion change together."""

import json

import numpy as np
import pytest

from streamingtalker_ros.cli import main
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus import storage
from streamingtalker_ros.corpus.speaker_scaling import SIZES, resize_corpus
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.phonetics.phones import Phone

SAID = [
    Phone("pau", 0.0, 0.4),
    Phone("aa", 0.4, 0.8, 1),
    Phone("p", 0.8, 0.92),
    Phone("aa", 0.92, 1.4, 1),
    Phone("pau", 1.4, 2.0),
]


@pytest.fixture
def said(tmp_path):
    """One clip of a tone of 500 Hz that is called a-pa, and the teacher's motion; another in test."""
    tone = np.where((np.arange(32000) > 6400) & (np.arange(32000) < 22400), 0.2, 0.0)
    tone = (tone * np.sin(2 * np.pi * 500.0 * np.arange(32000) / 16000)).astype(np.float32)
    entries = []
    for split in ("train", "test"):
        clip = storage.Clip(tone, None, None, SAID, "somebody", split, f"apa_{split}")
        clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, "somebody")
        entries.append(storage.save_clip(tmp_path / "said", clip, speaker="somebody"))
    (tmp_path / "said" / "index.json").write_text(json.dumps({"kind": "speech", "clips": entries}))
    return tmp_path / "said"


def test_smaller_speakers_speak_higher_faster_and_close_at_their_own_p(said, tmp_path) -> None:
    assert main(["corpus", "resize", str(said), "--out", str(tmp_path / "sizes"), "--jobs", "1"]) == 0
    clips = storage.load_corpus(tmp_path / "sizes")
    assert len(clips) == len(SIZES) and {clip.split for clip in clips} == {"train"}, (
        "what is for test stays unheard"
    )
    for clip, (low, high) in zip(clips, SIZES):
        factor = float(clip.voice.partition("*")[2])
        assert low <= factor <= high
        assert len(clip.pcm) == 640 * len(clip.weights) and abs(len(clip.pcm) - 32000 / factor) < 640
        hertz = np.abs(np.fft.rfft(clip.pcm)).argmax() * 16000 / len(clip.pcm)
        assert hertz == pytest.approx(500.0 * factor, abs=2.0)
        assert [phone.name for phone in clip.phones] == [phone.name for phone in SAID]
        assert clip.phones[2].start == pytest.approx(0.8 / factor, abs=1e-3)
        gap = default_rig().lip_gap(clip.weights)
        middle = int((clip.phones[2].start + clip.phones[2].end) / 2 * 25)
        assert gap[middle] <= 1e-6 < gap[middle - 5] and gap[middle + 4] > 0.003
    again = resize_corpus(said, tmp_path / "again", jobs=2)
    assert [clip["size"] for clip in again["clips"]] == [
        float(clip.voice.partition("*")[2]) for clip in clips
    ]


def test_captured_motion_and_the_corpus_itself_are_refused(said) -> None:
    with pytest.raises(TalkerError, match="is the corpus itself"):
        resize_corpus(said, said)
    index = json.loads((said / "index.json").read_text())
    for clip in index["clips"]:
        clip["style"] = "grid_s1"
    (said / "index.json").write_text(json.dumps(index))
    with pytest.raises(TalkerError, match="corpus revoice"):
        resize_corpus(said, said.parent / "sizes")
