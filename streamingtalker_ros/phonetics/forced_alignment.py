# SPDX-License-Identifier: Apache-2.0
"""Forced alignment: times of the phones of a text in its recording, by pocketsphinx.

`align(pcm, text)` returns normalized phones from 0 to the end of the recording, pauses as `pau`. pocketsphinx
and its English model come from PyPI; flite spells words that the dictionary lacks. Words of other languages
are pronounced by espeak-ng, and their sounds aligned with the English sounds that look like them on the lips.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics import espeak_tts
from streamingtalker_ros.phonetics.phones import VOWELS, Phone, normalize_phones

FRAME_S: Final = 0.01
"""Seconds per frame of pocketsphinx."""

WINDOW_CENTER_S: Final = 0.0128
"""Seconds from the start of a frame to the middle of its 25.6 ms window."""

WIDE_BEAMS: Final = {"beam": 1e-100, "pbeam": 1e-100, "wbeam": 1e-80}
"""Beam widths of the second attempt, for accents on which the default search fails."""

MAX_MINIMAL_FRACTION: Final = 0.45
"""A text with a larger fraction of phones of the least duration does not fit the sound."""

MINIMAL_FRAMES: Final = 3
"""Least duration that pocketsphinx gives a phone, in frames."""

MAX_SCHWA_S: Final = 0.075
"""Seconds: a shorter `ah` is a schwa; the dictionary does not distinguish the two."""

MIN_FINAL_PAUSE_S: Final = 0.06
"""Seconds of sound after the last phone that become a pause."""

ENGLISH: Final = "en"
"""Language whose words stand in pocketsphinx's dictionary."""

_AlignedFrames = list[
    tuple[str, int, int]
]  # (name in pocketsphinx's alphabet, first frame, number of frames)


@functools.lru_cache(maxsize=2)
def _decoder(wide: bool) -> Any:
    decoder_class = require("pocketsphinx", "aligning speech with its text").Decoder
    # the best path through its lattice can hold words of one frame, in which no phones fit
    return decoder_class(lm=None, loglevel="FATAL", bestpath=False, **(WIDE_BEAMS if wide else {}))


def split_words(text: str | Sequence[str]) -> list[str]:
    """Split a text into lower-case words.

    Args:
        text: a string, or a list of words.

    Returns:
        The words, without punctuation.

    Raises:
        TalkerError: if the text contains digits or no English word.
    """
    if not isinstance(text, str):
        text = " ".join(text)
    if re.search(r"\d", text):
        raise TalkerError(f"“{text}” holds digits; write numbers as they are spoken")
    words = re.findall(r"[a-z]+(?:'[a-z]+)*'?", text.lower().replace("’", "'"))
    if not words:
        raise TalkerError(f"“{text}” holds no English word to align")
    return words


@functools.cache
def letter_to_sound(word: str) -> str:
    """Pronunciation of a word by flite's letter-to-sound rules.

    Args:
        word: lower-case English word.

    Returns:
        Phone names of pocketsphinx's alphabet, separated by spaces.

    Raises:
        TalkerError: if flite is not installed or has no rule for the word.
    """
    if shutil.which("flite") is None:
        raise TalkerError(
            f"'{word}' is not in the dictionary; `apt install flite` brings rules for unknown words"
        )
    result = subprocess.run(["flite", "-ps", "-t", word, "none"], capture_output=True, text=True)
    phones = [phone for phone in result.stdout.split() if phone != "pau"]
    if result.returncode or not phones:
        raise TalkerError(f"'{word}' is not in the dictionary, and flite has no rule for it")
    return " ".join({"ax": "ah"}.get(phone, phone).upper() for phone in phones)


def _dictionary_names(decoder: Any, words: Sequence[str]) -> list[str]:
    """Dictionary entry of each word; adds the pronunciation of unknown words to the dictionary."""
    names = []
    for word in words:
        bare = word.strip("'")
        name = next((name for name in (word, bare) if decoder.lookup_word(name) is not None), None)
        if name is None:
            decoder.add_word(bare, letter_to_sound(bare), True)
            name = bare
        names.append(name)
    return names


def pronounce(text: str, language: str) -> list[str]:
    """Pronunciation of the words of a text in another language than English.

    Args:
        text: a sentence whose words have spaces between them.
        language: code of espeak-ng, such as "de".

    Returns:
        Per word, phone names of pocketsphinx's alphabet, separated by spaces.

    Raises:
        TalkerError: if espeak-ng is not installed, lacks the language, or speaks no word of the text.
    """
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text)
    utterances = espeak_tts.synthesize(language, words) if words else []
    spoken = [
        [
            {"ax": "ah"}.get(phone.name, phone.name).upper()
            for phone in utterance.phones
            if phone.name != "pau"
        ]
        for utterance in utterances
    ]
    if not any(spoken):
        raise TalkerError(f"“{text}” holds no word to align")
    return [" ".join(phones) for phones in spoken if phones]


