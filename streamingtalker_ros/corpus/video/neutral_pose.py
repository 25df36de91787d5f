# SPDX-License-Identifier: Apache-2.0
"""A speaker's neutral face: what the landmarks look like while the mouth is shut, still and silent.

`rest_frames(face, pcm)` picks such frames of one clip, `find_neutral(faces, sounds)` makes a `Neutral` of all
clips of a speaker. Solving measures every frame against it. A speaker who never rests lends the frames in which his
lips meet as he speaks (`shut_frames`), which is told, once.
"""

from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.corpus.video.landmarks import (
    CORNERS,
    EYES,
    INNER_LOWER,
    INNER_UPPER,
    LIDS_LOWER,
    LIDS_UPPER,
    MIDDLE,
)
from streamingtalker_ros.errors import TalkerError

SHUT = 0.02  # largest gap of lips at rest; an open mouth is a neutral for nobody
QUIET = 20.0  # dB below the clip's loud frames
PER_CLIP = 12  # frames of one clip at most, so that no clip outweighs the others
FEWEST = 5  # frames that make a neutral
TOUCH = 0.011  # gaps below are contact: half a pixel in a face with 50 between the eyes


@dataclass
class Neutral:
    """points (478, 3), steady; gap and width: of the lips, in parts of the inter-ocular distance;
    touch: gaps below are contact; lids: {"Left", "Right"} how far the open eyes are open; head (3,) rotation."""

    points: np.ndarray
    gap: float
    width: float
    touch: float
    lids: dict
    head: np.ndarray


def lip_gap(points):
    """Steady points (…, 478, 3) -> (…): inner upper minus inner lower lip along z, mean of the middle pairs."""
    pairs = points[..., INNER_UPPER[MIDDLE], 2] - points[..., INNER_LOWER[MIDDLE], 2]
    return pairs.mean(axis=-1)


def lip_width(points):
    """Steady points (…, 478, 3) -> (…): the distance of the mouth's corners."""
    return np.linalg.norm(points[..., CORNERS[0], :] - points[..., CORNERS[1], :], axis=-1)


def lid_gap(points, side):
    """Steady points (…, 478, 3) -> (…): height of the eye's opening over its width."""
    inner, outer = EYES[side]
    tall = points[..., LIDS_UPPER[side], 2].mean(axis=-1) - points[..., LIDS_LOWER[side], 2].mean(axis=-1)
    return tall / np.linalg.norm(points[..., outer, :] - points[..., inner, :], axis=-1)


def rest_frames(face, pcm):
    """Indices of up to PER_CLIP frames of a Face that are shut, still and quiet; may be none.

    pcm: (n,) the clip's sound at 16 kHz, whose first sample is at time 0.
    """
    gap = lip_gap(face.points)
    speed = _lip_speed(face)
    level = loudness(pcm, face.times)
    shut = (gap < SHUT) & (level < np.percentile(level, 95) - QUIET)
    chosen = np.flatnonzero(shut & (speed <= np.median(speed)))
    return chosen[np.linspace(0, len(chosen) - 1, min(PER_CLIP, len(chosen))).round().astype(int)]


def shut_frames(face):
    """Indices of up to PER_CLIP frames of a Face whose lips meet, the slowest first chosen, whatever is heard."""
    shut = np.flatnonzero(lip_gap(face.points) < SHUT)
    return np.sort(shut[np.argsort(_lip_speed(face)[shut], kind="stable")[:PER_CLIP]])


def _lip_speed(face):
    lips = face.points[:, INNER_UPPER + INNER_LOWER].reshape(len(face.points), -1)
    return np.convolve(np.linalg.norm(np.gradient(lips, axis=0), axis=1), np.ones(5) / 5, mode="same")


def loudness(pcm, times, reach=0.04):
    """dB of the sound within `reach` seconds of each time: (F,), −100 and up."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(pcm, dtype=np.float64))])
    first, last = (
        np.clip(((times + side) * SAMPLE_RATE).astype(int), 0, len(pcm)) for side in (-reach, reach)
    )
    mean = (energy[last] - energy[first]) / np.maximum(last - first, 1)
    return 10.0 * np.log10(np.maximum(mean, 1e-10))


def find_neutral(faces, sounds, say=print):
    """Faces and sounds of one speaker's clips -> Neutral. Raises TalkerError where the lips hardly ever meet.

    say: called with one sentence where the mouth never rests and the neutral had to be found in speech.
    """
    chosen = [rest_frames(face, pcm) for face, pcm in zip(faces, sounds)]
    if sum(map(len, chosen)) < FEWEST:
        chosen = [shut_frames(face) for face in faces]
        if sum(map(len, chosen)) < FEWEST:
            raise TalkerError(
                "the speaker's mouth is never shut: leave half a second of rest with closed lips at the "
                "start of the videos"
            )
        say(
            "the speaker's mouth is never shut, still and silent, so the neutral face is that of lips which meet in "
            "speech: good enough to measure by; to learn from, leave half a second of rest with closed lips"
        )
    points = np.concatenate([face.points[frames] for face, frames in zip(faces, chosen)])
    heads = np.concatenate([face.head[frames] for face, frames in zip(faces, chosen)])
    # blinks and stray frames lie far from the median; the nearer half makes it again
    for _ in range(2):
        middle = np.median(points, axis=0)
        far = np.linalg.norm(points - middle, axis=-1).mean(axis=-1)
        near = far <= np.median(far)
        points, heads = (points[near], heads[near]) if len(far) >= 10 else (points, heads)
    middle = np.median(points, axis=0)
    gap = float(np.median(lip_gap(points)))
    return Neutral(
        middle,
        gap,
        float(np.median(lip_width(points))),
        max(TOUCH, gap + 0.006),
        {side: float(np.median(lid_gap(points, side))) for side in EYES},
        np.median(heads, axis=0),
    )
