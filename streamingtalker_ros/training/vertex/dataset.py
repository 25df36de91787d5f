# SPDX-License-Identifier: Apache-2.0
"""VOCASET and BIWI in the published preprocessed layout, as clips of vertex motion with their audio.

    DIR/templates.pkl            {subject: (V, 3)}, read without running code
    DIR/vertices_npy/CLIP.npy    (T, 3V), absolute vertices; VOCASET at 60 frames/s, every second one is read
    DIR/wav/CLIP.wav             any rate; CLIP is SUBJECT_sentence01 (VOCASET) or SUBJECT_e01 (BIWI)

Subjects and sentences of the splits are those of FaceFormer, CodeTalker and the paper's release.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.vertex.config import SUBJECTS
from streamingtalker_ros.model.vertex.template import read_faces

SPLITS = ("train", "validation", "test")
MIN_LENGTH_RATIO = (
    0.5  # of audio and motion, the shorter over the longer; less means they do not belong together
)
MIN_FRAMES = 4

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DatasetLayout:
    """Facts of a data set.

    Attributes:
        frame_rate: frames/s, after the stride.
        stride: one of so many frames of the files is taken.
        vertices: number of vertices V.
        subjects: per split, in the order of `SPLITS`.
        sentences: per split.
    """

    frame_rate: float
    stride: int
    vertices: int
    subjects: tuple[Collection[str], ...]
    sentences: tuple[Collection[int], ...]


LAYOUTS = {
    "vocaset": DatasetLayout(
        30.0,
        2,
        5023,
        (
            SUBJECTS["vocaset"],
            ("FaceTalk_170811_03275_TA", "FaceTalk_170908_03277_TA"),
            ("FaceTalk_170809_00138_TA", "FaceTalk_170731_00024_TA"),
        ),
        (range(1, 41), range(21, 41), range(21, 41)),
    ),
    "biwi": DatasetLayout(
        25.0, 1, 23370, (SUBJECTS["biwi"],) * 3, (range(1, 33), range(33, 37), range(37, 41))
    ),
}


@dataclass
class VertexClip:
    """One recording; its motion stays on disk until rows are read.

    Attributes:
        name: SUBJECT_SENTENCE.
        subject: name of the subject.
        path: the file of vertices.
        motion: (T, 3V) absolute vertices, memory-mapped, already strided.
        template: (3V,) the subject's face at rest.
        pcm: (n,) at 16 kHz; empty where only motion was loaded.
    """

    name: str
    subject: str
    path: Path
    motion: npt.NDArray[np.floating]
    template: Array
    pcm: Array

    def rows(self, first: int, count: int) -> Array:
        """Offsets from the template, (count, 3V), from row `first` of the clip preceded by a row of rest.

        Row n + 1 is frame n.

        Args:
            first: index of the first row.
            count: number of rows.

        Raises:
            TalkerError: if a value is not finite.
        """
        frames = np.asarray(self.motion[max(first - 1, 0) : first - 1 + count], np.float32)
        if not np.isfinite(frames).all():
            raise TalkerError(f"{self.path} holds values that are not finite: prepare it again")
        rest = np.zeros((int(first == 0), frames.shape[1]), np.float32)
        return np.concatenate((rest, frames - self.template))

    def __len__(self) -> int:
        return len(self.motion)


def load_clips(
    name: str, folder: str | Path, split: str, with_audio: bool = True, skip_incomplete: bool = False
) -> list[VertexClip]:
    """The clips of a split, ordered by name.

    Args:
        name: "vocaset" or "biwi".
        folder: the data set's folder.
        split: one of `SPLITS`.
        with_audio: read the recordings too.
        skip_incomplete: leave out a clip that has only one of its two files, instead of raising.

    Raises:
        TalkerError: if a file is missing or malformed; the message names it.
    """
    layout, folder = get_layout(name), Path(folder)
    index = SPLITS.index(split)
    for part in ("vertices_npy", "wav"):
        if not (folder / part).is_dir():
            raise TalkerError(
                f"{folder / part} is missing: {name} is expected in the published preprocessed layout, "
                "vertices_npy/, wav/ and templates.pkl"
            )
    templates = read_templates(folder)
    motion_files = {path.stem: path for path in (folder / "vertices_npy").glob("*.npy")}
    audio_files = {path.stem: path for path in (folder / "wav").glob("*.wav")}
    clips: list[VertexClip] = []
    for clip in sorted(set(motion_files) | set(audio_files)):
        subject, _, sentence = clip.rpartition("_")
        if subject not in layout.subjects[index]:
            continue
        if not sentence[-2:].isdigit():
            file = motion_files.get(clip) or audio_files[clip]
            raise TalkerError(f"{file} has no number of a sentence at the end of its name")
        if int(sentence[-2:]) not in layout.sentences[index]:
            continue
        if clip not in motion_files or clip not in audio_files:
            if skip_incomplete:
                continue
            missing, present = (
                (folder / "wav" / f"{clip}.wav", motion_files[clip])
                if clip in motion_files
                else (folder / "vertices_npy" / f"{clip}.npy", audio_files[clip])
            )
            raise TalkerError(
                f"{missing} is missing, {present.name} is there: restore it, or set skip_incomplete: true in "
                "the recipe's section data"
            )
        if subject not in templates:
            raise TalkerError(
                f"{folder / 'templates.pkl'} has no subject {subject}, whose clip {clip} is there"
            )
        motion = read_motion(motion_files[clip], templates[subject].size)[:: layout.stride]
        pcm = np.zeros(0, np.float32)
        if with_audio:
            pcm = read_clip_audio(audio_files[clip], len(motion) / layout.frame_rate)
        clips.append(VertexClip(clip, subject, motion_files[clip], motion, templates[subject], pcm))
    return clips


def get_layout(name: str) -> DatasetLayout:
    """The layout of a data set.

    Raises:
        TalkerError: if the name is unknown.
    """
    if name not in LAYOUTS:
        raise TalkerError(f"there is no data set {name!r}: choose {' or '.join(LAYOUTS)}")
    return LAYOUTS[name]


def read_templates(folder: str | Path) -> dict[str, Array]:
    """The faces at rest of templates.pkl: subject -> (3V,).

    Args:
        folder: Folder of the data set, which holds templates.pkl.

    Raises:
        TalkerError: if the file is missing or malformed.
    """
    path = Path(folder) / "templates.pkl"
    try:
        faces: dict[Any, Any] = read_faces(path)
    except OSError as error:
        raise TalkerError(
            f"{path} cannot be read ({error.strerror or error}): the faces at rest are expected there"
        ) from None
    except (ValueError, EOFError, MemoryError):
        raise TalkerError(f"{path} is cut off or damaged: copy it again") from None
    for subject, face in faces.items():
        is_numeric = isinstance(face, np.ndarray) and np.issubdtype(face.dtype, np.number)
        if not is_numeric or face.size % 3 or not np.isfinite(face).all():
            raise TalkerError(f"{path}: the face of {subject} is not an array of finite vertices")
    return {str(subject): face.reshape(-1).astype(np.float32) for subject, face in faces.items()}


def read_motion(path: str | Path, size: int) -> npt.NDArray[np.floating]:
    """Vertices (T ≥ 4, size) of a .npy, memory-mapped.

    Args:
        path: the file.
        size: numbers per frame.

    Raises:
        TalkerError: if the file is of another kind or shape.
    """
    try:
        motion = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(motion, np.ndarray):
            raise ValueError
    except (OSError, ValueError, EOFError):
        raise TalkerError(f"{path} is not a .npy array of numbers, or is cut off: prepare it again") from None
    if motion.ndim == 3:
        motion = motion.reshape(len(motion), -1)
    if motion.ndim != 2 or motion.shape[1] != size or not np.issubdtype(motion.dtype, np.floating):
        raise TalkerError(
            f"{path} is a {motion.dtype} array of shape {motion.shape}: (frames, {size}) of a float type "
            "is expected, three numbers for each vertex of the subject's template"
        )
    if len(motion) < MIN_FRAMES:
        raise TalkerError(f"{path} holds {len(motion)} frames: a clip has more")
    return motion


def read_clip_audio(path: str | Path, motion_length_s: float) -> Array:
    """A recording as (n,) at 16 kHz.

    Args:
        path: the file.
        motion_length_s: duration of the clip's motion.

    Raises:
        TalkerError: if the file is malformed, or its length is far from that of the motion.
    """
    pcm = to_16k(*read_audio(path))
    length_s = len(pcm) / SAMPLE_RATE
    if min(length_s, motion_length_s) < MIN_LENGTH_RATIO * max(length_s, motion_length_s):
        raise TalkerError(
            f"{path} lasts {length_s:.1f} s, its motion {motion_length_s:.1f} s: they do not belong together"
        )
    return pcm
