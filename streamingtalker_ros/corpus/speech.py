# SPDX-License-Identifier: Apache-2.0
"""Corpus of recorded speech with its text: phones by forced alignment, motion by the coarticulation model.

`build_speech_corpus(folders, out)` reads these layouts, anywhere below its folders: speechocean762
(`train/wav.scp` and `test/wav.scp`), LJSpeech (`wavs/` beside `metadata*.csv`), LibriSpeech (`*.trans.txt`
beside FLAC), Common Voice (`validated.tsv` beside `clips/`; its first release, `cv-valid-*.csv`), and
NAME.wav beside NAME.txt with one folder per speaker.
"""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

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
    finished_index,
    minutes_by_split,
    read_part,
    save_clip,
    write_index,
    write_part,
)
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics.forced_alignment import ENGLISH, align
from streamingtalker_ros.phonetics.phones import Phone, normalize_phones
from streamingtalker_ros.process import progress_bar
from streamingtalker_ros.task_cluster import TaskCluster

AgeRange = tuple[int, int]
"""First and last age in years."""

ADULTS: Final[AgeRange] = (18, 200)
"""Ages that are used by default, where the source states them."""

HELD_OUT_FRACTIONS: Final = {"test": 0.10, "validation": 0.05}
"""Fraction of the speakers per held-out split."""

MAX_HELD_OUT_SPEAKER_FRACTION: Final = 0.05
"""A speaker with a larger fraction of the recordings stays in training."""

MAX_EDGE_SILENCE_S: Final = 0.5
"""Seconds of silence that stay at either end of a recording."""

MAX_PAUSE_S: Final = 0.9
"""Longest pause between two joined recordings, in seconds."""

MAX_PHONE_S: Final = 0.8
"""Seconds: a longer phone means that the text does not fit the sound."""

DECADE_AGES: Final = {
    "teens": 15,
    "twenties": 25,
    "thirties": 35,
    "fourties": 45,
    "fifties": 55,
    "sixties": 65,
    "seventies": 75,
    "eighties": 85,
    "nineties": 95,
}
"""Age per decade, in the spelling of Common Voice."""

DEFAULT_AGE: Final = 40
"""Age of a speaker of Common Voice who does not state it."""

UNKNOWN_SPEAKER: Final = "cvunnamed"
"""Speaker of recordings without a speaker name; always in training, because the speaker may be in it."""

TARGET_CLIP_S: Final = (5.0, 11.0)
"""Seconds between which a clip of joined recordings ends."""

MIN_CLIP_S: Final = 4.0
"""Least duration of a clip, in seconds."""

RECORDINGS_PER_BATCH: Final = 40
"""Recordings of one speaker that one process aligns and joins at a time."""

SPEECH_LEVEL_DBFS: Final = -23.0
"""Active level of every recording."""

FADE_SAMPLES: Final = 160
"""Length of the fades at the ends of a recording, 10 ms."""

SOURCES: Final = {
    "speechocean762": {
        "licence": "free for any use (OpenSLR 101)",
        "attribution": "Zhang et al., speechocean762, Interspeech 2021",
    },
    "LJSpeech": {"licence": "public domain", "attribution": "Keith Ito, The LJ Speech Dataset, 2017"},
    "LibriSpeech": {"licence": "CC BY 4.0", "attribution": "Panayotov et al., LibriSpeech, ICASSP 2015"},
    "Common Voice": {"licence": "CC0", "attribution": "Mozilla Common Voice and its speakers"},
    "pairs": {"licence": "the recordings' own", "attribution": ""},
}
"""Licence and attribution per source."""


@dataclass(frozen=True)
class Recording:
    """An audio file of one speaker.

    Attributes:
        name: stem of the file.
        path: the file.
        text: its transcript.
        speaker: name of the speaker.
        source: key of `SOURCES`.
    """

    name: str
    path: Path
    text: str
    speaker: str
    source: str


AlignedRecording = tuple[Recording, np.ndarray, list[Phone]]
"""A recording, its (n,) float32 audio at 16 kHz, and the phones of that audio."""


