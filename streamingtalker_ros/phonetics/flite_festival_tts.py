# SPDX-License-Identifier: Apache-2.0
"""Text to speech with exact phone times, by flite and festival.

`synthesize(voice, texts)` returns one `Utterance` per sentence: 16 kHz mono audio and its phones. Both
programs are Debian packages and are needed only to build a corpus.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics.phones import VOWELS, Phone, normalize_phones

_CMU = "© Carnegie Mellon University, free use and redistribution with notice (festvox licence)"
_CSTR = "© CSTR, University of Edinburgh, free use and redistribution with notice (festvox licence)"

_PhoneRow = tuple[str, float, int]  # (name, end in s, stress)


@dataclass(frozen=True)
class Voice:
    """A voice of flite or festival.

    Attributes:
        engine: program, "flite" or "festival".
        name: name of the voice in that program.
        time_offset: seconds by which the phone times of the engine precede its audio.
        pitch: usual mean fundamental frequency in Hz.
        package: Debian package that installs the voice.
        licence: licence and attribution.
    """

    engine: str
    name: str
    time_offset: float
    pitch: float
    package: str
    licence: str


VOICES: Final = {
    "slt": Voice("flite", "slt", 0.0075, 170.0, "flite", _CMU),
    "awb": Voice("flite", "awb", 0.001, 125.0, "flite", _CMU),
    "kal16": Voice("flite", "kal16", 0.0025, 100.0, "flite", _CMU),
    "rms": Voice("flite", "rms", 0.0025, 95.0, "flite", _CMU),
    "kal": Voice("festival", "voice_kal_diphone", 0.005, 105.0, "festvox-kallpc16k", _CMU),
    "ked": Voice("festival", "voice_ked_diphone", 0.005, 105.0, "festvox-kdlpc16k", _CSTR),
    "slt_hts": Voice("festival", "voice_cmu_us_slt_arctic_hts", 0.0125, 175.0, "festvox-us-slt-hts", _CMU),
}
"""Voice per name."""

HELD_OUT_VOICE: Final = "rms"
"""Voice of the test split; no training clip uses it."""


@dataclass
class Utterance:
    """One synthesized sentence.

    Attributes:
        pcm: (n,) float32 mono audio at 16 kHz.
        phones: normalized phones in order, from 0 to the end of the audio.
        text: the sentence.
        voice: name of the voice.
    """

    pcm: np.ndarray
    phones: list[Phone]
    text: str
    voice: str


def available_voices() -> list[str]:
    """Names of the voices that are installed, in the order of `VOICES`."""
    names = []
    for name, voice in VOICES.items():
        installed = shutil.which(voice.engine) is not None
        if installed and voice.engine == "festival":
            folders = Path("/usr/share/festival/voices").glob("*/*")
            installed = voice.name[len("voice_") :] in {folder.name for folder in folders}
        if installed:
            names.append(name)
    return names


def synthesize(
    voice: str, texts: Sequence[str], stretch: float = 1.0, pitch: float | None = None, num_workers: int = 1
) -> list[Utterance]:
    """Synthesize sentences.

    Args:
        voice: key of `VOICES`.
        texts: one sentence each.
        stretch: factor of all durations (flite and the diphone voices of festival; slt_hts has one tempo).
        pitch: mean fundamental frequency in Hz, flite only; None for that of the voice.
        num_workers: flite processes that run at the same time.

    Returns:
        One utterance per text.

    Raises:
        TalkerError: if the program or the voice is not installed, or the synthesis fails.
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
            with ThreadPoolExecutor(num_workers) as pool:
                tables = list(
                    pool.map(lambda text, path: _run_flite(entry, text, path, stretch, pitch), texts, paths)
                )
        else:
            tables = _run_festival(entry, texts, paths, stretch)
        return [
            _utterance(voice, text, path, rows) for text, path, rows in zip(texts, paths, tables, strict=True)
        ]


def _utterance(voice: str, text: str, path: Path, rows: Sequence[_PhoneRow]) -> Utterance:
    """Read a synthesized WAV file and place its phones on its time axis."""
    soundfile, soxr = require("soundfile", "reading speech"), require("soxr", "resampling speech")
    pcm, rate = soundfile.read(str(path), dtype="float32")
    if rate != SAMPLE_RATE:
        pcm = soxr.resample(pcm, rate, SAMPLE_RATE).astype(np.float32)
    duration = len(pcm) / SAMPLE_RATE
    offset = VOICES[voice].time_offset
    phones: list[Phone] = []
    start = 0.0
    for name, end, stress in rows:
        end = min(max(end + offset, start), duration)
        if end > start:  # a diphone voice can announce a final pause that its audio does not contain
            phones.append(Phone(name, start, end, stress))
            start = end
    if not phones:
        raise TalkerError(f"the voice '{voice}' produced no speech for “{text}”; give it an English sentence")
    if phones[-1].end < duration:
        phones.append(Phone("pau", phones[-1].end, duration, 0))
    return Utterance(pcm, normalize_phones(phones), text, voice)


def _run(command: list[str]) -> str:
    """Run a synthesizer and return what it printed."""
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise TalkerError(
            f"{command[0]} failed ({last}); check its installation with `{command[0]} --version`"
        )
    return result.stdout


def _run_flite(entry: Voice, text: str, path: Path, stretch: float, pitch: float | None) -> list[_PhoneRow]:
    """Synthesize one sentence into `path`."""
    command = ["flite", "-voice", entry.name, "-psdur", "--setf", f"duration_stretch={stretch}"]
    if pitch:
        command += ["--setf", f"int_f0_target_mean={pitch}"]
    printed = _run([*command, "-t", text, "-o", str(path)])
    rows = [(name, float(end)) for name, _, end in (item.rpartition(":") for item in printed.split())]
    # flite prints no stress: mark the full vowels that are long for this sentence
    starts = [0.0, *(end for _, end in rows[:-1])]
    durations = [
        end - start if name in VOWELS else 0.0 for (name, end), start in zip(rows, starts, strict=True)
    ]
    median_duration = np.median([duration for duration in durations if duration] or [0.0])
    return [
        (name, end, int(duration > 0.9 * median_duration and name not in ("ax", "er")))
        for (name, end), duration in zip(rows, durations, strict=True)
    ]


_FESTIVAL_SCRIPT = """
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


def _run_festival(
    entry: Voice, texts: Sequence[str], paths: Sequence[Path], stretch: float
) -> list[list[_PhoneRow]]:
    """Synthesize all sentences in one process: loading a voice takes longer than a sentence."""
    lines = [_FESTIVAL_SCRIPT, f"({entry.name})", f"(Parameter.set 'Duration_Stretch {stretch})"]
    for text, path in zip(texts, paths, strict=True):
        safe = "".join(char for char in text if char not in '"\\')
        lines.append(f'(say "{safe}" "{path}" "{path.with_suffix(".lab")}")')
    if not texts:
        return []
    script = paths[0].with_name("say.scm")
    script.write_text("\n".join(lines))
    _run(["festival", "-b", str(script)])
    tables: list[list[_PhoneRow]] = []
    for text, path in zip(texts, paths, strict=True):
        if not path.with_suffix(".lab").is_file():  # festival reports its own failures with exit code 0
            raise TalkerError(f"festival could not synthesize “{text}”; give it an English sentence")
        rows = (line.split() for line in path.with_suffix(".lab").read_text().splitlines())
        tables.append([(name, float(end), int(stress == "1")) for name, end, stress in rows])
    return tables
