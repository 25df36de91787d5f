# SPDX-License-Identifier: Apache-2.0
"""Tracks the landmarks of a face through a video with mediapipe's face mesh.

`track_video(video, folder)` writes NAME.npz (landmarks, see `landmarks`) and NAME.flac (audio, mono 16 kHz).
mediapipe is optional and requires numpy < 2; `is_available()` returns whether it is installed. The other
modules of this package use the files only, so tracking may run in another environment or on another machine.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.downmix import downmix
from streamingtalker_ros.audio.file_decoder import frame_to_samples
from streamingtalker_ros.audio.gap_filler import GapFiller
from streamingtalker_ros.audio.pcm import silence_invalid
from streamingtalker_ros.corpus.video.landmarks import NUM_LANDMARKS, LandmarkTrack
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.output_files import atomic_output

VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m4v")
"""Endings of the names of videos."""

FACE_COUNT_INTERVAL_S: Final = 1.0
"""Seconds between two searches for further faces."""

DEFAULT_FRAME_RATE: Final = 25.0
"""Frame rate of a video that does not state its own."""

INSTALL_HINT: Final = (
    "tracking needs mediapipe 0.10, which is not installed: install it in a separate environment, since it "
    "requires numpy < 2 (`python -m venv mp && mp/bin/pip install mediapipe==0.10.21 "
    "'streamingtalker_ros[video]'`, then `mp/bin/streamingtalker corpus from-video … --stage track`), "
    "and pass its output as --landmarks"
)


def is_available() -> bool:
    """Whether mediapipe is installed; does not import it."""
    return importlib.util.find_spec("mediapipe") is not None


@functools.lru_cache(maxsize=1)
def _load_models() -> tuple[Any, Any]:
    """Load the face mesh and the face detection of mediapipe."""
    if not is_available():
        raise TalkerError(INSTALL_HINT)
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        solutions = importlib.import_module("mediapipe").solutions
    except (ImportError, AttributeError) as error:  # numpy 2, or a release without the face mesh
        raise TalkerError(f"mediapipe does not load its face mesh here ({error}); {INSTALL_HINT}") from None
    face_mesh = solutions.face_mesh.FaceMesh(
        static_image_mode=False,
        max_num_faces=1,
        refine_landmarks=True,
        min_detection_confidence=0.5,
        min_tracking_confidence=0.5,
    )
    face_detection = solutions.face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.6)
    return face_mesh, face_detection


def track_video(video: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Track one video, unless its files already exist.

    Args:
        video: file that FFmpeg reads.
        folder: folder to write NAME.npz and NAME.flac to.

    Returns:
        Path of the landmarks.

    Raises:
        TalkerError: if the file is not a video or has no audio, or mediapipe is not installed.
    """
    video, folder = Path(video), Path(folder)
    out = folder / (video.stem + ".npz")
    if out.is_file() and out.with_suffix(".flac").is_file():
        return out
    soundfile = require("soundfile", "writing sound")
    face_mesh, face_detection = _load_models()
    pcm, audio_start = read_sound(video)
    face_mesh.reset()
    frames: list[np.ndarray] = []
    times: list[float] = []
    max_faces, last_count_time = 0, -FACE_COUNT_INTERVAL_S
    image_size = (0, 0)
    for time, image in read_frames(video):
        image_size = (image.shape[1], image.shape[0])
        faces = face_mesh.process(image).multi_face_landmarks
        if faces:
            width, height = image_size
            points = [(mark.x * width, mark.y * height, mark.z * width) for mark in faces[0].landmark]
            frames.append(np.array(points, np.float32))
        else:
            frames.append(np.full((NUM_LANDMARKS, 3), np.nan, np.float32))
        times.append(time - audio_start)
        if time - last_count_time >= FACE_COUNT_INTERVAL_S:
            last_count_time = time
            max_faces = max(max_faces, len(face_detection.process(image).detections or ()))
    if not frames:
        raise TalkerError(f"{video}: there is no picture in it")
    points = np.array(frames)
    detected = ~np.isnan(points[:, 0, 0])
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_output(out.with_suffix(".flac")) as partial:
        soundfile.write(str(partial), pcm, SAMPLE_RATE, subtype="PCM_16")
    max_faces = max(max_faces, int(detected.any()))
    LandmarkTrack(points, np.array(times), detected, max_faces, image_size).save(out)
    return out


