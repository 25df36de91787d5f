# SPDX-License-Identifier: Apache-2.0
"""What emotions at full strength change of the speech of ten voices, as Markdown tables.

    python tools/benchmarks/emotions.py

Lip closures and lip openings on the default face, each beside those of the neutral face; and how often the
nearest centroid of the weights names a frame's emotion, with the centroids of the other voices.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).resolve().parents[2]))

from streamingtalker_ros import Talker
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.conversation.emotion import BLEND_S
from streamingtalker_ros.conversation.emotion_table import EMOTIONS, NEUTRAL
from streamingtalker_ros.evaluation import metrics
from streamingtalker_ros.evaluation.motion_curves import MotionCurves
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.phonetics import espeak_tts, flite_festival_tts
from streamingtalker_ros.phonetics.phones import Phone
from streamingtalker_ros.resources import DEMO_AUDIO

FLITE_VOICES = ("slt", "rms", "awb", "kal16")
ESPEAK_VOICES = ("en-us", "en-us+f2", "en-us+m3", "en-us+f5", "en-us+m7")
TEXTS = (
    "Maybe my mother bought a big pumpkin pie, but papa and Bob put it back.",
    "People mumble when problems pop up; a baby babbles about bubbles and bees.",
    "We hope to be home before midnight, perhaps by the number nine bus.",
)


@dataclass
class Voice:
    """A recording of one voice.

    Attributes:
        pcm: (n,) float32 mono 16 kHz.
        phones: With their times; none of a recording that is not aligned.
    """

    pcm: npt.NDArray[np.float32]
    phones: list[Phone]


@dataclass
class Motion:
    """Motion of one voice under each emotion.

    Attributes:
        weights: (E, T, 52) by emotion.
        openings: (E, T) lip opening on the default face.
    """

    weights: npt.NDArray[np.float32]
    openings: npt.NDArray[np.float64]


def synthetic_voices(
    flite: Sequence[str] = FLITE_VOICES, espeak: Sequence[str] = ESPEAK_VOICES, texts: Sequence[str] = TEXTS
) -> dict[str, Voice]:
    """Return texts in synthetic voices, with the phones of the synthesizers."""
    utterances = {f"flite {name}": flite_festival_tts.synthesize(name, texts) for name in flite}
    utterances |= {f"espeak-ng {name}": espeak_tts.synthesize(name, texts) for name in espeak}
    voices: dict[str, Voice] = {}
    for name, sentences in utterances.items():
        pcm, phones, start = [], [], 0.0
        for sentence in sentences:
            phones += [Phone(p.name, p.start + start, p.end + start, p.stress) for p in sentence.phones]
            pcm.append(sentence.pcm)
            start += len(sentence.pcm) / 16_000
        voices[name] = Voice(np.concatenate(pcm), phones)
    return voices


def demo_voice() -> Voice:
    """Return the recorded voice of the demo."""
    return Voice(np.asarray(to_16k(*read_audio(DEMO_AUDIO)), np.float32), [])


def move(talker: Talker, voice: Voice, steps: int | None = None) -> Motion:
    """Let a face say a recording under each emotion at full strength, in a number of diffusion steps."""
    streams = [talker.open_stream(seed=1, steps=steps, emotion=name) for name in EMOTIONS]
    accepted = talker.accept(streams, [voice.pcm] * len(streams))
    weights = [
        np.stack([frame.weights for frame in frames + stream.finish()])
        for stream, frames in zip(streams, accepted, strict=True)
    ]
    rig = default_rig()
    openings = [MotionCurves.from_weights(rig, rows).opening for rows in weights]
    return Motion(np.stack(weights), np.stack(openings))


def closure_counts(
    voices: Sequence[Voice], motions: Sequence[Motion], frame_rate: float
) -> list[metrics.ClosureCounts]:
    """Count the closures of each emotion; lips are closed relative to the vowels of the neutral face."""
    spoken = [(voice, motion) for voice, motion in zip(voices, motions, strict=True) if voice.phones]
    neutral, phones = [motion.openings[0] for _, motion in spoken], [voice.phones for voice, _ in spoken]
    reference = metrics.vowel_opening(neutral, phones, frame_rate)
    counts = [metrics.ClosureCounts() for _ in EMOTIONS]
    for voice, motion in spoken:
        for i, opening in enumerate(motion.openings):
            counts[i] += metrics.count_closures(opening, voice.phones, frame_rate, reference)
    return counts


def opening_correlations(motions: Sequence[Motion]) -> npt.NDArray[np.float64]:
    """Return (E, V): correlation of the lip opening under each emotion with that of the neutral face."""
    return np.array(
        [[np.corrcoef(motion.openings[0], rows)[0, 1] for rows in motion.openings] for motion in motions]
    ).T


def confusion(motions: Sequence[Motion], frame_rate: float) -> npt.NDArray[np.float64]:
    """Return (E, E): fraction of an emotion's frames by nearest centroid, those of the other voices."""
    first = round(2 * BLEND_S * frame_rate)
    means = np.stack([motion.weights[:, first:].mean(axis=1) for motion in motions])  # (V, E, 52)
    counts = np.zeros((len(EMOTIONS), len(EMOTIONS)))
    for i, motion in enumerate(motions):
        centroids = np.delete(means, i, axis=0).mean(axis=0)
        for emotion, rows in enumerate(motion.weights[:, first:]):
            nearest = np.linalg.norm(rows[:, None] - centroids, axis=2).argmin(axis=1)
            counts[emotion] += np.bincount(nearest, minlength=len(EMOTIONS))
    return counts / counts.sum(axis=1, keepdims=True)


def main() -> None:
    """Print the tables."""
    argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0]).parse_args()
    talker = cast(Talker, Talker.load())
    voices = {**synthetic_voices(), "recorded": demo_voice()}
    motions = [move(talker, voice) for voice in voices.values()]
    counts = closure_counts(list(voices.values()), motions, talker.frame_rate)
    correlations, confused = opening_correlations(motions), confusion(motions, talker.frame_rate)
    print("| emotion | closure recall | contacts in open vowels | lip opening, r: least, median | named |")
    print("|---|---|---|---|---|")
    for i, name in enumerate(EMOTIONS):
        r = "–" if name == NEUTRAL else f"{correlations[i].min():.3f}, {np.median(correlations[i]):.3f}"
        recall, contacts = counts[i].recall, counts[i].false_contact_rate
        print(f"| {name} | {recall:.1%} | {contacts:.1%} | {r} | {confused[i, i]:.1%} |")
    print(f"\n{counts[0].bilabials} bilabials, {len(voices)} voices: {', '.join(voices)}")
    print(f"frames named: {np.trace(confused) / len(EMOTIONS):.1%}")


if __name__ == "__main__":
    main()
