# SPDX-License-Identifier: Apache-2.0
"""Laws of the metrics on curves with known answers, and the spread of the default checkpoint over seeds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.evaluation import metrics, vertex_metrics
from streamingtalker_ros.evaluation.inference import lip_aperture, synthesize_batch
from streamingtalker_ros.evaluation.sampling import shape_mask
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.phonetics.phones import Phone
from streamingtalker_ros.streaming import Talker

PHONES = [
    Phone("pau", 0.0, 0.2),
    Phone("m", 0.2, 0.3),
    Phone("aa", 0.3, 0.5),
    Phone("b", 0.5, 0.58),
    Phone("ae", 0.58, 0.8),
    Phone("pau", 0.8, 1.2),
]


def mouth(closed: Iterable[tuple[float, float]]) -> npt.NDArray[np.float64]:
    """Opening (30,) of 10 mm from 0.1 to 0.9 s except 0 within the spans `closed` (seconds), 25 frames/s."""
    middle = (np.arange(30) + 0.5) / 25
    opening = np.where((middle > 0.1) & (middle < 0.9), 10.0, 0.0)
    for start, end in closed:
        opening[(middle >= start) & (middle <= end)] = 0.0
    return opening


@pytest.mark.parametrize(
    "closed, recall, false_contact_rate",
    [
        ([(0.2, 0.3), (0.5, 0.58)], 1.0, 0.0),
        ([(0.2, 0.3)], 0.5, 0.0),
        ([], 0.0, 0.0),
        ([(0.2, 0.3), (0.5, 0.58), (0.66, 0.72)], 1.0, 0.5),
    ],
)
def test_closures_and_false_contacts_are_counted(
    closed: list[tuple[float, float]], recall: float, false_contact_rate: float
) -> None:
    opening = mouth(closed)
    reference = metrics.vowel_opening([opening], [PHONES], 25.0)
    assert reference == 10.0
    counts = metrics.count_closures(opening, PHONES, 25.0, reference)
    assert (counts.bilabials, counts.open_vowels) == (2, 2)
    assert counts.recall == recall and counts.false_contact_rate == false_contact_rate
    assert (counts + counts).closed == 2 * counts.closed


def test_bilabials_of_unreliable_alignment_are_counted_separately() -> None:
    phones = [
        Phone("m", 0.2, 0.3),
        Phone("aa", 0.3, 0.4),
        Phone("p", 0.4, 0.43),
        Phone("aa", 0.43, 0.6),
        Phone("b", 0.6, 0.64),
    ]
    counts = metrics.count_closures(mouth([(0.2, 0.3)]), phones, 25.0, 10.0)
    assert (counts.bilabials, counts.closed) == (2, 1)
    assert (counts.unreliable, counts.closed_unreliable) == (1, 0)
    total = counts + metrics.count_closures(mouth([(0.4, 0.43)]), phones, 25.0, 10.0)
    assert (total.unreliable, total.closed_unreliable) == (2, 1)
    assert total.recall == 0.25 and total.recall_of_all == pytest.approx(2 / 6)


def test_every_phone_has_a_frame() -> None:
    for start in np.arange(0.0, 0.9, 0.013):
        assert len(metrics.frames_within(start, start + 0.005, 25, 25.0)) == 1
    assert metrics.frames_within(0.0, 0.2, 25, 25.0).tolist() == [0, 1, 2, 3, 4]


def test_correlation_ignores_scale_and_offset_and_lag_finds_the_shift() -> None:
    curve = np.sin(np.arange(100) * 0.3) + 0.1 * np.random.default_rng(0).normal(size=100)
    assert metrics.correlation(curve, 3 * curve + 1) == pytest.approx(1.0)
    assert metrics.correlation(curve, np.zeros(100)) == 0.0
    for shift in (-3, 0, 2):
        assert metrics.lag(np.roll(curve, shift), curve) == shift


def test_lip_vertex_error_is_that_of_the_worst_vertex() -> None:
    generated, reference = np.zeros((2, 3, 3)), np.zeros((2, 3, 3))
    generated[0, 1] = [0.0, 3.0, 4.0]
    assert vertex_metrics.lip_vertex_error(generated, reference) == 12.5


def test_closing_time_ends_when_the_lips_stay_closed() -> None:
    opening = np.r_[np.ones(10), np.zeros(10)]
    assert metrics.closing_time(opening, 0.3, 25.0, 0.5) == pytest.approx(0.1)
    assert metrics.closing_time(np.zeros(20), 0.3, 25.0, 0.5) == 0.0


def test_seeds_vary_the_upper_face_and_agree_on_the_lips(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    audio = np.concatenate((speech, speech))  # long enough for blinks
    runs = synthesize_batch(talker, [audio] * 6, range(6))
    weights, head = np.stack([run[0] for run in runs]), np.stack([run[1] for run in runs])
    for prefix, min_std in (("brow", 0.01), ("eyeBlink", 0.03)):
        assert weights[..., shape_mask((prefix,))].std(0).max() > min_std, prefix
    assert head.std(0).max() > 0.003
    openings = np.stack([lip_aperture(default_rig(), rows) for rows in weights])
    large_opening = np.percentile(openings, 95)
    is_closed = openings.mean(0) < 0.1 * large_opening
    assert is_closed.any() and openings[:, is_closed].std(0).mean() < 0.05 * large_opening
