# SPDX-License-Identifier: Apache-2.0
"""Runs a talker over audio, many clips at a time, and measures the mouths of ARKit weights on a rig."""

import numpy as np
from tqdm import tqdm

from streamingtalker_ros.face.arkit import ARKIT_NAMES

MOUTH = np.array([name.startswith(("jaw", "mouth")) for name in ARKIT_NAMES])
TOGETHER = 16  # clips spoken as one batch


def speak(talker, pcm, seed=0, **options):
    """The talker's motion for a whole clip of 16 kHz audio: (weights (T, 52), head (T, 4), speaking (T,))."""
    return speak_all(talker, [pcm], [seed], **options)[0]


def speak_all(talker, audio, seeds=None, progress=False, **options):
    """`speak` for many clips, a list; as many voices at once as pay. seeds: one for each clip, 0 when left out.

    progress: True or a name for the bar. Clips of similar length go together, so that few voices wait for others.
    """
    seeds = [0] * len(audio) if seeds is None else seeds
    order = sorted(range(len(audio)), key=lambda i: len(audio[i]))
    out = [None] * len(audio)
    name = progress if isinstance(progress, str) else "speaking"
    with tqdm(
        total=len(audio), desc=name, unit="clip", leave=False, disable=None if progress else True
    ) as bar:
        for part in (order[first : first + TOGETHER] for first in range(0, len(order), TOGETHER)):
            streams = [talker.open_stream(seed=seeds[i], **options) for i in part]
            heard = talker.accept(streams, [np.asarray(audio[i], np.float32) for i in part])
            for i, stream, frames in zip(part, streams, heard):
                frames += stream.finish()
                out[i] = (
                    np.stack([f.weights for f in frames]),
                    np.stack([f.head for f in frames]),
                    np.array([f.speaking for f in frames]),
                )
            bar.update(len(part))
    return out


def opening_of(rig, weights):
    """Lip opening in metres: (T, 52) -> (T,), 0 where the lips touch or overlap."""
    return np.maximum(rig.lip_gap(weights), 0.0)


def inter_ocular(rig):
    """Metres between the middles of a rig's eyes, each between its two corners: the unit of lip opening and width in
    which faces of different size compare."""
    middles = []
    for side in ("left", "right"):
        lid = rig.vertices[np.asarray(rig.landmarks[f"eyelid_{side}"])].astype(np.float64)
        middles.append(0.5 * (lid[lid[:, 1].argmin()] + lid[lid[:, 1].argmax()]))
    return float(np.linalg.norm(middles[0] - middles[1]))


def lip_vertices(rig):
    """Indices of the lip vertices that LVE looks at: the rings of the inner lips and the corners."""
    return np.unique(
        np.concatenate(
            [
                np.asarray(rig.landmarks[name]).ravel()
                for name in ("inner_lip_upper", "inner_lip_lower", "mouth_corners")
            ]
        )
    )
