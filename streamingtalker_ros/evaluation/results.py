# SPDX-License-Identifier: Apache-2.0
"""Evaluation results: one model, its baselines and all measurements, for the report and JSON.

`EvaluationResults` holds them; each `measure_*` function adds one kind, so that a command runs only
those that were requested.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation import (
    drift,
    metrics,
    model_stats,
    non_speech,
    robustness,
    sampling,
    speaker_scores,
)
from streamingtalker_ros.evaluation.baselines import BASELINES
from streamingtalker_ros.evaluation.inference import inter_ocular_distance, synthesize_batch
from streamingtalker_ros.evaluation.motion_curves import MotionCurves, resample_frames
from streamingtalker_ros.evaluation.sampling import SeedSpread
from streamingtalker_ros.evaluation.sync_score import SyncModel
from streamingtalker_ros.evaluation.test_set import ClipScores, Scores, TestSet, score
from streamingtalker_ros.face.rig import Rig

if TYPE_CHECKING:
    from streamingtalker_ros.streaming import Talker

REFERENCE: Final = "reference"
"""Name of the reference among the systems."""

BASELINE_CHECKPOINT: Final = "baseline checkpoint"
"""Name of the checkpoint that `--baseline` names among the systems."""

MAX_DRIFT_CLIPS: Final = 200
"""Clips that the long stream repeats."""


@dataclass
class EvaluationResults:
    """All results of one evaluation.

    A system is the model, `REFERENCE`, `BASELINE_CHECKPOINT` or one of `BASELINES`.

    Attributes:
        system: name of the evaluated system among the others.
        rig: the face.
        name: name of the checkpoint or folder.
        options: arguments of `Talker.open_stream`.
        test_sets: the test sets.
        curves: test set -> system -> motion of each clip.
        scores: test set -> system -> scores.
        per_clip: test set -> system -> scores of the clips whose reference moves.
        sync_model: scores the agreement of audio and lips; None to leave it out.
        non_speech: results of `measure_non_speech`.
        robustness: test set -> condition -> scores.
        drift: results of `drift.measure_drift`.
        seed_spread: motion of one clip over seeds.
        seed_scores: results of `sampling.measure_seed_spread`.
        sampling: results of `sampling.score_sampling`.
        model_stats: results of `measure_model_stats`.
    """

    system: str
    rig: Rig
    name: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    test_sets: list[TestSet] = field(default_factory=list)
    curves: dict[str, dict[str, list[MotionCurves]]] = field(default_factory=dict)
    scores: dict[str, dict[str, Scores]] = field(default_factory=dict)
    per_clip: dict[str, dict[str, ClipScores]] = field(default_factory=dict)
    sync_model: SyncModel | None = None
    non_speech: dict[str, Any] = field(default_factory=dict)
    robustness: dict[str, dict[str, Scores]] = field(default_factory=dict)
    drift: dict[str, Any] = field(default_factory=dict)
    seed_spread: SeedSpread | None = None
    seed_scores: Scores = field(default_factory=dict)
    sampling: dict[str, Scores] = field(default_factory=dict)
    model_stats: dict[str, Any] = field(default_factory=dict)

    def add(self, test_set: TestSet, system: str, curves: list[MotionCurves]) -> None:
        """Score the motion of a system on a test set and store motion and scores.

        Args:
            test_set: The clips and their references.
            system: Name of the system; its former results are replaced.
            curves: Motion of each clip, in the order of the clips of `test_set`.
        """
        scores, clips = score(self.rig, test_set, curves)
        self.curves.setdefault(test_set.name, {})[system] = curves
        self.scores.setdefault(test_set.name, {})[system] = scores
        self.per_clip.setdefault(test_set.name, {})[system] = clips

    @property
    def systems(self) -> list[str]:
        """Names of all systems, the evaluated one first."""
        return list(dict.fromkeys(name for scores in self.scores.values() for name in scores))

    def main_test_set(self) -> TestSet:
        """Return the test set for further measurements: the longest of those with bilabials, if any."""
        return max(
            self.test_sets,
            key=lambda test_set: (
                any(phone.name in metrics.BILABIALS for phones in test_set.phones for phone in phones),
                test_set.seconds,
            ),
        )

    def all_curves(self) -> list[MotionCurves]:
        """Return the evaluated system's motion of every clip."""
        return [curves for test_set in self.scores for curves in self.curves[test_set][self.system]]

    def speech_lip_speed_p95(self) -> float:
        """95th percentile of the model's lip speed over all test sets, metres per second."""
        speeds = [
            non_speech.lip_speed(self.rig, curves.weights, FRAME_RATE)
            for curves in self.all_curves()
            if curves.weights is not None
        ]
        return float(np.percentile(np.concatenate(speeds), 95))

    def to_json(self) -> dict[str, Any]:
        """Return all scores as plain types; NaN and infinity become None."""
        from streamingtalker_ros.evaluation.acceptance import check_criteria

        speakers = {system: speaker_scores.score_speakers(self, system) for system in self.systems}
        return _to_plain(
            {
                "model": self.name,
                "system": self.system,
                "test_sets": self.scores,
                "speakers": speakers,
                "speaker_summary": {
                    system: speaker_scores.summarize_speakers(scores.values())
                    for system, scores in speakers.items()
                },
                "still_shapes": speaker_scores.still_shapes(self.all_curves()),
                "non_speech": self.non_speech,
                "robustness": self.robustness,
                "drift": self.drift,
                "seeds": self.seed_scores,
                "sampling": self.sampling,
                "model_stats": self.model_stats,
                "criteria": [vars(criterion) for criterion in check_criteria(self)],
            }
        )


