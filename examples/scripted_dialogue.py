# SPDX-License-Identifier: Apache-2.0
"""A scripted dialogue without ROS: listen with nods, look at a walking person, answer with an emotion.

python examples/scripted_dialogue.py dialogue          # writes dialogue.npz, dialogue.csv and dialogue.png

Both voices are espeak-ng's; without it the recording of the package serves, and says nothing of the script.
"""

from __future__ import annotations

import csv
import itertools
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamingtalker_ros import ARKIT_NAMES, Stream, Talker
from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rendering.renderer import create_renderer
from streamingtalker_ros.model.protocol import BlendshapeFrame
from streamingtalker_ros.resources import DEMO_AUDIO

PAUSE_S = 0.6  # between turns
PERSON_M = 1.5  # distance of the walking person
STRIDE_M, STRIDE_S = 0.7, 8.0  # to each side, and there and back
TILES, COLUMNS = 8, 4  # pictures of the strip
WIDTH, HEIGHT, CAPTION = 200, 240, 20  # pixels

Action = Callable[[Stream], None]


@dataclass(frozen=True)
class Turn:
    """One turn of the dialogue.

    Attributes:
        is_partner: Whether the partner speaks; else the face does.
        text: What is said.
        voice: Of espeak-ng.
        action: Called with the stream as the turn begins.
    """

    is_partner: bool
    text: str
    voice: str
    action: Action


def answer_sadly(stream: Stream) -> None:
    """Look sad and tilt the head."""
    stream.express("sad", 0.6)
    stream.gesture("tilt")


SCRIPT = (
    Turn(
        True,
        "Good morning! I walked here along the river, and then, well, it began to rain rather heavily.",
        "en-gb+f3",
        lambda stream: stream.express("neutral"),
    ),
    Turn(
        False,
        "Oh no, you are wet! Please come in, I am happy to see you.",
        "en-us",
        lambda stream: stream.express("happy", 0.8),
    ),
    Turn(
        True,
        "Thank you. Somebody has taken my umbrella, you know, and my bag was in the same place.",
        "en-gb+f3",
        lambda stream: stream.express("surprised", 0.7, decay_s=2.0),
    ),
    Turn(
        False,
        "I am sorry about that. Maybe we can find it together.",
        "en-us",
        answer_sadly,
    ),
)


def synthesize(text: str, voice: str) -> npt.NDArray[np.float32]:
    """(n,) float32 at 16 kHz: the text by espeak-ng, or the recording of the package without it."""
    if shutil.which("espeak-ng") is None:
        pcm = to_16k(*read_audio(DEMO_AUDIO))
        return np.asarray(pcm[: 3 * SAMPLE_RATE], np.float32)
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "voice.wav"
        subprocess.run(["espeak-ng", "-v", voice, "-w", str(wav), text], check=True)
        return np.asarray(to_16k(*read_audio(wav)), np.float32)


def person_at(seconds: float) -> tuple[float, float, float]:
    """Where the walking person's eyes are, in metres in the axes of the face."""
    return PERSON_M, STRIDE_M * math.sin(2.0 * math.pi * seconds / STRIDE_S), 0.05


def play_dialogue(talker: Talker) -> tuple[list[BlendshapeFrame], list[str]]:
    """Play the script; return the frames, and who speaks in each."""
    stream = talker.open_stream(seed=0)
    frames: list[BlendshapeFrame] = []
    speakers: list[str] = []
    hops = 0
    for turn in SCRIPT:
        turn.action(stream)
        pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
        voice = np.append(synthesize(turn.text, turn.voice), pause)
        for start in range(0, len(voice), HOP_LENGTH):
            hop = np.zeros(HOP_LENGTH, np.float32)
            hop[: len(voice[start : start + HOP_LENGTH])] = voice[start : start + HOP_LENGTH]
            silence = np.zeros(HOP_LENGTH, np.float32)
            stream.hear_partner(hop if turn.is_partner else silence)
            stream.look_at(person_at(hops * HOP_LENGTH / SAMPLE_RATE), aversion=True)
            frames += stream.accept(silence if turn.is_partner else hop)
            speakers.append("partner" if turn.is_partner else "face")
            hops += 1
    return frames + stream.finish(), speakers


def write_strip(path: Path, frames: list[BlendshapeFrame], speakers: list[str]) -> None:
    """Write a strip of pictures: two of each turn, each with its time and who speaks."""
    from PIL import Image, ImageDraw

    bounds = [0] + [n for n in range(1, len(speakers)) if speakers[n] != speakers[n - 1]] + [len(speakers)]
    picks = [
        start + round(part * (end - start))
        for start, end in itertools.pairwise(bounds)
        for part in (0.35, 0.7)
    ]
    rows = -(-TILES // COLUMNS)
    strip = Image.new("RGB", (COLUMNS * WIDTH, rows * (HEIGHT + CAPTION)), (250, 250, 250))
    pen = ImageDraw.Draw(strip)
    renderer = create_renderer(default_rig(), WIDTH, HEIGHT, "front", zoom=1.06)
    for tile, index in enumerate(picks[:TILES]):
        left, top = tile % COLUMNS * WIDTH, tile // COLUMNS * (HEIGHT + CAPTION)
        frame = frames[index]
        strip.paste(Image.fromarray(renderer.render(frame.weights, frame.head)), (left, top))
        label = f"{frame.time:.1f} s, {'speaks' if speakers[index] == 'face' else 'listens'}"
        pen.text((left + WIDTH / 2, top + HEIGHT + 3), label, fill=(52, 58, 66), anchor="ma")
    renderer.close()
    strip.quantize(128).save(path, optimize=True)


def main(name: str) -> None:
    """Play the dialogue and write its frames as NPZ and CSV, and its strip of pictures.

    Args:
        name: Path of the files without their ending.
    """
    frames, speakers = play_dialogue(Talker.load(device="cpu"))
    weights, head = np.stack([frame.weights for frame in frames]), np.stack([frame.head for frame in frames])
    np.savez_compressed(f"{name}.npz", names=ARKIT_NAMES, weights=weights, head=head, speaker=speakers)
    with open(f"{name}.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "speaker", *ARKIT_NAMES, "head_x", "head_y", "head_z", "head_w"])
        for frame, speaker in zip(frames, speakers, strict=True):
            values = [*frame.weights, *frame.head]
            writer.writerow([f"{frame.time:.2f}", speaker, *(f"{value:.5f}" for value in values)])
    write_strip(Path(f"{name}.png"), frames, speakers)
    print(f"{len(frames)} frames in {name}.npz, {name}.csv and {name}.png")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "dialogue")
