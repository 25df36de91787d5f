# SPDX-License-Identifier: Apache-2.0
"""Corpus of videos of one or several speakers: tracks, finds neutral poses, solves, cuts, draws previews.

Files beside the clips: `landmarks/` (tracks and audio, unless elsewhere), `pictures/` (one PNG per clip),
`parts/` (finished videos), `rejected.json` (name: reason). A second call repeats only what changed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.corpus.av_sync import estimate_lag
from streamingtalker_ros.corpus.storage import (
    LIP_MEASUREMENTS,
    Clip,
    Index,
    minutes_by_split,
    read_part,
    save_clip,
    write_index,
    write_part,
)
from streamingtalker_ros.corpus.video import tracking
from streamingtalker_ros.corpus.video.blendshape_solver import solve_weights
from streamingtalker_ros.corpus.video.clips import (
    detected_frames,
    extract_audio,
    resample_face,
    split_track,
)
from streamingtalker_ros.corpus.video.head_pose import mean_rigid_face, relative_rotation, stabilize
from streamingtalker_ros.corpus.video.landmark_matching import match_landmarks
from streamingtalker_ros.corpus.video.landmarks import LandmarkTrack
from streamingtalker_ros.corpus.video.neutral_pose import NeutralPose, estimate_neutral_pose, measure_lips
from streamingtalker_ros.corpus.video.transcript import crop_phones, label_phones
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.output_files import atomic_output, write_text
from streamingtalker_ros.process import progress_bar
from streamingtalker_ros.task_cluster import TaskCluster

_LOGGER = logging.getLogger(__name__)

MAX_NEUTRAL_CLIPS: Final = 120
"""Number of evenly spread videos from which the neutral pose is estimated."""

VALIDATION_INTERVAL: Final = 33
"""Of so many consecutive videos that are not held out, one is for validation."""

Report = Callable[[str], object]
"""Receives one message per rejected video."""


def assign_split(index: int, hold_out_every: int) -> str:
    """Assign a video to a split.

    Args:
        index: index of the video in the order of names.
        hold_out_every: every so many videos one is for test; 0 for none.

    Returns:
        "train", "validation" or "test".
    """
    if hold_out_every and index % hold_out_every == 0:
        return "test"
    return "validation" if index % VALIDATION_INTERVAL == VALIDATION_INTERVAL // 2 else "train"


def build_video_corpus(
    videos: Iterable[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    speaker: str,
    landmarks: str | os.PathLike[str] | None = None,
    stage: str = "all",
    hold_out_every: int = 20,
    transcripts: str | os.PathLike[str] | None = None,
    licence: str = "",
    num_workers: int = 2,
    previews: bool = True,
    report: Report = _LOGGER.warning,
    scheduler: str | None = None,
    speaker_per_video: bool = False,
) -> Index | None:
    """Write the corpus, or its landmarks only; a second call finishes an interrupted one.

    Args:
        videos: videos of one speaker, or with `speaker_per_video` of one each.
        folder: folder to write.
        speaker: name of the voice and of its speaking style; of the style alone with `speaker_per_video`.
        landmarks: folder of tracks; None for folder/landmarks.
        stage: "track", "solve" or "all".
        hold_out_every: every so many videos one is for test; 0 for none.
        transcripts: folder of NAME.align or NAME.txt; None if there are none.
        licence: licence and attribution, stored in the index.
        num_workers: number of processes.
        previews: whether to draw an image per clip.
        report: called with one message per rejected video.
        scheduler: address of a Dask scheduler, whose workers are used instead; None for local processes.
        speaker_per_video: whether every video shows another speaker, whose voice is named like the video.

    Returns:
        The index of the corpus; None after the stage "track".

    Raises:
        TalkerError: if every video is rejected, or tracking is needed and mediapipe is not installed.
    """
    if landmarks and stage == "all" and not tracking.is_available():
        stage = "solve"  # an existing folder of tracks was passed
    unique = _drop_duplicate_names(map(Path, videos), report)
    folder = Path(folder)
    landmarks = Path(landmarks) if landmarks else folder / "landmarks"
    folder.mkdir(parents=True, exist_ok=True)
    rejected: dict[str, str] = {}
    if stage != "solve":
        rejected = track_videos(unique, landmarks, num_workers, report, scheduler)
        if stage == "track":
            return None
    names = [path.stem for path in unique if path.stem not in rejected]
    usable = _select_usable(names, landmarks, rejected, report)
    if not usable:
        raise TalkerError("every video was rejected: there is nothing to build a corpus from")
    voices = {name: name if speaker_per_video else speaker for name in usable}
    faces: dict[str, _SpeakerFace] = {}
    for voice in dict.fromkeys(voices.values()):
        names = [name for name in usable if voices[name] == voice]
        faces[voice] = _estimate_speaker_face(names, landmarks, report)
        path = folder / (f"neutral/{voice}.npz" if speaker_per_video else "neutral.npz")
        _save_speaker_face(path, faces[voice])
    paths = {path.stem: path for path in unique}
    splits = {path.stem: assign_split(k, hold_out_every) for k, path in enumerate(unique)}
    work = [
        _SolveJob(
            name,
            paths[name],
            folder,
            landmarks,
            transcripts,
            voices[name],
            speaker,
            splits[name],
            previews,
            faces[voices[name]],
        )
        for name in usable
    ]
    entries: list[Index] = []
    progress = progress_bar()
    with TaskCluster(num_workers, scheduler, folder) as cluster:
        results = cluster.map(_solve_video, work, usable)
        for video_entries in progress(results, total=len(work), desc="clips", unit="video"):
            entries += video_entries or ()
    write_text(folder / "rejected.json", json.dumps(rejected, indent=1))
    return write_index(
        folder,
        {
            "kind": "video",
            "version": __version__,
            "sample_rate": SAMPLE_RATE,
            "frame_rate": FRAME_RATE,
            "minutes_by_split": minutes_by_split(entries),
            "motion": "tracked lips, solved by least squares on the default rig",
            "sources": {speaker: {"videos": len(usable), "rejected": len(rejected), "licence": licence}},
            "av_lag_s": float(np.median([entry["av_lag_s"] for entry in entries] or [0.0])),
            "neutral": {
                name: float(np.median([getattr(face.neutral, name) for face in faces.values()]))
                for name in ("lip_gap", "lip_width", "contact_gap")
            },
            "clips": entries,
        },
        cluster.failures,
    )


def _drop_duplicate_names(videos: Iterable[Path], report: Report) -> list[Path]:
    """The videos in the order of their names; of equal names the first."""
    unique: dict[str, Path] = {}
    for path in videos:
        if path.stem in unique and path != unique[path.stem]:
            report(f"rejected {path}: {unique[path.stem]} has the same name, and clips are identified by it")
        unique.setdefault(path.stem, path)
    return [unique[name] for name in sorted(unique)]


def track_videos(
    videos: Sequence[Path],
    landmarks: Path,
    num_workers: int,
    report: Report,
    scheduler: str | None = None,
) -> dict[str, str]:
    """Track every video that has no track yet.

    Args:
        videos: the videos.
        landmarks: folder to write the tracks to.
        num_workers: number of processes.
        report: called with one message per rejected video.
        scheduler: address of a Dask scheduler, whose workers are used instead; None for local processes.

    Returns:
        {name: reason} of the videos that cannot be tracked.

    Raises:
        TalkerError: if a video must be tracked and mediapipe is not installed.
    """
    missing = [
        path
        for path in videos
        if not (landmarks / f"{path.stem}.npz").is_file() or not (landmarks / f"{path.stem}.flac").is_file()
    ]
    if missing and not tracking.is_available():
        raise TalkerError(tracking.INSTALL_HINT)
    rejected: dict[str, str] = {}
    if not missing:
        return rejected
    with TaskCluster(min(num_workers, len(missing)), scheduler, landmarks) as cluster:
        bar = progress_bar()(total=len(missing), desc="tracking", unit="video")
        jobs = [(path, landmarks) for path in missing]
        for path, reason in zip(
            missing, cluster.map(_track_video, jobs, [path.name for path in missing]), strict=True
        ):
            bar.update()
            reason = cluster.failures[-1].reason if reason is None else reason
            if reason:
                rejected[path.stem] = reason
                bar.clear()
                report(f"rejected {path.name}: {reason}")
        bar.close()
    return rejected


@contextlib.contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Discard what mediapipe's libraries print; reasons are returned as values."""
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def _track_video(job: tuple[Path, Path]) -> str:
    """Track a video: the reason why it cannot be tracked, "" if it can."""
    video, landmarks = job
    try:
        with _silenced_stderr():
            tracking.track_video(video, landmarks)
    except TalkerError as error:
        return str(error).removeprefix(f"{video}: ")
    return ""


