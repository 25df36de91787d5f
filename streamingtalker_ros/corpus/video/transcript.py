# SPDX-License-Identifier: Apache-2.0
"""Phones of a video's audio: from word times, from a transcript, or from loudness alone.

`label_phones(name, pcm, folder)` looks for NAME.align (word times of the GRID corpus) or NAME.txt (a
transcript), or reads the sentence off a name of that corpus, and runs forced alignment; where that fails,
words with times become phones named `voice`, of unknown label.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.corpus.loudness import loudness_db
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics.phones import Phone

GRID_TICKS_PER_S: Final = 25000.0
"""Unit of the times of the GRID corpus."""

GRID_SILENCES: Final = ("sil", "sp")
"""Words of the GRID corpus that are silence."""

VOICE_PHONE: Final = "voice"
"""Name of a phone of speech whose label is unknown."""

GRID_WORDS: Final = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxy"} | {"z": "zed"},
    {
        "z": "zero",
        "1": "one",
        "2": "two",
        "3": "three",
        "4": "four",
        "5": "five",
        "6": "six",
        "7": "seven",
        "8": "eight",
        "9": "nine",
    },
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
"""Words of the six characters of a clip's name in the GRID corpus (Cooke et al., 2006)."""

LETTER_NAMES: Final = {"z": "zed"}
"""British letter names; the dictionary holds the other letters."""

MAX_END_DIFFERENCE_S: Final = 0.25
"""Largest difference between the end of the phones and that of the word times, in seconds."""

MAX_START_LEAD_S: Final = 0.2
"""Largest time by which the first phone may precede the first word, in seconds."""

MAX_START_DELAY_S: Final = 0.8
"""Largest time by which the first phone may follow the first word, which may contain the silence before
it."""

VOICE_STEP_S: Final = 0.02
"""Seconds between the loudness frames of `detect_voice`."""

Words = list[tuple[str, float, float]]
"""(word, start in s, end in s)."""


def label_phones(
    name: str, pcm: np.ndarray, folder: str | os.PathLike[str] | None = None
) -> tuple[list[Phone], str, str]:
    """Label the audio of a video with phones.

    Args:
        name: stem of the video.
        pcm: (n,) its audio at 16 kHz.
        folder: folder of NAME.align or NAME.txt; None if there are none; a name of the GRID corpus is
            a sentence.

    Returns:
        (phones from 0 to the end of the audio, text, source of the phones: "aligned", "words" or "loudness").

    Raises:
        TalkerError: if NAME.align has another format.
    """
    duration = len(pcm) / SAMPLE_RATE
    words: Words | None = None
    text = ""
    if folder is not None:
        times_path, text_path = Path(folder) / f"{name}.align", Path(folder) / f"{name}.txt"
        if times_path.is_file():
            words = read_word_times(times_path)
            text = " ".join(LETTER_NAMES.get(word, word) for word, _, _ in words)
        elif text_path.is_file():
            text = " ".join(text_path.read_text(encoding="utf-8").split())
    text = text or grid_sentence(name)
    if text:
        phones = _align(pcm, text, words)
        if phones:
            return phones, text, "aligned"
    if words is not None:
        voiced = [
            Phone(VOICE_PHONE, start, min(end, duration)) for _, start, end in words if start < duration
        ]
        return _insert_pauses(voiced, duration), text, "words"
    return detect_voice(pcm), text, "loudness"


def grid_sentence(name: str) -> str:
    """Sentence of a clip of the GRID corpus.

    Args:
        name: stem of the video, such as `bbaf2n`.

    Returns:
        The sentence ("bin blue at f two now"); empty if the name is none of that corpus.
    """
    words = [table.get(letter) for letter, table in zip(name, GRID_WORDS, strict=False)]
    return " ".join(map(str, words)) if len(name) == len(GRID_WORDS) and all(words) else ""


