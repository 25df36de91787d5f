# SPDX-License-Identifier: Apache-2.0
"""Laws of the agreement of audio and lips, learned from synthetic speakers and tested on others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.audio.constants import HOP_LENGTH
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation.sync_score import SyncModel, sync_lag_and_confidence
from support.evaluation_corpus import synthetic_clip, write_corpus

UNSEEN_SEEDS = range(20, 26)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SyncModel:
    clips = [synthetic_clip(f"c{seed}", "train", seed=seed) for seed in range(12)]
    return SyncModel.load(write_corpus(tmp_path_factory.mktemp("corpus") / "tracked", clips))


def score(model: SyncModel, audio_seed: int, lip_seed: int, delay: int = 0) -> tuple[int, float]:
    """Lag and confidence of the audio of one clip with the lips of one, delayed by frames."""
    lips = synthetic_clip("lips", seed=lip_seed)
    assert lips.lip_opening is not None and lips.lip_width is not None
    frames = np.clip(np.arange(len(lips.weights)) - delay, 0, len(lips.weights) - 1)
    agreement = model.agreement(
        synthetic_clip("audio", seed=audio_seed).pcm,
        np.maximum(lips.lip_opening, 0.0)[frames],
        lips.lip_width[frames],
    )
    return sync_lag_and_confidence(agreement)


@pytest.mark.parametrize("delay", [-3, 0, 4])
def test_the_lag_is_the_delay_of_the_lips(model: SyncModel, delay: int) -> None:
    lags = [score(model, seed, seed, delay)[0] for seed in UNSEEN_SEEDS]
    assert np.median(lags) == delay and np.abs(np.array(lags) - delay).max() <= 1


def test_lips_agree_more_with_their_own_audio_than_with_another(model: SyncModel) -> None:
    own = [score(model, seed, seed)[1] for seed in UNSEEN_SEEDS]
    other = [score(model, seed + 50, seed)[1] for seed in UNSEEN_SEEDS]
    assert np.median(own) > 1.2 * np.median(other)


def test_still_lips_have_no_confidence(model: SyncModel) -> None:
    pcm = synthetic_clip("audio", seed=20).pcm
    still = np.full(len(pcm) // HOP_LENGTH, 0.1)
    assert sync_lag_and_confidence(model.agreement(pcm, still, still))[1] == 0.0


def test_a_corpus_without_tracked_lips_is_rejected(tmp_path: Path) -> None:
    write_corpus(tmp_path / "rules", [synthetic_clip("a", "train", tracked=False)])
    with pytest.raises(TalkerError, match="no training clip with tracked lips"):
        SyncModel.load(tmp_path / "rules")
