# SPDX-License-Identifier: Apache-2.0
"""Corpora on disk: clips come back as they were saved, and corpora of older versions load."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.coarticulation import upper_face
from streamingtalker_ros.corpus import storage
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics.phones import Phone

PHONES = [Phone("pau", 0.0, 0.5), Phone("aa", 0.5, 1.5, 1), Phone("pau", 1.5, 4.0)]


@pytest.fixture
def clip() -> storage.Clip:
    """Four seconds of noise with random motion and lip measurements."""
    rng = np.random.default_rng(0)
    pcm = (rng.integers(-3000, 3000, 64000) / 32768).astype(np.float32)
    weights = rng.random((100, 52)).astype(np.float16).astype(np.float32)
    head = rng.normal(0, 0.1, (100, 3)).astype(np.float32)
    curves = rng.random((len(storage.LIP_MEASUREMENTS), 100)).astype(np.float32)
    return storage.Clip(
        pcm,
        weights,
        head,
        PHONES,
        "ann",
        "validation",
        "clip_0",
        "calm",
        **dict(zip(storage.LIP_MEASUREMENTS, curves, strict=True)),
    )


def test_a_clip_loads_as_it_was_saved(clip: storage.Clip, tmp_path: Path) -> None:
    entry = storage.save_clip(tmp_path, clip, speaker="ann")
    storage.write_index(tmp_path, {"kind": "test", "clips": [entry]})
    assert storage.minutes_by_split([entry]) == {"train": 0.0, "validation": 0.07, "test": 0.0}
    assert storage.load_corpus(tmp_path, "train") == []
    (loaded,) = storage.load_corpus(tmp_path, "validation")
    for name in ("pcm", "weights", "head", *storage.LIP_MEASUREMENTS):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(clip, name))
    assert (loaded.phones, loaded.voice, loaded.split, loaded.name, loaded.style) == (
        clip.phones,
        clip.voice,
        clip.split,
        clip.name,
        clip.style,
    )


def test_a_clip_without_tracked_lips_has_no_lip_measurements(clip: storage.Clip, tmp_path: Path) -> None:
    entry = storage.save_clip(tmp_path, replace(clip, **dict.fromkeys(storage.LIP_MEASUREMENTS)))
    storage.write_index(tmp_path, {"clips": [entry]})
    (loaded,) = storage.load_corpus(tmp_path)
    assert all(getattr(loaded, name) is None for name in storage.LIP_MEASUREMENTS)


def test_a_clip_of_an_older_version_loads_with_the_measurements_it_has(
    clip: storage.Clip, tmp_path: Path
) -> None:
    old = replace(clip, upper_lip_raise=None, lower_lip_drop=None, chin_drop=None)
    storage.write_index(tmp_path, {"clips": [storage.save_clip(tmp_path, old)]})
    (loaded,) = storage.load_corpus(tmp_path)
    np.testing.assert_array_equal(loaded.lip_width, clip.lip_width)
    assert loaded.upper_lip_raise is None and loaded.chin_drop is None


def test_a_clip_at_rest_has_one_motion_frame_per_hop() -> None:
    clip = storage.Clip.at_rest(np.zeros(64000, np.float32), PHONES, "ann", "test", "x")
    assert clip.weights.shape == (100, 52) and clip.head.shape == (100, 3)
    assert not clip.weights.any() and not clip.head.any()


def test_manifests_of_older_versions_are_read_under_the_present_keys(tmp_path: Path) -> None:
    old = {
        "kind": "video",
        "rate": 16000,
        "lag": 0.01,
        "lag_correlation": 0.8,
        "captured": ["mouth"],
        "neutral": {"gap": 0.001, "width": 0.74, "touch": 0.011},
        "resized": {"of": "speech", "seed": 3},
        "revoiced": {"of": "video", "copies": 2, "seed": 3},
        "clips": [
            {"name": "a", "split": "train", "voice": "me", "phones": "aligned", "start": 1.0, "lag": 0.02},
            {"name": "b", "split": "train", "voice": "me", "pitch": 1.2, "throat": 1.1},
            {"name": "c", "split": "train", "voice": "de+f2", "pitch": 50, "span": 40},
            {"name": "d", "split": "train", "voice": "none", "of": "street.wav"},
            {"name": "e", "split": "train", "voice": "me*0.9", "size": 0.9},
        ],
    }
    (tmp_path / "index.json").write_text(json.dumps(old))
    common = {"split": "train"}
    assert storage.read_index(tmp_path) == {
        "kind": "video",
        "sample_rate": 16000,
        "av_lag_s": 0.01,
        "av_lag_correlation": 0.8,
        "captured_parts": ["mouth"],
        "neutral": {"lip_gap": 0.001, "lip_width": 0.74, "contact_gap": 0.011},
        "speaker_scaling": {"source_kind": "speech", "seed": 3},
        "voice_conversion": {"source_kind": "video", "copies": 2, "seed": 3},
        "clips": [
            {
                **common,
                "name": "a",
                "voice": "me",
                "phone_source": "aligned",
                "start_s": 1.0,
                "av_lag_s": 0.02,
            },
            {**common, "name": "b", "voice": "me", "pitch_scale": 1.2, "formant_scale": 1.1},
            {**common, "name": "c", "voice": "de+f2", "pitch": 50, "pitch_range": 40},
            {**common, "name": "d", "voice": "none", "source_file": "street.wav"},
            {**common, "name": "e", "voice": "me*0.9", "speaker_scale": 0.9},
        ],
    }
    assert storage.upgrade_index(storage.read_index(tmp_path)) == storage.read_index(tmp_path)


def test_clips_of_an_older_corpus_load(clip: storage.Clip, tmp_path: Path) -> None:
    entry = storage.save_clip(tmp_path, clip)
    old_entry = {**{key: entry[key] for key in ("name", "split", "voice", "seconds")}, "phones": "words"}
    (tmp_path / "index.json").write_text(json.dumps({"kind": "speech", "rate": 16000, "clips": [old_entry]}))
    (loaded,) = storage.load_corpus(tmp_path)
    np.testing.assert_array_equal(loaded.weights, clip.weights)
    assert loaded.style == storage.RULE_BASED_STYLE


def test_a_finished_corpus_is_returned_and_another_is_rejected(tmp_path: Path) -> None:
    settings = {"kind": "test", "seed": 1}
    assert storage.finished_index(tmp_path, settings) is None
    storage.write_index(tmp_path, {**settings, "clips": []})
    assert storage.finished_index(tmp_path, settings) == {**settings, "clips": []}
    with pytest.raises(TalkerError, match="holds another corpus"):
        storage.finished_index(tmp_path, {**settings, "seed": 2})


def test_a_missing_corpus_and_an_unknown_split_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(TalkerError, match="streamingtalker corpus synthetic"):
        storage.load_corpus(tmp_path)
    storage.write_index(tmp_path, {"clips": []})
    with pytest.raises(TalkerError, match="no split 'exam'"):
        storage.load_corpus(tmp_path, "exam")


def test_linked_folders_are_searched_once_and_cycles_end(tmp_path: Path) -> None:
    stored, root = tmp_path / "stored" / "eve", tmp_path / "root"
    stored.mkdir(parents=True)
    root.mkdir()
    (stored / "one.txt").write_text("hello")
    (stored / "cycle").symlink_to(root)
    (root / "eve").symlink_to(stored)
    (root / "eve_again").symlink_to(stored)
    assert storage.find_files(root) == [root / "eve" / "one.txt"]


def test_a_resampled_upper_face_keeps_the_lips_and_depends_on_clip_and_seed(clip: storage.Clip) -> None:
    lips = ~upper_face.UPPER_FACE_MASK
    (weights, head), (other_weights, other_head) = clip.resample_upper_face(1), clip.resample_upper_face(2)
    np.testing.assert_array_equal(weights[:, lips], clip.weights[:, lips])
    assert np.abs(weights - other_weights).max() > 0.1 and np.abs(head - other_head).max() > 0.002
    np.testing.assert_array_equal(head, clip.resample_upper_face(1)[1])
    assert np.abs(head - replace(clip, name="clip_1").resample_upper_face(1)[1]).max() > 0.002
