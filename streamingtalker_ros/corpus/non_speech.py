# SPDX-License-Identifier: Apache-2.0
"""Corpus of recordings without speech (music, machines, traffic) with the mouth at rest.

`build_non_speech_corpus(folders, out)` cuts clips evenly out of all files that libsndfile reads. On their own
they are negative examples of voice activity; mixed under the speech of other corpora, they are background
noise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import (
    Clip,
    Index,
    file_state,
    find_files,
    minutes_by_split,
    read_part,
    save_clip,
    write_index,
    write_part,
)
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics.phones import Phone
from streamingtalker_ros.process import progress_bar
from streamingtalker_ros.task_cluster import TaskCluster

CLIP_S: Final = 8.0
"""Seconds of a clip."""

LEVEL_DBFS: Final = (-50.0, -10.0)
"""Range of the RMS level of clips."""

SILENCE_PEAK: Final = 1e-4
"""Sound with a smaller peak is silence (full scale is 1)."""

AUDIO_SUFFIXES: Final = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")
"""Endings of the files that are read."""

HELD_OUT_INDICES: Final = {"validation": 4, "test": 9}
"""Position of the held-out file within ten files in the order of names, per split."""

DEFAULT_LICENCE: Final = "the recordings' own"


def build_non_speech_corpus(
    folders: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    minutes: float = 45.0,
    licence: str = DEFAULT_LICENCE,
    seed: int = 0,
    num_workers: int = 2,
    scheduler: str | None = None,
) -> Index:
    """Write a corpus of clips without speech; all files give the same number of clips.

    Args:
        folders: folders of audio files, searched recursively.
        out: folder to write.
        minutes: total duration of the clips.
        licence: licence and attribution, stored in the index.
        seed: equal seeds give equal files.
        num_workers: number of processes.
        scheduler: address of a Dask scheduler, whose workers are used instead; None for local processes.

    Returns:
        The index; its `rejected` names the files that cannot be read. Of ten files one is for validation and
        one for test.

    Raises:
        TalkerError: if no file can be used.
    """
    tqdm = progress_bar()
    out = Path(out)
    files = sorted(
        {path for folder in folders for path in find_files(folder) if path.suffix.lower() in AUDIO_SUFFIXES}
    )
    if not files:
        raise TalkerError(
            f"no audio files below {', '.join(map(str, folders))}: give folders of WAV, FLAC, OGG, OPUS "
            "or MP3 files without speech"
        )
    clips_per_file = max(1, round(60.0 * minutes / CLIP_S / len(files)))
    work = [(path, out, number, clips_per_file, seed) for number, path in enumerate(files)]
    with TaskCluster(num_workers, scheduler, out) as cluster:
        results = list(
            tqdm(
                cluster.map(_cut_file, work, [path.name for path in files]),
                total=len(work),
                unit="file",
                desc="sounds",
            )
        )
    parts = [(path, part) for path, part in zip(files, results, strict=True) if part is not None]
    entries = [entry for _, part in parts for entry in part["clips"]]
    rejected = [{"name": path.name, "reason": part["reason"]} for path, part in parts if part["reason"]]
    if not entries and not cluster.failures:
        raise TalkerError(f"none of {len(files)} files can be used; the first: {rejected[0]['reason']}")
    return write_index(
        out,
        {
            "kind": "quiet",
            "minutes": float(minutes),
            "seed": int(seed),
            "version": __version__,
            "sample_rate": SAMPLE_RATE,
            "frame_rate": FRAME_RATE,
            "licence": licence,
            "motion": "mouth at rest, rule-based upper face",
            "minutes_by_split": minutes_by_split(entries),
            "rejected": rejected,
            "clips": entries,
        },
        cluster.failures,
    )


def _cut_file(job: tuple[Path, Path, int, int, int]) -> Index:
    """Cut and save evenly spread clips of one file: their part, with `clips` and the `reason` for none."""
    path, out, number, count, seed = job
    part_name, state = f"quiet_{number:04d}", [__version__, seed, count, path.name, *file_state(path)]
    part = read_part(out, part_name, state)
    if part is not None:
        return part
    rng = np.random.default_rng([seed, number])
    split = {index: name for name, index in HELD_OUT_INDICES.items()}.get(number % 10, "train")
    entries: list[Index] = []
    errors: list[str] = []
    for k, sound in _read_excerpts(path, count, errors):
        frames = len(sound) // HOP_LENGTH
        if frames < FRAME_RATE or not np.isfinite(sound).all() or np.abs(sound).max() < SILENCE_PEAK:
            continue
        level = rng.uniform(*LEVEL_DBFS)
        pcm = np.clip(augmentation.set_rms(sound[: frames * HOP_LENGTH], level), -1.0, 1.0)
        phones = [Phone("pau", 0.0, frames / FRAME_RATE)]
        clip = Clip.at_rest(pcm.astype(np.float32), phones, "none", split, f"quiet_{number:04d}_{k:02d}")
        clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, "none")
        entries.append(save_clip(out, clip, speaker="none", tempo=1.0, text="", source_file=path.name))
    reason = errors[0] if errors else None
    if not entries and not errors:
        reason = f"{path.name} is silent or shorter than a second"
    return write_part(out, part_name, state, entries, reason=reason)


def _read_excerpts(path: Path, count: int, errors: list[str]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, (n,) float32 at 16 kHz) of spread excerpts; a fault of the file goes to `errors`."""
    soundfile, soxr = require("soundfile", "reading sounds"), require("soxr", "resampling sounds")
    try:
        with soundfile.SoundFile(str(path)) as file:
            length = int(CLIP_S * file.samplerate)
            count = min(count, max(1, len(file) // length))
            starts = np.linspace(0, max(len(file) - length, 0), count + 2)[1:-1].astype(int)
            for k, start in enumerate(starts):
                file.seek(int(start))
                sound = file.read(length, dtype="float32", always_2d=True).mean(1)
                yield k, np.asarray(soxr.resample(sound, file.samplerate, SAMPLE_RATE), np.float32)
    except Exception as error:  # the file decides which
        errors.append(f"{path.name} cannot be read: {error}")
