# SPDX-License-Identifier: Apache-2.0
"""Corpus of recordings without speech (music, machines, traffic) with the mouth at rest.

`build_non_speech_corpus(folders, out)` cuts clips evenly out of all files that libsndfile reads. On their own
they are negative examples of voice activity; mixed under the speech of other corpora, they are background
noise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.child_processes import worker_pool
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import (
    Clip,
    Index,
    find_files,
    minutes_by_split,
    save_clip,
    write_index,
)
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics.phones import Phone
from streamingtalker_ros.process import progress_bar

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
) -> Index:
    """Write a corpus of clips without speech; all files give the same number of clips.

    Args:
        folders: folders of audio files, searched recursively.
        out: folder to write.
        minutes: total duration of the clips.
        licence: licence and attribution, stored in the index.
        seed: equal seeds give equal files.
        num_workers: number of processes.

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
    with worker_pool(num_workers) as pool:
        results = list(tqdm(pool.map(_cut_file, work), total=len(work), unit="file", desc="sounds"))
    entries = [entry for file_entries, _ in results for entry in file_entries]
    rejected = [
        {"name": path.name, "reason": reason}
        for path, (_, reason) in zip(files, results, strict=True)
        if reason
    ]
    if not entries:
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
    )


def _cut_file(job: tuple[Path, Path, int, int, int]) -> tuple[list[Index], str | None]:
    """Cut and save evenly spread clips of one file: (their entries, reason if there are none)."""
    path, out, number, count, seed = job
    soundfile, soxr = require("soundfile", "reading sounds"), require("soxr", "resampling sounds")
    rng = np.random.default_rng([seed, number])
    split = {index: name for name, index in HELD_OUT_INDICES.items()}.get(number % 10, "train")
    entries: list[Index] = []
    try:
        with soundfile.SoundFile(str(path)) as file:
            length = int(CLIP_S * file.samplerate)
            count = min(count, max(1, len(file) // length))
            starts = np.linspace(0, max(len(file) - length, 0), count + 2)[1:-1].astype(int)
            for k, start in enumerate(starts):
                file.seek(int(start))
                sound = file.read(length, dtype="float32", always_2d=True).mean(1)
                sound = np.asarray(soxr.resample(sound, file.samplerate, SAMPLE_RATE), np.float32)
                frames = len(sound) // HOP_LENGTH
                if frames < FRAME_RATE or not np.isfinite(sound).all() or np.abs(sound).max() < SILENCE_PEAK:
                    continue
                level = rng.uniform(*LEVEL_DBFS)
                pcm = np.clip(augmentation.set_rms(sound[: frames * HOP_LENGTH], level), -1.0, 1.0)
                phones = [Phone("pau", 0.0, frames / FRAME_RATE)]
                name = f"quiet_{number:04d}_{k:02d}"
                clip = Clip.at_rest(pcm.astype(np.float32), phones, "none", split, name)
                clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, "none")
                entries.append(
                    save_clip(out, clip, speaker="none", tempo=1.0, text="", source_file=path.name)
                )
    except (soundfile.SoundFileError, RuntimeError) as error:
        return entries, f"{path.name} cannot be read: {error}"
    return entries, None if entries else f"{path.name} is silent or shorter than a second"
