# SPDX-License-Identifier: Apache-2.0
"""The corpus of espeak-ng's voices: English in five accents and a dozen other languages, with the teacher's motion.

`make_espeak(folder, …)` writes it in the layout of `corpora`; equal arguments give equal files. One language is kept
for the test split, so that it tells how a tongue fares that training never heard.
"""

import itertools
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import SPLITS, read_index, save_clip
from streamingtalker_ros.corpus.synthetic import clip_of, packed
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics import espeak_tts
from streamingtalker_ros.phonetics.languages import SENTENCES
from streamingtalker_ros.phonetics.sentences import sentences

ENGLISH = ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-029")
ENGLISH_SHARE = 0.45
HELD_OUT = "pl"
VARIANTS = [
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "m8",
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "klatt",
    "klatt2",
    "klatt4",
    "michael",
    "adam",
    "linda",
    "steph",
    "steph2",
    "anika",
    "edward",
    "belinda",
    "boris",
    "victor",
    "john",
    "grandma",
    "grandpa",
    "travis",
]
BATCH = 12  # sentences of one voice
SHARES = {"train": 1.0, "validation": 0.05, "test": 0.1}
LICENCE = "speech synthesised by espeak-ng (GPL-3.0-or-later program; its output is free)"


def make_espeak(folder, minutes=30.0, seed=0, jobs=2):
    """Write the corpus. minutes: of training speech; jobs: processes. Returns the index (dict).

    Raises TalkerError where espeak-ng is not installed, or the folder holds another corpus.
    """
    tqdm = require("tqdm", "the progress bar").tqdm
    if not espeak_tts.is_available():
        raise TalkerError("libespeak-ng is not installed: `apt install espeak-ng`")
    folder = Path(folder)
    settings = {"kind": "espeak", "minutes": float(minutes), "seed": int(seed), "version": __version__}
    if (folder / "index.json").is_file():
        index = read_index(folder)
        if {key: index.get(key) for key in settings} == settings:
            return index
        raise TalkerError(f"{folder} holds another corpus; choose an empty folder for this one")
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    clips = []
    with (
        ProcessPoolExecutor(jobs) as pool,
        tqdm(total=round(60 * minutes * sum(SHARES.values())), unit="s", desc="speech") as bar,
    ):
        for split in SPLITS:
            made, wanted = 0.0, max(15.0, 60.0 * minutes * SHARES[split])
            # a batch makes 20 to 50 s: more work than is needed, and what is done first is taken
            work = [(folder, split, number, seed) for number in range(int(wanted / 15.0) + 2)]
            for start in range(0, len(work), 4):
                for entries in pool.map(_batch, work[start : start + 4] if made < wanted else ()):
                    if made < wanted:
                        spoken = sum(entry["seconds"] for entry in entries)
                        clips += entries
                        made += spoken
                        bar.update(min(round(spoken), bar.total - bar.n))
    seconds = {split: sum(clip["seconds"] for clip in clips if clip["split"] == split) for split in SPLITS}
    index = {
        **settings,
        "rate": SAMPLE_RATE,
        "frame_rate": FRAME_RATE,
        "held_out_language": HELD_OUT,
        "minutes_by_split": {split: round(value / 60.0, 2) for split, value in seconds.items()},
        "sources": {"espeak-ng": {"package": "espeak-ng", "licence": LICENCE}},
        "motion": "rule-made by streamingtalker_ros.coarticulation.dominance, phones from espeak-ng's events",
        "clips": clips,
    }
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    return index


def _batch(job):
    """Speak, join and save sentences of one voice; kept in parts/, so that none is made twice."""
    folder, split, number, seed = job
    done = folder / "parts" / f"{split}_{number:03d}.json"
    if done.is_file():
        return json.loads(done.read_text())
    rng = np.random.default_rng([seed, 100 + SPLITS.index(split), number])
    others = [code for code in SENTENCES if code != HELD_OUT]
    if split == "test":
        language = HELD_OUT
    else:
        language = str(rng.choice(ENGLISH if rng.random() < ENGLISH_SHARE else others))
    variant = VARIANTS[number % len(VARIANTS)] if split == "train" else str(rng.choice(VARIANTS))
    voice = f"{language}+{variant}"
    if language in ENGLISH:
        texts = list(itertools.islice(sentences(f"espeak {seed} {split} {number}"), BATCH))
    else:
        texts = [str(text) for text in rng.permutation(SENTENCES[language])[:BATCH]]
    manner = {
        "words_per_minute": int(rng.uniform(125, 205)),
        "pitch": int(rng.uniform(25, 75)),
        "span": int(rng.uniform(25, 75)),
    }
    entries = []
    for k, group in enumerate(packed(espeak_tts.synthesize(voice, texts, **manner), 1.0, rng)):
        clip = clip_of(group, 1.0, rng)
        clip.voice, clip.split = voice, split
        clip.name = f"{voice.replace('+', '_')}_{number:03d}_{k:02d}"
        speaker = f"{voice}_{number:03d}"
        clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, speaker)
        entries.append(
            save_clip(
                folder,
                clip,
                speaker=speaker,
                language=language,
                **manner,
                text=" ".join(utterance.text for utterance in group),
            )
        )
    done.write_text(json.dumps(entries))
    return entries
