# SPDX-License-Identifier: Apache-2.0
"""What is said in a video, as phones: from word times, a transcript, or the loudness alone.

`phones_of(name, pcm, folder)` looks for NAME.align (GRID's word times) or NAME.txt (a transcript) and aligns its
words by force; where that fails, words with times become phones named `voice`, whose label nobody knows.
"""

from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.corpus.video.neutral_pose import loudness
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics.phones import Phone

TICKS = 25000.0  # of GRID's times in a second
SILENT = ("sil", "sp")
VOICE = "voice"  # speech whose phone is unknown
LETTERS = {"z": "zed"}  # British; the dictionary knows the other letters
APART = 0.25  # s; phones that end farther than that from the word times were found in the wrong place
EARLY, LATE = (
    0.2,
    0.8,
)  # s around the first word's time in which speech starts; it may hold the silence before it


def phones_of(name, pcm, folder=None):
    """name: of the video; pcm: (n,) at 16 kHz; folder: with NAME.align or NAME.txt, or None.

    Returns (phones from 0 to the end of the sound, text, how they were found: "aligned", "words" or "loudness").
    """
    end = len(pcm) / SAMPLE_RATE
    words, text = None, ""
    if folder is not None:
        times, script = Path(folder) / f"{name}.align", Path(folder) / f"{name}.txt"
        if times.is_file():
            words = read_words(times)
            text = " ".join(LETTERS.get(word, word) for word, _, _ in words)
        elif script.is_file():
            text = " ".join(script.read_text(encoding="utf-8").split())
    if text:
        phones = _aligned(pcm, text, words)
        if phones:
            return phones, text, "aligned"
    if words is not None:
        return (
            _filled([Phone(VOICE, start, min(stop, end)) for _, start, stop in words if start < end], end),
            text,
            "words",
        )
    return spoken(pcm), text, "loudness"


def read_words(path):
    """GRID's NAME.align -> [(word, start s, end s)] without its silences. Raises TalkerError for another file."""
    try:
        rows = [line.split() for line in Path(path).read_text().splitlines() if line.strip()]
        return [
            (word, int(start) / TICKS, int(end) / TICKS) for start, end, word in rows if word not in SILENT
        ]
    except ValueError:
        raise TalkerError(f"{path} has a line that is not `start end word`: give GRID's word times") from None


def _aligned(pcm, text, words):
    """Phones by forced alignment, or None where they do not fit the sound or the word times.

    A second try hears only what lies around the words: the first may stretch a phone over the silence before.
    """
    from streamingtalker_ros.phonetics.forced_alignment import align

    end = len(pcm) / SAMPLE_RATE
    tries = [(0.0, end)] + (
        [] if words is None else [(max(words[0][1] - 0.06, 0.0), min(words[-1][2] + 0.2, end))]
    )
    for start, stop in tries:
        try:
            said = [
                Phone(phone.name, phone.start + start, phone.end + start, phone.stress)
                for phone in align(pcm[int(start * SAMPLE_RATE) : int(stop * SAMPLE_RATE)], text)
                if phone.name != "pau"
            ]
        except TalkerError:
            continue
        if words is None or (
            said and -EARLY < said[0].start - words[0][1] < LATE and abs(said[-1].end - words[-1][2]) < APART
        ):
            return _filled(said, end)
    return None


def spoken(pcm, above=12.0, least=0.12, hold=0.15):
    """Phones `voice` and `pau` by loudness: `above` dB over the noise floor and within 35 dB of the loud parts.

    least: s that a stretch of voice lasts; hold: s of quiet that do not end it.
    """
    times = np.arange(0.01, len(pcm) / SAMPLE_RATE, 0.02)
    level = loudness(pcm, times, 0.03)
    if not len(level) or np.percentile(level, 98) < -60.0:
        return [Phone("pau", 0.0, len(pcm) / SAMPLE_RATE)]
    floor, loud = np.percentile(level, 8), np.percentile(level, 98)
    voiced = level > max(min(floor + above, loud - 6.0), loud - 35.0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voiced, [0]]))).reshape(-1, 2) * 0.02
    spans = []
    for start, stop in edges:
        if spans and start - spans[-1][1] < hold:
            spans[-1][1] = stop
        else:
            spans.append([start, stop])
    end = len(pcm) / SAMPLE_RATE
    return _filled(
        [Phone(VOICE, start, min(stop, end)) for start, stop in spans if stop - start >= least], end
    )


def _filled(phones, end):
    """Pauses put between phones, from 0 to end."""
    out, now = [], 0.0
    for phone in phones:
        if phone.start > now + 1e-6:
            out.append(Phone("pau", now, phone.start))
        out.append(phone)
        now = phone.end
    return out + ([Phone("pau", now, end)] if end > now + 1e-6 else [])


def within(phones, start, end):
    """The phones between two times, counted from the first: list of Phone."""
    return [
        Phone(phone.name, max(phone.start, start) - start, min(phone.end, end) - start, phone.stress)
        for phone in phones
        if phone.end > start + 1e-6 and phone.start < end - 1e-6
    ]
