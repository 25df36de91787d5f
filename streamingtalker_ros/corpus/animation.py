# SPDX-License-Identifier: Apache-2.0
"""Corpus of blendshape animation with its audio: Live Link Face CSV, NPZ, or FACEGOOD's pairs.

`build_animation_corpus(pairs, folder, …)` reads motion of any frame rate, resamples it to 25 frames/s (frame
n at the middle of its 640 samples), makes lip contacts close on the default rig, and cuts it into clips at
pauses.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.coarticulation import upper_face
from streamingtalker_ros.corpus import facegood
from streamingtalker_ros.corpus.av_sync import estimate_lag
from streamingtalker_ros.corpus.loudness import loudness_db
from streamingtalker_ros.corpus.storage import (
    Clip,
    Index,
    file_state,
    minutes_by_split,
    read_part,
    save_clip,
    write_index,
    write_part,
)
from streamingtalker_ros.corpus.video.blendshape_solver import match_lips, target_lip_gap
from streamingtalker_ros.corpus.video.clips import extract_audio, split_at_pauses
from streamingtalker_ros.corpus.video.landmark_matching import MOUTH_SHAPES, interocular_distance
from streamingtalker_ros.corpus.video.transcript import crop_phones, detect_voice, label_phones
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.array_files import (
    MAX_MOTION_RATE,
    MIN_MOTION_RATE,
    read_npy,
    read_npz,
    to_floats,
)
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.process import progress_bar
from streamingtalker_ros.task_cluster import TaskCluster

_LOGGER = logging.getLogger(__name__)

MAX_DURATION_MISMATCH: Final = 0.15
"""Fraction by which audio and motion may differ in duration; the end of the longer one is dropped."""

CONTACT_GAP: Final = 0.008
"""Lips with a smaller gap touch: half a millimetre, in inter-ocular distances."""

MAX_REST_GAP: Final = 0.03
"""Largest gap of a closed mouth at rest: 2 mm, in inter-ocular distances."""

CONTACT_ROLL_WEIGHT: Final = 0.15
"""Lips that are both rolled in, or pressed, by this weight touch at any jaw opening."""

QUIET_DB: Final = 25.0
"""Decibels below the loud frames at which a frame counts as quiet."""

MIN_WEIGHT_RANGE: Final = 0.05
"""Range of a weight above which the source moves that part of the face."""

MIN_HEAD_RANGE: Final = 0.01
"""Range of the head rotation, in radians, above which the source moves the head."""

Pair = tuple[Path, Path | None]
"""(audio file, motion file or None)."""


@dataclass
class Animation:
    """Face motion of any frame rate.

    Attributes:
        weights: (T, 52) ARKit blendshape weights, 0 to 1.
        head: (T, 3) rotation vectors in radians.
        times: (T,) seconds on the clock of the audio.
    """

    weights: np.ndarray
    head: np.ndarray
    times: np.ndarray


def find_pairs(
    paths: Iterable[str | os.PathLike[str]], motion_folder: str | os.PathLike[str] | None = None
) -> list[Pair]:
    """Pair audio files with motion files of the same name.

    Args:
        paths: audio files, folders of them, or FACEGOOD's code/train.
        motion_folder: folder of the motion files; None for the folder of the audio.

    Returns:
        (audio, motion) per audio file; motion is None if there is none.

    Raises:
        TalkerError: if a folder holds no audio.
    """
    pairs: list[Pair] = []
    for path in map(Path, paths):
        if (path / "bs_value").is_dir():
            pairs += facegood.find_pairs(path)
            continue
        if path.is_file():
            audio_paths = [path]
        else:
            audio_paths = sorted(file for pattern in ("*.wav", "*.flac") for file in path.glob(pattern))
        if not audio_paths:
            raise TalkerError(f"{path} holds no sound: give WAV or FLAC files beside NAME.csv or NAME.npz")
        for audio_path in audio_paths:
            base = Path(motion_folder or audio_path.parent) / audio_path.stem
            candidates = [base.with_name(base.name + suffix) for suffix in (".csv", ".npz")]
            pairs.append((audio_path, next((file for file in candidates if file.is_file()), None)))
    return pairs


def read_animation(path: str | os.PathLike[str]) -> Animation:
    """Read a motion file.

    Args:
        path: NAME.csv (Live Link Face), NAME.npz (weights (T, 52), frame_rate, optionally names and head
            quaternions) or FACEGOOD's bs_value_NAME.npy.

    Returns:
        The animation.

    Raises:
        TalkerError: if the file has another format.
    """
    path = Path(path)
    if path.suffix == ".npy":
        needs = "give FACEGOOD's code/train as it was published"
        names = read_npy(facegood.shape_names_path(path.parent.parent), needs)
        values = read_npy(path, needs, np.float64)
        if values.ndim != 2 or names.ndim != 1 or values.shape[1] != len(names):
            raise TalkerError(f"{path} has shape {values.shape} for {names.size} names: {needs}")
        weights = facegood.to_arkit(values, names)
        return Animation(weights, np.zeros((len(weights), 3)), np.arange(len(weights)) / facegood.KEY_RATE)
    if path.suffix.lower() == ".csv":
        from streamingtalker_ros.face.formats.livelink_reader import read_livelink_csv

        weights, head, times, rate = read_livelink_csv(path)
    else:
        weights, head, rate = _read_npz(path)
        times = np.arange(len(weights)) / rate
    if not np.isfinite(weights).all() or len(weights) < 2:
        raise TalkerError(f"{path} holds no motion: it needs two rows of finite weights at least")
    rotation_class = require("scipy.spatial.transform", "reading animation").Rotation
    rotation_vectors = rotation_class.from_quat(head).as_rotvec()
    return Animation(np.clip(weights, 0.0, 1.0), rotation_vectors, times + 0.5 / rate)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """(weights (T, 52), head quaternions (T, 4), frame rate) of an NPZ file."""
    needs = "it needs weights (T, 52) and frame_rate"
    arrays = read_npz(path, ("weights", "frame_rate"), needs, optional=("names", "head"))
    try:
        weights = to_floats(arrays["weights"], np.float64)
        rate = float(to_floats(arrays["frame_rate"], np.float64))
        names = [str(name) for name in arrays.get("names", ARKIT_NAMES)]
        identity = np.tile((0.0, 0.0, 0.0, 1.0), (len(weights), 1))
        head = to_floats(arrays.get("head", identity), np.float64)
    except (TypeError, ValueError):  # arrays of another type or shape
        raise TalkerError(f"{path} does not hold numbers where motion should be: {needs}") from None
    is_valid = weights.ndim == 2 and weights.shape[1] == len(names) and head.shape == (len(weights), 4)
    if not is_valid or not MIN_MOTION_RATE <= rate <= MAX_MOTION_RATE:
        raise TalkerError(
            f"{path} has weights of shape {weights.shape} for {len(names)} names, head {head.shape}, "
            f"{rate:g} frames/s: it needs (T, 52), (T, 4) and {MIN_MOTION_RATE:g} to {MAX_MOTION_RATE:g}"
        )
    if not (np.abs(head).max(axis=1, initial=0.0) > 1e-6).all() or not np.isfinite(head).all():
        raise TalkerError(f"{path} has a head rotation that is no quaternion: write it again")
    arkit_weights = np.zeros((len(weights), len(ARKIT_NAMES)))
    for k, name in enumerate(names):
        if name in INDEX:
            arkit_weights[:, INDEX[name]] = weights[:, k]
    return arkit_weights, head, rate


def resample_animation(
    animation: Animation, num_frames: int, offset: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate an animation linearly at the middles of the frames; the ends are held.

    Args:
        animation: motion of any frame rate.
        num_frames: number of frames at 25 frames/s.
        offset: seconds to add to the times of the animation.

    Returns:
        (weights (num_frames, 52), head (num_frames, 3)).
    """
    frame_times = (np.arange(num_frames) + 0.5) / FRAME_RATE
    weights, head = (
        np.stack([np.interp(frame_times, animation.times + offset, column) for column in values.T], axis=1)
        for values in (animation.weights, animation.head)
    )
    return weights, head


