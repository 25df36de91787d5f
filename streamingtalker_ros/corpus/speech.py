# SPDX-License-Identifier: Apache-2.0
"""Recorded speech with its text becomes a corpus: aligned phones, and the procedural teacher's motion.

`make_speech(folders, out)` reads what lies anywhere in its folders: speechocean762 (`train/wav.scp` and `test/wav.scp`),
LJSpeech (`wavs/` beside `metadata*.csv`), LibriSpeech (`*.trans.txt` beside FLAC), Common Voice (`validated.tsv` beside
`clips/`; its first release, `cv-valid-*.csv`), and NAME.wav beside NAME.txt, one speaker a folder.
"""

import csv
import json
import os
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import SPLITS, Clip, files_below, read_index, save_clip
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics.forced_alignment import align
from streamingtalker_ros.phonetics.phones import Phone, normalize_phones

AGES = 18, 200  # years, first and last, of speakers whose age is known
HELD = {"test": 0.10, "validation": 0.05}  # shares of the speakers
MUCH = 0.05  # a speaker with more than this share of the recordings stays in training
EDGE, PAUSE = 0.5, 0.9  # seconds of silence kept around a recording; of a pause between two, at most
LONGEST = 0.8  # seconds of a phone; a longer one is a misplaced text
DECADES = {
    "teens": 15,
    "twenties": 25,
    "thirties": 35,
    "fourties": 45,
    "fifties": 55,
    "sixties": 65,
    "seventies": 75,
    "eighties": 85,
    "nineties": 95,
}  # as Common Voice spells them
ADULT = 40  # years of whoever does not say
UNNAMED = (
    "cvunnamed"  # the speaker of recordings that do not tell theirs; in training, for they may be anybody's
)
LENGTH = (5.0, 11.0)  # seconds after which a clip of joined recordings ends, and which it avoids
SHORTEST = 4.0  # seconds of a clip
SOURCES = {
    "speechocean762": {
        "licence": "free for any use (OpenSLR 101)",
        "attribution": "Zhang et al., speechocean762, Interspeech 2021",
    },
    "LJSpeech": {"licence": "public domain", "attribution": "Keith Ito, The LJ Speech Dataset, 2017"},
    "LibriSpeech": {"licence": "CC BY 4.0", "attribution": "Panayotov et al., LibriSpeech, ICASSP 2015"},
    "Common Voice": {"licence": "CC0", "attribution": "Mozilla Common Voice and its speakers"},
    "pairs": {"licence": "the recordings' own", "attribution": ""},
}


@dataclass(frozen=True)
class Recording:
    """A file of one speaker and what is said in it."""

    name: str
    path: Path
    text: str
    speaker: str
    source: str


def recordings(folder, ages=AGES):
    """The recordings in a folder and below, links followed, in any layout of LAYOUTS: list of Recording.

    ages: first and last year of speakers whose age the folder tells (speechocean762, Common Voice by decades).
    Raises TalkerError for none."""
    folder = Path(folder)
    files = files_below(folder)
    found = [
        row
        for pattern, read in LAYOUTS
        for path in files
        if fnmatchcase(path.name, pattern)
        for row in read(path, ages)
    ]
    if not found:
        raise TalkerError(
            f"{folder} holds no speech with text; give a folder of NAME.wav beside NAME.txt, "
            f"LJSpeech, LibriSpeech, Common Voice or speechocean762"
        )
    return found


def _kaldi(scp, ages):
    part, folder = scp.parent, scp.parent.parent

    def table(name):
        lines = (part / name).read_text(encoding="utf-8").splitlines()
        return dict(line.split(None, 1) for line in lines if line.strip())

    if part.name not in ("train", "test") or not (part / "spk2age").is_file():
        return []
    texts, speakers, age = table("text"), table("utt2spk"), table("spk2age")
    return [
        Recording(name, folder / path.strip(), texts[name], f"so{speakers[name]}", "speechocean762")
        for name, path in table("wav.scp").items()
        if ages[0] <= int(age[speakers[name]]) <= ages[1]
    ]


def _ljspeech(metadata, ages):
    folder = metadata.parent
    if not (folder / "wavs").is_dir() or metadata != min(folder.glob("metadata*.csv")):  # others repeat it
        return []
    with open(metadata, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="|", quoting=csv.QUOTE_NONE))
    return [
        Recording(row[0], folder / "wavs" / f"{row[0]}.wav", row[-1], "ljspeech", "LJSpeech")
        for row in rows
        if row and (folder / "wavs" / f"{row[0]}.wav").is_file()
    ]


def _librispeech(chapter, ages):
    rows = [line.split(None, 1) for line in chapter.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [
        Recording(
            name, chapter.parent / f"{name}.flac", text.lower(), f"ls{name.split('-')[0]}", "LibriSpeech"
        )
        for name, text in rows
        if (chapter.parent / f"{name}.flac").is_file()
    ]


def _common_voice(table, ages):
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
        if _within(ages, row) and (clips / row["path"]).is_file()
    ]


