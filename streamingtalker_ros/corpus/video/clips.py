# SPDX-License-Identifier: Apache-2.0
"""Cuts a track and its audio into clips of motion frames, 25 per second.

`split_track(track, pcm)` returns the spans in which one face was tracked; `resample_face(face, span)` the
face in them. Motion frame n stands for the middle of its 640 samples, at (n + 0.5) / 25 s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH
from streamingtalker_ros.corpus.loudness import loudness_db
from streamingtalker_ros.corpus.video.head_pose import StabilizedFace
from streamingtalker_ros.corpus.video.landmarks import LandmarkTrack
from streamingtalker_ros.errors import TalkerError

MAX_INTERPOLATED_S: Final = 0.13
"""Longest stretch without a face that is interpolated, in seconds; a longer one ends the clip."""

MIN_CLIP_S: Final = 1.0
"""Shortest clip, in seconds."""

MAX_CLIP_S: Final = 15.0
"""Longest clip, in seconds; longer spans are cut at pauses."""

TARGET_CLIP_S: Final = 8.0
"""Usual duration of the clips of a longer span, in seconds."""

MIN_DETECTED_FRACTION: Final = 0.5
"""Least fraction of the frames of a video that must show the face."""

PAUSE_HALF_WIDTH_S: Final = 0.12
"""Half of the loudness window by which a pause is found, in seconds."""

Span = tuple[int, int]
"""(first motion frame, last motion frame + 1)."""


def split_track(track: LandmarkTrack, pcm: np.ndarray) -> list[Span]:
    """Find the spans in which one face was tracked.

    Args:
        track: landmarks of a video.
        pcm: (n,) its audio at 16 kHz.

    Returns:
        Spans of 1 to 15 s.

    Raises:
        TalkerError: with the reason, if no part of the video can be used.
    """
    if not track.detected.any():
        raise TalkerError("no face was found in it")
    if track.max_faces > 1:
        raise TalkerError(f"{track.max_faces} faces are in it: one speaker at a time can be followed")
    if track.detected.mean() < MIN_DETECTED_FRACTION:
        raise TalkerError(
            f"the track was lost: a face in only {100 * track.detected.mean():.0f} % of the frames"
        )
    times = track.times[track.detected]
    gaps = np.flatnonzero(np.diff(times) > MAX_INTERPOLATED_S)
    starts, ends = np.concatenate([[0], gaps + 1]), np.concatenate([gaps, [len(times) - 1]])
    spans: list[Span] = []
    for start, end in zip(times[starts], times[ends], strict=True):
        first = max(0, int(np.ceil((start - 1e-3) * FRAME_RATE - 0.5)))
        last = min(int(np.floor((end + 1e-3) * FRAME_RATE - 0.5)) + 1, -(-len(pcm) // HOP_LENGTH))
        if last - first >= MIN_CLIP_S * FRAME_RATE:
            spans += split_at_pauses(first, last, pcm)
    if not spans:
        raise TalkerError(f"it is too short: no {MIN_CLIP_S:g} s of one face with sound")
    return spans


def split_at_pauses(first: int, last: int, pcm: np.ndarray) -> list[Span]:
    """Cut a span at quiet frames.

    Args:
        first: first motion frame.
        last: last motion frame + 1.
        pcm: (n,) audio at 16 kHz, from motion frame 0 on.

    Returns:
        Spans of at most MAX_CLIP_S.
    """
    if last - first <= MAX_CLIP_S * FRAME_RATE:
        return [(first, last)]
    target = int(TARGET_CLIP_S * FRAME_RATE)
    candidates = np.arange(first + target // 2, min(first + 3 * target // 2, last - target // 4))
    level = loudness_db(pcm, candidates / FRAME_RATE, PAUSE_HALF_WIDTH_S)
    pause = int(candidates[np.argmin(level)])
    return [(first, pause), *split_at_pauses(pause, last, pcm)]


def detected_frames(track: LandmarkTrack) -> LandmarkTrack:
    """The track without the frames in which no face was detected; `resample_face` interpolates over them."""
    return replace(
        track,
        points=track.points[track.detected],
        times=track.times[track.detected],
        detected=track.detected[track.detected],
    )


def resample_face(face: StabilizedFace, span: Span) -> StabilizedFace:
    """Interpolate a face linearly at the motion frames of a span; the ends are held.

    Args:
        face: face at the frame rate of the video.
        span: motion frames.

    Returns:
        The face at 25 frames/s, times from the start of the span.
    """
    times = (np.arange(*span) + 0.5) / FRAME_RATE
    position = np.interp(times, face.times, np.arange(len(face.times)))
    left = np.minimum(position.astype(int), len(face.times) - 1)
    right = np.minimum(left + 1, len(face.times) - 1)
    # without the threshold a video of 25 frames/s would change by rounding
    fraction = np.where(np.abs(position - left) < 1e-2, 0.0, position - left)
    return replace(
        face,
        points=_interpolate(face.points, left, right, fraction),
        head=_interpolate(face.head, left, right, fraction),
        times=times - span[0] / FRAME_RATE,
    )


def _interpolate(values: np.ndarray, left: np.ndarray, right: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    fraction = fraction.reshape(-1, *(1,) * (values.ndim - 1)).astype(np.float32)
    return values[left] * (1 - fraction) + values[right] * fraction


def extract_audio(pcm: np.ndarray, span: Span) -> np.ndarray:
    """Cut out the audio of a span.

    Args:
        pcm: (n,) audio at 16 kHz, from motion frame 0 on.
        span: motion frames.

    Returns:
        (640 T,) float32; silence where the audio ends early.
    """
    segment = pcm[span[0] * HOP_LENGTH : span[1] * HOP_LENGTH]
    return np.pad(segment, (0, (span[1] - span[0]) * HOP_LENGTH - len(segment))).astype(np.float32)
