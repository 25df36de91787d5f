# SPDX-License-Identifier: Apache-2.0
"""Laws of the articulation heads: their losses, thresholds, and the gains on what they predict."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamingtalker_ros.face.mouth_measures import SPEECH_STD
from streamingtalker_ros.training.articulation_heads import closure_thresholds, open_vowel_thresholds
from streamingtalker_ros.training.encoder import (
    AMPLITUDE_WEIGHT,
    amplitude_loss,
    closure_event_loss,
    measures_loss,
)


def test_closure_thresholds_reach_the_recall_unless_vowels_limit_it() -> None:
    closed, opened = np.linspace(0, 1, 101), np.linspace(0, 0.5, 101)
    assert closure_thresholds([closed], [opened], 0.9, 0.5) == pytest.approx(
        (0.125, 0.25)
    )  # limited by the fraction of vowels
    assert closure_thresholds([closed], [opened], 0.4, 0.5) == pytest.approx(
        (0.3, 0.6)
    )  # limited by the recall
    easy = np.full(900, 0.9)  # many clear p, b, m in one corpus do not mask the misses in another
    assert closure_thresholds([closed, easy], [opened], 0.4, 0.5) == pytest.approx((0.3, 0.6))
    assert closure_thresholds([closed], [opened, easy], 0.4, 0.5) == pytest.approx((0.45, 0.9))


def test_the_most_certain_frame_counts_for_a_phone_and_false_closures_cost_by_the_gap() -> None:
    sounds = torch.zeros(1, 12, dtype=torch.bool)
    sounds[0, 2:5] = sounds[0, 8:10] = True
    counts, gap = torch.ones(1, 12), torch.full((1, 12), 0.3)
    low = torch.full((1, 12), -9.0)

    def loss(
        counts: torch.Tensor = counts, gap: torch.Tensor = gap, weight: float = 1.0, **raised: float
    ) -> float:
        logits = low.clone()
        for frame, value in raised.items():
            logits[0, int(frame[1:])] = value
        return float(closure_event_loss(logits, sounds, counts, gap, torch.full((1,), weight)))

    detected = loss(f3=9.0, f8=9.0)
    assert detected < 0.01 and loss(f4=9.0, f9=9.0) == pytest.approx(detected, abs=1e-3)  # in any frame
    assert loss(f2=9.0, f3=9.0, f4=9.0, f8=9.0, f9=9.0) < 0.01  # or in all frames
    assert loss(f3=9.0) == pytest.approx(4.4, abs=0.2) and loss() > 8.0  # one missed, both missed
    assert loss(weight=0.1) == pytest.approx(0.1 * loss(), rel=0.05)  # both missed in noise
    assert loss(f3=9.0, f8=9.0, f6=9.0) > 0.9  # pressed where the lips are apart
    shut = gap.clone()
    shut[0, 6] = 0.0  # or where they are shut anyway
    assert loss(f3=9.0, f8=9.0, f6=9.0, gap=shut) < 0.1
    unknown = counts.clone()
    unknown[0, 8] = 0.0
    assert loss(f3=9.0, counts=unknown) < 0.01  # a phone that is not completely inside the mask
    assert loss(counts=torch.zeros(1, 12)) == 0.0
    assert (
        float(closure_event_loss(low, torch.zeros_like(sounds), counts, gap, torch.ones(1))) < 0.01
    )  # no phone at all


def test_open_vowel_thresholds_suppress_at_most_the_given_fraction_of_closures() -> None:
    assert open_vowel_thresholds([np.linspace(0, 1, 101), np.zeros(900)], 0.2) == pytest.approx((0.8, 0.9))


def test_measures_that_are_half_heard_are_predicted_with_most_of_their_amplitude() -> None:
    generator = torch.Generator().manual_seed(0)
    heard, unheard = torch.randn(2, 40, 200, 4, generator=generator) * torch.tensor(SPEECH_STD)
    r = 0.5
    target = r * heard + (1.0 - r * r) ** 0.5 * unheard
    mask = torch.ones(40, 200)
    all_measures = torch.ones(40, 4)

    def loss(
        predicted: torch.Tensor,
        target: torch.Tensor,
        mask: torch.Tensor,
        counting: torch.Tensor = all_measures,
    ) -> float:
        return sum(float(term(predicted, target, mask, counting)) for term in (measures_loss, amplitude_loss))

    assert loss(target, target, mask) == 0.0
    gains = torch.linspace(0.0, 1.5, 31)
    best = gains[np.argmin([loss(gain * heard, target, mask) for gain in gains])]
    assert best == pytest.approx((r + AMPLITUDE_WEIGHT) / (1.0 + AMPLITUDE_WEIGHT), abs=0.06)
    masked = mask.clone()
    masked[:, 100:] = 0.0
    wrong_there = torch.where(masked[..., None] > 0, target, 9.0)
    assert loss(wrong_there, target, masked) == pytest.approx(0.0, abs=1e-6)
    wrong = target * torch.tensor([1.0, 9.0, 1.0, 9.0])
    some_measures = torch.tensor([1.0, 0.0, 1.0, 0.0]).expand(40, 4)
    assert loss(wrong, target, mask, some_measures) == pytest.approx(0.0, abs=1e-6)
