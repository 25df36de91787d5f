# SPDX-License-Identifier: Apache-2.0
"""Scores of each speaker of the captured test sets, and their summary over speakers.

Clips of one speaker are aggregated first, so that a speaker with one clip counts as much as one with many.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.evaluation import dynamics, metrics
from streamingtalker_ros.evaluation.closure_classes import (
    EXPECTED,
    FALSE_CLOSURE_CLASSES,
    classify_closures,
)
from streamingtalker_ros.evaluation.metrics import finite_mean, finite_percentile
from streamingtalker_ros.evaluation.motion_curves import MotionCurves
from streamingtalker_ros.evaluation.sync_score import SyncModel, sync_lag_and_confidence
from streamingtalker_ros.evaluation.test_set import Scores
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.phonetics.phones import Phone

if TYPE_CHECKING:
    from streamingtalker_ros.evaluation.results import EvaluationResults

CLIP_SCORES: Final = (
    "lip_opening_r",
    "lip_width_r",
    "lip_width_r_in_speech",
    "upper_lip_r",
    "lower_lip_r",
    "chin_r",
    "rounding_r",
    "lip_opening_amplitude",
    "lip_width_amplitude",
    "upper_lip_amplitude",
    "lower_lip_amplitude",
    "chin_amplitude",
)
"""Scores of clips whose median over a speaker's clips is a score of the speaker."""

FRACTION_PREFIXES: Final = ("parted", "false_closures")
"""Beginnings of the names of fractions of few events, whose median over speakers would mostly be 0."""

BROWS: Final = [index for index, name in enumerate(ARKIT_NAMES) if name.startswith("brow")]
"""Columns of the brows' weights."""

MIN_SHAPE_RANGE: Final = 0.02
"""A shape whose weight varies less never moves."""


@dataclass
class _Recordings:
    """The clips of one speaker that move, and the motion of one system on them."""

    clip_scores: list[dict[str, Any]] = field(default_factory=list)
    curves: list[MotionCurves] = field(default_factory=list)
    references: list[MotionCurves] = field(default_factory=list)
    phones: list[list[Phone]] = field(default_factory=list)
    audio: list[npt.NDArray[np.float32]] = field(default_factory=list)


def score_speakers(results: EvaluationResults, system: str) -> dict[str, Scores]:
    """Score the motion of a system for each speaker whose motion was captured.

    Args:
        results: the evaluation.
        system: name of a system.

    Returns:
        Voice -> scores; NaN for what the clips do not support.
    """
    speakers: defaultdict[str, _Recordings] = defaultdict(_Recordings)
    for test_set in results.test_sets:
        curves = results.curves[test_set.name].get(system)
        if curves is None or test_set.is_rule_based:
            continue
        clip_scores = results.per_clip[test_set.name][system]
        for k, i in enumerate(test_set.moving_clips):
            voice = test_set.clips[i].voice
            speaker = speakers[test_set.name if voice in ("", "none") else voice]
            speaker.clip_scores.append({key: values[k] for key, values in clip_scores.items()})
            speaker.curves.append(curves[i])
            speaker.references.append(test_set.reference[i])
            speaker.phones.append(test_set.phones[i])
            speaker.audio.append(test_set.clips[i].pcm)
    return {name: _score_speaker(speaker, results.sync_model) for name, speaker in speakers.items()}


def speaker_rows(results: EvaluationResults) -> dict[str, Scores]:
    """Rows of a table of speakers.

    Args:
        results: the evaluation.

    Returns:
        Voice -> scores of the evaluated system; then "all, SYSTEM" -> summary over the speakers, for every
        system. Empty if no motion was captured.
    """
    rows = score_speakers(results, results.system)
    for system in results.systems:
        speakers = score_speakers(results, system)
        if speakers:
            rows[f"all, {system}"] = summarize_speakers(speakers.values())
    return rows


def summarize_speakers(speakers: Iterable[Scores]) -> Scores:
    """Summarize scores over speakers: fractions by their mean, others by their median.

    Args:
        speakers: scores of each.

    Returns:
        The summary over those for whom a score is known; NaN where it is known for nobody.
    """
    rows = list(speakers)
    return {
        key: finite_mean(values) if key.startswith(FRACTION_PREFIXES) else finite_percentile(values, 50)
        for key in (rows[0] if rows else ())
        for values in [[row[key] for row in rows]]
    }


