# SPDX-License-Identifier: Apache-2.0
"""The synthetic corpus: flite's and festival's voices with exact phone times, and the procedural teacher's motion.

`make_synthetic(folder, …)` writes it in the layout of `corpora`; equal arguments give equal files.
"""

import itertools
import json
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import SPLITS, Clip, read_index, save_clip
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.phonetics import flite_festival_tts
from streamingtalker_ros.phonetics.phones import Phone, normalize_phones
from streamingtalker_ros.phonetics.sentences import sentences

# two turns each for the voices with a speaker of their own; kal16 and kal are one speaker in two synthesisers
VOICE_ROTATION = ("slt", "awb", "slt_hts", "ked", "kal16", "slt", "awb", "slt_hts", "ked", "kal")
SENTENCES = 15  # per batch: about 40 seconds of one speaker, so that speakers are many
REST_SHARE = 0.05  # share of clips' time without speech, in which the mouth rests
REST_SOUNDS = (
    "nothing",
    "white",
    "pink",
    "hum",
    "music",
    "breath",
    "knocks",
    "brown",
    "rings",
    "chirps",
    "engine",
    "ensemble",
)


def synthetic_minutes(minutes):
    """How many minutes of speech each split gets: {"train": …, "validation": …, "test": …}."""
    return {
        "train": float(minutes),
        "validation": max(0.5, 0.08 * minutes),
        "test": max(0.5, 0.065 * minutes),
    }


def make_synthetic(folder, minutes=120.0, seed=0, jobs=2):
    """Write the synthetic corpus; equal arguments give equal files, a second call finishes the first.

    minutes: of training speech; validation adds 8 %, the held-out voice 6.5 %, clips without speech 5 %.
    jobs: processes. Returns the index (dict). Raises TalkerError when a voice is not installed.
    """
    tqdm = require("tqdm", "the progress bar").tqdm
    folder = Path(folder)
    check_voices()
    settings = {"kind": "synthetic", "minutes": float(minutes), "seed": int(seed), "version": __version__}
    if (folder / "index.json").is_file():
        index = read_index(folder)
        if {key: index.get(key) for key in settings} == settings:
            return index
        raise TalkerError(f"{folder} holds another corpus; choose an empty folder for this one")
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    clips = []
    wanted = synthetic_minutes(minutes)
    with (
        ProcessPoolExecutor(jobs) as pool,
        tqdm(total=round(60 * sum(wanted.values())), unit="s", desc="speech") as bar,
    ):
        for split in SPLITS:
            made, batch = 0.0, 0
            while made < 60.0 * wanted[split]:
                wave = max(1, math.ceil((60.0 * wanted[split] - made) / (2.9 * SENTENCES)))
                work = [(folder, split, number, seed) for number in range(batch, batch + wave)]
                batch += wave
                for entries in pool.map(_batch, work):
                    spoken = sum(entry["seconds"] for entry in entries)
                    if made < 60.0 * wanted[split]:
                        clips += entries
                        made += spoken
                        bar.update(min(round(spoken), bar.total - bar.n))
        for split in SPLITS:
            count = max(1, round(REST_SHARE * wanted[split] * 60.0 / 7.0))
            clips += list(pool.map(_rest_clip, [(folder, split, number, seed) for number in range(count)]))
    seconds = {split: sum(clip["seconds"] for clip in clips if clip["split"] == split) for split in SPLITS}
    index = {
        **settings,
        "rate": SAMPLE_RATE,
        "frame_rate": FRAME_RATE,
        "held_out_voice": flite_festival_tts.HELD_OUT_VOICE,
        "minutes_by_split": {split: round(value / 60.0, 2) for split, value in seconds.items()},
        "sources": {
            name: {"engine": voice.engine, "package": voice.package, "licence": voice.licence}
            for name, voice in flite_festival_tts.VOICES.items()
            if name in (*VOICE_ROTATION, flite_festival_tts.HELD_OUT_VOICE)
        },
        "motion": "rule-made by streamingtalker_ros.coarticulation.dominance",
        "clips": clips,
    }
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    return index


def check_voices() -> None:
    """Raises TalkerError, naming the packages, where a voice of the synthetic corpus is not installed."""
    missing = [
        flite_festival_tts.VOICES[name]
        for name in sorted(
            {*VOICE_ROTATION, flite_festival_tts.HELD_OUT_VOICE} - set(flite_festival_tts.available_voices())
        )
    ]
    if missing:
        packages = sorted({voice.engine for voice in missing} | {voice.package for voice in missing})
        raise TalkerError(
            f"the synthetic corpus needs voices that are not installed: `apt install {' '.join(packages)}`"
        )


