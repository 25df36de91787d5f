# SPDX-License-Identifier: Apache-2.0
"""Speech with exact phone times: the synthesisers flite and festival speak, and say when each phone sounded.

`speak(voice, texts)` takes the name of a voice and sentences and gives one `Utterance` per sentence:
16 kHz mono float32 and its phones. Both programs are Debian packages and are needed only to make a corpus.
"""

import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics.phones import VOWELS, Phone, normalize_phones

_CMU = "© Carnegie Mellon University, free use and redistribution with notice (festvox licence)"
_CSTR = "© CSTR, University of Edinburgh, free use and redistribution with notice (festvox licence)"


@dataclass(frozen=True)
class Voice:
    """A voice: the program that speaks it, its name there, how early its phone times are, its licence."""

    engine: str
    name: str
    early: float  # seconds by which the engine's phone times run ahead of its sound; see docs/teacher.md
    pitch: float  # Hz, usual mean
    package: str
    licence: str


VOICES = {
    "slt": Voice("flite", "slt", 0.0075, 170.0, "flite", _CMU),
    "awb": Voice("flite", "awb", 0.001, 125.0, "flite", _CMU),
    "kal16": Voice("flite", "kal16", 0.0025, 100.0, "flite", _CMU),
    "rms": Voice("flite", "rms", 0.0025, 95.0, "flite", _CMU),
    "kal": Voice("festival", "voice_kal_diphone", 0.005, 105.0, "festvox-kallpc16k", _CMU),
    "ked": Voice("festival", "voice_ked_diphone", 0.005, 105.0, "festvox-kdlpc16k", _CSTR),
    "slt_hts": Voice("festival", "voice_cmu_us_slt_arctic_hts", 0.0125, 175.0, "festvox-us-slt-hts", _CMU),
}
HELD_OUT_VOICE = "rms"  # the speaker that training never hears


@dataclass
class Utterance:
    """One spoken sentence: pcm (n,) float32 at 16 kHz, its phones in order from 0 to the end, text, voice."""

    pcm: np.ndarray
    phones: list
    text: str
    voice: str


def available_voices():
    """Names of the voices that can speak on this machine."""
    found = []
    for name, voice in VOICES.items():
        there = shutil.which(voice.engine) is not None
        if there and voice.engine == "festival":
            folders = Path("/usr/share/festival/voices").glob("*/*")
            there = voice.name[len("voice_") :] in {folder.name for folder in folders}
        if there:
            found.append(name)
    return found


def synthesize(voice, texts, stretch=1.0, pitch=None, jobs=1):
    """Speak sentences.

    voice: key of VOICES; texts: list of one-sentence strings; stretch: factor on durations (flite and the
    diphone voices of festival; slt_hts has one tempo); pitch: mean in Hz (flite alone); jobs: flite processes
    at a time.
    Returns one Utterance per text. Raises TalkerError when the program or its voice is absent or fails.
    """
    if voice not in VOICES:
        raise TalkerError(f"there is no voice '{voice}'; the voices are {', '.join(VOICES)}")
    entry = VOICES[voice]
    if voice not in available_voices():
        raise TalkerError(
            f"the voice '{voice}' is not installed: `apt install {entry.engine} {entry.package}`"
        )
    with tempfile.TemporaryDirectory(prefix="streamingtalker-") as folder:
        paths = [Path(folder) / f"{i}.wav" for i in range(len(texts))]
        if entry.engine == "flite":
            with ThreadPoolExecutor(jobs) as pool:
                rows = list(pool.map(lambda job: _flite(entry, *job, stretch, pitch), zip(texts, paths)))
        else:
            rows = _festival(entry, texts, paths, stretch)
        return [_utterance(voice, text, path, row) for text, path, row in zip(texts, paths, rows)]


def _utterance(voice, text, path, rows):
    sf, soxr = require("soundfile", "reading speech"), require("soxr", "resampling speech")
    pcm, rate = sf.read(str(path), dtype="float32")
    if rate != SAMPLE_RATE:
        pcm = soxr.resample(pcm, rate, SAMPLE_RATE).astype(np.float32)
    length = len(pcm) / SAMPLE_RATE
    early = VOICES[voice].early
    phones, start = [], 0.0
    for name, end, stress in rows:
        end = min(max(end + early, start), length)
        if end > start:  # a diphone voice can announce a last pause that the audio cuts short
            phones.append(Phone(name, start, end, stress))
            start = end
    if not phones:
        raise TalkerError(f"the voice '{voice}' said nothing for “{text}”; give it an English sentence")
    if phones[-1].end < length:
        phones.append(Phone("pau", phones[-1].end, length, 0))
    return Utterance(pcm, normalize_phones(phones), text, voice)


def _run(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise TalkerError(
            f"{command[0]} failed to speak ({last}); check its installation with `{command[0]} --version`"
        )
    return done.stdout


def _flite(entry, text, path, stretch, pitch):
    command = ["flite", "-voice", entry.name, "-psdur", "--setf", f"duration_stretch={stretch}"]
    if pitch:
        command += ["--setf", f"int_f0_target_mean={pitch}"]
    printed = _run([*command, "-t", text, "-o", str(path)])
    rows = [(name, float(end)) for name, _, end in (item.rpartition(":") for item in printed.split())]
    # flite prints no stress; a full vowel that is long for this sentence carries it
    starts = [0.0] + [end for _, end in rows[:-1]]
    spans = [end - start if name in VOWELS else 0.0 for (name, end), start in zip(rows, starts)]
    usual = np.median([span for span in spans if span] or [0.0])
    return [
        (name, end, int(span > 0.9 * usual and name not in ("ax", "er")))
        for (name, end), span in zip(rows, spans)
    ]


_DUMP = """
(define (dump utt name)
  (let ((file (fopen name "w")))
    (mapcar (lambda (s) (format file "%s %f %s\\n" (item.name s) (item.feat s "segment_end")
                                (item.feat s "R:SylStructure.parent.stress")))
            (utt.relation.items utt 'Segment))
    (fclose file)))
(define (say text wav lab)
  (let ((utt (utt.synth (eval (list 'Utterance 'Text text)))))
    (utt.save.wave utt wav 'riff)
    (dump utt lab)))
"""


def _festival(entry, texts, paths, stretch):
    """All sentences in one process: loading a voice costs more than speaking a sentence."""
    lines = [_DUMP, f"({entry.name})", f"(Parameter.set 'Duration_Stretch {stretch})"]
    for text, path in zip(texts, paths):
        safe = "".join(char for char in text if char not in '"\\')
        lines.append(f'(say "{safe}" "{path}" "{path.with_suffix(".lab")}")')
    if not texts:
        return []
    script = paths[0].with_name("say.scm")
    script.write_text("\n".join(lines))
    _run(["festival", "-b", str(script)])
    table = []
    for text, path in zip(texts, paths):
        if not path.with_suffix(".lab").is_file():  # festival reports its own failures with exit code 0
            raise TalkerError(f"festival could not speak “{text}”; give it an English sentence")
        rows = (line.split() for line in path.with_suffix(".lab").read_text().splitlines())
        table.append([(name, float(end), int(stress == "1")) for name, end, stress in rows])
    return table