def _first_common_voice(table, ages):
    """No speakers' names; the folder of the sound lies beside the table, in some copies once more within itself."""
    with open(table, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not {"filename", "text"} <= set(reader.fieldnames or ()):
            return []
        rows = [row for row in reader if _within(ages, row)]
    places = [
        (row, place / row["filename"]) for row in rows for place in (table.parent, table.parent / table.stem)
    ]
    return [
        Recording(path.stem, path, row["text"], UNNAMED, "Common Voice")
        for row, path in places
        if path.is_file()
    ]


def _within(ages, row):
    return ages[0] <= DECADES.get(row.get("age"), ADULT) <= ages[1]


def _pair(path, ages):
    said = path.with_suffix(".txt")
    if not said.is_file():
        return []
    text = said.read_text(encoding="utf-8", errors="replace").strip()
    return [Recording(path.stem, path, text, path.parent.name, "pairs")]


LAYOUTS = (
    ("wav.scp", _kaldi),
    ("metadata*.csv", _ljspeech),
    ("*.trans.txt", _librispeech),
    ("validated.tsv", _common_voice),
    ("cv-valid-*.csv", _first_common_voice),
    ("*.wav", _pair),
)


def split_speakers(found):
    """{speaker: split}: 10 % of the speakers in test, 5 % in validation; whoever says much, has no name, or is the only one,
    trains."""
    size = {}
    for row in found:
        size[row.speaker] = size.get(row.speaker, 0) + 1
    free = sorted(
        (
            name
            for name in size
            if name != UNNAMED and size[name] <= max(MUCH * len(found), 1) and len(size) >= 3
        ),
        key=lambda name: zlib.crc32(name.encode()),
    )
    out, first = dict.fromkeys(size, "train"), 0
    for split, share in HELD.items():
        count = round(share * len(size)) or int(len(free) >= 3)
        out.update(dict.fromkeys(free[first : first + count], split))
        first += count
    return out


def make_speech(folders, out, jobs=1, minutes=None, seed=0, ages=AGES):
    """Write a corpus of aligned recordings with the teacher's motion; a second call finishes the first.

    folders, ages: see `recordings`; jobs: processes; minutes: stop after about so many, None for all.
    Returns the index (dict), in which `rejected` names every recording left out, and why.
    """
    tqdm = require("tqdm", "the progress bar").tqdm
    require("pocketsphinx", "aligning speech with its text")
    out = Path(out)
    found = [row for folder in folders for row in recordings(folder, ages)]
    settings = {
        "kind": "speech",
        "seed": int(seed),
        "recordings": len(found),
        "minutes": minutes,
        **({} if tuple(ages) == AGES else {"ages": list(ages)}),
    }
    if (out / "index.json").is_file():
        index = read_index(out)
        if {key: index.get(key) for key in settings} == settings:
            return index
        raise TalkerError(f"{out} holds another corpus; choose an empty folder for this one")
    (out / "parts").mkdir(parents=True, exist_ok=True)
    splits, speakers = split_speakers(found), {}
    for row in found:
        speakers.setdefault(row.speaker, []).append(row)
    work = [
        (out, speaker, splits[speaker], rows[i : i + 40], i // 40, seed)
        for speaker, rows in sorted(speakers.items(), key=lambda item: zlib.crc32(item[0].encode()))
        for i in range(0, len(rows), 40)
    ]
    clips, rejected, seconds = [], [], 0.0
    with ProcessPoolExecutor(jobs) as pool, tqdm(total=len(found), unit="file", desc="aligning") as bar:
        for job, (entries, reasons) in zip(work, pool.map(_batch, work)):
            bar.update(len(job[3]))
            if minutes is None or seconds < 60.0 * minutes:
                clips += entries
                rejected += reasons
                seconds += sum(entry["seconds"] for entry in entries)
    if not clips:
        reason = rejected[0]["reason"] if rejected else "there are none"
        raise TalkerError(f"no recording could be used; the first: {reason}")
    spans = {split: sum(clip["seconds"] for clip in clips if clip["split"] == split) for split in SPLITS}
    used = sorted({row.source for row in found})
    index = {
        **settings,
        "version": __version__,
        "rate": SAMPLE_RATE,
        "frame_rate": FRAME_RATE,
        "minutes_by_split": {split: round(value / 60.0, 2) for split, value in spans.items()},
        "sources": {name: SOURCES[name] for name in used},
        "motion": "rule-made by streamingtalker_ros.coarticulation.dominance, phones aligned by pocketsphinx",
        "clips": clips,
        "rejected": rejected,
    }
    (out / "index.json").write_text(json.dumps(index, indent=1))
    return index


def read(path):
    """(n,) float32 at 16 kHz, mono, of an audio file."""
    sf, soxr = require("soundfile", "reading speech"), require("soxr", "resampling speech")
    try:
        pcm, rate = sf.read(str(path), dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise TalkerError(f"{path} cannot be read ({error})") from None
    pcm = pcm.mean(1)
    return pcm if rate == SAMPLE_RATE else soxr.resample(pcm, rate, SAMPLE_RATE).astype(np.float32)


def _batch(job):
    """Align, join and save some recordings of one speaker; kept in parts/, so that none is aligned twice."""
    out, speaker, split, rows, number, seed = job
    done = out / "parts" / f"{speaker}_{number:03d}.json"
    if done.is_file():
        return json.loads(done.read_text())
    rng = np.random.default_rng([seed, zlib.crc32(speaker.encode()), number])
    spoken, rejected = [], []
    for row in rows:
        try:
            spoken.append((row, *_trimmed(row)))
        except TalkerError as error:
            rejected.append({"name": row.name, "reason": str(error)})
    entries = []
    groups = _grouped(spoken, rng)
    if spoken and not groups:
        reason = f"too short for a clip of {SHORTEST:g} s, and nothing of '{speaker}' is left to join it to"
        rejected += [{"name": row.name, "reason": reason} for row, _, _ in spoken]
    for k, group in enumerate(groups):
        clip = _joined(group)
        clip.voice, clip.split, clip.name = speaker, split, f"{speaker}_{number:03d}_{k:02d}"
        clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, speaker)
        entries.append(
            save_clip(
                out,
                clip,
                speaker=speaker,
                source=group[0][0].source,
                text=" ".join(row.text for row, _, _ in group),
            )
        )
    partial = done.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps([entries, rejected]))
    partial.rename(done)
    return entries, rejected


def _trimmed(row):
    """Sound and phones of a recording, with at most EDGE seconds of silence at its ends."""
    pcm = read(row.path)
    phones = align(pcm, row.text)
    longest = max(
        (phone for phone in phones if phone.name != "pau"), key=lambda phone: phone.end - phone.start
    )
    if longest.end - longest.start > LONGEST:
        raise TalkerError(
            f"“{row.text}” does not fit the sound ('{longest.name}' would last "
            f"{longest.end - longest.start:.1f} s)"
        )
    first, last = phones[0], phones[-1]
    start = max(0.0, first.end - EDGE) if first.name == "pau" else 0.0
    end = min(last.end, last.start + EDGE) if last.name == "pau" else last.end
    a, b = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
    start, end = a / SAMPLE_RATE, b / SAMPLE_RATE
    return pcm[a:b], [
        Phone(phone.name, max(phone.start, start) - start, min(phone.end, end) - start, phone.stress)
        for phone in phones
        if phone.end > start and phone.start < end
    ]


def _grouped(spoken, rng):
    """Recordings in groups that make clips of 4 to about 12 s, longer where a recording is; list of lists, empty where all
    together are too short for a clip."""
    groups, length = [[]], 0.0
    wanted = rng.uniform(LENGTH[0], LENGTH[1] - 2)
    for item in spoken:
        seconds = len(item[1]) / SAMPLE_RATE
        if length > wanted or length >= SHORTEST and length + seconds > LENGTH[1]:
            groups.append([])
            length, wanted = 0.0, rng.uniform(LENGTH[0], LENGTH[1] - 2)
        groups[-1].append(item)
        length += seconds
    if length < SHORTEST:
        rest = groups.pop()
        if groups:
            groups[-1] += rest
    return groups


def _joined(group):
    """One clip of recordings: each at the same level, their own silence between them, short cross-fades."""
    pieces, phones, now, fade = [], [], 0, 160
    for _, pcm, said in group:
        pcm = augmentation.set_active_level(pcm, -23.0).astype(np.float64)
        pcm = pcm * min(1.0, 0.98 / float(np.abs(pcm).max()))
        if said[0].name == "pau" and phones and phones[-1].name == "pau":
            spare = phones[-1].end - phones[-1].start + said[0].end - PAUSE
            cut = round(min(max(spare, 0.0), said[0].end - 0.05) * SAMPLE_RATE)
            pcm = pcm[cut:]
            said = [
                Phone(p.name, max(p.start - cut / SAMPLE_RATE, 0.0), p.end - cut / SAMPLE_RATE, p.stress)
                for p in said
            ]
        ramp = np.linspace(0.0, 1.0, fade)
        pcm[:fade] *= ramp
        pcm[-fade:] *= ramp[::-1]
        pieces.append(pcm)
        phones += [
            Phone(p.name, now / SAMPLE_RATE + p.start, now / SAMPLE_RATE + p.end, p.stress) for p in said
        ]
        now += len(pcm)
    pcm = np.concatenate(pieces)
    pcm = pcm[: len(pcm) // HOP_LENGTH * HOP_LENGTH].astype(np.float32)
    length = len(pcm) / SAMPLE_RATE
    phones = [
        Phone(p.name, p.start, min(p.end, length), p.stress)
        for p in normalize_phones(phones)
        if p.start < length
    ]
    return Clip(pcm, None, None, phones)
