# SPDX-License-Identifier: Apache-2.0
"""Robustness to noise, level, bandwidth and room: the same clips degraded, and the loss in their scores.

The reference remains that of the clean clip.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.evaluation.inference import synthesize_batch
from streamingtalker_ros.evaluation.motion_curves import MotionCurves, resample_frames
from streamingtalker_ros.evaluation.test_set import Scores, TestSet, score
from streamingtalker_ros.face.rig import Rig

if TYPE_CHECKING:
    from streamingtalker_ros.streaming import Talker

Degradation = Callable[[np.ndarray, np.random.Generator, Sequence[np.ndarray]], np.ndarray]
"""Function of audio (n,), a random generator and other voices for babble that returns degraded audio."""

NUM_CLIPS: Final = 24
"""Clips of a test set that are scored under each condition."""

NUM_ACCEPTANCE_CLIPS: Final = 120
"""Clips under `ACCEPTANCE_CONDITIONS`: the standard error of a loss of r over 24 clips alone is 0.015."""

NUM_BABBLE_VOICES: Final = 6

_SCORES = (
    "lip_opening_r_median",
    "lip_opening_r_p10",
    "lip_width_r_median",
    "amplitude_ratio",
    "closure_recall",
    "false_closures",
    "clips",
)


def _add_noise(generator: Callable[[int, np.random.Generator], np.ndarray], snr: float) -> Degradation:
    return lambda pcm, rng, voices: augmentation.add_noise(pcm, generator(len(pcm), rng), snr)


def _add_babble(pcm: np.ndarray, rng: np.random.Generator, voices: Sequence[np.ndarray]) -> np.ndarray:
    if not len(voices):
        return pcm
    return augmentation.add_noise(pcm, augmentation.babble_noise(len(pcm), rng, voices), 10.0)


def _set_level(dbfs: float) -> Degradation:
    return lambda pcm, rng, voices: augmentation.set_active_level(pcm, dbfs)


def _clip_peaks(pcm: np.ndarray, rng: np.random.Generator, voices: Sequence[np.ndarray]) -> np.ndarray:
    return augmentation.clip(pcm, float(np.abs(pcm).max()) * 10.0 ** (-12.0 / 20.0))


CONDITIONS: Final[dict[tuple[str, str], Degradation]] = {
    ("noise", "pink noise, 30 dB"): _add_noise(augmentation.pink_noise, 30.0),
    ("noise", "pink noise, 20 dB"): _add_noise(augmentation.pink_noise, 20.0),
    ("noise", "pink noise, 10 dB"): _add_noise(augmentation.pink_noise, 10.0),
    ("noise", "pink noise, 5 dB"): _add_noise(augmentation.pink_noise, 5.0),
    ("noise", "pink noise, 0 dB"): _add_noise(augmentation.pink_noise, 0.0),
    ("noise", "white noise, 10 dB"): _add_noise(augmentation.white_noise, 10.0),
    ("noise", "other voices, 10 dB"): _add_babble,
    ("level", "-10 dBFS"): _set_level(-10.0),
    ("level", "-20 dBFS"): _set_level(-20.0),
    ("level", "-30 dBFS"): _set_level(-30.0),
    ("level", "-40 dBFS"): _set_level(-40.0),
    ("band", "telephone"): lambda pcm, rng, voices: augmentation.telephone(pcm),
    ("band", "below 3 kHz"): lambda pcm, rng, voices: augmentation.band_pass(pcm, 50.0, 3000.0),
    ("room", "small room"): lambda pcm, rng, voices: augmentation.reverberate(pcm, rng),
    ("room", "clipped by 12 dB"): _clip_peaks,
}
"""(Family, name) -> degradation."""

ACCEPTANCE_CONDITIONS: Final = ("pink noise, 10 dB", "white noise, 10 dB", "telephone", "-30 dBFS")
"""Conditions that have an acceptance criterion."""


def evenly_spread_subset(test_set: TestSet, count: int = NUM_CLIPS) -> TestSet:
    """Select at most `count` clips whose reference moves, evenly spread.

    Args:
        test_set: The test set to reduce.
        count: Largest number of clips, 1 and up.

    Returns:
        A test set of the selected clips, in their order.
    """
    indices = test_set.moving_clips
    if len(indices) > count:
        indices = [indices[int(i)] for i in np.linspace(0, len(indices) - 1, count).round()]
    return test_set.subset(indices)


def score_conditions(
    talker: Talker, rig: Rig, test_set: TestSet, progress: bool = False, **options: Any
) -> dict[str, Scores]:
    """Score a talker under every condition.

    Noise and rooms are drawn from the clip's name, so they are the same for every model.

    Args:
        talker: a blendshape talker.
        rig: the face.
        test_set: its clips are reduced to `NUM_CLIPS`, under `ACCEPTANCE_CONDITIONS` to
            `NUM_ACCEPTANCE_CLIPS`.
        progress: whether to show a progress bar.
        options: further arguments of `Talker.open_stream`.

    Returns:
        "clean" (over `NUM_ACCEPTANCE_CLIPS`) and each condition -> scores, with the loss in the median r of
        the lip opening as "r_loss".
    """
    names = [name for _, name in CONDITIONS]
    groups = (
        (NUM_CLIPS, [name for name in names if name not in ACCEPTANCE_CONDITIONS]),
        (NUM_ACCEPTANCE_CLIPS, [name for name in names if name in ACCEPTANCE_CONDITIONS]),
    )
    scores: dict[str, Scores] = {}
    for count, group in groups:
        subset = evenly_spread_subset(test_set, count)
        scores |= _score_group(group, talker, rig, subset, progress, options)
    return {name: scores[name] for name in ("clean", *names)}


def _score_group(
    names: Sequence[str],
    talker: Talker,
    rig: Rig,
    test_set: TestSet,
    progress: bool,
    options: dict[str, Any],
) -> dict[str, Scores]:
    """Scores of the clean clips ("clean") and of the clips under some conditions."""
    degradations = {name: degrade for (_, name), degrade in CONDITIONS.items()}
    stride = max(1, len(test_set.clips) // NUM_BABBLE_VOICES)
    voices = [clip.pcm for clip in test_set.clips[::stride]][:NUM_BABBLE_VOICES]
    audio = [clip.pcm for clip in test_set.clips]
    for name in names:
        for clip in test_set.clips:
            rng = np.random.default_rng(zlib.crc32(f"{clip.name} {name}".encode()))
            others = [voice for voice in voices if voice is not clip.pcm]
            audio.append(np.clip(degradations[name](clip.pcm, rng, others), -1.0, 1.0).astype(np.float32))
    motion = synthesize_batch(talker, audio, progress="noise, level, band" if progress else False, **options)
    results: dict[str, Scores] = {}
    count = len(test_set.clips)
    for k, name in enumerate(("clean", *names)):
        curves = [
            MotionCurves.from_weights(
                rig, resample_frames(weights, talker.frame_rate, len(reference.opening), FRAME_RATE)
            )
            for (weights, _, _), reference in zip(
                motion[k * count : (k + 1) * count], test_set.reference, strict=True
            )
        ]
        scores, _ = score(rig, test_set, curves)
        results[name] = {key: scores[key] for key in _SCORES}
        results[name]["r_loss"] = (
            results["clean"]["lip_opening_r_median"] - results[name]["lip_opening_r_median"]
        )
    return results