def find_recordings(folder: str | os.PathLike[str], ages: AgeRange = ADULTS) -> list[Recording]:
    """Find the recordings in a folder and below it, in any layout of `LAYOUTS`; symbolic links are followed.

    Args:
        folder: root of the search.
        ages: ages of the speakers, where the source states them (speechocean762; Common Voice by decades).

    Returns:
        The recordings.

    Raises:
        TalkerError: if there are none.
    """
    folder = Path(folder)
    files = find_files(folder)
    recordings = [
        recording
        for pattern, read_layout in LAYOUTS
        for path in files
        if fnmatchcase(path.name, pattern)
        for recording in read_layout(path, ages)
    ]
    if not recordings:
        raise TalkerError(
            f"{folder} holds no speech with text; give a folder of NAME.wav beside NAME.txt, "
            f"LJSpeech, LibriSpeech, Common Voice or speechocean762"
        )
    return recordings


def _read_kaldi(scp: Path, ages: AgeRange) -> list[Recording]:
    """Recordings of speechocean762, from the wav.scp of one of its splits."""
    split_folder, root = scp.parent, scp.parent.parent

    def read_table(name: str) -> dict[str, str]:
        lines = (split_folder / name).read_text(encoding="utf-8").splitlines()
        rows = (line.split(None, 1) for line in lines if line.strip())
        return {row[0]: row[1] for row in rows}

    if split_folder.name not in ("train", "test") or not (split_folder / "spk2age").is_file():
        return []
    texts, speakers, speaker_ages = read_table("text"), read_table("utt2spk"), read_table("spk2age")
    return [
        Recording(name, root / path.strip(), texts[name], f"so{speakers[name]}", "speechocean762")
        for name, path in read_table("wav.scp").items()
        if ages[0] <= int(speaker_ages[speakers[name]]) <= ages[1]
    ]


def _read_ljspeech(metadata: Path, ages: AgeRange) -> list[Recording]:
    """Recordings of LJSpeech, from its first metadata*.csv; the others repeat it."""
    folder = metadata.parent
    if not (folder / "wavs").is_dir() or metadata != min(folder.glob("metadata*.csv")):
        return []
    with open(metadata, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="|", quoting=csv.QUOTE_NONE))
    return [
        Recording(row[0], folder / "wavs" / f"{row[0]}.wav", row[-1], "ljspeech", "LJSpeech")
        for row in rows
        if row and (folder / "wavs" / f"{row[0]}.wav").is_file()
    ]


def _read_librispeech(transcript: Path, ages: AgeRange) -> list[Recording]:
    """Recordings of a chapter of LibriSpeech, from its transcript."""
    folder = transcript.parent
    lines = transcript.read_text(encoding="utf-8").splitlines()
    rows = [line.split(None, 1) for line in lines if line.strip()]
    return [
        Recording(name, folder / f"{name}.flac", text.lower(), f"ls{name.split('-')[0]}", "LibriSpeech")
        for name, text in rows
        if (folder / f"{name}.flac").is_file()
    ]


def _read_common_voice(table: Path, ages: AgeRange) -> list[Recording]:
    """Recordings of Common Voice, from its validated.tsv."""
    clips = table.parent / "clips"
    if not clips.is_dir():
        return []
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        Recording(
            Path(row["path"]).stem,
            clips / row["path"],
            row["sentence"],
            f"cv{row['client_id'][:10]}",
            "Common Voice",
        )
        for row in rows
        if _is_of_age(ages, row) and (clips / row["path"]).is_file()
    ]


