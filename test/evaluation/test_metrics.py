# SPDX-License-Identifier: Apache-2.0
"""The measures on curves whose answer is known, and the shipped model on the shipped voice."""

import numpy as np
import pytest

from streamingtalker_ros.evaluation import metrics, vertex_metrics
from streamingtalker_ros.phonetics.phones import Phone

PHONES = [
    Phone("pau", 0.0, 0.2),
    Phone("m", 0.2, 0.3),
    Phone("aa", 0.3, 0.5),
    Phone("b", 0.5, 0.58),
    Phone("ae", 0.58, 0.8),
    Phone("pau", 0.8, 1.2),
]


def mouth(closed):
    """Opening of 10 mm in 0.1…0.9 s but 0 within the spans `closed` (seconds), 25 frames/s."""
    middle = (np.arange(30) + 0.5) / 25
    opening = np.where((middle > 0.1) & (middle < 0.9), 10.0, 0.0)
    for start, end in closed:
        opening[(middle >= start) & (middle <= end)] = 0.0
    return opening


@pytest.mark.parametrize(
    "closed, recall, false",
    [
        ([(0.2, 0.3), (0.5, 0.58)], 1.0, 0.0),
        ([(0.2, 0.3)], 0.5, 0.0),
        ([], 0.0, 0.0),
        ([(0.2, 0.3), (0.5, 0.58), (0.66, 0.72)], 1.0, 0.5),
    ],
)
def test_closures(closed, recall, false) -> None:
    opening = mouth(closed)
    reference = metrics.vowel_opening([opening], [PHONES], 25.0)
    assert reference == 10.0
    count = metrics.closures(opening, PHONES, 25.0, reference)
    assert (count.bilabials, count.vowels) == (2, 2)
    assert count.recall == recall and count.false_rate == false
    assert (count + count).closed == 2 * count.closed


def test_squeezed_bilabials_are_counted_apart() -> None:
    phones = [
        Phone("m", 0.2, 0.3),
        Phone("aa", 0.3, 0.4),
        Phone("p", 0.4, 0.43),
        Phone("aa", 0.43, 0.6),
        Phone("b", 0.6, 0.64),
    ]
    count = metrics.closures(mouth([(0.2, 0.3)]), phones, 25.0, 10.0)
    assert (count.bilabials, count.closed, count.squeezed, count.closed_there) == (2, 1, 1, 0)
    both = count + metrics.closures(mouth([(0.4, 0.43)]), phones, 25.0, 10.0)
    assert (both.squeezed, both.closed_there) == (2, 1)
    assert both.recall == 0.25 and both.recall_of_all == pytest.approx(2 / 6)


def test_every_phone_has_a_frame() -> None:
    for start in np.arange(0.0, 0.9, 0.013):
        assert len(metrics.frames_within(start, start + 0.005, 25, 25.0)) == 1
    assert metrics.frames_within(0.0, 0.2, 25, 25.0).tolist() == [0, 1, 2, 3, 4]


def test_correlation_and_lag() -> None:
    curve = np.sin(np.arange(100) * 0.3) + 0.1 * np.random.default_rng(0).normal(size=100)
    assert metrics.correlation(curve, 3 * curve + 1) == pytest.approx(1.0)
    assert metrics.correlation(curve, np.zeros(100)) == 0.0
    for shift in (-3, 0, 2):
        assert metrics.lag(np.roll(curve, shift), curve) == shift


def test_lip_vertex_error_is_the_worst_vertex() -> None:
    made, reference = np.zeros((2, 3, 3)), np.zeros((2, 3, 3))
    made[0, 1] = [0.0, 3.0, 4.0]
    assert vertex_metrics.lip_vertex_error(made, reference) == 12.5


def test_closing_time() -> None:
    opening = np.r_[np.ones(10), np.zeros(10)]
    assert metrics.closing_time(opening, 0.3, 25.0, 0.5) == pytest.approx(0.1)
    assert metrics.closing_time(np.zeros(20), 0.3, 25.0, 0.5) == 0.0


def test_seeds_move_what_sound_leaves_open_and_agree_on_the_lips(talker, speech) -> None:
    """The shipped model: over seeds brows, lids and head vary; the lip opening hardly does."""
    from streamingtalker_ros.evaluation.inference import opening_of, speak
    from streamingtalker_ros.evaluation.sampling import columns
    from streamingtalker_ros.face.default_head.assemble import default_rig

    twice = np.concatenate((speech, speech))  # long enough for blinks
    runs = [speak(talker, twice, seed=seed) for seed in range(6)]
    weights, head = np.stack([r[0] for r in runs]), np.stack([r[1] for r in runs])
    for group, least in (("brow", 0.01), ("eyeBlink", 0.03)):
        assert weights[..., columns((group,))].std(0).max() > least, group
    assert head.std(0).max() > 0.003
    openings = np.stack([opening_of(default_rig(), w) for w in weights])
    shut = openings.mean(0) < 0.1 * np.percentile(openings, 95)
    assert shut.any() and openings[:, shut].std(0).mean() < 0.05 * np.percentile(openings, 95)
