# SPDX-License-Identifier: Apache-2.0
"""espeak-ng as a voice with phone times: many languages, many speakers, through libespeak-ng's phoneme events.

`speak(voice, texts, …)` gives one `voices.Utterance` per text; `ipa_to_phones` maps the International Phonetic Alphabet
onto the teacher's phones by what the lips do. Timing is coarser than flite's; docs/teacher.md holds the figures.
"""

import ctypes
import ctypes.util
import functools
import unicodedata

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics.flite_festival_tts import Utterance
from streamingtalker_ros.phonetics.phones import VOWELS, Phone, normalize_phones

EARLY = {
    "p": 0.027,
    "t": 0.019,
    "k": 0.027,
    "ch": 0.027,
    "pau": 0.027,
}  # seconds by which a closure precedes its event
SHORT = 0.06  # seconds
_SYNCHRONOUS, _PHONEMES, _IPA, _DONT_EXIT = 2, 1, 2, 1 << 15
_PHONEME, _SPEED, _PITCH, _RANGE, _UTF8 = 7, 1, 3, 4, 1

# sounds of two letters first; what the lips do decides, not the ear: a front rounded vowel is a rounded one
_IPA_PHONES = {
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


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique", ctypes.c_uint),
        ("position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("id", _Id),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Engine:
    """The one instance that the library allows in a process."""

    def __init__(self, library) -> None:
        self.library, self.sound, self.events = library, [], []
        self.rate = library.espeak_Initialize(_SYNCHRONOUS, 200, None, _PHONEMES | _IPA | _DONT_EXIT)
        if self.rate <= 0:
            raise TalkerError("libespeak-ng found no voices; `apt install espeak-ng-data`")
        self.callback = _CALLBACK(self._heard)  # kept: the library holds only a pointer
        library.espeak_SetSynthCallback(self.callback)

    def _heard(self, samples, count, events) -> int:
        if samples and count > 0:
            self.sound.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type:
            if events[i].type == _PHONEME:
                name = bytes(events[i].id.string).split(b"\0")[0]
                self.events.append((events[i].sample, name.decode("utf-8", "ignore")))
            i += 1
        return 0

    def say(self, voice, text, words_per_minute, pitch, span):
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise TalkerError(f"espeak-ng has no voice '{voice}'; `espeak-ng --voices` lists them")
        for parameter, value in ((_SPEED, words_per_minute), (_PITCH, pitch), (_RANGE, span)):
            self.library.espeak_SetParameter(parameter, int(value), 0)
        self.sound, self.events = [], []
        data = text.encode("utf-8")
        self.library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
        pcm = np.concatenate(self.sound) if self.sound else np.zeros(0, np.int16)
        return pcm.astype(np.float32) / 32768.0, list(self.events)


@functools.lru_cache(maxsize=1)
def _engine():
    name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
    try:
        return _Engine(ctypes.CDLL(name))
    except OSError:
        raise TalkerError("libespeak-ng is not installed: `apt install espeak-ng`") from None


def is_available():
    """Whether espeak-ng can speak on this machine."""
    try:
        return bool(_engine())
    except TalkerError:
        return False


def ipa_to_phones(ipa):
    """IPA of one sound -> names of the teacher's phones, list; diacritics, length and stress are dropped."""
    bare = "".join(
        char
        for char in unicodedata.normalize("NFD", ipa)
        if not unicodedata.combining(char) and char not in "ːˑˈˌʰʲʷˠˤ̃-_|ˀ˞0123456789"
    )
    out, at = [], 0
    while at < len(bare):
        for size in (2, 1):
            if bare[at : at + size] in _IPA_PHONES:
                out += _IPA_PHONES[bare[at : at + size]].split()
                at += size
                break
        else:
            at += 1
    return out


def synthesize(voice, texts, words_per_minute=165, pitch=50, span=50):
    """Speak sentences with espeak-ng.

    voice: language and variant as espeak-ng names them, `de+f2`; pitch, span (of pitch): 0..99.
    Returns one Utterance per text. Raises TalkerError without the library or the voice.
    """
    engine = _engine()
    return [
        _utterance(voice, text, *engine.say(voice, text, words_per_minute, pitch, span), engine.rate)
        for text in texts
    ]


def _utterance(voice, text, pcm, events, rate):
    soxr = require("soxr", "resampling speech")
    length, rows = len(pcm) / rate, []
    for i, (sample, name) in enumerate(events):
        start = min(sample / rate, length)
        end = min(events[i + 1][0] / rate, length) if i + 1 < len(events) else length
        if name.startswith("("):  # a switch of language: the text is in another script
            raise TalkerError(f"the espeak-ng voice '{voice}' cannot read “{text}”")
        names = ipa_to_phones(name) or ["pau"]
        edges = np.linspace(start, end, len(names) + 1)
        rows += [(one, a, b) for one, a, b in zip(names, edges, edges[1:]) if b > a]
    if not any(name != "pau" for name, _, _ in rows):
        raise TalkerError(f"the espeak-ng voice '{voice}' said nothing for “{text}”")
    rows = _without_clicks(rows)
    phones, now = [], 0.0
    usual = np.median([b - a for name, a, b in rows if name in VOWELS] or [0.1])
    for i, (name, _, _) in enumerate(rows):
        end = rows[i + 1][1] - EARLY.get(rows[i + 1][0], 0.0) if i + 1 < len(rows) else length
        end = min(max(end, now + 0.005), length)
        stress = int(name in VOWELS and name not in ("ax", "er") and end - now > 0.9 * usual)
        if end > now:
            phones.append(Phone(name, now, end, stress))
            now = end
    if now < length:
        phones.append(Phone("pau", now, length))
    return Utterance(
        soxr.resample(pcm, rate, SAMPLE_RATE).astype(np.float32), normalize_phones(phones), text, voice
    )


def _without_clicks(rows):
    """Rows of (name, start, end) without pauses below SHORT inside speech: glottal stops and tones, no pauses."""
    out = []
    for row in rows:
        if row[0] == "pau" and out and row[2] - row[1] < SHORT and row is not rows[-1]:
            out[-1] = (out[-1][0], out[-1][1], row[2])
        else:
            out.append(row)
    return out
