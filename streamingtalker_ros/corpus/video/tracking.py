# SPDX-License-Identifier: Apache-2.0
"""Track a face through a video with mediapipe's face mesh.

`track(video, folder)` writes NAME.npz (landmarks, see `landmarks`) and NAME.flac (its sound, mono 16 kHz).
mediapipe is optional and asks for numpy < 2; `is_available()` tells whether it is here. All else of this package
works from the files, so that tracking may run in an environment or on a machine of its own.
"""

import functools
import importlib
import importlib.util
import os
from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.corpus.video.landmarks import POINTS, Track
from streamingtalker_ros.errors import TalkerError, require

LOOK = 1.0  # s between two looks for a second face
INSTALL_HINT = (
    "tracking needs mediapipe 0.10, which is not installed here: give it an environment of its own, as it "
    "asks for numpy < 2 (`python -m venv mp && mp/bin/pip install mediapipe==0.10.21 "
    "'streamingtalker_ros[video]'`, then `mp/bin/streamingtalker corpus from-video … --stage track`), "
    "and pass what it wrote as --landmarks"
)


def is_available():
    """Whether mediapipe can be imported, without importing it."""
    return importlib.util.find_spec("mediapipe") is not None


@functools.lru_cache(maxsize=1)
def _solutions():
    if not is_available():
        raise TalkerError(INSTALL_HINT)
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        solutions = importlib.import_module("mediapipe").solutions
    except (ImportError, AttributeError) as broken:  # numpy 2 beside it, or a release without the face mesh
        raise TalkerError(f"mediapipe does not load its face mesh here ({broken}); {INSTALL_HINT}") from None
    mesh = solutions.face_mesh.FaceMesh(
        static_image_mode=False,
        max_num_faces=1,
        refine_landmarks=True,
        min_detection_confidence=0.5,
        min_tracking_confidence=0.5,
    )
    finder = solutions.face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.6)
    return mesh, finder


def track(video, folder):
    """Track one video; returns the path of its landmarks. A second call finds the first's files.

    video: path of anything that FFmpeg reads; folder: where NAME.npz and NAME.flac go. Raises TalkerError for
    a file that is no video, has no sound, or where mediapipe is absent.
    """
    video, folder = Path(video), Path(folder)
    out = folder / (video.stem + ".npz")
    if out.is_file() and out.with_suffix(".flac").is_file():
        return out
    sf = require("soundfile", "writing sound")
    mesh, finder = _solutions()
    pcm, began = read_sound(video)
    mesh.reset()
    points, times, faces, looked, size = [], [], 0, -LOOK, None
    for time, image in frames(video):
        size = (image.shape[1], image.shape[0])
        found = mesh.process(image).multi_face_landmarks
        points.append(
            np.full((POINTS, 3), np.nan, np.float32)
            if not found
            else np.array(
                [(mark.x * size[0], mark.y * size[1], mark.z * size[0]) for mark in found[0].landmark],
                np.float32,
            )
        )
        times.append(time - began)
        if time - looked >= LOOK:
            looked = time
            faces = max(faces, len(finder.process(image).detections or ()))
    if not points:
        raise TalkerError(f"{video}: there is no picture in it")
    points = np.array(points)
    found = ~np.isnan(points[:, 0, 0])
    folder.mkdir(parents=True, exist_ok=True)
    sf.write(str(out.with_suffix(".flac")), pcm, SAMPLE_RATE, subtype="PCM_16")
    Track(points, np.array(times), found, max(faces, int(found.any())), size).save(out)
    return out


def frames(video):
    """Yield (time in s of the middle of the frame, image (H, W, 3) uint8 RGB in square pixels)."""
    av = require("av", "reading video")
    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                raise TalkerError(f"{video}: there is no picture in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or 25)
            aspect = float(stream.sample_aspect_ratio or 1) or 1.0
            for number, frame in enumerate(container.decode(stream)):
                image = frame.reformat(round(frame.width * aspect), frame.height, "rgb24").to_ndarray()
                time = number / rate if frame.time is None else frame.time
                turn = round(getattr(frame, "rotation", 0) / 90)
                # phones film upright with a note to turn the picture
                yield time + 0.5 / rate, np.ascontiguousarray(np.rot90(image, turn))
    except (av.error.FFmpegError, OSError, ValueError) as broken:
        raise TalkerError(f"{video}: it cannot be read as video ({_reason(broken)})") from None


def sound_began(video):
    """The time in s of the first sample of a video's sound, on the video's clock."""
    av = require("av", "reading video")
    try:
        with av.open(str(video)) as container:
            return next(container.decode(audio=0)).time or 0.0
    except (av.error.FFmpegError, OSError, IndexError, StopIteration) as broken:
        raise TalkerError(f"{video}: it cannot be read as video ({broken})") from None


def read_sound(video):
    """(pcm (n,) float32 mono at 16 kHz, time in s of its first sample on the video's clock)."""
    av, soxr = require("av", "reading video"), require("soxr", "resampling")
    try:
        with av.open(str(video)) as container:
            if not container.streams.audio:
                raise TalkerError(f"{video}: there is no sound in it")
            stream, pieces, began = container.streams.audio[0], [], None
            planar = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                began = (frame.time or 0.0) if began is None else began
                pieces += [piece.to_ndarray().mean(axis=0) for piece in planar.resample(frame)]
            rate = stream.rate
    except (av.error.FFmpegError, OSError, ValueError) as broken:
        raise TalkerError(f"{video}: it cannot be read as video ({_reason(broken)})") from None
    if not pieces:
        raise TalkerError(f"{video}: there is no sound in it")
    pcm = soxr.resample(np.concatenate(pieces).astype(np.float32), rate, SAMPLE_RATE)
    return np.clip(pcm, -1.0, 1.0), began


def _reason(broken):
    return getattr(broken, "strerror", None) or str(broken)