def _select_usable(
    names: Iterable[str], landmarks: Path, rejected: dict[str, str], report: Report
) -> list[str]:
    """Names whose tracks give clips; adds the others to `rejected`, with one message each."""
    usable = []
    for name in names:
        try:
            if not (landmarks / f"{name}.npz").is_file():
                raise TalkerError(f"{landmarks} holds no landmarks of it: track it first")
            split_track(LandmarkTrack.load(landmarks / f"{name}.npz"), load_audio(landmarks / f"{name}.flac"))
            usable.append(name)
        except TalkerError as error:
            rejected[name] = str(error)
            report(f"rejected {name}: {error}")
    return usable


def load_audio(path: str | os.PathLike[str]) -> np.ndarray:
    """Load the audio of a track.

    Args:
        path: NAME.flac.

    Returns:
        (n,) float32 at 16 kHz.

    Raises:
        TalkerError: if the file is missing.
    """
    if not Path(path).is_file():
        raise TalkerError(f"{path}, the sound of a track, is missing: track the video again")
    return require("soundfile", "reading sound").read(str(path), dtype="float32")[0]


@dataclass(frozen=True)
class _SpeakerFace:
    """Rigid reference and neutral pose, which all clips of a speaker share."""

    reference: np.ndarray
    neutral: NeutralPose

    @property
    def checksum(self) -> int:
        return crc32(self.reference.tobytes() + self.neutral.points.tobytes())


