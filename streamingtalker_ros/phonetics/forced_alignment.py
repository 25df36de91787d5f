# SPDX-License-Identifier: Apache-2.0
"""Forced alignment: when each phone of a text sounds in a recording, found by pocketsphinx (English).

`align(pcm, text)` gives phones in the package's names from 0 to the end of the recording, pauses as `pau`.
pocketsphinx and its English model come from PyPI; words that its dictionary lacks are spelt out by flite.
"""

import functools
import re
import shutil
import subprocess

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics.phones import VOWELS, Phone, normalize_phones

FRAME = 0.01  # seconds of a pocketsphinx frame
LATE = 0.0128  # seconds by which a frame's middle lies behind its start: half of the 25.6 ms window
WIDE = {"beam": 1e-100, "pbeam": 1e-100, "wbeam": 1e-80}  # a second try for accents that the first one loses
HURRIED = 0.45  # a text that does not fit is squeezed into phones of the least length, three frames
SCHWA = 0.075  # seconds: an `ah` below this is a schwa; the dictionary does not tell them apart


@functools.lru_cache(maxsize=2)
def _decoder(wide):
    decoder = require("pocketsphinx", "aligning speech with its text").Decoder
    # the best path through its lattice can hold words of one frame, in which no phones fit
    return decoder(lm=None, loglevel="FATAL", bestpath=False, **(WIDE if wide else {}))


def words_of(text):
    """The words of a text, lower-case: list of str. Raises TalkerError where a number stands in digits."""
    if not isinstance(text, str):
        text = " ".join(text)
    if re.search(r"\d", text):
        raise TalkerError(f"“{text}” holds digits; write numbers as they are spoken")
    found = re.findall(r"[a-z]+(?:'[a-z]+)*'?", text.lower().replace("’", "'"))
    if not found:
        raise TalkerError(f"“{text}” holds no English word to align")
    return found


@functools.cache
def spell(word):
    """How flite's letter-to-sound rules say a word: its phones in pocketsphinx's names, one string."""
    if shutil.which("flite") is None:
        raise TalkerError(
            f"'{word}' is not in the dictionary; `apt install flite` brings rules for unknown words"
        )
    said = subprocess.run(["flite", "-ps", "-t", word, "none"], capture_output=True, text=True)
    phones = [phone for phone in said.stdout.split() if phone != "pau"]
    if said.returncode or not phones:
        raise TalkerError(f"'{word}' is not in the dictionary, and flite has no rule for it")
    return " ".join({"ax": "ah"}.get(phone, phone).upper() for phone in phones)


def _known(decoder, words):
    """The words under names that the dictionary has; unknown ones are added to it."""
    out = []
    for word in words:
        bare = word.strip("'")
        name = next((name for name in (word, bare) if decoder.lookup_word(name) is not None), None)
        if name is None:
            decoder.add_word(bare, spell(bare), True)
            name = bare
        out.append(name)
    return out


def _attempt(decoder, words, sound):
    """Two passes, words then phones: list of (name, first frame, frames), or None when no path survives."""
    try:
        decoder.set_align_text(" ".join(_known(decoder, words)))
        for again in (False, True):
            if again:
                decoder.set_alignment()
            decoder.start_utt()
            decoder.process_raw(sound, full_utt=True)
            decoder.end_utt()
            if not again and decoder.hyp() is None:  # after the second pass hyp() crashes pocketsphinx 5.1
                return None
        found = decoder.get_alignment()
        return [(phone.name, phone.start, phone.duration) for word in found or () for phone in word]
    except RuntimeError:
        return None


def align(pcm, text):
    """Find the phones of a text in its recording.

    pcm: (n,) float32 at 16 kHz; text: a string, or a list of words.
    Returns phones in order, from 0 to n / 16000 without gaps; stress marks the vowels that are long for this
    recording. Raises TalkerError, with the reason, when the text cannot be found in the sound.
    """
    words = words_of(text)
    pcm = np.asarray(pcm, np.float32)
    if len(pcm) < SAMPLE_RATE // 4:
        raise TalkerError(f"{len(pcm) / SAMPLE_RATE:.2f} s are too short to align")
    peak = float(np.abs(pcm).max())
    if not np.isfinite(peak) or peak < 1e-4:
        raise TalkerError("the recording is silent: nothing to align")
    sound = (pcm * (0.9 / peak) * 32767).astype("<i2").tobytes()
    for wide in (False, True):
        found = _attempt(_decoder(wide), words, sound)
        if found and _hurried(found) < HURRIED:
            return _phones(found, len(pcm) / SAMPLE_RATE)
    reason = "no path through its phones" if not found else "its phones are squeezed"
    raise TalkerError(
        f"“{' '.join(words)}” does not fit the sound ({reason}); check that this is what is said"
    )


def _hurried(found):
    """Share of the phones that have the least length."""
    spans = [frames for name, _, frames in found if name.isalpha() and name != "SIL"]
    return np.mean([frames <= 3 for frames in spans]) if spans else 1.0


def _phones(found, length):
    """pocketsphinx's rows as phones that fill 0..length seconds."""
    edges = [0.0] + [min(first * FRAME + LATE, length) for _, first, _ in found[1:]] + [length]
    rows = []
    for (name, _, _), start, end in zip(found, edges, edges[1:]):
        name = name.lower() if name.isalpha() and name != "SIL" else "pau"
        if end > start:
            rows.append(Phone(name, start, end))
    last = found[-1][1] + found[-1][2]
    if rows[-1].name != "pau" and length - last * FRAME > 0.06:
        end = last * FRAME + LATE
        rows[-1:] = [Phone(rows[-1].name, rows[-1].start, end), Phone("pau", end, length)]
    usual = np.median([row.end - row.start for row in rows if row.name in VOWELS] or [0.1])
    out = []
    for row in rows:
        span = row.end - row.start
        name = "ax" if row.name == "ah" and span < SCHWA else row.name
        stress = int(name in VOWELS and name not in ("ax", "er") and span > 0.9 * usual)
        out.append(Phone(name, row.start, row.end, stress))
    return normalize_phones(out)