def close_lip_contacts(weights: np.ndarray, rig: Rig, is_quiet: np.ndarray) -> np.ndarray:
    """Make lip contacts of an animation close on a rig.

    The gap of the lips in quiet frames, where the mouth rests closed, counts as contact (2 mm at most), and
    so do lips that are both rolled in or pressed.

    Args:
        weights: (T, 52) ARKit weights.
        rig: the rig on which contacts must close.
        is_quiet: (T,) bool, frames without speech.

    Returns:
        (T, 52) weights; shapes outside the mouth stay.
    """
    scale = interocular_distance(rig)
    gap = rig.lip_gap(weights) / scale
    rest_gap = gap[is_quiet & (gap < MAX_REST_GAP)]
    contact_gap = CONTACT_GAP
    if len(rest_gap):
        contact_gap = max(CONTACT_GAP, float(np.percentile(rest_gap, 75)) + CONTACT_GAP)
    column = {name: weights[:, INDEX[name]] for name in ARKIT_NAMES}
    rolled = (
        np.maximum(
            np.minimum(column["mouthRollLower"], column["mouthRollUpper"]),
            np.minimum(column["mouthPressLeft"], column["mouthPressRight"]),
        )
        / CONTACT_ROLL_WEIGHT
    )
    target = target_lip_gap(gap, contact_gap)
    target = np.minimum(target, target * (1.0 - np.clip(rolled, 0.0, 1.0)))
    mouth = [INDEX[name] for name in MOUTH_SHAPES]
    closed = weights.copy()
    closed[:, mouth] = match_lips(weights[:, mouth], rig, target * scale, rig.lip_width(weights))
    return closed


