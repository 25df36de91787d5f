# SPDX-License-Identifier: Apache-2.0
"""Corpus of flite and festival voices, with exact phone times and motion of the coarticulation model.

`build_synthetic_corpus(folder, …)` writes it in the layout of `storage`; equal arguments give equal files.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import (
    SPLITS,
    Clip,
    Index,
    finished_index,
    minutes_by_split,
    read_part,
    save_clip,
    write_index,
    write_part,
)
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics import flite_festival_tts
from streamingtalker_ros.phonetics.flite_festival_tts import Utterance
from streamingtalker_ros.phonetics.phones import Phone, normalize_phones
from streamingtalker_ros.phonetics.sentences import sentences
from streamingtalker_ros.process import progress_bar
from streamingtalker_ros.task_cluster import TaskCluster

VOICE_ROTATION: Final = (
    "slt",
    "awb",
    "slt_hts",
    "ked",
    "kal16",
    "slt",
    "awb",
    "slt_hts",
    "ked",
    "kal",
)
"""Voices of consecutive batches: two turns each for voices with a speaker of their own (kal16 and kal share
one)."""

SENTENCES_PER_BATCH: Final = 15
"""Sentences of one speaker, about 40 s: short batches give many speakers."""

SECONDS_PER_SENTENCE: Final = 2.9
"""Estimated duration, from which the number of batches is planned."""

NON_SPEECH_FRACTION: Final = 0.05
"""Fraction of the duration of speech that clips without speech add."""

NON_SPEECH_CLIP_S: Final = 7.0
"""Mean duration of a clip without speech."""

NON_SPEECH_LEVEL_DBFS: Final = (-60.0, -20.0)
"""Range of the RMS level of clips without speech."""

SPEECH_LEVEL_DBFS: Final = -23.0
"""Active level of clips of speech."""

MIN_CLIP_S: Final = 5.0
"""Seconds: a last group of utterances that is shorter gives no clip."""

MAX_CLIP_S: Final = 11.0
"""Seconds above which no further utterance joins a clip."""

NON_SPEECH_SOUNDS: Final[dict[str, augmentation.NoiseGenerator | None]] = {
    "nothing": None,
    "white": augmentation.white_noise,
    "pink": augmentation.pink_noise,
    "hum": augmentation.mains_hum,
    "music": augmentation.plucked_music,
    "breath": augmentation.breath_noise,
    "knocks": augmentation.impact_noise,
    "brown": augmentation.brown_noise,
    "rings": augmentation.clatter_noise,
    "chirps": augmentation.gliding_tones,
    "engine": augmentation.engine_noise,
    "ensemble": augmentation.ensemble_music,
}
"""Name -> generator of the sound of a clip without speech; None is silence. Names are part of clip names."""

_BatchJob = tuple[Path, str, int, int, str]  # (folder, split, number of the batch, seed, voice of training)


def target_minutes(minutes: float) -> dict[str, float]:
    """Minutes of speech per split.

    Args:
        minutes: minutes of training speech.

    Returns:
        {"train": …, "validation": …, "test": …}: validation adds 8 %, the held-out voice 6.5 %.
    """
    return {
        "train": float(minutes),
        "validation": max(0.5, 0.08 * minutes),
        "test": max(0.5, 0.065 * minutes),
    }


def build_synthetic_corpus(
    folder: str | os.PathLike[str],
    minutes: float = 120.0,
    seed: int = 0,
    num_workers: int = 2,
    voices: Sequence[str] = VOICE_ROTATION,
    scheduler: str | None = None,
) -> Index:
    """Write the synthetic corpus; a second call with equal arguments finishes an interrupted one.

    Args:
        folder: folder to write.
        minutes: minutes of training speech; see `target_minutes` for the other splits. Clips without speech
            add another 5 %.
        seed: equal seeds give equal files.
        num_workers: number of processes.
        voices: keys of `flite_festival_tts.VOICES`, for consecutive batches in turn.
        scheduler: address of a Dask scheduler, whose workers are used instead; None for local processes.

    Returns:
        The index of the corpus; `failed` names what could not be made, which a second call tries again.

    Raises:
        TalkerError: if a voice is not installed, or the folder holds another corpus.
    """
    tqdm = progress_bar()
    folder = Path(folder)
    check_voices(voices)
    settings: dict[str, Any] = {
        "kind": "synthetic",
        "minutes": float(minutes),
        "seed": int(seed),
        "version": __version__,
    }
    if tuple(voices) != VOICE_ROTATION:
        settings["voices"] = list(voices)
    finished = finished_index(folder, settings)
    if finished is not None:
        return finished
    entries: list[Index] = []
    targets = target_minutes(minutes)
    with (
        TaskCluster(num_workers, scheduler, folder) as cluster,
        tqdm(total=round(60 * sum(targets.values())), unit="s", desc="speech") as bar,
    ):
        for split in SPLITS:
            seconds, next_batch = 0.0, 0
            while seconds < 60.0 * targets[split]:
                missing = 60.0 * targets[split] - seconds
                count = max(1, math.ceil(missing / (SECONDS_PER_SENTENCE * SENTENCES_PER_BATCH)))
                numbers = range(next_batch, next_batch + count)
                work = [(folder, split, number, seed, voices[number % len(voices)]) for number in numbers]
                next_batch += count
                names = [f"{split}, batch {number} ({voice})" for _, split, number, _, voice in work]
                for batch in cluster.map(_build_batch, work, names):
                    if batch is None:  # counts as long as it was planned, or a voice that fails never ends
                        seconds += SECONDS_PER_SENTENCE * SENTENCES_PER_BATCH
                        continue
                    batch_seconds = sum(entry["seconds"] for entry in batch)
                    if seconds < 60.0 * targets[split]:
                        entries += batch
                        seconds += batch_seconds
                        bar.update(min(round(batch_seconds), bar.total - bar.n))
        for split in SPLITS:
            count = max(1, round(NON_SPEECH_FRACTION * targets[split] * 60.0 / NON_SPEECH_CLIP_S))
            numbered = [(folder, split, number, seed) for number in range(count)]
            names = [f"{split}, clip {number} without speech" for number in range(count)]
            clips = cluster.map(_build_non_speech_clip, numbered, names)
            entries += [entry for entry in clips if entry is not None]
    return write_index(
        folder,
        {
            **settings,
            "sample_rate": SAMPLE_RATE,
            "frame_rate": FRAME_RATE,
            "held_out_voice": flite_festival_tts.HELD_OUT_VOICE,
            "minutes_by_split": minutes_by_split(entries),
            "sources": {
                name: {"engine": voice.engine, "package": voice.package, "licence": voice.licence}
                for name, voice in flite_festival_tts.VOICES.items()
                if name in (*voices, flite_festival_tts.HELD_OUT_VOICE)
            },
            "motion": "rule-based, by streamingtalker_ros.coarticulation.dominance",
            "clips": entries,
        },
        cluster.failures,
    )


def check_voices(voices: Iterable[str] = VOICE_ROTATION) -> None:
    """Check that the voices of the synthetic corpus, and the held-out one, are installed.

    Args:
        voices: keys of `flite_festival_tts.VOICES`.

    Raises:
        TalkerError: naming the Debian packages, if a voice is missing.
    """
    required = {*voices, flite_festival_tts.HELD_OUT_VOICE}
    missing = [
        flite_festival_tts.VOICES[name]
        for name in sorted(required - set(flite_festival_tts.available_voices()))
    ]
    if missing:
        packages = sorted({voice.engine for voice in missing} | {voice.package for voice in missing})
        raise TalkerError(
            f"the synthetic corpus needs voices that are not installed: `apt install {' '.join(packages)}`"
        )


def _build_batch(job: _BatchJob) -> list[Index]:
    """Synthesize, cut and save one batch; parts/ keeps its entries, so that a second call skips it."""
    folder, split, number, seed, voice = job
    part_name, state = f"{split}_{number:03d}", [__version__, seed, voice]
    part = read_part(folder, part_name, state)
    if part is not None:
        return part["clips"]
    rng = np.random.default_rng([seed, SPLITS.index(split), number])
    held_out = split == "test"
    if held_out:  # without scaling, at three tempos
        voice = flite_festival_tts.HELD_OUT_VOICE
        scale, tempo, pitch = 1.0, (1.0, 0.85, 1.2)[number % 3], None
    else:  # the first batches keep the size of the speaker, later ones scale it
        scale = 1.0 if number < 5 else round(float(np.exp(rng.uniform(np.log(0.82), np.log(1.2)))), 3)
        tempo = round(float(rng.uniform(0.85, 1.3)), 3)
        pitch = flite_festival_tts.VOICES[voice].pitch * round(float(rng.uniform(0.85, 1.2)), 3)
    texts = list(itertools.islice(sentences(f"{seed} {split} {number}"), SENTENCES_PER_BATCH))
    utterances = flite_festival_tts.synthesize(voice, texts, stretch=round(tempo * scale, 3), pitch=pitch)
    entries = []
    for k, group in enumerate(group_utterances(utterances, scale, rng)):
        clip = join_utterances(group, scale, rng)
        clip.voice, clip.split, clip.name = voice, split, f"{voice}_{number:03d}_{k:02d}"
        speaker = f"{voice}*{scale}"
        clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, speaker)
        text = " ".join(utterance.text for utterance in group)
        entries.append(save_clip(folder, clip, speaker=speaker, tempo=tempo, text=text))
    return write_part(folder, part_name, state, entries)["clips"]


def group_utterances(
    utterances: Iterable[Utterance], scale: float, rng: np.random.Generator
) -> Iterator[list[Utterance]]:
    """Group utterances into clips of 4 to 12 s.

    Args:
        utterances: in the order in which they are spoken.
        scale: factor of all frequencies, by which durations are divided.
        rng: source of the target durations.

    Yields:
        The utterances of one clip.
    """
    group: list[Utterance] = []
    seconds, target = 1.0, rng.uniform(4.5, 9.5)
    for utterance in utterances:
        duration = len(utterance.pcm) / SAMPLE_RATE / scale
        if group and seconds + duration > MAX_CLIP_S:
            yield group
            group, seconds, target = [], 1.0, rng.uniform(4.5, 9.5)
        group.append(utterance)
        seconds += duration + 0.2
        if seconds > target:
            yield group
            group, seconds, target = [], 1.0, rng.uniform(4.5, 9.5)
    if group and seconds > MIN_CLIP_S:
        yield group


def join_utterances(group: Sequence[Utterance], scale: float, rng: np.random.Generator) -> Clip:
    """Join utterances by pauses, with silence around them and a slowly varying level.

    Args:
        group: utterances of one speaker.
        scale: factor of all frequencies, by which durations are divided.
        rng: source of pauses and levels.

    Returns:
        A clip without motion.
    """
    segments: list[np.ndarray] = []
    phones: list[Phone] = []
    position = 0  # samples

    def append_silence(seconds: float) -> None:
        nonlocal position
        count = int(seconds * SAMPLE_RATE)
        phones.append(Phone("pau", position / SAMPLE_RATE, (position + count) / SAMPLE_RATE))
        segments.append(np.zeros(count, np.float32))
        position += count

    append_silence(rng.uniform(0.1, 0.8))
    for i, utterance in enumerate(group):
        pcm = augmentation.perturb_speed(utterance.pcm, scale) if scale != 1.0 else utterance.pcm
        mean_gain, gain_range = rng.normal(0.0, [2.5, 1.5])  # dB
        wave = np.sin(2 * np.pi * (rng.uniform(0.3, 0.9) * np.arange(len(pcm)) / SAMPLE_RATE + rng.random()))
        gain = mean_gain + gain_range * wave
        segments.append((pcm * 10.0 ** (gain / 20.0)).astype(np.float32))
        duration = len(pcm) / SAMPLE_RATE
        for phone in utterance.phones:
            start, end = (
                position / SAMPLE_RATE + min(time / scale, duration) for time in (phone.start, phone.end)
            )
            phones.append(Phone(phone.name, start, end, phone.stress))
        position += len(pcm)
        append_silence(rng.uniform(0.0, 0.5) if i + 1 < len(group) else rng.uniform(0.15, 0.8))
    append_silence(((-position) % HOP_LENGTH) / SAMPLE_RATE)
    pcm = np.concatenate(segments)
    pcm = np.pad(pcm, (0, (-len(pcm)) % HOP_LENGTH))
    pcm = augmentation.set_active_level(pcm, SPEECH_LEVEL_DBFS)
    pcm = pcm * min(1.0, 0.98 / float(np.abs(pcm).max()))
    return Clip.at_rest(pcm.astype(np.float32), normalize_phones(phones))


def _build_non_speech_clip(job: tuple[Path, str, int, int]) -> Index:
    """Save a clip of silence, noise, hum, music, breath or knocks with the mouth at rest."""
    folder, split, number, seed = job
    part_name, state = f"rest_{split}_{number:03d}", [__version__, seed]
    part = read_part(folder, part_name, state)
    if part is not None:
        return part["clips"][0]
    rng = np.random.default_rng([seed, 10 + SPLITS.index(split), number])
    frames = int(rng.integers(4 * 25, 10 * 25))
    name, generate = list(NON_SPEECH_SOUNDS.items())[number % len(NON_SPEECH_SOUNDS)]
    pcm = np.zeros(frames * HOP_LENGTH, np.float32)
    if generate is not None:
        sound = generate(len(pcm), rng)
        pcm = np.clip(augmentation.set_rms(sound, rng.uniform(*NON_SPEECH_LEVEL_DBFS)), -1.0, 1.0)
    phones = [Phone("pau", 0.0, frames / FRAME_RATE)]
    clip = Clip.at_rest(pcm, phones, "none", split, f"rest_{name}_{number:03d}")
    clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, "none")
    entry = save_clip(folder, clip, speaker="none", tempo=1.0, text="")
    return write_part(folder, part_name, state, [entry])["clips"][0]
