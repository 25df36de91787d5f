"""Runs a talker over clips of a corpus and sums up how its motion compares with the clips' own.

Motion is a pair of arrays: weights (T, 52) and head quaternions (T, 4).
"""
import numpy as np
from tqdm import tqdm

from ..face.arkit import ARKIT_NAMES
from ..training.phones import merge
from . import metrics

PAUSES = ("pau", "sil")
MOUTH = np.array([name.startswith(("jaw", "mouth")) for name in ARKIT_NAMES])


TOGETHER = 16  # clips spoken as one batch


def speak(talker, pcm, seed=0, **options):
    """The talker's motion for a whole clip of 16 kHz audio: (weights (T, 52), head (T, 4), speaking (T,))."""
    return speak_all(talker, [pcm], [seed], **options)[0]


def speak_all(talker, audio, seeds=None, progress=False, **options):
    """`speak` for many clips, a list; as many voices at once as pay. seeds: one for each clip, 0 when left out."""
    seeds = [0] * len(audio) if seeds is None else seeds
    out = []
    for first in tqdm(range(0, len(audio), TOGETHER), desc="clips by 16", disable=not progress):
        part = slice(first, first + TOGETHER)
        streams = [talker.open_stream(seed=seed, **options) for seed in seeds[part]]
        heard = talker.accept(streams, [np.asarray(pcm, np.float32) for pcm in audio[part]])
        for stream, frames in zip(streams, heard):
            frames += stream.finish()
            out.append((np.stack([f.weights for f in frames]), np.stack([f.head for f in frames]),
                        np.array([f.speaking for f in frames])))
    return out


def opening_of(rig, weights):
    """Lip opening in metres: (T, 52) -> (T,), 0 where the lips touch or overlap."""
    return np.maximum(rig.lip_gap(weights), 0.0)


def lip_vertices(rig):
    """Indices of the lip vertices that LVE looks at: the rings of the inner lips and the corners."""
    return np.unique(np.concatenate([np.asarray(rig.landmarks[name]).ravel() for name in
                                     ("inner_lip_upper", "inner_lip_lower", "mouth_corners")]))


def summarise(rig, clips, made, frame_rate):
    """Figures of generated weights against the clips': a flat dict, units in the names.

    clips: corpus Clips; made: list of weights (T', 52), at least as long as each clip's.
    """
    truth = [clip.weights for clip in clips]
    made = [m[: len(t)] for m, t in zip(made, truth)]
    phones = [merge(clip.phones) for clip in clips]
    openings = [opening_of(rig, m) for m in made]
    true_openings = [opening_of(rig, t) for t in truth]
    reference = metrics.vowel_opening(openings, phones, frame_rate)
    count = sum((metrics.closures(o, p, frame_rate, reference) for o, p in zip(openings, phones)), metrics.Closures())
    lips = lip_vertices(rig)
    lve = [metrics.lip_vertex_error(rig.pose(m)[:, lips], rig.pose(t)[:, lips]) for m, t in zip(made, truth)]
    ends = [max((p.end for p in sounds if p.name not in PAUSES), default=0.0) for sounds in phones]
    closing = [metrics.closing_time(o, end, frame_rate, metrics.CLOSED * reference)
               for o, end in zip(openings, ends) if end]
    correlations = [metrics.correlation(a, b) for a, b in zip(openings, true_openings)]
    lags = [metrics.lag(a, b) for a, b in zip(openings, true_openings)]
    return {
        "clips": len(clips),
        "seconds": float(sum(len(t) for t in truth) / frame_rate),
        "bilabials": count.bilabials, "closure_recall": count.recall,
        "open_vowels": count.vowels, "false_closures": count.false_rate,
        "vowel_opening_mm": 1e3 * reference,
        "lip_opening_r_median": float(np.median(correlations)),
        "lip_opening_r_p10": float(np.percentile(correlations, 10)),
        "lip_opening_error_mm": 1e3 * float(np.mean([np.abs(a - b).mean() for a, b in zip(openings, true_openings)])),
        "lag_frames_median": float(np.median(lags)),
        "lve_mm2": 1e6 * float(np.mean(lve)),
        "mouth_weights_error": float(np.mean([np.abs(m - t)[:, MOUTH].mean() for m, t in zip(made, truth)])),
        "closing_time_p95_ms": 1e3 * float(np.percentile(closing, 95)) if closing else float("nan"),
    }