def build_animation_corpus(
    pairs: Sequence[Pair],
    folder: str | os.PathLike[str],
    speaker: str,
    hold_out: str = "last",
    offset: float = 0.0,
    transcripts: str | os.PathLike[str] | None = None,
    licence: str = "",
    report: Callable[[str], object] = _LOGGER.warning,
    num_workers: int = 1,
    scheduler: str | None = None,
) -> Index:
    """Write the corpus; equal arguments give equal files, and a second call makes only what is missing.

    Args:
        pairs: result of `find_pairs`.
        folder: folder to write.
        speaker: name of the voice and of its speaking style.
        hold_out: pairs that go to test: "last", "none" or "all".
        offset: seconds to add to the times of the motion.
        transcripts: folder of NAME.txt; None if there are none.
        licence: licence and attribution, stored in the index.
        report: called with one message per rejected pair.
        num_workers: number of processes.
        scheduler: address of a Dask scheduler, whose workers are used instead; None for local processes.

    Returns:
        The index of the corpus.

    Raises:
        TalkerError: if every pair is rejected.
    """
    folder = Path(folder)
    work = [
        _PairJob(
            audio_path,
            motion_path,
            folder,
            speaker,
            "test" if hold_out == "all" or (hold_out == "last" and k == len(pairs) - 1) else "train",
            offset,
            transcripts,
        )
        for k, (audio_path, motion_path) in enumerate(pairs)
    ]
    bar = progress_bar()(total=len(pairs), desc="pairs", unit="pair")
    entries: list[Index] = []
    rejected: dict[str, str] = {}
    lags: list[tuple[float, float]] = []
    captured_parts: set[str] = set()
    names = [audio_path.name for audio_path, _ in pairs]
    with TaskCluster(num_workers, scheduler, folder) as cluster, bar:
        for (audio_path, _), part in zip(pairs, cluster.map(_build_pair, work, names), strict=True):
            bar.update()
            if part is None:
                continue
            if "reason" in part:
                rejected[audio_path.stem] = part["reason"]
                report(f"rejected {audio_path.name}: {part['reason']}")
                continue
            lags.append(tuple(part["lag"]))
            captured_parts |= set(part["moving_parts"])
            entries += part["clips"]
    if not entries and not cluster.failures:
        raise TalkerError("every pair was rejected: there is nothing to build a corpus from")
    source = {"pairs": len(pairs) - len(rejected), "rejected": len(rejected), "licence": licence}
    return write_index(
        folder,
        {
            "kind": "animation",
            "version": __version__,
            "sample_rate": SAMPLE_RATE,
            "frame_rate": FRAME_RATE,
            "minutes_by_split": minutes_by_split(entries),
            "motion": "animated or captured blendshapes under ARKit's names",
            "sources": {speaker: source},
            "captured_parts": sorted(captured_parts),
            "av_lag_s": float(np.median([lag for lag, _ in lags] or [0.0])),
            "av_lag_correlation": float(np.median([correlation for _, correlation in lags] or [0.0])),
            "rejected": rejected,
            "clips": entries,
        },
        cluster.failures,
    )


@dataclass(frozen=True)
class _PairJob:
    """Arguments of `_build_pair`."""

    audio_path: Path
    motion_path: Path | None
    folder: Path
    speaker: str
    split: str
    offset: float
    transcripts: str | os.PathLike[str] | None


