# SPDX-License-Identifier: Apache-2.0
"""Test sets: the clips of one corpus with their references, and the scores of a system on them.

`load_test_set` reads one, `score` compares the motion curves of a system with it. Scores are flat dicts with
the unit in each name; a score that the clips do not support (closures without phones) is NaN.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.corpus.storage import SPLITS, Clip, load_corpus, read_index
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation import dynamics, metrics, vertex_metrics
from streamingtalker_ros.evaluation.inference import MOUTH_SHAPES, inter_ocular_distance
from streamingtalker_ros.evaluation.metrics import MAX_LAG_FRAMES
from streamingtalker_ros.evaluation.motion_curves import MotionCurves, reference_curves
from streamingtalker_ros.evaluation.vertex_metrics import MeshRegions
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.phonetics.phones import Phone, normalize_phones

MIN_MOTION_STD: Final = 0.002
"""Inter-ocular distances: a reference whose opening deviates less is excluded from correlations."""

ROUNDING_SHAPES: Final = [INDEX["mouthPucker"], INDEX["mouthFunnel"]]
"""Columns of the shapes that round the lips."""

_QUIET_RANGE_DB = 40.0  # below the loudest frame of a clip
_MIN_SPEECH_DBFS = -70.0

Scores = dict[str, float]
ClipScores = dict[str, np.ndarray]


@dataclass
class TestSet:
    """The clips of one corpus with their references.

    Attributes:
        name: folder and split.
        clips: the clips.
        reference: for each clip the curves that it is scored against.
        phones: for each clip its phones.
        is_tracked: whether the lips were tracked in video.
        is_known_voice: whether the training set has other clips of the voices.
        is_rule_based: whether the coarticulation model generated the motion.
        licences: of the corpus's sources.
    """

    __test__: ClassVar[bool] = False  # no test case for pytest to collect

    name: str
    clips: list[Clip]
    reference: list[MotionCurves] = field(repr=False)
    phones: list[list[Phone]] = field(repr=False)
    is_tracked: bool = False
    is_known_voice: bool = False
    is_rule_based: bool = True
    licences: tuple[str, ...] = ()

    def subset(self, indices: Iterable[int]) -> TestSet:
        """Return the test set of the clips at some indices."""
        indices = list(indices)
        return replace(
            self,
            clips=[self.clips[i] for i in indices],
            reference=[self.reference[i] for i in indices],
            phones=[self.phones[i] for i in indices],
        )

    @property
    def moving_clips(self) -> list[int]:
        """Indices of the clips whose reference moves."""
        return [i for i, curves in enumerate(self.reference) if curves.opening.std() > MIN_MOTION_STD]

    @property
    def seconds(self) -> float:
        """Duration of all clips."""
        return sum(len(curves.opening) for curves in self.reference) / FRAME_RATE


def load_test_set(
    rig: Rig,
    folder: str | os.PathLike[str],
    split: str = "test",
    limit: int | None = None,
    unseen: bool = False,
) -> TestSet:
    """Load the clips of a corpus folder.

    Args:
        rig: the face on which the references are measured.
        folder: path, or `path:split`.
        split: one of `SPLITS` or "all".
        limit: maximum number of clips, evenly spread; None for all.
        unseen: whether the model was trained without this corpus.

    Returns:
        The test set.

    Raises:
        TalkerError: If the folder holds no corpus or the split no clips.
    """
    folder = str(folder)
    path, _, suffix = folder.rpartition(":")
    if path and suffix in (*SPLITS, "all"):
        folder, split = path, suffix
    index = read_index(folder)
    clips = load_corpus(folder, None if split == "all" else split)
    if not clips:
        counts = {name: sum(clip["split"] == name for clip in index["clips"]) for name in SPLITS}
        raise TalkerError(
            f"the corpus {folder} has no {split} clips (it has "
            f"{', '.join(f'{count} {name}' for name, count in counts.items())}): choose another --split"
        )
    if limit and limit < len(clips):
        clips = [clips[int(i)] for i in np.linspace(0, len(clips) - 1, limit).round()]
    trained_voices = {clip["voice"] for clip in index["clips"] if clip["split"] == "train"} - {"none"}
    is_known_voice = (
        split in ("test", "validation") and not unseen and any(clip.voice in trained_voices for clip in clips)
    )
    is_tracked = any(clip.lip_opening is not None for clip in clips)
    return TestSet(
        f"{Path(folder).resolve().name}, {split}",
        clips,
        [reference_curves(rig, clip) for clip in clips],
        [normalize_phones(clip.phones) for clip in clips],
        is_tracked,
        is_known_voice,
        not is_tracked and "rule" in str(index.get("motion", "")),
        _source_licences(index),
    )


def _source_licences(index: Mapping[str, Any]) -> tuple[str, ...]:
    """Licences of the sources of a corpus index, each once."""
    sources = index.get("sources", {})
    licences = [
        str(source["licence"])
        for source in (sources.values() if isinstance(sources, dict) else sources)
        if isinstance(source, dict) and source.get("licence")
    ]
    return tuple(dict.fromkeys(licences))


def score(rig: Rig, test_set: TestSet, curves: Sequence[MotionCurves]) -> tuple[Scores, ClipScores]:
    """Score the motion of a system on a test set.

    Args:
        rig: the face on which vertex errors are measured.
        test_set: clips and references.
        curves: for each clip the motion of the system.

    Returns:
        The scores of the test set, and arrays (N,) of scores over the clips whose reference moves.
    """
    regions = vertex_metrics.mesh_regions(rig)
    rows = [
        _score_clip(rig, regions, curves[i], test_set.reference[i], test_set.phones[i])
        for i in test_set.moving_clips
    ]
    clips = {key: np.array([row[key] for row in rows]) for key in rows[0]} if rows else {}
    openings = [curve.opening for curve in curves]
    vowel_opening = metrics.vowel_opening(openings, test_set.phones, FRAME_RATE)
    counts = sum(
        (
            metrics.count_closures(opening, phones, FRAME_RATE, vowel_opening)
            for opening, phones in zip(openings, test_set.phones, strict=True)
        ),
        metrics.ClosureCounts(),
    )
    scores: Scores = {"clips": len(curves), "seconds": test_set.seconds, "clips_that_move": len(rows)}
    for name in ("lip_opening_r", "lip_width_r"):
        scores[f"{name}_median"] = metrics.finite_percentile(clips.get(name, ()), 50)
        scores[f"{name}_p10"] = metrics.finite_percentile(clips.get(name, ()), 10)
    lag = (
        metrics.peak_position(np.nanmean(clips["cross_correlation"], 0)) - MAX_LAG_FRAMES
        if rows
        else float("nan")
    )
    levels = [metrics.frame_levels(clip.pcm) for clip in test_set.clips]
    scale = inter_ocular_distance(rig)
    scores |= {
        "lag_ms": 1e3 * lag / FRAME_RATE,
        "lag_frames_median": metrics.finite_percentile(clips.get("lag", ()), 50),
        "lag_within_one_frame": float(np.mean(np.abs(clips["lag"]) <= 1)) if rows else float("nan"),
        "amplitude_ratio": metrics.finite_percentile(clips.get("lip_opening_amplitude", ()), 50),
        "width_amplitude_ratio": metrics.finite_percentile(clips.get("lip_width_amplitude", ()), 50),
        "lip_opening_error_mm": 1e3 * scale * metrics.finite_mean(clips.get("error", ())),
        "jerk_ratio": metrics.finite_percentile(clips.get("jerk", ()), 50),
        "jerk_over_amplitude_ratio": metrics.finite_percentile(clips.get("jerk_per_amplitude", ()), 50),
        "bilabials": counts.bilabials,
        "closure_recall": counts.recall,
        "unreliable_bilabials": counts.unreliable,
        "closure_recall_of_all": counts.recall_of_all,
        "open_vowels": counts.open_vowels,
        "false_closures": counts.false_contact_rate,
        "vowel_opening_mm": 1e3 * scale * vowel_opening,
        "lve_mm2": 1e6 * metrics.finite_mean(clips.get("lve", ())),
        "fdd_mm2": 1e6 * metrics.finite_mean(clips.get("fdd", ())),
        "mod_mm": 1e3 * metrics.finite_mean(clips.get("mod", ())),
        "mouth_weights_error": metrics.finite_mean(clips.get("mouth", ())),
        "blinks_per_minute": _blinks_per_minute(curves),
        "pause_lip_speed_share": _lip_speed_in_pauses(rig, regions, curves, levels),
    }
    scores |= _correlate_with_loudness(curves, levels)
    return scores, clips


def _score_clip(
    rig: Rig,
    regions: MeshRegions,
    curves: MotionCurves,
    reference: MotionCurves,
    phones: Sequence[Phone],
) -> dict[str, Any]:
    """Scores of one clip, and its cross-correlation (2 MAX_LAG_FRAMES + 1,)."""
    frames = min(len(curves.opening), len(reference.opening))
    generated, expected = curves.opening[:frames], reference.opening[:frames]
    amplitude = metrics.amplitude_ratio(generated, expected)
    reference_jerk = dynamics.rms_jerk(expected, FRAME_RATE)
    jerk = dynamics.rms_jerk(generated, FRAME_RATE) / reference_jerk if reference_jerk > 0 else float("nan")
    cross_correlation = metrics.cross_correlation(generated, expected)
    row: dict[str, Any] = {
        "lip_opening_r": metrics.correlation(generated, expected),
        "cross_correlation": cross_correlation,
        "lag": int(cross_correlation.argmax()) - MAX_LAG_FRAMES,
        "lip_opening_amplitude": amplitude,
        "jerk": jerk,
        "jerk_per_amplitude": jerk / amplitude if amplitude > 0 else float("nan"),
        "error": float(np.abs(generated - expected).mean()),
        "lve": float("nan"),
        "fdd": float("nan"),
        "mod": float("nan"),
        "mouth": float("nan"),
    }
    for name, curve, expected in (
        ("lip_width", curves.width, reference.width),
        ("upper_lip", curves.upper_lip_raise, reference.upper_lip_raise),
        ("lower_lip", curves.lower_lip_drop, reference.lower_lip_drop),
        ("chin", curves.chin_drop, reference.chin_drop),
    ):
        row[f"{name}_r"], row[f"{name}_amplitude"] = _compare(curve, expected, slice(frames))
    row["lip_width_r_in_speech"] = row["rounding_r"] = float("nan")
    speech = metrics.speech_span(phones)
    if speech:
        spoken = metrics.frames_within(*speech, frames, FRAME_RATE)
        row["lip_width_r_in_speech"], _ = _compare(curves.width, reference.width, spoken)
        if curves.weights is not None:
            row["rounding_r"], _ = _compare(
                curves.weights[:, ROUNDING_SHAPES].sum(1), -reference.width, spoken
            )
    if curves.weights is not None and reference.weights is not None:
        row |= _score_vertices(rig, regions, curves.weights[:frames], reference.weights[:frames])
    return row


def _compare(
    curve: np.ndarray | None, reference: np.ndarray | None, frames: slice | np.ndarray
) -> tuple[float, float]:
    """Correlation and amplitude ratio of two curves in some frames; NaN without a reference that moves."""
    if curve is None or reference is None:
        return float("nan"), float("nan")
    curve, reference = curve[frames], reference[frames]
    if not np.isfinite(reference).all() or reference.std() < 1e-6:
        return float("nan"), float("nan")
    return metrics.correlation(curve, reference), metrics.amplitude_ratio(curve, reference)


def _score_vertices(rig: Rig, regions: MeshRegions, generated: np.ndarray, reference: np.ndarray) -> Scores:
    def positions(weights: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        return vertex_metrics.vertex_positions(rig, weights, vertices)

    lips = [
        (positions(weights, regions.upper_lip), positions(weights, regions.lower_lip))
        for weights in (generated, reference)
    ]
    return {
        "lve": vertex_metrics.lip_vertex_error(
            positions(generated, regions.lips), positions(reference, regions.lips)
        ),
        "fdd": vertex_metrics.upper_face_deviation(
            positions(generated, regions.upper_face),
            positions(reference, regions.upper_face),
            rig.vertices[regions.upper_face],
        ),
        "mod": vertex_metrics.mouth_opening_difference(*lips),
        "mouth": float(np.abs(generated - reference)[:, MOUTH_SHAPES].mean()),
    }


def _blinks_per_minute(curves: Sequence[MotionCurves]) -> float:
    """Blink rate over all clips together; NaN where the eyelids are unknown."""
    weights = [curve.weights for curve in curves if curve.weights is not None]
    seconds = sum(len(rows) for rows in weights) / FRAME_RATE
    return (
        60.0 * sum(len(dynamics.blink_onsets(rows)) for rows in weights) / seconds
        if seconds
        else float("nan")
    )


def _correlate_with_loudness(curves: Sequence[MotionCurves], levels: Sequence[np.ndarray]) -> Scores:
    """Correlation and lag of the lip opening against the loudness, which need no reference.

    Lips usually open shortly before the sound gets loud; a lag of several frames either way is visible.
    """
    pairs = [
        (curve.opening[: len(level)], np.maximum(level[: len(curve.opening)], level.max() - _QUIET_RANGE_DB))
        for curve, level in zip(curves, levels, strict=True)
        if curve.opening.std() > MIN_MOTION_STD and np.ptp(level) > 20.0
    ]
    if not pairs:
        return {"loudness_r_median": float("nan"), "loudness_lag_ms": float("nan")}
    rows = np.array([metrics.cross_correlation(*pair) for pair in pairs])
    return {
        "loudness_r_median": float(np.median(rows[:, MAX_LAG_FRAMES])),
        "loudness_lag_ms": 1e3 * (metrics.peak_position(rows.mean(0)) - MAX_LAG_FRAMES) / FRAME_RATE,
    }


def _lip_speed_in_pauses(
    rig: Rig, regions: MeshRegions, curves: Sequence[MotionCurves], levels: Sequence[np.ndarray]
) -> float:
    """95th percentile of the lip speed in pauses as a fraction of that elsewhere.

    A pause is 40 dB below the clip's loudest frame, from 240 ms after to 80 ms before any louder frame. NaN
    without such frames.
    """
    in_pauses, elsewhere = [], []
    for curve, level in zip(curves, levels, strict=True):
        if curve.weights is None or not np.any(curve.weights):
            continue
        positions = vertex_metrics.vertex_positions(rig, curve.weights, regions.lips)
        speed = dynamics.mean_vertex_speed(positions, FRAME_RATE)
        loud_frames = np.flatnonzero(level > max(level.max() - _QUIET_RANGE_DB, _MIN_SPEECH_DBFS))
        is_near_speech = np.zeros(len(level) + 8, bool)
        for shift in range(-2, 7):
            is_near_speech[loud_frames + shift] = True  # negative indices index the tail that is removed
        is_near_speech = is_near_speech[1 : len(speed) + 1]
        elsewhere.append(speed[is_near_speech])
        in_pauses.append(speed[~is_near_speech])
    if not in_pauses or sum(map(len, in_pauses)) < FRAME_RATE:
        return float("nan")
    return float(np.percentile(np.concatenate(in_pauses), 95) / np.percentile(np.concatenate(elsewhere), 95))