def read_frames(video: str | os.PathLike[str]) -> Iterator[tuple[float, np.ndarray]]:
    """Decode the frames of a video.

    Args:
        video: file that FFmpeg reads.

    Yields:
        (time of the middle of the frame in s, image (H, W, 3) uint8 RGB in square pixels).

    Raises:
        TalkerError: if the file is not a video.
    """
    av = require("av", "reading video", "video")
    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                raise TalkerError(f"{video}: there is no picture in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or DEFAULT_FRAME_RATE)
            aspect = float(stream.sample_aspect_ratio or 1) or 1.0
            for number, frame in enumerate(container.decode(stream)):
                image = frame.reformat(round(frame.width * aspect), frame.height, "rgb24").to_ndarray()
                time = number / rate if frame.time is None else frame.time
                # phones store upright video rotated, with the rotation as metadata
                quarter_turns = round(getattr(frame, "rotation", 0) / 90)
                yield time + 0.5 / rate, np.ascontiguousarray(np.rot90(image, quarter_turns))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise TalkerError(f"{video}: it cannot be read as video ({_reason(error)})") from None


def read_images(video: str | os.PathLike[str], times: np.ndarray) -> list[np.ndarray]:
    """Decode the frames of a video that are nearest to some times.

    Args:
        video: file that FFmpeg reads.
        times: (n,) seconds on the clock of the audio.

    Returns:
        n images (H, W, 3) uint8 RGB.

    Raises:
        TalkerError: if the file is not a video with audio.
    """
    start = audio_start_time(video)
    distances = np.full(len(times), np.inf)
    images: dict[int, np.ndarray] = {}
    for time, image in read_frames(video):
        for k in np.flatnonzero(np.abs(times + start - time) < distances):
            distances[k], images[int(k)] = abs(times[k] + start - time), image
    if len(images) < len(times):
        raise TalkerError(f"{video}: there is no picture in it")
    return [images[k] for k in range(len(times))]


def audio_start_time(video: str | os.PathLike[str]) -> float:
    """Time of the first audio sample on the clock of a video.

    Args:
        video: file that FFmpeg reads.

    Returns:
        Seconds.

    Raises:
        TalkerError: if the file is not a video with audio.
    """
    av = require("av", "reading video", "video")
    try:
        with av.open(str(video)) as container:
            return next(container.decode(audio=0)).time or 0.0
    except (av.error.FFmpegError, OSError, IndexError, StopIteration) as error:
        raise TalkerError(f"{video}: it cannot be read as video ({error})") from None


def read_sound(video: str | os.PathLike[str]) -> tuple[np.ndarray, float]:
    """Decode the audio of a video; where its time stamps have a gap, there is silence.

    Args:
        video: file that FFmpeg reads.

    Returns:
        ((n,) float32 mono at 16 kHz, time of its first sample in s on the clock of the video).

    Raises:
        TalkerError: if the file is not a video or has no audio.
    """
    av, soxr = require("av", "reading video", "video"), require("soxr", "resampling")
    blocks: list[np.ndarray] = []
    start: float | None = None
    try:
        with av.open(str(video)) as container:
            if not container.streams.audio:
                raise TalkerError(f"{video}: there is no sound in it")
            stream = container.streams.audio[0]
            packed, rate = av.AudioResampler(format="flt"), int(stream.rate)
            filler = GapFiller(rate)
            for frame in container.decode(stream):
                time = frame.time
                start = (time or 0.0) if start is None else start
                for block in packed.resample(frame):
                    blocks += filler.place(frame_to_samples(block), time)
                    time = None  # what follows of the same frame
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise TalkerError(f"{video}: it cannot be read as video ({_reason(error)})") from None
    if not blocks or start is None:
        raise TalkerError(f"{video}: there is no sound in it")
    mono = downmix(silence_invalid(np.concatenate(blocks)), rate)
    pcm = soxr.resample(mono, rate, SAMPLE_RATE)
    return np.clip(pcm, -1.0, 1.0), start


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