def _save_speaker_face(path: Path, face: _SpeakerFace) -> None:
    path.parent.mkdir(exist_ok=True)
    with atomic_output(path) as partial, partial.open("wb") as file:
        np.savez(file, reference=face.reference, points=face.neutral.points, head=face.neutral.head)


def _estimate_speaker_face(names: Sequence[str], landmarks: Path, report: Report) -> _SpeakerFace:
    """Estimate rigid reference and neutral pose from evenly spread videos."""
    count = min(MAX_NEUTRAL_CLIPS, len(names))
    selected = [names[k] for k in np.linspace(0, len(names) - 1, count).round().astype(int)]
    tracks = [detected_frames(LandmarkTrack.load(landmarks / f"{name}.npz")) for name in selected]
    reference = mean_rigid_face(tracks)
    faces = [stabilize(track, reference) for track in tracks]
    recordings = [load_audio(landmarks / f"{name}.flac") for name in selected]
    return _SpeakerFace(reference, estimate_neutral_pose(faces, recordings, report))


@dataclass(frozen=True)
class _SolveJob:
    """Arguments of `_solve_video`."""

    name: str
    video: Path
    folder: Path
    landmarks: Path
    transcripts: str | os.PathLike[str] | None
    voice: str
    style: str
    split: str
    previews: bool
    speaker_face: _SpeakerFace


@lru_cache(maxsize=1)
def _default_rig() -> Rig:
    from streamingtalker_ros.face.default_head.stored import default_rig

    return default_rig()


def _solve_video(job: _SolveJob) -> list[Index]:
    """Solve one video into clips; returns their index entries, from parts/ if nothing changed."""
    state = [
        job.speaker_face.checksum,
        __version__,
        str(job.transcripts),
        job.voice,
        job.style,
        job.split,
        job.previews,
        list(LIP_MEASUREMENTS),
    ]
    part = read_part(job.folder, job.name, state)
    if part is not None:
        return part["clips"]
    neutral = job.speaker_face.neutral
    track = LandmarkTrack.load(job.landmarks / f"{job.name}.npz")
    pcm = load_audio(job.landmarks / f"{job.name}.flac")
    face = stabilize(detected_frames(track), job.speaker_face.reference)
    spans = split_track(track, pcm)
    phones, text, phone_source = label_phones(job.name, pcm, job.transcripts)
    basis = match_landmarks(_default_rig(), neutral)
    entries = []
    for k, span in enumerate(spans):
        clip_face = resample_face(face, span)
        lips: dict[str, Any] = measure_lips(clip_face.points, neutral)
        clip = Clip(
            extract_audio(pcm, span),
            solve_weights(clip_face, neutral, basis),
            relative_rotation(clip_face.head, neutral.head),
            crop_phones(phones, span[0] / FRAME_RATE, span[1] / FRAME_RATE),
            job.voice,
            job.split,
            job.name if len(spans) == 1 else f"{job.name}_{k:02d}",
            job.style,
            **lips,
        )
        entries.append(
            save_clip(
                job.folder,
                clip,
                speaker=job.voice,
                text=text,
                phone_source=phone_source,
                start_s=span[0] / FRAME_RATE,
                av_lag_s=round(estimate_lag(np.maximum(lips["lip_opening"], 0.0), clip.pcm)[0], 4),
            )
        )
        if job.previews:
            from streamingtalker_ros.corpus.video.preview import draw_preview

            path = job.folder / "pictures" / f"{clip.name}.png"
            path.parent.mkdir(exist_ok=True)
            with atomic_output(path, sync=False) as partial:
                draw_preview(clip, track, span, job.video, basis, neutral).save(partial)
    return write_part(job.folder, job.name, state, entries)["clips"]
