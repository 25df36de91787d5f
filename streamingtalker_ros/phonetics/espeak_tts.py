# SPDX-License-Identifier: Apache-2.0
"""Text to speech with phone times in many languages, by the phoneme events of libespeak-ng.

`synthesize(voice, texts, …)` returns one `flite_festival_tts.Utterance` per text. `ipa_to_phones` maps the
International Phonetic Alphabet onto the ARPAbet phones of the coarticulation model by lip shape. Times are
coarser than those of flite.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import io
import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics.flite_festival_tts import Utterance
from streamingtalker_ros.phonetics.phones import VOWELS, Phone, normalize_phones

CLOSURE_LEAD_S: Final = {"p": 0.027, "t": 0.019, "k": 0.027, "ch": 0.027, "pau": 0.027}
"""Seconds by which a closure precedes its phoneme event, per phone."""

MIN_PAUSE_S: Final = 0.06
"""Seconds: shorter pauses inside of speech are glottal stops or tones."""

# constants of espeak-ng/speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS, _INITIALIZE_PHONEME_IPA, _INITIALIZE_DONT_EXIT = 1, 2, 1 << 15
_EVENT_PHONEME = 7
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_CHARS_UTF8 = 1
_BUFFER_MS = 200
_EXIT_REFUSED = 3  # of the process that synthesizes: stderr holds the sentence

# sounds of two letters first; lip shape decides, not the sound: a front rounded vowel maps to a rounded one
_IPA_TO_PHONES: Final = {
    "tʃ": "ch",
    "dʒ": "jh",
    "tɕ": "ch",
    "dʑ": "jh",
    "tʂ": "ch",
    "dʐ": "jh",
    "ʈʂ": "ch",
    "ts": "t s",
    "dz": "d z",
    "pf": "p f",
    "aɪ": "ay",
    "aʊ": "aw",
    "eɪ": "ey",
    "oʊ": "ow",
    "əʊ": "ow",
    "ɔɪ": "oy",
    "ɔø": "oy",
    "ɔʏ": "oy",
    "əl": "ax l",
    "ai": "ay",
    "ei": "ey",
    "au": "aw",
    "ou": "ow",
    "oi": "oy",
    "eu": "eh uw",
    "ɑu": "aw",
    "ʉ": "uw",
    "i": "iy",
    "ɪ": "ih",
    "ɨ": "ih",
    "y": "uw",
    "ʏ": "uh",
    "u": "uw",
    "ʊ": "uh",
    "ɯ": "ih",
    "e": "eh",
    "ɛ": "eh",
    "ø": "uh",
    "œ": "er",
    "ə": "ax",
    "ɐ": "ax",
    "ɘ": "ax",
    "ɵ": "uh",
    "ɤ": "ah",
    "ʌ": "ah",
    "o": "ow",
    "ɔ": "ao",
    "æ": "ae",
    "a": "aa",
    "ɑ": "aa",
    "ɒ": "ao",
    "ɜ": "er",
    "ɚ": "er",
    "ɝ": "er",
    "p": "p",
    "b": "b",
    "m": "m",
    "ɱ": "m",
    "f": "f",
    "v": "v",
    "ɸ": "f",
    "β": "v",
    "ʋ": "v",
    "w": "w",
    "ʍ": "w",
    "ɥ": "w",
    "θ": "th",
    "ð": "dh",
    "t": "t",
    "d": "d",
    "ʈ": "t",
    "ɖ": "d",
    "n": "n",
    "ɳ": "n",
    "ɲ": "n",
    "s": "s",
    "z": "z",
    "ʃ": "sh",
    "ʒ": "zh",
    "ʂ": "sh",
    "ʐ": "zh",
    "ɕ": "sh",
    "ʑ": "zh",
    "ç": "hh",
    "ʝ": "y",
    "j": "y",
    "l": "l",
    "ɫ": "l",
    "ʎ": "l",
    "ɭ": "l",
    "ɬ": "l",
    "ɾ": "d",
    "r": "d",
    "ɽ": "d",
    "ɹ": "r",
    "ɻ": "r",
    "ʀ": "g",
    "ʁ": "g",
    "k": "k",
    "ɡ": "g",
    "g": "g",
    "q": "k",
    "c": "k",
    "ɟ": "g",
    "x": "hh",
    "χ": "hh",
    "ɣ": "g",
    "h": "hh",
    "ɦ": "hh",
    "ħ": "hh",
    "ʕ": "hh",
    "ŋ": "ng",
    "ʔ": "pau",
}

_IGNORED_IPA: Final = "ːˑˈˌʰʲʷˠˤ̃-_|ˀ˞0123456789"  # diacritics, length, stress and tone marks

_TimedPhone = tuple[str, float, float]  # (name, start in s, end in s)


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Engine:
    """The only instance of libespeak-ng that a process may have."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._blocks: list[np.ndarray] = []
        self._events: list[tuple[int, str]] = []
        self.sample_rate: int = library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS,
            _BUFFER_MS,
            None,
            _INITIALIZE_PHONEME_EVENTS | _INITIALIZE_PHONEME_IPA | _INITIALIZE_DONT_EXIT,
        )
        if self.sample_rate <= 0:
            raise TalkerError("libespeak-ng found no voices; `apt install espeak-ng-data`")
        self._callback = _SynthCallback(
            self._on_audio
        )  # a reference, because the library holds only a pointer
        library.espeak_SetSynthCallback(self._callback)

    def _on_audio(self, samples: Any, count: int, events: Any) -> int:
        """Collect audio and phoneme events; returns 0 to continue the synthesis."""
        if samples and count > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type:
            if events[i].type == _EVENT_PHONEME:
                name = bytes(events[i].id.string).split(b"\0")[0]
                self._events.append((events[i].sample, name.decode("utf-8", "ignore")))
            i += 1
        return 0

    def synthesize(
        self, voice: str, text: str, words_per_minute: int, pitch: int, pitch_range: int
    ) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Synthesize one text.

        Returns:
            ((n,) float32 audio at `sample_rate`, [(first sample, IPA name) of each phoneme]).
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise TalkerError(f"espeak-ng has no voice '{voice}'; `espeak-ng --voices` lists them")
        for parameter, value in (
            (_PARAMETER_RATE, words_per_minute),
            (_PARAMETER_PITCH, pitch),
            (_PARAMETER_RANGE, pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, int(value), 0)
        self._blocks, self._events = [], []
        data = text.encode("utf-8")
        self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        pcm = np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.int16)
        return pcm.astype(np.float32) / 32768.0, list(self._events)