def _align_frames(
    decoder: Any, words: Sequence[str], pcm_bytes: bytes, is_pronounced: bool
) -> _AlignedFrames | None:
    """Align words, then phones, in two passes; None when the search finds no path."""
    try:
        if is_pronounced:
            names = [f"word-{word.replace(' ', '-')}" for word in words]
            for name, phones in zip(names, words, strict=True):
                if decoder.lookup_word(name) is None:
                    decoder.add_word(name, phones, True)
        else:
            names = _dictionary_names(decoder, words)
        decoder.set_align_text(" ".join(names))
        for phone_pass in (False, True):
            if phone_pass:
                decoder.set_alignment()
            decoder.start_utt()
            decoder.process_raw(pcm_bytes, full_utt=True)
            decoder.end_utt()
            if (
                not phone_pass and decoder.hyp() is None
            ):  # after the second pass hyp() crashes pocketsphinx 5.1
                return None
        alignment = decoder.get_alignment()
        return [(phone.name, phone.start, phone.duration) for word in alignment or () for phone in word]
    except RuntimeError:
        return None


def align(pcm: np.ndarray, text: str | Sequence[str], language: str = ENGLISH) -> list[Phone]:
    """Find the times of the phones of a text in its recording.

    Args:
        pcm: (n,) mono audio at 16 kHz, -1 to 1.
        text: a string, or a list of words.
        language: code of espeak-ng.

    Returns:
        Normalized phones in order, without gaps from 0 to n / 16000 s. Vowels that are long for this
        recording have stress 1.

    Raises:
        TalkerError: with the reason, if the text cannot be found in the sound.
    """
    is_english = language == ENGLISH
    sentence = text if isinstance(text, str) else " ".join(text)
    words = split_words(text) if is_english else pronounce(sentence, language)
    pcm = np.asarray(pcm, np.float32)
    if len(pcm) < SAMPLE_RATE // 4:
        raise TalkerError(f"{len(pcm) / SAMPLE_RATE:.2f} s are too short to align")
    peak = float(np.abs(pcm).max())
    if not np.isfinite(peak) or peak < 1e-4:
        raise TalkerError("the recording is silent: nothing to align")
    pcm_bytes = (pcm * (0.9 / peak) * 32767).astype("<i2").tobytes()
    aligned: _AlignedFrames | None = None
    for wide in (False, True):
        aligned = _align_frames(_decoder(wide), words, pcm_bytes, not is_english)
        if aligned and _minimal_fraction(aligned) < MAX_MINIMAL_FRACTION:
            return _to_phones(aligned, len(pcm) / SAMPLE_RATE)
    reason = "no path through its phones" if not aligned else "its phones are too short"
    raise TalkerError(f"“{sentence}” does not fit the sound ({reason}); check the transcript")


def _is_pause(name: str) -> bool:
    return not name.isalpha() or name == "SIL"


def _minimal_fraction(aligned: _AlignedFrames) -> float:
    """Fraction of the phones that have the least duration."""
    durations = [frames for name, _, frames in aligned if not _is_pause(name)]
    return float(np.mean([frames <= MINIMAL_FRAMES for frames in durations])) if durations else 1.0


def _to_phones(aligned: _AlignedFrames, duration: float) -> list[Phone]:
    """Convert pocketsphinx's segments to phones that cover 0 to `duration` seconds."""
    edges = [
        0.0,
        *(min(first * FRAME_S + WINDOW_CENTER_S, duration) for _, first, _ in aligned[1:]),
        duration,
    ]
    segments = []
    for (name, _, _), start, end in zip(aligned, edges[:-1], edges[1:], strict=True):
        if end > start:
            segments.append(Phone("pau" if _is_pause(name) else name.lower(), start, end))
    last_frame = aligned[-1][1] + aligned[-1][2]
    if segments[-1].name != "pau" and duration - last_frame * FRAME_S > MIN_FINAL_PAUSE_S:
        end = last_frame * FRAME_S + WINDOW_CENTER_S
        segments[-1:] = [
            Phone(segments[-1].name, segments[-1].start, end),
            Phone("pau", end, duration),
        ]
    vowel_durations = [phone.end - phone.start for phone in segments if phone.name in VOWELS]
    median_duration = np.median(vowel_durations or [0.1])
    phones = []
    for phone in segments:
        length = phone.end - phone.start
        name = "ax" if phone.name == "ah" and length < MAX_SCHWA_S else phone.name
        stress = int(name in VOWELS and name not in ("ax", "er") and length > 0.9 * median_duration)
        phones.append(Phone(name, phone.start, phone.end, stress))
    return normalize_phones(phones)
