# SPDX-License-Identifier: Apache-2.0
"""One speaker becomes many: another pitch and another throat on the same sounds at the same times.

The WORLD vocoder (Morise, Yokomori and Ozawa 2016; `pyworld`) takes a voice apart into pitch, spectral envelope and
aperiodicity; the pitch is scaled, the envelope stretched along frequency, and the voice put together again. Nothing
moves in time, so that motion captured with the first voice fits the others.
"""

import json
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.corpus.storage import load_corpus, read_index, save_clip
from streamingtalker_ros.errors import TalkerError, require

STAYS = 4  # clips that another speaker speaks before the next one comes
PERIOD = 5.0  # ms between analysis frames: the bursts of p, t and k are this short


def import_vocoder():
    """The module pyworld. Raises TalkerError where it, or the pkg_resources that it imports, is missing."""
    try:
        return require("pyworld", "giving clips other voices")
    except ModuleNotFoundError as missing:
        if missing.name != "pkg_resources":
            raise
        raise TalkerError(
            "pyworld needs pkg_resources, which newer setuptools lack: `pip install 'setuptools<81'`"
        ) from None


def take_apart(pcm):
    """pcm (n,) float at 16 kHz -> WORLD's (f0 (t,), envelope (t, f), aperiodicity (t, f))."""
    world = import_vocoder()
    pcm = np.asarray(pcm, np.float64)
    f0, times = world.dio(pcm, SAMPLE_RATE, frame_period=PERIOD)
    f0 = world.stonemask(pcm, f0, times, SAMPLE_RATE)
    return f0, world.cheaptrick(pcm, f0, times, SAMPLE_RATE), world.d4c(pcm, f0, times, SAMPLE_RATE)


def put_together(parts, pitch, throat, count):
    """A voice of `count` samples from `take_apart`'s parts. pitch: factor of f0, 0 whispers; throat: factor of all
    formants, above 1 for a shorter vocal tract. -> (count,) float32."""
    world = import_vocoder()
    f0, envelope, aperiodicity = parts
    bins = envelope.shape[1]
    source = np.minimum(np.arange(bins) / throat, bins - 1.0)
    low = np.minimum(source.astype(int), bins - 2)
    part = source - low
    envelope = np.exp(
        np.log(envelope[:, low] + 1e-16) * (1.0 - part) + np.log(envelope[:, low + 1] + 1e-16) * part
    )
    aperiodicity = aperiodicity[:, low] * (1.0 - part) + aperiodicity[:, low + 1] * part
    pcm = world.synthesize(
        f0 * pitch,
        np.ascontiguousarray(envelope),
        np.ascontiguousarray(aperiodicity),
        SAMPLE_RATE,
        frame_period=PERIOD,
    )
    return np.pad(pcm, (0, max(count - len(pcm), 0)))[:count].astype(np.float32)


def another_speaker(rng):
    """Factors (pitch, throat) of a random speaker: throats by up to a quarter, pitch mostly as such throats have it."""
    throat = float(np.exp(rng.uniform(np.log(0.84), np.log(1.25))))
    if rng.random() < 0.05:
        return 0.0, throat
    return float(np.clip(throat**2.0 * np.exp(rng.normal(0.0, 0.22)), 0.55, 2.2)), throat


def revoice_corpus(folder, out, copies=3, seed=0, jobs=2):
    """Write a corpus with `copies` other voices of every training clip of the corpus in `folder`; equal arguments give
    equal files, a second call makes what is missing or was made of clips that changed.

    Returns its index (dict). Raises TalkerError when `out` is that folder, copies is below 1, or nothing trains there.
    """
    tqdm = require("tqdm", "the progress bar").tqdm
    folder, out = Path(folder), Path(out)
    if copies < 1 or folder.resolve() == out.resolve():
        raise TalkerError("revoicing needs --copies of at least 1 and a folder of its own to write")
    import_vocoder()  # what is missing is said before any process starts
    source, clips = read_index(folder), load_corpus(folder, "train")
    if not clips:
        raise TalkerError(f"{folder} has no training clips to give other voices")
    (out / "parts").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(jobs) as pool:
        work = [(clip, out, copies, [seed, number // STAYS]) for number, clip in enumerate(clips)]
        made = list(
            tqdm(pool.map(_revoice, work, chunksize=8), total=len(work), unit="clip", desc="other voices")
        )
    entries = [entry for copy in zip(*made) for entry in copy]  # one other speaker after the other
    minutes = sum(entry["seconds"] for entry in entries) / 60.0
    index = {
        **source,
        "minutes_by_split": {"train": round(minutes, 2), "validation": 0.0, "test": 0.0},
        "revoiced": {"of": source.get("kind"), "copies": copies, "seed": seed},
        "clips": entries,
    }
    (out / "index.json").write_text(json.dumps(index, indent=1))
    return index


def _revoice(job):
    """The copies of one clip, each as loud as the original; kept in parts/, so that none is made twice."""
    clip, out, copies, seed = job
    done = out / "parts" / f"{clip.name}.json"
    motion = zlib.crc32(clip.head.tobytes(), zlib.crc32(clip.weights.tobytes()))
    state = [copies, seed, zlib.crc32(clip.pcm.tobytes()), motion]
    if done.is_file():
        part = json.loads(done.read_text())
        if part["state"] == state:
            return part["clips"]
    rng = np.random.default_rng(seed)
    parts = take_apart(clip.pcm)
    entries = []
    for copy in range(copies):
        pitch, throat = another_speaker(rng)
        pcm = put_together(parts, pitch, throat, len(clip.pcm))
        level = np.sqrt(np.mean(np.square(clip.pcm)) / max(np.mean(np.square(pcm)), 1e-12))
        pcm = np.clip(pcm * level, -1.0, 1.0).astype(np.float32)
        other = replace(clip, pcm=pcm, name=f"{clip.name}_v{copy}", voice=f"{clip.voice}_v{copy}")
        entries.append(
            save_clip(
                out,
                other,
                speaker=f"{other.voice}*{throat:.2f}",
                pitch=round(pitch, 3),
                throat=round(throat, 3),
            )
        )
    partial = done.with_suffix(".partial")
    partial.write_text(json.dumps({"state": state, "clips": entries}))
    partial.replace(done)
    return entries
