# SPDX-License-Identifier: Apache-2.0
"""Variation over seeds, and the errors of one sample, of the mean of samples and of shorter contexts.

A generative model must vary what the audio leaves open (brows, lids, head) and agree on what it determines
(lip closures).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH
from streamingtalker_ros.corpus.storage import Clip
from streamingtalker_ros.evaluation import metrics
from streamingtalker_ros.evaluation.inference import lip_aperture, synthesize_batch
from streamingtalker_ros.evaluation.motion_curves import MotionCurves, resample_frames
from streamingtalker_ros.evaluation.robustness import evenly_spread_subset
from streamingtalker_ros.evaluation.test_set import Scores, TestSet, score
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.phonetics.phones import Phone, normalize_phones

if TYPE_CHECKING:
    from streamingtalker_ros.streaming import Talker

SHAPE_GROUPS: Final = {"brows": ("brow",), "lids": ("eyeBlink",), "gaze": ("eyeLook",)}
"""Group -> prefixes of the names of its shapes."""

MAX_CLIP_SECONDS: Final = 12.0
"""Longest clip that is generated with all seeds."""


def shape_mask(prefixes: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """(52,) mask of the shapes whose names begin with one of the prefixes."""
    return np.array([name.startswith(prefixes) for name in ARKIT_NAMES])


@dataclass
class SeedSpread:
    """One clip generated with S seeds, T frames.

    Attributes:
        clip: the clip.
        phones: its phones, normalized.
        openings: (S, T) lip aperture in metres.
        weights: (S, T, 52).
        head: (S, T, 4) quaternions xyzw.
        closures: for each p, b, m the frame of the least opening and the fraction of seeds that close it.
        limit: metres below which lips are closed.
    """

    clip: Clip
    phones: list[Phone]
    openings: np.ndarray
    weights: np.ndarray
    head: np.ndarray
    closures: list[tuple[int, float]]
    limit: float


def clip_with_most_bilabials(test_sets: Iterable[TestSet]) -> Clip:
    """Select the clip of at most `MAX_CLIP_SECONDS` with the most bilabials; without phones the longest.

    Args:
        test_sets: Test sets with at least one clip in all; clips whose reference does not move are considered
            only in a test set without moving references.

    Returns:
        The clip; of equal counts the longest. A longer clip than `MAX_CLIP_SECONDS` only if all are longer.
    """
    candidates = []
    for test_set in test_sets:
        for i in test_set.moving_clips or range(len(test_set.clips)):
            clip = test_set.clips[i]
            bilabials = sum(phone.name in metrics.BILABIALS for phone in test_set.phones[i])
            is_short = len(clip.pcm) <= MAX_CLIP_SECONDS * FRAME_RATE * HOP_LENGTH
            candidates.append((is_short, bilabials, len(clip.pcm), clip))
    return max(candidates, key=lambda candidate: candidate[:3])[-1]


def measure_seed_spread(
    talker: Talker, rig: Rig, clip: Clip, seeds: int = 32, **options: Any
) -> tuple[Scores, SeedSpread]:
    """Measure how the motion of one clip varies over seeds.

    Spreads are standard deviations over seeds, averaged over frames: weights of brows, lids and gaze, and
    degrees (from seed 0) of the head. For the lips: millimetres of the least opening within each p, b, m,
    over all of them and over those that at least half of the seeds close; how many are closed by every seed
    and by none; and for scale the largest opening within open vowels. NaN without such phones.

    Args:
        talker: a blendshape talker.
        rig: the face.
        clip: the clip to generate.
        seeds: number of seeds.
        options: further arguments of `Talker.open_stream`.

    Returns:
        The scores, and the motion that they were measured on.
    """
    runs = synthesize_batch(talker, [clip.pcm] * seeds, range(seeds), **options)
    weights = np.stack([run[0] for run in runs])  # (S, T, 52)
    head = np.stack([run[1] for run in runs])  # (S, T, 4)
    openings = np.stack([lip_aperture(rig, rows) for rows in weights])  # (S, T)
    scores: Scores = {
        f"{group}_std": float(weights[..., shape_mask(prefixes)].std(0).max(-1).mean())
        for group, prefixes in SHAPE_GROUPS.items()
    }
    cosine = np.clip(np.abs((head * head[:1]).sum(-1)), 0.0, 1.0)  # of half the angle to seed 0
    angle = 2.0 * np.degrees(np.arccos(cosine))
    scores["head_degrees"] = float(angle[1:].mean())
    phones, frames = normalize_phones(clip.phones), openings.shape[1]
    limit = metrics.CLOSED_RATIO * metrics.vowel_opening(openings, [phones] * seeds, talker.frame_rate)
    minima, closures, maxima = [], [], []
    for phone in phones:
        if phone.name in metrics.BILABIALS:
            rows = metrics.frames_within(
                phone.start - metrics.PHONE_MARGIN_S,
                phone.end + metrics.PHONE_MARGIN_S,
                frames,
                talker.frame_rate,
            )
            if len(rows):
                minima.append(openings[:, rows].min(1))
                middle = int(rows[openings[:, rows].mean(0).argmin()])
                closures.append((middle, float((minima[-1] < limit).mean())))
        elif phone.name in metrics.OPEN_VOWELS:
            rows = metrics.frames_within(phone.start, phone.end, frames, talker.frame_rate)
            if len(rows):
                maxima.append(openings[:, rows].max(1))
    fractions = np.array([fraction for _, fraction in closures])
    closed = [values for values, fraction in zip(minima, fractions, strict=True) if fraction >= 0.5]
    scores |= {
        "bilabials": len(fractions),
        "closed_by_every_seed": int((fractions == 1.0).sum()),
        "closed_by_no_seed": int((fractions == 0.0).sum()),
        "seeds_that_agree": _mean(np.maximum(fractions, 1.0 - fractions)),
        "lip_opening_mm_at_bilabials": 1e3 * _mean([values.mean() for values in minima]),
        "lip_opening_std_mm_at_bilabials": 1e3 * _mean([values.std() for values in minima]),
        "lip_opening_std_mm_at_closures": 1e3 * _mean([values.std() for values in closed]),
        "lip_opening_mm_at_open_vowels": 1e3 * _mean([values.mean() for values in maxima]),
        "lip_opening_std_mm_at_open_vowels": 1e3 * _mean([values.std() for values in maxima]),
    }
    return {"seeds": seeds, **scores}, SeedSpread(clip, phones, openings, weights, head, closures, limit)


def score_sampling(
    talker: Talker, rig: Rig, test_set: TestSet, samples: int = 8, progress: bool = False, **options: Any
) -> dict[str, Scores]:
    """Score one sample, the mean of several, and contexts of 0, 1 and all frames.

    Args:
        talker: a blendshape talker.
        rig: the face.
        test_set: reduced by `robustness.evenly_spread_subset`.
        samples: number of samples to average.
        progress: whether to show a progress bar.
        options: further arguments of `Talker.open_stream`.

    Returns:
        Row of the table -> scores.
    """
    subset = evenly_spread_subset(test_set)
    audio = [clip.pcm for clip in subset.clips]

    def run(seed: int, name: str, **overrides: Any) -> list[np.ndarray]:
        label = f"sampling: {name}" if progress else False
        motion = synthesize_batch(talker, audio, [seed] * len(audio), label, **options, **overrides)
        return [
            resample_frames(weights, talker.frame_rate, len(clip.weights), FRAME_RATE)
            for (weights, _, _), clip in zip(motion, subset.clips, strict=True)
        ]

    drawn = [run(seed, f"seed {seed}") for seed in range(samples)]
    rows = {
        "one sample, full context": drawn[0],
        f"mean of {samples} samples": [np.mean(each, 0) for each in zip(*drawn, strict=True)],
        "one sample, context 1": run(0, "context 1", context_frames=1),
        "one sample, context 0": run(0, "context 0", context_frames=0),
    }
    return {
        name: score(rig, subset, [MotionCurves.from_weights(rig, weights) for weights in clips])[0]
        for name, clips in rows.items()
    }


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
