# SPDX-License-Identifier: Apache-2.0
"""Voice conversion of a corpus: other pitches and vocal tract lengths for the same audio at the same times.

The WORLD vocoder (Morise, Yokomori and Ozawa 2016; `pyworld`) analyzes a voice into fundamental frequency,
spectral envelope and aperiodicity; the pitch is scaled, the envelope is stretched along frequency, and the
voice is synthesized again. Times do not change, so captured motion of the first voice fits the others.
"""

from __future__ import annotations

import os
import warnings
import zlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Final

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.corpus.storage import (
    Clip,
    Index,
    load_corpus,
    minutes_by_split,
    read_index,
    read_part,
    save_clip,
    write_index,
    write_part,
)
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.process import progress_bar
from streamingtalker_ros.task_cluster import TaskCluster

CLIPS_PER_SPEAKER: Final = 4
"""Consecutive clips that get the same converted speakers."""

FRAME_PERIOD_MS: Final = 5.0
"""Milliseconds between analysis frames, as short as the bursts of p, t and k."""

FORMANT_SCALE_RANGE: Final = (0.84, 1.25)
"""Range of the factor of the formants of a random speaker."""

WHISPER_PROBABILITY: Final = 0.05
"""Probability that a random speaker whispers."""

VoiceParameters = tuple[np.ndarray, np.ndarray, np.ndarray]
"""f0 (t,) in Hz, spectral envelope (t, f), aperiodicity (t, f)."""


def import_vocoder() -> ModuleType:
    """Import pyworld.

    Returns:
        The module.

    Raises:
        TalkerError: if pyworld, or the pkg_resources that it imports, is not installed.
    """
    try:
        with warnings.catch_warnings():  # of pkg_resources, which pyworld imports: nothing a user can change
            warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
            return require("pyworld", "voice conversion")
    except TalkerError as error:
        if "pkg_resources" not in str(error):
            raise
        raise TalkerError(
            "pyworld needs pkg_resources, which newer setuptools lack: `pip install 'setuptools<81'`"
        ) from None


def analyze(pcm: np.ndarray) -> VoiceParameters:
    """Analyze a voice with WORLD.

    Args:
        pcm: (n,) mono audio at 16 kHz.

    Returns:
        f0 (t,) in Hz, spectral envelope (t, f) and aperiodicity (t, f).
    """
    pyworld = import_vocoder()
    pcm = np.asarray(pcm, np.float64)
    f0, times = pyworld.dio(pcm, SAMPLE_RATE, frame_period=FRAME_PERIOD_MS)
    f0 = pyworld.stonemask(pcm, f0, times, SAMPLE_RATE)
    envelope = pyworld.cheaptrick(pcm, f0, times, SAMPLE_RATE)
    return f0, envelope, pyworld.d4c(pcm, f0, times, SAMPLE_RATE)


def synthesize(
    parameters: VoiceParameters, pitch_scale: float, formant_scale: float, num_samples: int
) -> np.ndarray:
    """Synthesize a voice from the parameters of `analyze`.

    Args:
        parameters: f0, spectral envelope and aperiodicity.
        pitch_scale: factor of f0; 0 gives a whisper.
        formant_scale: factor of all formants; above 1 for a shorter vocal tract.
        num_samples: length of the result.

    Returns:
        (num_samples,) float32 audio at 16 kHz.
    """
    pyworld = import_vocoder()
    f0, envelope, aperiodicity = parameters
    bins = envelope.shape[1]
    source_bins = np.minimum(np.arange(bins) / formant_scale, bins - 1.0)
    lower = np.minimum(source_bins.astype(int), bins - 2)
    fraction = source_bins - lower
    envelope = np.exp(
        np.log(envelope[:, lower] + 1e-16) * (1.0 - fraction)
        + np.log(envelope[:, lower + 1] + 1e-16) * fraction
    )
    aperiodicity = aperiodicity[:, lower] * (1.0 - fraction) + aperiodicity[:, lower + 1] * fraction
    pcm = pyworld.synthesize(
        f0 * pitch_scale,
        np.ascontiguousarray(envelope),
        np.ascontiguousarray(aperiodicity),
        SAMPLE_RATE,
        frame_period=FRAME_PERIOD_MS,
    )
    return np.pad(pcm, (0, max(num_samples - len(pcm), 0)))[:num_samples].astype(np.float32)


