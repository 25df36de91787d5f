# SPDX-License-Identifier: Apache-2.0
"""Speakers of other sizes: clips with known phones played faster or slower, and moved anew by the teacher.

Speed perturbation (Ko, Peddinti, Povey, Khudanpur 2015) makes pitch, formants and tempo those of a smaller or larger
speaker at once. Motion that a camera saw does not stretch like that, so this is for corpora whose motion is rule-made;
captured ones get other voices from `revoice`.
"""

import json
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import load_corpus, read_index, save_clip
from streamingtalker_ros.errors import TalkerError, require

SIZES = ((0.85, 0.95), (1.06, 1.18))  # factors of all frequencies, one drawn from each range for each voice


def resize_corpus(folder, out, seed=0, jobs=2):
    """Write a corpus of every training clip of the corpus in `folder`, once for each of SIZES; equal arguments give equal
    files. Returns its index (dict). Raises TalkerError when `out` is that folder, or nothing there can be resized.
    """
    tqdm = require("tqdm", "the progress bar").tqdm
    folder, out = Path(folder), Path(out)
    if folder.resolve() == out.resolve():
        raise TalkerError(f"{out} is the corpus itself: give another folder to write")
    source = read_index(folder)
    clips = [
        clip for clip in load_corpus(folder, "train") if clip.lip_opening is None and clip.style == "teacher"
    ]
    if not clips:
        raise TalkerError(
            f"{folder} has no training clips with rule-made motion; captured ones are for `corpus revoice`"
        )
    work = [(clip, out, number, seed) for clip in clips for number in range(len(SIZES))]
    with ProcessPoolExecutor(jobs) as pool:
        entries = list(
            tqdm(pool.map(_resized, work, chunksize=8), total=len(work), unit="clip", desc="other sizes")
        )
    minutes = sum(entry["seconds"] for entry in entries) / 60.0
    index = {
        **source,
        "minutes_by_split": {"train": round(minutes, 2), "validation": 0.0, "test": 0.0},
        "resized": {"of": source.get("kind"), "seed": seed},
        "clips": entries,
    }
    (out / "index.json").write_text(json.dumps(index, indent=1))
    return index


def _resized(job):
    clip, out, number, seed = job
    rng = np.random.default_rng([seed, zlib.crc32(clip.voice.encode()), number])
    factor = round(float(rng.uniform(*SIZES[number])), 3)
    pcm = augmentation.perturb_speed(clip.pcm, factor)
    frames = len(pcm) // HOP_LENGTH
    length = frames * HOP_LENGTH / SAMPLE_RATE
    phones = [
        replace(phone, start=phone.start / factor, end=min(phone.end / factor, length))
        for phone in clip.phones
        if phone.start / factor < length
    ]
    voice = f"{clip.voice}*{factor}"
    other = replace(
        clip,
        pcm=np.clip(pcm[: frames * HOP_LENGTH], -1.0, 1.0),
        phones=phones,
        voice=voice,
        name=f"{clip.name}_s{number}",
    )
    other = replace(other, weights=np.zeros((frames, 52), np.float32), head=np.zeros((frames, 3), np.float32))
    other.weights, other.head = face_motion.synthesize_speaker_motion(other, voice)
    return save_clip(out, other, speaker=voice, size=factor)