def still_shapes(curves: Iterable[MotionCurves]) -> list[str]:
    """Names of the shapes that never move.

    Args:
        curves: motion of many clips of one system.

    Returns:
        ARKit names; all where no weights are known.
    """
    weights = [curve.weights for curve in curves if curve.weights is not None]
    ranges = np.ptp(np.concatenate(weights), axis=0) if weights else np.zeros(len(ARKIT_NAMES))
    return [name for name, value in zip(ARKIT_NAMES, ranges, strict=True) if value < MIN_SHAPE_RANGE]


def _score_speaker(speaker: _Recordings, sync_model: SyncModel | None) -> Scores:
    curves, openings = speaker.curves, [curve.opening for curve in speaker.curves]
    scores: Scores = {"clips": len(curves)}
    scores |= {
        name: finite_percentile([row[name] for row in speaker.clip_scores], 50) for name in CLIP_SCORES
    }
    scores |= _parted_lips(openings, speaker.phones)
    scores |= _false_closures(openings, [curve.opening for curve in speaker.references], speaker.phones)
    sync = [
        sync_lag_and_confidence(sync_model.agreement(pcm, curve.opening, curve.width))
        for pcm, curve in zip(speaker.audio, curves, strict=True)
        if sync_model and np.isfinite(curve.width).all()
    ]
    scores["sync_lag_frames"] = finite_percentile([lag for lag, _ in sync], 50)
    scores["sync_confidence"] = finite_percentile([confidence for _, confidence in sync], 50)
    scores["lip_opening_fast_power"] = dynamics.fast_power_fraction(openings, FRAME_RATE)
    scores["lip_width_fast_power"] = dynamics.fast_power_fraction(
        [curve.width for curve in curves], FRAME_RATE
    )
    ranges = [dynamics.rotation_range(curve.head) for curve in curves if curve.head is not None]
    brows = [curve.weights[:, BROWS].std(0).mean() for curve in curves if curve.weights is not None]
    scores["head_range_degrees"], scores["brows_std"] = (
        finite_percentile(values, 50) for values in (ranges, brows)
    )
    return scores


def _parted_lips(openings: Sequence[np.ndarray], phones: Sequence[Sequence[Phone]]) -> Scores:
    """Mean fractions of parted lips before and after the speech of each clip, and in its pauses."""
    rows = [
        metrics.parted_around_speech(opening, speech, FRAME_RATE)
        for opening, sequence in zip(openings, phones, strict=True)
        for speech in [metrics.speech_span(sequence)]
        if speech
    ]
    return {
        "parted_before_speech": finite_mean([before for before, _ in rows]),
        "parted_after_speech": finite_mean([after for _, after in rows]),
        "parted_in_pauses": finite_mean(
            [
                metrics.parted_in_pauses(opening, sequence, FRAME_RATE)
                for opening, sequence in zip(openings, phones, strict=True)
            ]
        ),
    }


def _false_closures(
    openings: Sequence[np.ndarray], references: Sequence[np.ndarray], phones: Sequence[Sequence[Phone]]
) -> Scores:
    """Closures, and the fractions of them that are false: of all and by class of phone."""
    limit, reference_limit = (
        metrics.CLOSED_RATIO * metrics.vowel_opening(curves, phones, FRAME_RATE)
        for curves in (openings, references)
    )
    counts: Counter[str] = Counter()
    for opening, reference, sequence in zip(openings, references, phones, strict=True):
        counts += classify_closures(opening < limit, reference < reference_limit, sequence, FRAME_RATE)
    total = counts.total()

    def fraction(count: int) -> float:
        return count / total if total else float("nan")

    return {
        "closures": total,
        "false_closures": fraction(total - counts[EXPECTED]),
        **{
            f"false_closures_at_{name.replace(' ', '_')}": fraction(counts[name])
            for name in FALSE_CLOSURE_CLASSES
        },
    }
