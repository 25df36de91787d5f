# SPDX-License-Identifier: Apache-2.0
"""Motion that somebody already made: CSV (Live Link Face) or NPZ (`streamingtalker animate`) files in a folder.

`read_folder(rig, folder)` gives {name: Take}; `against(section, takes)` lays them beside a corpus's clips of the same
names, `as_section(rig, folder, takes)` beside the sound files of the folder itself, when there is nothing to judge by.
"""

from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.corpus.storage import Clip
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation.motion_curves import Take, of_weights, on_grid
from streamingtalker_ros.evaluation.test_set import Section
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.formats.livelink import read_livelink_csv

MOTION, SOUND = (".csv", ".npz"), (".wav", ".flac", ".ogg", ".mp3")


def read_motion(path):
    """One file -> (weights (T, 52) in ARKIT_NAMES order, head (T, 4) xyzw, frames a second). TalkerError if it is
    none."""
    if path.suffix.lower() == ".csv":
        return read_livelink_csv(path)
    try:
        with np.load(path) as data:
            weights, rate = np.asarray(data["weights"], np.float32), float(data["frame_rate"])
            head = np.asarray(data["head"], np.float32)
            names = [str(name) for name in data["names"]] if "names" in data else list(ARKIT_NAMES)
    except (OSError, ValueError, KeyError) as broken:
        raise TalkerError(
            f"{path} is no motion of `streamingtalker animate` ({broken}): it needs weights, head and "
            "frame_rate"
        ) from None
    fits = (
        weights.ndim == 2 and len(weights) and weights.shape[1] == 52 and sorted(names) == sorted(ARKIT_NAMES)
    )
    if not fits or head.shape != (len(weights), 4):
        raise TalkerError(
            f"{path} does not hold the 52 ARKit weights and a head quaternion for each frame: write it "
            "with `streamingtalker animate`"
        )
    return weights[:, [names.index(name) for name in ARKIT_NAMES]], head, rate


def read_folder(rig, folder):
    """{stem: Take at 25 frames a second} of all motion files in a folder. Raises TalkerError where there are none."""
    folder = Path(folder)
    paths = (
        sorted(path for path in folder.glob("*") if path.suffix.lower() in MOTION) if folder.is_dir() else []
    )
    if not paths:
        raise TalkerError(
            f"{folder} holds no motion: put NAME.csv or NAME.npz there, beside NAME.wav or with a "
            "--corpus whose clips have those names"
        )
    takes = {}
    for path in paths:
        weights, head, rate = read_motion(path)
        frames = int(round(len(weights) * FRAME_RATE / rate))
        takes[path.stem] = of_weights(
            rig, on_grid(weights, rate, frames, FRAME_RATE), on_grid(head, rate, frames, FRAME_RATE)
        )
    return takes


def against(section, takes):
    """The part of a section whose clips have a take of their name: (Section, list of Take of the clips' lengths)."""
    chosen = [i for i, clip in enumerate(section.clips) if clip.name in takes]
    if not chosen:
        raise TalkerError(
            f"no clip of {section.name} has the name of a motion file (its first is "
            f"{section.clips[0].name}, of the folder {next(iter(takes))}): name them alike"
        )
    part = section.part(chosen)
    return part, [
        _fitted(takes[clip.name], len(truth.opening)) for clip, truth in zip(part.clips, part.truth)
    ]


def as_section(folder, takes):
    """The folder's own sounds as a Section without a reference: (Section, list of Take)."""
    clips, kept, truth = [], [], []
    for name, take in takes.items():
        path = next((p for p in sorted(Path(folder).glob(f"{name}.*")) if p.suffix.lower() in SOUND), None)
        if path is None:
            continue
        pcm = to_16k(*read_audio(path))
        frames = min(len(take.opening), len(pcm) // HOP_LENGTH)
        clips.append(
            Clip(
                np.asarray(pcm[: frames * HOP_LENGTH], np.float32),
                np.zeros((frames, len(ARKIT_NAMES)), np.float32),
                np.zeros((frames, 3), np.float32),
                [],
                name=name,
            )
        )
        kept.append(_fitted(take, frames))
        truth.append(Take(np.zeros(frames), np.full(frames, np.nan)))
    if not clips:
        raise TalkerError(
            f"{folder} has no sound beside its motion: put NAME.wav there, or give the --corpus that the "
            "names belong to"
        )
    return Section(Path(folder).resolve().name, clips, truth, [[] for _ in clips]), kept


def _fitted(take, frames):
    """A take with exactly `frames` frames; its end is held."""
    rows = np.minimum(np.arange(frames), len(take.opening) - 1)
    return Take(
        *(
            None if part is None else part[rows]
            for part in (take.opening, take.width, take.weights, take.head)
        )
    )
