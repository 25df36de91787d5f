"""Is the sampling real? Two tables: what differs between seeds, and what a sample, its mean and its history are worth.

A generative head must vary what sound leaves open (brows, lids, head) and agree on what sound decides (closed lips).
"""
import numpy as np

from ..face.arkit import ARKIT_NAMES
from ..training.phones import merge
from . import metrics
from .clips import opening_of, speak_all, summarise

GROUPS = {"brows": ("brow",), "lids": ("eyeBlink",), "gaze": ("eyeLook",)}


def columns(prefixes):
    return np.array([name.startswith(prefixes) for name in ARKIT_NAMES])


def seed_spread(talker, rig, clip, seeds=32):
    """Standard deviation over seeds in one clip, averaged over frames: dict of floats.

    Weights for brows, lids and gaze; degrees for the head; millimetres of lip opening at the frames of closure
    (p, b, m) and, for scale, at the open vowels; and the opening of those vowels.
    """
    runs = speak_all(talker, [clip.pcm] * seeds, range(seeds))
    weights, head = np.stack([r[0] for r in runs]), np.stack([r[1] for r in runs])  # (seeds, T, 52), (seeds, T, 4)
    openings = np.stack([opening_of(rig, w) for w in weights])  # (seeds, T)
    figures = {f"{group}_std": float(weights[..., columns(prefix)].std(0).max(-1).mean())
               for group, prefix in GROUPS.items()}
    angle = 2.0 * np.degrees(np.arccos(np.clip(np.abs((head * head[:1]).sum(-1)), 0.0, 1.0)))  # against seed 0
    figures["head_degrees"] = float(angle[1:].mean())
    spread = {}
    for name, phones in (("closures", metrics.BILABIALS), ("open_vowels", metrics.OPEN_VOWELS)):
        values, sizes = [], []
        for phone in merge(clip.phones):
            rows = metrics.frames_within(phone.start, phone.end, openings.shape[1], talker.frame_rate)
            if phone.name in phones and len(rows):
                # the frame that the sound is about: the most closed, or the most open
                pick = openings[:, rows].min(1) if name == "closures" else openings[:, rows].max(1)
                values.append(pick.std())
                sizes.append(pick.mean())
        spread[f"lip_opening_std_mm_at_{name}"] = 1e3 * float(np.mean(values))
        spread[f"lip_opening_mm_at_{name}"] = 1e3 * float(np.mean(sizes))
    return {"seeds": seeds, **figures, **spread}


def error_table(talker, rig, clips, samples=8):
    """Held-out figures of one sample, of the mean of `samples`, and of histories 0, 1 and full: {row: figures}."""
    audio = [clip.pcm for clip in clips]

    def run(seed, **options):
        return [weights for weights, _, _ in speak_all(talker, audio, [seed] * len(audio), **options)]

    full = run(seed=0)
    drawn = [full] + [run(seed=seed) for seed in range(1, samples)]
    mean = [np.mean(each, 0) for each in zip(*drawn)]
    rows = {"one sample, full history": full, f"mean of {samples} samples": mean,
            "one sample, history 1": run(seed=0, history=1), "one sample, history 0": run(seed=0, history=0)}
    return {name: summarise(rig, clips, made, talker.frame_rate) for name, made in rows.items()}