def read_word_times(path: str | os.PathLike[str]) -> Words:
    """Read the word times of the GRID corpus.

    Args:
        path: NAME.align with lines `start end word`.

    Returns:
        (word, start in s, end in s), without silences.

    Raises:
        TalkerError: if the file has another format.
    """
    try:
        rows = [line.split() for line in Path(path).read_text().splitlines() if line.strip()]
        return [
            (word, int(start) / GRID_TICKS_PER_S, int(end) / GRID_TICKS_PER_S)
            for start, end, word in rows
            if word not in GRID_SILENCES
        ]
    except ValueError:
        raise TalkerError(f"{path} has a line that is not `start end word`: give GRID's word times") from None


def _align(pcm: np.ndarray, text: str, words: Words | None) -> list[Phone] | None:
    """Phones by forced alignment, or None if they do not fit the audio or the word times.

    A second attempt aligns only the part around the words, because the first may stretch a phone over the
    silence before them.
    """
    from streamingtalker_ros.phonetics.forced_alignment import align

    duration = len(pcm) / SAMPLE_RATE
    attempts = [(0.0, duration)]
    if words is not None:
        attempts.append((max(words[0][1] - 0.06, 0.0), min(words[-1][2] + 0.2, duration)))
    for start, end in attempts:
        try:
            phones = [
                Phone(phone.name, phone.start + start, phone.end + start, phone.stress)
                for phone in align(pcm[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)], text)
                if phone.name != "pau"
            ]
        except TalkerError:
            continue
        if words is None or (
            phones
            and -MAX_START_LEAD_S < phones[0].start - words[0][1] < MAX_START_DELAY_S
            and abs(phones[-1].end - words[-1][2]) < MAX_END_DIFFERENCE_S
        ):
            return _insert_pauses(phones, duration)
    return None


def detect_voice(
    pcm: np.ndarray, threshold_db: float = 12.0, min_voice_s: float = 0.12, hangover_s: float = 0.15
) -> list[Phone]:
    """Detect voice activity by loudness.

    A frame is voice if it exceeds the noise floor by `threshold_db` and lies within 35 dB of the loud parts.

    Args:
        pcm: (n,) mono audio at 16 kHz.
        threshold_db: decibels above the noise floor.
        min_voice_s: shortest stretch of voice, in seconds.
        hangover_s: longest quiet stretch inside of voice, in seconds.

    Returns:
        Phones `voice` and `pau` from 0 to the end of the audio.
    """
    duration = len(pcm) / SAMPLE_RATE
    times = np.arange(0.01, duration, VOICE_STEP_S)
    level = loudness_db(pcm, times, 0.03)
    if not len(level) or np.percentile(level, 98) < -60.0:
        return [Phone("pau", 0.0, duration)]
    floor, loud = np.percentile(level, 8), np.percentile(level, 98)
    voiced = level > max(min(floor + threshold_db, loud - 6.0), loud - 35.0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voiced, [0]]))).reshape(-1, 2) * VOICE_STEP_S
    spans: list[list[float]] = []
    for start, end in edges:
        if spans and start - spans[-1][1] < hangover_s:
            spans[-1][1] = end
        else:
            spans.append([start, end])
    return _insert_pauses(
        [Phone(VOICE_PHONE, start, min(end, duration)) for start, end in spans if end - start >= min_voice_s],
        duration,
    )


def _insert_pauses(phones: Iterable[Phone], duration: float) -> list[Phone]:
    """Fill the gaps between phones with pauses, from 0 to `duration`."""
    filled: list[Phone] = []
    position = 0.0
    for phone in phones:
        if phone.start > position + 1e-6:
            filled.append(Phone("pau", position, phone.start))
        filled.append(phone)
        position = phone.end
    if duration > position + 1e-6:
        filled.append(Phone("pau", position, duration))
    return filled


def crop_phones(phones: Sequence[Phone], start: float, end: float) -> list[Phone]:
    """Cut out the phones between two times.

    Args:
        phones: phones in order.
        start: seconds.
        end: seconds.

    Returns:
        The phones, with times from `start`.
    """
    return [
        Phone(phone.name, max(phone.start, start) - start, min(phone.end, end) - start, phone.stress)
        for phone in phones
        if phone.end > start + 1e-6 and phone.start < end - 1e-6
    ]