def _batch(job):
    """Speak, cut and save one batch; its entries are kept in parts/ so that it is not done twice."""
    folder, split, number, seed = job
    done = folder / "parts" / f"{split}_{number:03d}.json"
    if done.is_file():
        return json.loads(done.read_text())
    rng = np.random.default_rng([seed, SPLITS.index(split), number])
    voice = (
        flite_festival_tts.HELD_OUT_VOICE if split == "test" else VOICE_ROTATION[number % len(VOICE_ROTATION)]
    )
    if split == "test":  # the held-out voice as it is, at three tempos
        factor, tempo, pitch = 1.0, (1.0, 0.85, 1.2)[number % 3], None
    else:  # the first speakers keep their own size; later ones are made larger or smaller
        factor = 1.0 if number < 5 else round(float(np.exp(rng.uniform(np.log(0.82), np.log(1.2)))), 3)
        tempo = round(float(rng.uniform(0.85, 1.3)), 3)
        pitch = flite_festival_tts.VOICES[voice].pitch * round(float(rng.uniform(0.85, 1.2)), 3)
    texts = list(itertools.islice(sentences(f"{seed} {split} {number}"), SENTENCES))
    spoken = flite_festival_tts.synthesize(voice, texts, stretch=round(tempo * factor, 3), pitch=pitch)
    entries = []
    for k, group in enumerate(packed(spoken, factor, rng)):
        clip = clip_of(group, factor, rng)
        clip.voice, clip.split, clip.name = voice, split, f"{voice}_{number:03d}_{k:02d}"
        speaker = f"{voice}*{factor}"
        clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, speaker)
        entries.append(
            save_clip(
                folder,
                clip,
                speaker=speaker,
                tempo=tempo,
                text=" ".join(utterance.text for utterance in group),
            )
        )
    done.write_text(json.dumps(entries))
    return entries


def packed(spoken, factor, rng):
    """Utterances in groups that make clips of 4 to 12 s."""
    group, length, wanted = [], 1.0, rng.uniform(4.5, 9.5)
    for utterance in spoken:
        seconds = len(utterance.pcm) / SAMPLE_RATE / factor
        if group and length + seconds > 11.0:
            yield group
            group, length, wanted = [], 1.0, rng.uniform(4.5, 9.5)
        group.append(utterance)
        length += seconds + 0.2
        if length > wanted:
            yield group
            group, length, wanted = [], 1.0, rng.uniform(4.5, 9.5)
    if group and length > 5.0:
        yield group


def clip_of(group, factor, rng):
    """Utterances joined by pauses, silence around them; loudness wanders, so that louder can open wider."""
    pieces, phones, now = [], [], 0

    def silence(seconds) -> None:
        nonlocal now
        count = int(seconds * SAMPLE_RATE)
        phones.append(Phone("pau", now / SAMPLE_RATE, (now + count) / SAMPLE_RATE))
        pieces.append(np.zeros(count, np.float32))
        now += count

    silence(rng.uniform(0.1, 0.8))
    for i, utterance in enumerate(group):
        pcm = augmentation.perturb_speed(utterance.pcm, factor) if factor != 1.0 else utterance.pcm
        usual, sway = rng.normal(0.0, [2.5, 1.5])  # dB
        wave = np.sin(2 * np.pi * (rng.uniform(0.3, 0.9) * np.arange(len(pcm)) / SAMPLE_RATE + rng.random()))
        gain = usual + sway * wave
        pieces.append((pcm * 10.0 ** (gain / 20.0)).astype(np.float32))
        length = len(pcm) / SAMPLE_RATE
        for phone in utterance.phones:
            start, end = (
                now / SAMPLE_RATE + min(moment / factor, length) for moment in (phone.start, phone.end)
            )
            phones.append(Phone(phone.name, start, end, phone.stress))
        now += len(pcm)
        silence(rng.uniform(0.0, 0.5) if i + 1 < len(group) else rng.uniform(0.15, 0.8))
    silence(((-now) % HOP_LENGTH) / SAMPLE_RATE)
    pcm = np.concatenate(pieces)
    pcm = np.pad(pcm, (0, (-len(pcm)) % HOP_LENGTH))
    pcm = augmentation.set_active_level(pcm, -23.0)
    pcm = pcm * min(1.0, 0.98 / float(np.abs(pcm).max()))
    return Clip(pcm.astype(np.float32), None, None, normalize_phones(phones))


def _rest_clip(job):
    """A clip without speech: nothing, noise, hum, music, breath or knocks, and a resting mouth."""
    folder, split, number, seed = job
    rng = np.random.default_rng([seed, 10 + SPLITS.index(split), number])
    frames = int(rng.integers(4 * 25, 10 * 25))
    kind = REST_SOUNDS[number % len(REST_SOUNDS)]
    pcm = np.zeros(frames * HOP_LENGTH, np.float32)
    if kind != "nothing":
        sound = getattr(augmentation, kind)(len(pcm), rng)
        pcm = np.clip(augmentation.set_rms(sound, rng.uniform(-60.0, -20.0)), -1.0, 1.0)
    phones = [Phone("pau", 0.0, frames / FRAME_RATE)]
    clip = Clip(pcm, None, None, phones, "none", split, f"rest_{kind}_{number:03d}")
    clip.weights, clip.head = face_motion.synthesize_speaker_motion(clip, "none")
    return save_clip(folder, clip, speaker="none", tempo=1.0, text="")