def _read_common_voice_v1(table: Path, ages: AgeRange) -> list[Recording]:
    """Recordings of the first Common Voice, which names no speakers.

    The folder of the audio lies beside the table; some copies nest it once more within itself.
    """
    with open(table, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not {"filename", "text"} <= set(reader.fieldnames or ()):
            return []
        rows = [row for row in reader if _is_of_age(ages, row)]
    candidates = [
        (row, parent / row["filename"])
        for row in rows
        for parent in (table.parent, table.parent / table.stem)
    ]
    return [
        Recording(path.stem, path, row["text"], UNKNOWN_SPEAKER, "Common Voice")
        for row, path in candidates
        if path.is_file()
    ]


def _is_of_age(ages: AgeRange, row: Mapping[str, str]) -> bool:
    """Whether the speaker of a row of Common Voice is within a range of ages."""
    return ages[0] <= DECADE_AGES.get(row.get("age", ""), DEFAULT_AGE) <= ages[1]


def _read_pair(path: Path, ages: AgeRange) -> list[Recording]:
    """The recording of a WAV file with a text beside it."""
    text_path = path.with_suffix(".txt")
    if not text_path.is_file():
        return []
    text = text_path.read_text(encoding="utf-8", errors="replace").strip()
    return [Recording(path.stem, path, text, path.parent.name, "pairs")]


LAYOUTS: Final[tuple[tuple[str, Callable[[Path, AgeRange], list[Recording]]], ...]] = (
    ("wav.scp", _read_kaldi),
    ("metadata*.csv", _read_ljspeech),
    ("*.trans.txt", _read_librispeech),
    ("validated.tsv", _read_common_voice),
    ("cv-valid-*.csv", _read_common_voice_v1),
    ("*.wav", _read_pair),
)
"""File name pattern -> reader of the recordings that such a file lists."""


def split_speakers(recordings: Sequence[Recording]) -> dict[str, str]:
    """Assign every speaker to one split: 10 % to test, 5 % to validation.

    Speakers with many recordings, without a name, or without enough others stay in training.

    Args:
        recordings: all recordings of a corpus.

    Returns:
        {speaker: split}.
    """
    counts: dict[str, int] = {}
    for recording in recordings:
        counts[recording.speaker] = counts.get(recording.speaker, 0) + 1
    limit = max(MAX_HELD_OUT_SPEAKER_FRACTION * len(recordings), 1)
    candidates = sorted(
        (name for name in counts if name != UNKNOWN_SPEAKER and counts[name] <= limit and len(counts) >= 3),
        key=lambda name: zlib.crc32(name.encode()),
    )
    splits = dict.fromkeys(counts, "train")
    first = 0
    for split, fraction in HELD_OUT_FRACTIONS.items():
        count = round(fraction * len(counts)) or int(len(candidates) >= 3)
        splits.update(dict.fromkeys(candidates[first : first + count], split))
        first += count
    return splits


def build_speech_corpus(
    folders: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    num_workers: int = 1,
    minutes: float | None = None,
    seed: int = 0,
    ages: AgeRange = ADULTS,
    scheduler: str | None = None,
    language: str = ENGLISH,
) -> Index:
    """Write a corpus of aligned recordings with rule-based motion; a second call finishes an interrupted one.

    Args:
        folders: folders of recordings, see `find_recordings`.
        out: folder to write.
        num_workers: number of processes.
        minutes: approximate duration at which to stop; None for all recordings.
        seed: equal seeds join the recordings to equal clips.
        ages: ages of the speakers, see `find_recordings`.
        scheduler: address of a Dask scheduler, whose workers are used instead; None for local processes.
        language: code of espeak-ng for the language of the recordings.

    Returns:
        The index; its `rejected` names every recording that was left out, with the reason, and `failed` what
        could not be made, which a second call tries again.

    Raises:
        TalkerError: if no recording can be used, or `out` holds another corpus.
    """
    tqdm = progress_bar()
    require("pocketsphinx", "aligning speech with its text")
    out = Path(out)
    recordings = [recording for folder in folders for recording in find_recordings(folder, ages)]
    settings: dict[str, Any] = {
        "kind": "speech",
        "seed": int(seed),
        "recordings": len(recordings),
        "minutes": minutes,
    }
    if tuple(ages) != ADULTS:
        settings["ages"] = list(ages)
    if language != ENGLISH:
        settings["language"] = language
    finished = finished_index(out, settings)
    if finished is not None:
        return finished
    splits = split_speakers(recordings)
    by_speaker: dict[str, list[Recording]] = {}
    for recording in recordings:
        by_speaker.setdefault(recording.speaker, []).append(recording)
    size = RECORDINGS_PER_BATCH
    work = [
        (out, speaker, splits[speaker], batch[i : i + size], i // size, seed, language)
        for speaker, batch in sorted(by_speaker.items(), key=lambda item: zlib.crc32(item[0].encode()))
        for i in range(0, len(batch), size)
    ]
    entries: list[Index] = []
    rejected: list[dict[str, str]] = []
    seconds = 0.0
    with (
        TaskCluster(num_workers, scheduler, out) as cluster,
        tqdm(total=len(recordings), unit="file", desc="aligning") as bar,
    ):
        names = [f"{speaker}, recordings from {batch[0].name} on" for _, speaker, _, batch, *_ in work]
        for job, part in zip(work, cluster.map(_build_batch, work, names), strict=True):
            bar.update(len(job[3]))
            if part is not None and (minutes is None or seconds < 60.0 * minutes):
                entries += part["clips"]
                rejected += part["rejected"]
                seconds += sum(entry["seconds"] for entry in part["clips"])
    if not entries and not cluster.failures:
        reason = rejected[0]["reason"] if rejected else "there are none"
        raise TalkerError(f"no recording could be used; the first: {reason}")
    return write_index(
        out,
        {
            **settings,
            "version": __version__,
            "sample_rate": SAMPLE_RATE,
            "frame_rate": FRAME_RATE,
            "minutes_by_split": minutes_by_split(entries),
            "sources": {name: SOURCES[name] for name in sorted({row.source for row in recordings})},
            "motion": (
                "rule-based, by streamingtalker_ros.coarticulation.dominance, phones aligned by pocketsphinx"
            ),
            "clips": entries,
            "rejected": rejected,
        },
        cluster.failures,
    )


def read_speech(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an audio file as mono audio at 16 kHz.

    Args:
        path: a file that libsndfile reads.

    Returns:
        (n,) float32.

    Raises:
        TalkerError: if the file cannot be read.
    """
    soundfile, soxr = require("soundfile", "reading speech"), require("soxr", "resampling speech")
    try:
        pcm, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except Exception as error:  # the file decides which
        raise TalkerError(f"{path} cannot be read ({error})") from None
    pcm = pcm.mean(1)
    return pcm if rate == SAMPLE_RATE else soxr.resample(pcm, rate, SAMPLE_RATE).astype(np.float32)


def _build_batch(job: tuple[Path, str, str, list[Recording], int, int, str]) -> Index:
    """Align, join and save recordings of one speaker: their part, with `clips` and `rejected`."""
    out, speaker, split, recordings, number, seed, language = job
    part_name = f"{speaker}_{number:03d}"
    sources = [[row.name, row.text, *file_state(row.path)] for row in recordings if row.path.is_file()]
    state = [__version__, seed, split, language, zlib.crc32(repr(sources).encode())]
    part = read_part(out, part_name, state)
    if part is not None:
        return part
    rng = np.random.default_rng([seed, zlib.crc32(speaker.encode()), number])
    aligned: list[AlignedRecording] = []
    rejected: list[dict[str, str]] = []
    for recording in recordings:
        try:
            aligned.append((recording, *_align_and_trim(recording, language)))
        except TalkerError as error:
            rejected.append({"name": recording.name, "reason": str(error)})
    entries: list[Index] = []
    groups = group_recordings(aligned, rng)
    if aligned and not groups:
        reason = f"too short for a clip of {MIN_CLIP_S:g} s, and nothing of '{speaker}' is left to join it to"
        rejected += [{"name": recording.name, "reason": reason} for recording, _, _ in aligned]
    for k, group in enumerate(groups):
        clip = _join_recordings(group)
        clip.voice, clip.split, clip.name = speaker, split, f"{speaker}_{number:03d}_{k:02d}"
        clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, speaker)
        text = " ".join(recording.text for recording, _, _ in group)
        entries.append(save_clip(out, clip, speaker=speaker, source=group[0][0].source, text=text))
    return write_part(out, part_name, state, entries, rejected=rejected)


def _align_and_trim(recording: Recording, language: str) -> tuple[np.ndarray, list[Phone]]:
    """Audio and phones of a recording, with at most MAX_EDGE_SILENCE_S of silence at its ends."""
    pcm = read_speech(recording.path)
    phones = align(pcm, recording.text, language)
    longest = max(
        (phone for phone in phones if phone.name != "pau"), key=lambda phone: phone.end - phone.start
    )
    if longest.end - longest.start > MAX_PHONE_S:
        raise TalkerError(
            f"“{recording.text}” does not fit the sound ('{longest.name}' would last "
            f"{longest.end - longest.start:.1f} s)"
        )
    first, last = phones[0], phones[-1]
    start = max(0.0, first.end - MAX_EDGE_SILENCE_S) if first.name == "pau" else 0.0
    end = min(last.end, last.start + MAX_EDGE_SILENCE_S) if last.name == "pau" else last.end
    first_sample, end_sample = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
    start, end = first_sample / SAMPLE_RATE, end_sample / SAMPLE_RATE
    return pcm[first_sample:end_sample], [
        Phone(phone.name, max(phone.start, start) - start, min(phone.end, end) - start, phone.stress)
        for phone in phones
        if phone.end > start and phone.start < end
    ]


def group_recordings(
    aligned: Sequence[AlignedRecording], rng: np.random.Generator
) -> list[list[AlignedRecording]]:
    """Group recordings into clips of 4 to about 12 s; a longer recording is a clip of its own.

    Args:
        aligned: recordings of one speaker.
        rng: source of the target durations.

    Returns:
        The recordings of each clip; empty if all together are too short for one.
    """
    groups: list[list[AlignedRecording]] = [[]]
    low, high = TARGET_CLIP_S
    seconds = 0.0
    target = rng.uniform(low, high - 2)
    for item in aligned:
        duration = len(item[1]) / SAMPLE_RATE
        if seconds > target or (seconds >= MIN_CLIP_S and seconds + duration > high):
            groups.append([])
            seconds, target = 0.0, rng.uniform(low, high - 2)
        groups[-1].append(item)
        seconds += duration
    if seconds < MIN_CLIP_S:
        rest = groups.pop()
        if groups:
            groups[-1] += rest
    return groups


def _join_recordings(group: Sequence[AlignedRecording]) -> Clip:
    """Join recordings at equal level, with their own silence between them and short fades."""
    segments: list[np.ndarray] = []
    phones: list[Phone] = []
    position = 0  # samples
    ramp = np.linspace(0.0, 1.0, FADE_SAMPLES)
    for _, speech, speech_phones in group:
        pcm = augmentation.set_active_level(speech, SPEECH_LEVEL_DBFS).astype(np.float64)
        pcm = pcm * min(1.0, 0.98 / float(np.abs(pcm).max()))
        if speech_phones[0].name == "pau" and phones and phones[-1].name == "pau":
            excess = phones[-1].end - phones[-1].start + speech_phones[0].end - MAX_PAUSE_S
            cut = round(min(max(excess, 0.0), speech_phones[0].end - 0.05) * SAMPLE_RATE)
            pcm = pcm[cut:]
            speech_phones = [
                Phone(p.name, max(p.start - cut / SAMPLE_RATE, 0.0), p.end - cut / SAMPLE_RATE, p.stress)
                for p in speech_phones
            ]
        pcm[:FADE_SAMPLES] *= ramp
        pcm[-FADE_SAMPLES:] *= ramp[::-1]
        segments.append(pcm)
        offset = position / SAMPLE_RATE
        phones += [Phone(p.name, offset + p.start, offset + p.end, p.stress) for p in speech_phones]
        position += len(pcm)
    pcm = np.concatenate(segments)
    pcm = pcm[: len(pcm) // HOP_LENGTH * HOP_LENGTH].astype(np.float32)
    duration = len(pcm) / SAMPLE_RATE
    return Clip.at_rest(
        pcm,
        [
            Phone(p.name, p.start, min(p.end, duration), p.stress)
            for p in normalize_phones(phones)
            if p.start < duration
        ],
    )