def sample_speaker(rng: np.random.Generator) -> tuple[float, float]:
    """Draw a random speaker; pitch correlates with vocal tract length.

    Args:
        rng: source of randomness.

    Returns:
        (pitch scale, formant scale); a pitch scale of 0 whispers.
    """
    low, high = FORMANT_SCALE_RANGE
    formant_scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    if rng.random() < WHISPER_PROBABILITY:
        return 0.0, formant_scale
    return float(np.clip(formant_scale**2.0 * np.exp(rng.normal(0.0, 0.22)), 0.55, 2.2)), formant_scale


def convert_voices(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    copies: int = 3,
    seed: int = 0,
    num_workers: int = 2,
    scheduler: str | None = None,
) -> Index:
    """Write a corpus with other voices for every training clip of another.

    A second call converts only clips that are missing or whose source changed.

    Args:
        folder: folder of the source corpus.
        out: folder to write.
        copies: converted voices per clip.
        seed: equal seeds give equal files.
        num_workers: number of processes.
        scheduler: address of a Dask scheduler, whose workers are used instead; None for local processes.

    Returns:
        The index of the new corpus.

    Raises:
        TalkerError: if `out` is `folder`, copies is below 1, there are no training clips, or pyworld is
            missing.
    """
    tqdm = progress_bar()
    folder, out = Path(folder), Path(out)
    if copies < 1 or folder.resolve() == out.resolve():
        raise TalkerError("voice conversion needs --copies of at least 1 and another folder to write")
    import_vocoder()  # report a missing package before any process starts
    source, clips = read_index(folder), load_corpus(folder, "train")
    if not clips:
        raise TalkerError(f"{folder} has no training clips to convert")
    with TaskCluster(num_workers, scheduler, out) as cluster:
        work = [(clip, out, copies, [seed, number // CLIPS_PER_SPEAKER]) for number, clip in enumerate(clips)]
        results = list(
            tqdm(
                cluster.map(_convert_clip, work, [clip.name for clip in clips]),
                total=len(work),
                unit="clip",
                desc="other voices",
            )
        )
    converted = [entries for entries in results if entries is not None]
    entries = [entry for copy in zip(*converted, strict=True) for entry in copy]  # speaker by speaker
    return write_index(
        out,
        {
            **source,
            "minutes_by_split": minutes_by_split(entries),
            "voice_conversion": {"source_kind": source.get("kind"), "copies": copies, "seed": seed},
            "clips": entries,
        },
        cluster.failures,
    )


def _convert_clip(job: tuple[Clip, Path, int, list[int]]) -> list[Index]:
    """Save the converted copies of one clip, as loud as the source; parts/ keeps them for a second call."""
    clip, out, copies, seed = job
    motion_checksum = zlib.crc32(clip.head.tobytes(), zlib.crc32(clip.weights.tobytes()))
    state = [copies, seed, zlib.crc32(clip.pcm.tobytes()), motion_checksum]
    part = read_part(out, clip.name, state)
    if part is not None:
        return part["clips"]
    rng = np.random.default_rng(seed)
    parameters = analyze(clip.pcm)
    entries = []
    for copy in range(copies):
        pitch_scale, formant_scale = sample_speaker(rng)
        pcm = synthesize(parameters, pitch_scale, formant_scale, len(clip.pcm))
        gain = np.sqrt(np.mean(np.square(clip.pcm)) / max(np.mean(np.square(pcm)), 1e-12))
        pcm = np.clip(pcm * gain, -1.0, 1.0).astype(np.float32)
        converted = replace(clip, pcm=pcm, name=f"{clip.name}_v{copy}", voice=f"{clip.voice}_v{copy}")
        entries.append(
            save_clip(
                out,
                converted,
                speaker=f"{converted.voice}*{formant_scale:.2f}",
                pitch_scale=round(pitch_scale, 3),
                formant_scale=round(formant_scale, 3),
            )
        )
    return write_part(out, clip.name, state, entries)["clips"]
