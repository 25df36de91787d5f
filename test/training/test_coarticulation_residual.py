# SPDX-License-Identifier: Apache-2.0
"""The residual network learns a mouth that the rules do not describe, and needs tracked lips."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.coarticulation import dominance
from streamingtalker_ros.coarticulation.residual import LipFeatures, move_along, predict
from streamingtalker_ros.corpus.storage import Clip, save_clip
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.phonetics.flite_festival_tts import Utterance
from streamingtalker_ros.training import coarticulation_residual
from streamingtalker_ros.training.coarticulation_residual import ResidualDataset, train_residual
from support.synthetic_speech import frame_count, synthesize_utterances, tracked_clip

RIG = default_rig()


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    return synthesize_utterances({"slt": 1, "awb": 2}, 20)


def _lips(utterance: Utterance) -> np.ndarray:
    return dominance.synthesize_lips(utterance.phones, frame_count(utterance), utterance.pcm)


def _unusual_speaker(utterance: Utterance) -> Clip:
    """A speaker who spreads the lips in iy and ih and opens half as much again after s and z."""
    gap_row = RIG.lip_gap_map()[1]
    stretch = [INDEX["mouthStretchLeft"], INDEX["mouthStretchRight"]]
    weights, t = _lips(utterance), dominance.frame_times(frame_count(utterance))
    for before, phone in itertools.pairwise(utterance.phones):
        inside = (t >= phone.start) & (t < phone.end)
        if phone.name in ("iy", "ih"):
            weights[np.ix_(np.flatnonzero(inside), np.array(stretch))] += 0.3
        if before.name in ("s", "z"):
            weights[inside] = move_along(weights[inside], gap_row, gap_row, 1.5 * weights[inside] @ gap_row)
    return tracked_clip(utterance, weights)


def test_a_mouth_outside_the_rules_is_fitted(utterances: list[Utterance]) -> None:
    clips = [_unusual_speaker(utterance) for utterance in utterances]
    train_set, test_set = ResidualDataset(clips[1::2]), ResidualDataset(clips[::2])
    network = train_residual(train_set, steps=100)

    def mean_square_error(lips: Callable[[LipFeatures], np.ndarray]) -> np.ndarray:
        return np.mean(
            [
                np.square(lips(features) - truth)[counted].mean(0)
                for features, truth, counted in zip(
                    test_set.features, test_set.measured, test_set.is_counted, strict=True
                )
            ],
            0,
        )

    corrected = mean_square_error(lambda features: predict(network, features.inputs, features.rule_lips))
    ratio = corrected / mean_square_error(lambda features: features.rule_lips)
    assert (ratio < 0.6).all(), ratio
    assert test_set.correlation(network)[1] > test_set.correlation()[1]


def test_a_corpus_without_tracked_lips_is_rejected(utterances: list[Utterance], tmp_path: Path) -> None:
    weights = _lips(utterances[0])
    clip = Clip(
        utterances[0].pcm,
        weights,
        np.zeros((len(weights), 3), np.float32),
        utterances[0].phones,
        "slt",
        "test",
        "one",
    )
    (tmp_path / "index.json").write_text(json.dumps({"kind": "speech", "clips": [save_clip(tmp_path, clip)]}))
    with pytest.raises(TalkerError, match="no clip has tracked lips"):
        coarticulation_residual.run(tmp_path, tmp_path / "network.npz")
    assert not (tmp_path / "network.npz").exists()