def clips_at_percentiles(
    results: EvaluationResults, test_set: TestSet, percentiles: Iterable[float]
) -> list[tuple[int, float]]:
    """Find the clips of a test set at percentiles of the evaluated system's r of the lip opening.

    Args:
        results: the evaluation.
        test_set: one of its test sets.
        percentiles: 0..100.

    Returns:
        (index, r) of the nearest clip to each percentile; empty where no clip has a reference that moves.
    """
    r = results.per_clip[test_set.name][results.system].get("lip_opening_r", np.zeros(0))
    nearest = [int(np.abs(r - np.percentile(r, q)).argmin()) for q in percentiles] if len(r) else []
    return [(test_set.moving_clips[k], float(r[k])) for k in nearest]


def _to_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_to_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def synthesize_test_set(
    talker: Talker, rig: Rig, test_set: TestSet, progress: bool = False, **options: Any
) -> list[MotionCurves]:
    """Generate the motion of every clip of a test set.

    Args:
        talker: a blendshape talker.
        rig: the face.
        test_set: the clips.
        progress: whether to show a progress bar.
        options: further arguments of `Talker.open_stream`.

    Returns:
        For each clip its motion at `FRAME_RATE`, as many frames as its reference has.
    """
    motion = synthesize_batch(
        talker,
        [clip.pcm for clip in test_set.clips],
        progress=test_set.name if progress else False,
        **options,
    )
    curves = []
    for (weights, head, _), reference in zip(motion, test_set.reference, strict=True):
        frames = len(reference.opening)
        curves.append(
            MotionCurves.from_weights(
                rig,
                resample_frames(weights, talker.frame_rate, frames, FRAME_RATE),
                resample_frames(head, talker.frame_rate, frames, FRAME_RATE),
            )
        )
    return curves


def measure_test_sets(
    results: EvaluationResults,
    talker: Talker,
    test_sets: Iterable[TestSet],
    baseline: Talker | None = None,
    progress: bool = False,
) -> None:
    """Score the model, the reference and the baselines on test sets.

    Args:
        results: to which the scores are added.
        talker: the model.
        test_sets: the test sets.
        baseline: another checkpoint to compare with.
        progress: whether to show progress bars.

    Raises:
        TalkerError: If two test sets have the same name.
    """
    for test_set in test_sets:
        if test_set.name in results.scores:
            raise TalkerError(f"the corpus {test_set.name} was given twice: name each once")
        results.test_sets.append(test_set)
        curves = synthesize_test_set(talker, results.rig, test_set, progress, **results.options)
        results.add(test_set, results.system, curves)
        results.add(test_set, REFERENCE, test_set.reference)
        if baseline:
            curves = synthesize_test_set(baseline, results.rig, test_set, progress)
            results.add(test_set, BASELINE_CHECKPOINT, curves)
        _add_baselines(results, test_set)


def score_external_motion(
    results: EvaluationResults, pairs: Iterable[tuple[TestSet, list[MotionCurves]]]
) -> None:
    """Score motion of another system in place of a model.

    Args:
        results: to which the scores are added.
        pairs: test sets and the motion of their clips.
    """
    for test_set, curves in pairs:
        results.test_sets.append(test_set)
        results.add(test_set, results.system, curves)
        if test_set.moving_clips:
            results.add(test_set, REFERENCE, test_set.reference)
            _add_baselines(results, test_set)