@functools.lru_cache(maxsize=1)
def _engine() -> _Engine:
    name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
    try:
        return _Engine(ctypes.CDLL(name))
    except OSError:
        raise TalkerError("libespeak-ng is not installed: `apt install espeak-ng`") from None


def is_available() -> bool:
    """Whether libespeak-ng and its voices are installed."""
    try:
        _engine()
    except TalkerError:
        return False
    return True


def ipa_to_phones(ipa: str) -> list[str]:
    """Map one sound in the International Phonetic Alphabet to ARPAbet phone names.

    Args:
        ipa: the sound; diacritics, length and stress marks are ignored.

    Returns:
        Phone names, empty if no symbol is recognized.
    """
    letters = "".join(
        char
        for char in unicodedata.normalize("NFD", ipa)
        if not unicodedata.combining(char) and char not in _IGNORED_IPA
    )
    names: list[str] = []
    position = 0
    while position < len(letters):
        for size in (2, 1):
            if letters[position : position + size] in _IPA_TO_PHONES:
                names += _IPA_TO_PHONES[letters[position : position + size]].split()
                position += size
                break
        else:
            position += 1
    return names


def synthesize(
    voice: str, texts: Sequence[str], words_per_minute: int = 165, pitch: int = 50, pitch_range: int = 50
) -> list[Utterance]:
    """Synthesize sentences with espeak-ng.

    Args:
        voice: language and variant as espeak-ng names them, for example `de+f2`.
        texts: one sentence each.
        words_per_minute: speaking rate.
        pitch: 0 to 99.
        pitch_range: 0 (monotone) to 99.

    Returns:
        One utterance per text.

    Raises:
        TalkerError: if the library or the voice is not installed, or the voice cannot read a text.
    """
    request = {"voice": voice, "texts": list(texts)}
    request |= {"words_per_minute": words_per_minute, "pitch": pitch, "pitch_range": pitch_range}
    # the library remembers what it has spoken: only a fresh process gives equal audio for equal arguments
    package_root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "streamingtalker_ros.phonetics.espeak_tts"],
        input=json.dumps(request).encode(),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode == _EXIT_REFUSED:
        raise TalkerError(done.stderr.decode("utf-8", "replace"))
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        raise TalkerError(f"espeak-ng ended with exit code {done.returncode} ({lines[-1]})")
    with np.load(io.BytesIO(done.stdout)) as arrays:
        sample_rate = int(arrays["sample_rate"])
        all_events: list[list[tuple[int, str]]] = json.loads(str(arrays["events"]))
        speech = [arrays[f"pcm_{k}"] for k in range(len(texts))]
    return [
        _utterance(voice, text, pcm, events, sample_rate)
        for text, pcm, events in zip(texts, speech, all_events, strict=True)
    ]