def _build_pair(job: _PairJob) -> Index:
    """Save the clips of one pair: their part, or the `reason` why the pair is rejected."""
    from streamingtalker_ros.face.default_head.stored import default_rig

    rig, name = default_rig(), job.audio_path.stem
    try:
        sources = [file_state(path) for path in (job.audio_path, job.motion_path) if path is not None]
    except OSError as error:
        return {"reason": f"{job.audio_path.name} cannot be read ({error.strerror})"}
    state = [__version__, job.speaker, job.split, job.offset, str(job.transcripts), *sources]
    part = read_part(job.folder, name, state)
    if part is not None:
        return part
    try:
        recording, moving_parts = _load_pair(job.audio_path, job.motion_path, rig, job.offset)
    except TalkerError as error:
        return {"reason": str(error)}
    lag = estimate_lag(np.maximum(rig.lip_gap(recording.weights), 0.0), recording.pcm)
    phones, text, phone_source = label_phones(name, recording.pcm, job.transcripts)
    spans = split_at_pauses(0, len(recording.weights), recording.pcm)
    entries: list[Index] = []
    for number, span in enumerate(spans):
        clip = Clip(
            extract_audio(recording.pcm, span),
            recording.weights[slice(*span)].astype(np.float32),
            recording.head[slice(*span)].astype(np.float32),
            crop_phones(phones, span[0] / FRAME_RATE, span[1] / FRAME_RATE),
            job.speaker,
            job.split,
            name if len(spans) == 1 else f"{name}_{number:02d}",
            job.speaker,
        )
        entries.append(
            save_clip(
                job.folder,
                clip,
                speaker=job.speaker,
                text=text if len(spans) == 1 else "",
                phone_source=phone_source,
                start_s=span[0] / FRAME_RATE,
            )
        )
    more = {"lag": [float(value) for value in lag], "moving_parts": sorted(moving_parts)}
    return write_part(job.folder, name, state, entries, **more)


def _load_pair(audio_path: Path, motion_path: Path | None, rig: Rig, offset: float) -> tuple[Clip, set[str]]:
    """(clip of a whole pair without phones, parts of the face that its source moves)."""
    if motion_path is None:
        raise TalkerError(f"there is no {audio_path.stem}.csv or {audio_path.stem}.npz beside it")
    animation = read_animation(motion_path)
    pcm, rate = read_audio(audio_path)
    if rate != SAMPLE_RATE:
        pcm = require("soxr", "resampling").resample(pcm, rate, SAMPLE_RATE)
    audio_s, motion_s = len(pcm) / SAMPLE_RATE, float(animation.times[-1])
    if abs(audio_s - motion_s) > MAX_DURATION_MISMATCH * max(audio_s, motion_s):
        raise TalkerError(
            f"its sound lasts {audio_s:.1f} s and its motion {motion_s:.1f} s: they do not belong together"
        )
    frames = int(min(audio_s, motion_s + 1.0 / FRAME_RATE) * FRAME_RATE)
    if frames < FRAME_RATE:
        raise TalkerError(f"it is too short: {min(audio_s, motion_s):.2f} s")
    weights, head = resample_animation(animation, frames, offset)
    pcm = pcm[: frames * HOP_LENGTH]
    level = loudness_db(pcm, (np.arange(frames) + 0.5) / FRAME_RATE)
    weights = close_lip_contacts(weights, rig, level < np.percentile(level, 95) - QUIET_DB)
    masks = {"mouth": ~upper_face.UPPER_FACE_MASK, "eyes and brows": upper_face.UPPER_FACE_MASK}
    moving = {
        region for region, mask in masks.items() if np.ptp(weights[:, mask], axis=0).max() > MIN_WEIGHT_RANGE
    }
    if np.ptp(head, axis=0).max() > MIN_HEAD_RANGE:
        moving.add("head")
    clip = Clip(pcm.astype(np.float32), weights, head, [])
    if "eyes and brows" not in moving:  # a model trained on a face without captured eyes would not move them
        seed = zlib.crc32(audio_path.stem.encode())
        upper, rule_based_head = upper_face.synthesize_upper_face(detect_voice(clip.pcm), frames, seed)
        clip.weights = np.where(upper_face.UPPER_FACE_MASK, upper, weights)
        clip.head = head if "head" in moving else rule_based_head
    return clip, moving