def _add_baselines(results: EvaluationResults, test_set: TestSet) -> None:
    for name, baseline in BASELINES.items():
        curves = baseline(results.rig, test_set)
        if curves is not None:
            results.add(test_set, name, curves)


def measure_non_speech(results: EvaluationResults, talker: Talker) -> None:
    """Measure the lips in sounds without speech, and after truncated speech.

    Args:
        results: Results with the curves of the model on every test set; `non_speech` is set.
        talker: The evaluated blendshape talker.
    """
    test_set = results.main_test_set()
    openings = [curves.opening for curves in results.curves[test_set.name][results.system]]
    vowel_opening = metrics.vowel_opening(openings, test_set.phones, FRAME_RATE)
    if not np.isfinite(vowel_opening):  # no phones: use an opening that is rarely exceeded
        vowel_opening = float(np.percentile(np.concatenate(openings), 90))
    speech = results.speech_lip_speed_p95()
    ratios = non_speech.lip_speed_without_speech(talker, results.rig, speech, **results.options)
    closing = non_speech.closing_times(
        talker,
        results.rig,
        [clip.pcm for clip in robustness.evenly_spread_subset(test_set).clips],
        metrics.CLOSED_RATIO * vowel_opening * inter_ocular_distance(results.rig),
        **results.options,
    )
    results.non_speech = {
        "speech_p95_mm_s": 1e3 * speech,
        "lip_speed_ratio": ratios,
        "closing_ms": (1e3 * closing).tolist(),
        "closing_p95_ms": 1e3 * float(np.percentile(closing, 95)),
    }


def measure_robustness(results: EvaluationResults, talker: Talker, progress: bool = False) -> None:
    """Measure noise, level, bandwidth and room on every test set whose reference moves.

    Args:
        results: Results with the test sets; `robustness` is set.
        talker: The evaluated blendshape talker.
        progress: Whether to show a progress bar.
    """
    for test_set in results.test_sets:
        if test_set.moving_clips:
            results.robustness[test_set.name] = robustness.score_conditions(
                talker, results.rig, test_set, progress, **results.options
            )


def measure_sampling(
    results: EvaluationResults, talker: Talker, seeds: int = 32, progress: bool = False
) -> None:
    """Measure the spread over seeds in one clip, and the errors of sample, mean and shorter contexts.

    Args:
        results: Results with the test sets; `seed_scores`, `seed_spread` and `sampling` are set.
        talker: The evaluated blendshape talker.
        seeds: Number of seeds with which the clip is generated.
        progress: Whether to show a progress bar.
    """
    results.seed_scores, results.seed_spread = sampling.measure_seed_spread(
        talker, results.rig, sampling.clip_with_most_bilabials(results.test_sets), seeds, **results.options
    )
    results.sampling = sampling.score_sampling(
        talker, results.rig, results.main_test_set(), progress=progress, **results.options
    )


def measure_drift(
    results: EvaluationResults,
    talker: Talker,
    minutes: float = 60.0,
    voices: int = 4,
    progress: bool = False,
) -> None:
    """Measure the drift over a long stream, see `drift.measure_drift`.

    Args:
        results: Results with the test sets; `drift` is set.
        talker: The evaluated blendshape talker.
        minutes: Duration of the stream in minutes, above 0.
        voices: Number of concurrent streams, each with a different seed.
        progress: Whether to show a progress bar.
    """
    clips = robustness.evenly_spread_subset(results.main_test_set(), MAX_DRIFT_CLIPS).clips
    results.drift = drift.measure_drift(
        talker, results.rig, clips, minutes, voices, progress, **results.options
    )


def measure_model_stats(results: EvaluationResults, talker: Talker, folder: str | os.PathLike[str]) -> None:
    """Measure size, use of the codebook and cost of a frame of the checkpoint in a folder.

    Args:
        results: Results with the test sets; `model_stats` is set.
        talker: The evaluated blendshape talker.
        folder: Folder of the checkpoint; the size is NaN without weights.safetensors.
    """
    clips = [clip for test_set in results.test_sets for clip in test_set.clips]
    results.model_stats = {
        **model_stats.weights_size(folder),
        **model_stats.codebook_usage(talker, clips, folder),
        **model_stats.frame_cost(talker),
    }