def _serve() -> int:
    """Answer the request on stdin, in a process of its own; return its exit code."""
    request = json.load(sys.stdin.buffer)
    voice, texts = request.pop("voice"), request.pop("texts")
    try:
        engine = _engine()
        results = [engine.synthesize(voice, text, **request) for text in texts]
    except TalkerError as error:
        sys.stderr.write(str(error))
        return _EXIT_REFUSED
    arrays: dict[str, Any] = {f"pcm_{k}": pcm for k, (pcm, _) in enumerate(results)}
    arrays["events"] = np.array(json.dumps([events for _, events in results]))
    buffer = io.BytesIO()
    np.savez(buffer, sample_rate=engine.sample_rate, **arrays)
    sys.stdout.buffer.write(buffer.getvalue())
    return 0


def _utterance(
    voice: str, text: str, pcm: np.ndarray, events: Sequence[tuple[int, str]], sample_rate: int
) -> Utterance:
    """Convert the phoneme events of a text to phones without gaps."""
    soxr = require("soxr", "resampling speech")
    duration = len(pcm) / sample_rate
    rows: list[_TimedPhone] = []
    for i, (sample, ipa) in enumerate(events):
        start = min(sample / sample_rate, duration)
        end = min(events[i + 1][0] / sample_rate, duration) if i + 1 < len(events) else duration
        if ipa.startswith("("):  # a switch of language: the text is in another script
            raise TalkerError(f"the espeak-ng voice '{voice}' cannot read “{text}”")
        names = ipa_to_phones(ipa) or ["pau"]
        edges = np.linspace(start, end, len(names) + 1)
        rows += [
            (name, first, last)
            for name, first, last in zip(names, edges[:-1], edges[1:], strict=True)
            if last > first
        ]
    if not any(name != "pau" for name, _, _ in rows):
        raise TalkerError(f"the espeak-ng voice '{voice}' produced no speech for “{text}”")
    rows = _remove_short_pauses(rows)
    phones: list[Phone] = []
    position = 0.0
    median_duration = np.median([end - start for name, start, end in rows if name in VOWELS] or [0.1])
    for i, (name, _, _) in enumerate(rows):
        end = rows[i + 1][1] - CLOSURE_LEAD_S.get(rows[i + 1][0], 0.0) if i + 1 < len(rows) else duration
        end = min(max(end, position + 0.005), duration)
        stress = int(name in VOWELS and name not in ("ax", "er") and end - position > 0.9 * median_duration)
        if end > position:
            phones.append(Phone(name, position, end, stress))
            position = end
    if position < duration:
        phones.append(Phone("pau", position, duration))
    resampled = soxr.resample(pcm, sample_rate, SAMPLE_RATE).astype(np.float32)
    return Utterance(resampled, normalize_phones(phones), text, voice)


def _remove_short_pauses(rows: Sequence[_TimedPhone]) -> list[_TimedPhone]:
    """Extend the phone before a pause shorter than `MIN_PAUSE_S` over it; the last row stays."""
    merged: list[_TimedPhone] = []
    for row in rows:
        if row[0] == "pau" and merged and row[2] - row[1] < MIN_PAUSE_S and row is not rows[-1]:
            merged[-1] = (merged[-1][0], merged[-1][1], row[2])
        else:
            merged.append(row)
    return merged


if __name__ == "__main__":
    sys.exit(_serve())
