# SPDX-License-Identifier: Apache-2.0
"""Corpora on disk: clips of speech with motion, whatever they came from.

A corpus is a folder with `index.json` and, per clip, `SPLIT/NAME.flac` (16 kHz, int16) and `SPLIT/NAME.npz`
(weights, head, phones, and the lips as a camera saw them where one did). `load_corpus(folder, split)` gives its clips.
"""

import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.coarticulation import upper_face
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics.phones import Phone

SPLITS = ("train", "validation", "test")
TRACKED = ("lip_opening", "lip_width")


def files_below(folder):
    """The files in a folder and below, sorted list of Path. Folders that links lead to are entered too, none twice."""
    found, entered = [], {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        real = {os.path.realpath(os.path.join(place, name)): name for name in sorted(folders, reverse=True)}
        folders[:] = sorted(name for path, name in real.items() if path not in entered)
        entered |= real.keys()
        found += [Path(place, name) for name in names]
    return sorted(found)


@dataclass
class Clip:
    """A recording and its motion: pcm (n,) at 16 kHz, n = 640 T; weights (T, 52); head (T, 3) radians.

    style: the speaking style that its source has, a row of the talker's embedding. lip_opening and lip_width: (T,)
    signed inner-lip gap and distance of the mouth's corners that a camera saw, in parts of the inter-ocular
    distance; None where nothing was tracked.
    """

    pcm: np.ndarray
    weights: np.ndarray
    head: np.ndarray
    phones: list = field(repr=False)
    voice: str = ""
    split: str = "train"
    name: str = ""
    style: str = "teacher"
    lip_opening: np.ndarray = None
    lip_width: np.ndarray = None

    def resample_upper_face(self, seed, liveliness=1.0):
        """(weights, head) with the same lips and other lids, gaze, brows and head, from `seed`."""
        life = zlib.crc32(f"{self.name} {seed}".encode())  # equal seeds must not blink alike in every clip
        upper, head = upper_face.synthesize_upper_face(self.phones, len(self.weights), life, liveliness)
        return np.where(upper_face.UPPER_FACE_MASK, upper, self.weights), head


def load_corpus(folder, split=None):
    """The clips of a corpus, in the order of its index: list of Clip.

    folder: path; split: "train", "validation", "test", or None for all. Raises TalkerError without a corpus.
    """
    sf = require("soundfile", "reading a corpus")
    folder = Path(folder)
    entries = read_index(folder)["clips"]
    if split is not None and split not in SPLITS:
        raise TalkerError(f"there is no split '{split}'; the splits are {', '.join(SPLITS)}")
    clips = []
    for entry in entries:
        if split is not None and entry["split"] != split:
            continue
        path = folder / entry["split"] / entry["name"]
        pcm, _ = sf.read(str(path.with_suffix(".flac")), dtype="float32")
        with np.load(path.with_suffix(".npz")) as data:
            phones = [
                Phone(str(name), float(start), float(end), int(stress))
                for name, start, end, stress in zip(
                    data["names"], data["starts"], data["ends"], data["stress"]
                )
            ]
            clips.append(
                Clip(
                    pcm,
                    data["weights"].astype(np.float32),
                    data["head"].astype(np.float32),
                    phones,
                    entry["voice"],
                    entry["split"],
                    entry["name"],
                    entry.get("style", "teacher"),
                    *(data[key].astype(np.float32) if key in data else None for key in TRACKED),
                )
            )
    return clips


def read_index(folder):
    """The dict in a corpus's index.json."""
    path = Path(folder) / "index.json"
    if not path.is_file():
        raise TalkerError(
            f"{folder} holds no corpus (index.json is missing); "
            f"make one with `streamingtalker corpus synthetic --out {folder}`"
        )
    return json.loads(path.read_text())


def save_clip(folder, clip, **more):
    """Write a clip's two files under folder; returns its entry for the index, `more` included."""
    sf = require("soundfile", "writing a corpus")
    path = Path(folder) / clip.split / clip.name
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(str(path.with_suffix(".flac")), clip.pcm, SAMPLE_RATE, subtype="PCM_16")
    tracked = {key: getattr(clip, key) for key in TRACKED if getattr(clip, key) is not None}
    np.savez_compressed(
        path.with_suffix(".npz"),
        weights=clip.weights.astype(np.float16),
        head=clip.head,
        **tracked,
        names=np.array([phone.name for phone in clip.phones]),
        starts=np.array([phone.start for phone in clip.phones]),
        ends=np.array([phone.end for phone in clip.phones]),
        stress=np.array([phone.stress for phone in clip.phones], np.int8),
    )
    return {
        "name": clip.name,
        "split": clip.split,
        "voice": clip.voice,
        "style": clip.style,
        "seconds": round(len(clip.pcm) / SAMPLE_RATE, 3),
        **more,
    }
