# SPDX-License-Identifier: Apache-2.0
"""Corpora of a few synthetic clips, for tests of the evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import Clip, save_clip
from streamingtalker_ros.evaluation.inference import inter_ocular_distance
from streamingtalker_ros.evaluation.motion_curves import MotionCurves
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.phonetics.phones import OPEN_VOWELS, Phone

PHONES = ("pau", "m", "aa", "b", "ih", "t", "ow", "p", "ae", "n", "pau")
NUM_FRAMES = 75


def synthetic_clip(
    name: str, split: str = "test", voice: str = "anna", tracked: bool = True, seed: int = 0
) -> Clip:
    """Three seconds of noise in syllables, with phones, rule-based motion and, if `tracked`, tracked lips."""
    rng = np.random.default_rng(seed)
    edges = np.r_[0.0, 0.3 + np.cumsum(rng.uniform(0.12, 0.26, len(PHONES) - 1)), 3.0]
    phones = [Phone(name, *times) for name, *times in zip(PHONES, edges[:-1], edges[1:], strict=True)]
    pcm = np.zeros(NUM_FRAMES * HOP_LENGTH, np.float32)
    for phone in phones[1:-1]:
        samples = slice(int(phone.start * SAMPLE_RATE), int(phone.end * SAMPLE_RATE))
        level = 0.1 if phone.name in OPEN_VOWELS else 0.02
        pcm[samples] = rng.normal(0.0, level, samples.stop - samples.start)
    weights, head = face_motion.synthesize_motion(phones, NUM_FRAMES, pcm, seed)
    clip = Clip(pcm, weights, head, phones, voice, split, name)
    if tracked:
        rig = default_rig()
        curves = MotionCurves.from_weights(rig, weights)
        clip.lip_opening = rig.lip_gap(weights) / inter_ocular_distance(rig)
        clip.lip_width = curves.width
        clip.upper_lip_raise, clip.lower_lip_drop = curves.upper_lip_raise, curves.lower_lip_drop
        clip.chin_drop = curves.chin_drop
    return clip


def write_corpus(path: Path, clips: Iterable[Clip], **fields: Any) -> Path:
    """Write clips as a corpus, with further fields of its index, and return its folder."""
    index = {
        "kind": "video",
        "motion": "solved from video",
        "clips": [save_clip(path, clip) for clip in clips],
        **fields,
    }
    path.mkdir(exist_ok=True)
    (path / "index.json").write_text(json.dumps(index))
    return path
