# SPDX-License-Identifier: Apache-2.0
"""Corpus of espeak-ng voices: English in five accents and other languages, with rule-based motion.

`build_espeak_corpus(folder, …)` writes it in the layout of `storage`; equal arguments give equal files. One
language occurs in the test split only, to measure how the model generalizes to an unseen language.
"""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path
from typing import Final

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import (
    SPLITS,
    Index,
    finished_index,
    minutes_by_split,
    read_part,
    save_clip,
    write_index,
    write_part,
)
from streamingtalker_ros.corpus.synthetic import group_utterances, join_utterances
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics import espeak_tts
from streamingtalker_ros.phonetics.languages import SENTENCES
from streamingtalker_ros.phonetics.sentences import sentences
from streamingtalker_ros.process import progress_bar
from streamingtalker_ros.task_cluster import TaskCluster

ENGLISH_ACCENTS: Final = ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-029")
"""Codes of the English voices."""

ENGLISH_FRACTION: Final = 0.45
"""Fraction of the batches that are English."""

HELD_OUT_LANGUAGE: Final = "pl"
"""Language of the test split; no training clip uses it."""

# fmt: off
VOICE_VARIANTS: Final = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "klatt", "klatt2", "klatt4",
    "michael", "adam", "linda", "steph", "steph2", "anika", "edward", "belinda", "boris", "victor", "john",
    "grandma", "grandpa", "travis",
)
# fmt: on
"""Voice variants of espeak-ng, one per training batch in turn."""

SENTENCES_PER_BATCH: Final = 12
"""Sentences of one voice."""

MIN_BATCH_S: Final = 15.0
"""Seconds: least duration of a batch, from which the number of batches is planned."""

MAX_BATCH_S: Final = 50.0
"""Seconds: greatest duration of a batch, from which the number of batches that are surely needed is known."""

MIN_BATCHES_AT_ONCE: Final = 4
"""Batches that are made together, although some may not be needed."""

SPLIT_FRACTIONS: Final = {"train": 1.0, "validation": 0.05, "test": 0.1}
"""Duration of each split relative to that of training."""

LICENCE: Final = "speech synthesised by espeak-ng (GPL-3.0-or-later program; its output is free)"


def build_espeak_corpus(
    folder: str | os.PathLike[str],
    minutes: float = 30.0,
    seed: int = 0,
    num_workers: int = 2,
    scheduler: str | None = None,
) -> Index:
    """Write the corpus; a second call with equal arguments finishes an interrupted one.

    Args:
        folder: folder to write.
        minutes: minutes of training speech.
        seed: equal seeds give equal files.
        num_workers: number of processes.
        scheduler: address of a Dask scheduler, whose workers are used instead; None for local processes.

    Returns:
        The index of the corpus; `failed` names what could not be made, which a second call tries again.

    Raises:
        TalkerError: if espeak-ng is not installed, or the folder holds another corpus.
    """
    tqdm = progress_bar()
    if not espeak_tts.is_available():
        raise TalkerError("libespeak-ng is not installed: `apt install espeak-ng`")
    folder = Path(folder)
    settings = {"kind": "espeak", "minutes": float(minutes), "seed": int(seed), "version": __version__}
    finished = finished_index(folder, settings)
    if finished is not None:
        return finished
    entries: list[Index] = []
    with (
        TaskCluster(num_workers, scheduler, folder) as cluster,
        tqdm(total=round(60 * minutes * sum(SPLIT_FRACTIONS.values())), unit="s", desc="speech") as bar,
    ):
        for split in SPLITS:
            seconds, target = 0.0, max(MIN_BATCH_S, 60.0 * minutes * SPLIT_FRACTIONS[split])
            # a batch lasts 20 to 50 s: more batches than needed are planned, and the first ones are used
            work = [(folder, split, number, seed) for number in range(int(target / MIN_BATCH_S) + 2)]
            names = [f"{split}, batch {number}" for _, _, number, _ in work]
            start = 0
            while start < len(work) and seconds < target:
                end = start + max(MIN_BATCHES_AT_ONCE, math.ceil((target - seconds) / MAX_BATCH_S))
                for batch in cluster.map(_build_batch, work[start:end], names[start:end]):
                    if batch is not None and seconds < target:
                        batch_seconds = sum(entry["seconds"] for entry in batch)
                        entries += batch
                        seconds += batch_seconds
                        bar.update(min(round(batch_seconds), bar.total - bar.n))
                start = end
    return write_index(
        folder,
        {
            **settings,
            "sample_rate": SAMPLE_RATE,
            "frame_rate": FRAME_RATE,
            "held_out_language": HELD_OUT_LANGUAGE,
            "minutes_by_split": minutes_by_split(entries),
            "sources": {"espeak-ng": {"package": "espeak-ng", "licence": LICENCE}},
            "motion": (
                "rule-based, by streamingtalker_ros.coarticulation.dominance, phones from espeak-ng's events"
            ),
            "clips": entries,
        },
        cluster.failures,
    )


def _build_batch(job: tuple[Path, str, int, int]) -> list[Index]:
    """Synthesize, join and save sentences of one voice; parts/ keeps the entries for a second call."""
    folder, split, number, seed = job
    part_name, state = f"{split}_{number:03d}", [__version__, seed]
    part = read_part(folder, part_name, state)
    if part is not None:
        return part["clips"]
    rng = np.random.default_rng([seed, 100 + SPLITS.index(split), number])
    other_languages = [code for code in SENTENCES if code != HELD_OUT_LANGUAGE]
    if split == "test":
        language = HELD_OUT_LANGUAGE
    else:
        language = str(rng.choice(ENGLISH_ACCENTS if rng.random() < ENGLISH_FRACTION else other_languages))
    if split == "train":
        variant = VOICE_VARIANTS[number % len(VOICE_VARIANTS)]
    else:
        variant = str(rng.choice(VOICE_VARIANTS))
    voice = f"{language}+{variant}"
    if language in ENGLISH_ACCENTS:
        texts = list(itertools.islice(sentences(f"espeak {seed} {split} {number}"), SENTENCES_PER_BATCH))
    else:
        texts = [str(text) for text in rng.permutation(SENTENCES[language])[:SENTENCES_PER_BATCH]]
    prosody = {
        "words_per_minute": int(rng.uniform(125, 205)),
        "pitch": int(rng.uniform(25, 75)),
        "pitch_range": int(rng.uniform(25, 75)),
    }
    utterances = espeak_tts.synthesize(voice, texts, **prosody)
    entries = []
    for k, group in enumerate(group_utterances(utterances, 1.0, rng)):
        clip = join_utterances(group, 1.0, rng)
        clip.voice, clip.split = voice, split
        clip.name = f"{voice.replace('+', '_')}_{number:03d}_{k:02d}"
        speaker = f"{voice}_{number:03d}"
        clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, speaker)
        text = " ".join(utterance.text for utterance in group)
        entries.append(save_clip(folder, clip, speaker=speaker, language=language, **prosody, text=text))
    return write_part(folder, part_name, state, entries)["clips"]
