# SPDX-License-Identifier: Apache-2.0
"""Recordings in which nobody speaks become a corpus of a mouth at rest: music, machines, a street.

`make_quiet(folders, out)` cuts pieces evenly out of all files that libsndfile reads. Learned from as they are, they
tell the talker what is no voice; laid under the voices of the other corpora (`mixing`), what a voice sounds like in them.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import SPLITS, Clip, files_below, save_clip
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics.phones import Phone

SECONDS = 8.0  # of a piece
LEVELS = (-50.0, -10.0)  # dBFS of RMS
ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")
HELD = {"validation": 4, "test": 9}  # of ten files in the order of names


def make_quiet(folders, out, minutes=45.0, licence="the recordings' own", seed=0, jobs=2):
    """Write a corpus of `minutes` of pieces from the audio files below `folders`, each file giving as many as another.

    Of ten files one is kept for validation and one for test; equal arguments give equal files. Returns the index
    (dict), whose `rejected` names files that cannot be read. Raises TalkerError where no file can be used.
    """
    tqdm = require("tqdm", "the progress bar").tqdm
    out = Path(out)
    files = sorted(
        {path for folder in folders for path in files_below(folder) if path.suffix.lower() in ENDINGS}
    )
    if not files:
        raise TalkerError(
            f"no audio files below {', '.join(map(str, folders))}: give folders of WAV, FLAC, OGG, OPUS "
            "or MP3 files in which nobody speaks"
        )
    each = max(1, round(60.0 * minutes / SECONDS / len(files)))
    work = [(path, out, number, each, seed) for number, path in enumerate(files)]
    with ProcessPoolExecutor(jobs) as pool:
        made = list(tqdm(pool.map(_pieces, work), total=len(work), unit="file", desc="sounds"))
    clips = [entry for entries, _ in made for entry in entries]
    rejected = [{"name": path.name, "reason": reason} for path, (_, reason) in zip(files, made) if reason]
    if not clips:
        raise TalkerError(f"none of {len(files)} files can be used; the first: {rejected[0]['reason']}")
    seconds = {split: sum(clip["seconds"] for clip in clips if clip["split"] == split) for split in SPLITS}
    index = {
        "kind": "quiet",
        "minutes": float(minutes),
        "seed": int(seed),
        "version": __version__,
        "rate": SAMPLE_RATE,
        "frame_rate": FRAME_RATE,
        "licence": licence,
        "motion": "rest, and life above the mouth by rule",
        "minutes_by_split": {split: round(value / 60.0, 2) for split, value in seconds.items()},
        "rejected": rejected,
        "clips": clips,
    }
    (out / "index.json").write_text(json.dumps(index, indent=1))
    return index


def _pieces(job):
    """Pieces of one file, evenly spread, saved: (their entries, why there are none)."""
    path, out, number, count, seed = job
    sf, soxr = require("soundfile", "reading sounds"), require("soxr", "resampling sounds")
    rng = np.random.default_rng([seed, number])
    split = {place: name for name, place in HELD.items()}.get(number % 10, "train")
    entries = []
    try:
        with sf.SoundFile(str(path)) as file:
            length = int(SECONDS * file.samplerate)
            count = min(count, max(1, len(file) // length))
            starts = np.linspace(0, max(len(file) - length, 0), count + 2)[1:-1].astype(int)
            for piece, start in enumerate(starts):
                file.seek(int(start))
                sound = file.read(length, dtype="float32", always_2d=True).mean(1)
                sound = np.asarray(soxr.resample(sound, file.samplerate, SAMPLE_RATE), np.float32)
                frames = len(sound) // HOP_LENGTH
                if frames < FRAME_RATE or not np.isfinite(sound).all() or np.abs(sound).max() < 1e-4:
                    continue
                pcm = np.clip(
                    augmentation.set_rms(sound[: frames * HOP_LENGTH], rng.uniform(*LEVELS)), -1.0, 1.0
                )
                phones = [Phone("pau", 0.0, frames / FRAME_RATE)]
                clip = Clip(
                    pcm.astype(np.float32),
                    None,
                    None,
                    phones,
                    "none",
                    split,
                    f"quiet_{number:04d}_{piece:02d}",
                )
                clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, "none")
                entries.append(save_clip(out, clip, speaker="none", tempo=1.0, text="", of=path.name))
    except (sf.SoundFileError, RuntimeError) as error:
        return entries, f"{path.name} cannot be read: {error}"
    return entries, None if entries else f"{path.name} is silent or shorter than a second"
