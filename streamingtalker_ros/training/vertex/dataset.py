# SPDX-License-Identifier: Apache-2.0
"""VOCASET and BIWI in the published preprocessed layout -> clips of vertex motion with their sound.

    DIR/templates.pkl            {subject: (V, 3)}, read without running code
    DIR/vertices_npy/CLIP.npy    (T, 3V), absolute vertices; VOCASET at 60 frames/s, of which every second is taken
    DIR/wav/CLIP.wav             any rate; CLIP is SUBJECT_sentence01 (VOCASET) or SUBJECT_e01 (BIWI)

Subjects and sentences of the splits are those of FaceFormer, CodeTalker and the paper's release.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.vertex.config import SUBJECTS
from streamingtalker_ros.model.vertex.template import read_faces

SPLITS = ("train", "validation", "test")
TOLERANCE = 0.5  # sound and motion whose lengths differ by more than this share do not belong together


@dataclass(frozen=True)
class Layout:
    """The facts of a data set; subjects and sentences: one entry per split, in the order of SPLITS."""

    frame_rate: float  # frames per second, after the stride
    stride: int  # of the files' frames, one in so many is taken
    vertices: int
    subjects: tuple
    sentences: tuple


LAYOUTS = {
    "vocaset": Layout(
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
    "biwi": Layout(25.0, 1, 23370, (SUBJECTS["biwi"],) * 3, (range(1, 33), range(33, 37), range(37, 41))),
}


@dataclass
class Clip:
    """One recording; its motion stays on disk until rows are asked for."""

    name: str
    subject: str
    path: Path  # of the vertices
    motion: np.ndarray  # (T, 3V), memory-mapped, already strided
    template: np.ndarray  # (3V,) float32
    pcm: np.ndarray = None  # (n,) float32 at 16 kHz; None where only motion was asked for

    def rows(self, first, count):
        """Offsets from the template, (count, 3V) float32, from row `first` of the clip with a row of rest before it:
        row n + 1 is frame n. Raises TalkerError naming the file when a value is not finite."""
        frames = np.asarray(self.motion[max(first - 1, 0) : first - 1 + count], np.float32)
        if not np.isfinite(frames).all():
            raise TalkerError(f"{self.path} holds values that are not finite: prepare it again")
        rest = np.zeros((int(first == 0), frames.shape[1]), np.float32)
        return np.concatenate((rest, frames - self.template))

    def __len__(self) -> int:
        return len(self.motion)


def load_clips(name, folder, split, sound=True, incomplete=False):
    """The clips of a split, ordered by name: list of Clip.

    name: "vocaset" or "biwi"; folder: path; sound: read the recordings too; incomplete: leave out a clip that has only
    one of its two files, instead of raising. Raises TalkerError naming what is missing or malformed.
    """
    layout, folder = layout_of(name), Path(folder)
    which = SPLITS.index(split)
    for part in ("vertices_npy", "wav"):
        if not (folder / part).is_dir():
            raise TalkerError(
                f"{folder / part} is missing: {name} is expected in the published preprocessed layout, "
                "vertices_npy/, wav/ and templates.pkl"
            )
    templates = read_templates(folder)
    moved, heard = (
        {path.stem: path for path in (folder / part).glob(f"*.{kind}")}
        for part, kind in (("vertices_npy", "npy"), ("wav", "wav"))
    )
    clips = []
    for clip in sorted(set(moved) | set(heard)):
        subject, _, sentence = clip.rpartition("_")
        if subject not in layout.subjects[which]:
            continue
        if not sentence[-2:].isdigit():
            raise TalkerError(
                f"{moved.get(clip, heard.get(clip))} has no number of a sentence at the end of its name"
            )
        if int(sentence[-2:]) not in layout.sentences[which]:
            continue
        if clip not in moved or clip not in heard:
            if incomplete:
                continue
            lost, there = (
                (folder / "wav" / f"{clip}.wav", moved[clip])
                if clip in moved
                else (folder / "vertices_npy" / f"{clip}.npy", heard[clip])
            )
            raise TalkerError(
                f"{lost} is missing, {there.name} is there: restore it, or set incomplete: true in the "
                "recipe's section data"
            )
        if subject not in templates:
            raise TalkerError(
                f"{folder / 'templates.pkl'} has no subject {subject}, whose clip {clip} is there"
            )
        motion = read_motion(moved[clip], templates[subject].size)[:: layout.stride]
        pcm = read_sound(heard[clip], len(motion) / layout.frame_rate) if sound else None
        clips.append(Clip(clip, subject, moved[clip], motion, templates[subject], pcm))
    return clips


def layout_of(name):
    """The Layout of a data set. Raises TalkerError on a name that is none."""
    if name not in LAYOUTS:
        raise TalkerError(f"there is no data set {name!r}: {' and '.join(LAYOUTS)} are known")
    return LAYOUTS[name]


def read_templates(folder):
    """templates.pkl -> {subject: (3V,) float32}. Raises TalkerError naming the file and what is wrong with it."""
    path = Path(folder) / "templates.pkl"
    try:
        faces = read_faces(path)
    except OSError as error:
        raise TalkerError(
            f"{path} cannot be read ({error.strerror or error}): the faces at rest are expected there"
        ) from None
    except (ValueError, EOFError, MemoryError):
        raise TalkerError(f"{path} is cut off or damaged: copy it again") from None
    for subject, face in faces.items():
        numbers = isinstance(face, np.ndarray) and np.issubdtype(face.dtype, np.number)
        if not numbers or face.size % 3 or not np.isfinite(face).all():
            raise TalkerError(f"{path}: the face of {subject} is not an array of finite vertices")
    return {str(subject): face.reshape(-1).astype(np.float32) for subject, face in faces.items()}


def read_motion(path, size):
    """(T ≥ 2, size) memory-mapped from a .npy. Raises TalkerError naming a file of another kind or shape."""
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
    if len(motion) < 4:
        raise TalkerError(f"{path} holds {len(motion)} frames: a clip has more")
    return motion


def read_sound(path, seconds):
    """A recording as (n,) float32 at 16 kHz. Raises TalkerError naming it when it is malformed, or far from the length
    of its motion."""
    pcm = to_16k(*read_audio(path))
    heard = len(pcm) / SAMPLE_RATE
    if min(heard, seconds) < TOLERANCE * max(heard, seconds):
        raise TalkerError(
            f"{path} lasts {heard:.1f} s, its motion {seconds:.1f} s: they do not belong together"
        )
    return pcm
