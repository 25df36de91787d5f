# SPDX-License-Identifier: Apache-2.0
"""Is the sampling real? What differs between seeds, and what a sample, its mean and its history are worth.

A generative head must vary what sound leaves open (brows, lids, head) and agree on what sound decides (closed lips).
"""

from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.evaluation import metrics
from streamingtalker_ros.evaluation.inference import opening_of, speak_all
from streamingtalker_ros.evaluation.motion_curves import of_weights, on_grid
from streamingtalker_ros.evaluation.robustness import subset
from streamingtalker_ros.evaluation.test_set import score
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.phonetics.phones import normalize_phones

GROUPS = {"brows": ("brow",), "lids": ("eyeBlink",), "gaze": ("eyeLook",)}
LONGEST = 12.0  # seconds of the clip that all seeds speak


def columns(prefixes):
    return np.array([name.startswith(prefixes) for name in ARKIT_NAMES])


@dataclass
class Seeds:
    """One clip by many seeds. openings (S, T) metres; weights (S, T, 52); head (S, T, 4); phones: of the clip;
    closures: [(frame, share of seeds that close)] for each p, b, m; limit: metres under which lips are closed."""

    clip: object
    phones: list
    openings: np.ndarray
    weights: np.ndarray
    head: np.ndarray
    closures: list
    limit: float


def richest(sections):
    """The clip with the most bilabials within LONGEST seconds; without phones the longest such clip."""
    found = []
    for section in sections:
        for i in section.spoken or range(len(section.clips)):
            clip, closures = (
                section.clips[i],
                sum(phone.name in metrics.BILABIALS for phone in section.phones[i]),
            )
            found.append((len(clip.pcm) <= LONGEST * FRAME_RATE * 640, closures, len(clip.pcm), clip))
    return max(found, key=lambda row: row[:3])[-1]


def seed_spread(talker, rig, clip, seeds=32, **options):
    """What `seeds` seeds make of one clip: (dict of figures, Seeds).

    Spreads are standard deviations over seeds, averaged over frames: weights for brows, lids and gaze, degrees (from
    seed 0) for the head. Of the lips: millimetres of the least opening within each p, b, m (as `metrics.closures`
    looks at it), over all of them and over those that at least half of the seeds close; how many are closed by every
    seed, by some, by none; and for scale the widest opening within open vowels. NaN without such phones.
    """
    runs = speak_all(talker, [clip.pcm] * seeds, range(seeds), **options)
    weights, head = np.stack([r[0] for r in runs]), np.stack([r[1] for r in runs])  # (S, T, 52), (S, T, 4)
    openings = np.stack([opening_of(rig, w) for w in weights])  # (S, T)
    figures = {
        f"{group}_std": float(weights[..., columns(prefix)].std(0).max(-1).mean())
        for group, prefix in GROUPS.items()
    }
    angle = 2.0 * np.degrees(
        np.arccos(np.clip(np.abs((head * head[:1]).sum(-1)), 0.0, 1.0))
    )  # against seed 0
    figures["head_degrees"] = float(angle[1:].mean())
    phones, frames = normalize_phones(clip.phones), openings.shape[1]
    limit = metrics.CLOSED * metrics.vowel_opening(openings, [phones] * seeds, talker.frame_rate)
    least, closures, widest = [], [], []
    for phone in phones:
        if phone.name in metrics.BILABIALS:
            rows = metrics.frames_within(
                phone.start - metrics.EDGE, phone.end + metrics.EDGE, frames, talker.frame_rate
            )
            if len(rows):
                least.append(openings[:, rows].min(1))
                middle = int(rows[openings[:, rows].mean(0).argmin()])
                closures.append((middle, float((least[-1] < limit).mean())))
        elif phone.name in metrics.OPEN_VOWELS:
            rows = metrics.frames_within(phone.start, phone.end, frames, talker.frame_rate)
            if len(rows):
                widest.append(openings[:, rows].max(1))
    share = np.array([part for _, part in closures])
    kept = [values for values, part in zip(least, share) if part >= 0.5]
    figures |= {
        "bilabials": len(share),
        "closed_by_every_seed": int((share == 1.0).sum()),
        "closed_by_no_seed": int((share == 0.0).sum()),
        "seeds_that_agree": _mean(np.maximum(share, 1.0 - share)),
        "lip_opening_mm_at_bilabials": 1e3 * _mean([v.mean() for v in least]),
        "lip_opening_std_mm_at_bilabials": 1e3 * _mean([v.std() for v in least]),
        "lip_opening_std_mm_at_closures": 1e3 * _mean([v.std() for v in kept]),
        "lip_opening_mm_at_open_vowels": 1e3 * _mean([v.mean() for v in widest]),
        "lip_opening_std_mm_at_open_vowels": 1e3 * _mean([v.std() for v in widest]),
    }
    return {"seeds": seeds, **figures}, Seeds(clip, phones, openings, weights, head, closures, limit)


def error_table(talker, rig, section, samples=8, progress=False, **options):
    """Held-out figures of one sample, of the mean of `samples`, and of histories 0, 1 and full: {row: figures}.

    Over `robustness.subset` of the section.
    """
    part = subset(section)
    audio = [clip.pcm for clip in part.clips]

    def run(seed, name, **more):
        made = speak_all(
            talker, audio, [seed] * len(audio), progress and f"sampling: {name}", **options, **more
        )
        return [
            on_grid(weights, talker.frame_rate, len(clip.weights), FRAME_RATE)
            for (weights, _, _), clip in zip(made, part.clips)
        ]

    drawn = [run(seed, f"seed {seed}") for seed in range(samples)]
    rows = {
        "one sample, full history": drawn[0],
        f"mean of {samples} samples": [np.mean(each, 0) for each in zip(*drawn)],
        "one sample, history 1": run(0, "history 1", context_frames=1),
        "one sample, history 0": run(0, "history 0", context_frames=0),
    }
    return {
        name: score(rig, part, [of_weights(rig, weights) for weights in made])[0]
        for name, made in rows.items()
    }


def _mean(values):
    return float(np.mean(values)) if len(values) else float("nan")
