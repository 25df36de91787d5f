# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker demo`: the whole way, end to end: a voice over DDS, a talker, and the face that came back
as a video.

Starts `streamingtalker talk` and `streamingtalker play` as processes of their own in a ROS domain of their
own on this machine, records the FaceMotion messages, and renders exactly those, placed by their stamps, with
the voice as sound: demo.mp4 and demo.png. The last line it prints counts the frames and tells the latency.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.cli.animate import Audio, draw_contact_sheet, render
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.motion_clip import BlendshapeClip

HELP = "talker and audio source over DDS, recorded into a video with sound"

VOICE = Path(__file__).parents[1] / "data" / "voice.flac"
_LOADING = 120.0  # s that the talker may take to load its model
_IDLE = 1.0  # s of idle frames after the voice, then the talker ends


def add_arguments(parser) -> None:
    parser.add_argument(
        "--wav", metavar="FILE", default=str(VOICE), help="voice to speak with: WAV, FLAC, OGG or MP3"
    )
    parser.add_argument("--out-dir", default=".", help="where demo.mp4 and demo.png go")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--domain", type=int, help="ROS domain; one of 101 to 200 by chance if left out")


def run(args) -> int:
    for module, purpose in (
        ("torch", "the talker"),
        ("vtk", "rendering"),
        ("av", "writing a video"),
        ("PIL", "the contact sheet"),
    ):
        require(module, purpose)  # now, rather than after the voice has been spoken
    folder = Path(args.out_dir)
    if not folder.is_dir():
        raise TalkerError(f"there is no folder {folder}: make it first")
    pcm, rate = read_audio(args.wav)
    domain = random.randint(101, 200) if args.domain is None else args.domain
    print(f"voice: {args.wav}, {len(pcm) / rate:.2f} s; ROS domain {domain} on this machine only", flush=True)
    recorded, statistics = perform(args.wav, len(pcm) / rate, args.device, domain)
    motion = motion_of(recorded, statistics["frame_rate"])
    from streamingtalker_ros.face.rendering.video import write_mp4

    video, picture = folder / "demo.mp4", folder / "demo.png"
    print(f"rendering {len(motion)} frames", flush=True)
    write_mp4(video, render(motion, range(len(motion))), motion.frame_rate, pcm, rate)
    title = f"{Path(args.wav).name}: recorded from face_motion"
    draw_contact_sheet(motion, Audio(pcm, rate), title=title).save(picture)
    print(f"wrote {video} and {picture}")
    print(summary(statistics, len(recorded), len(pcm) / rate))
    return 0


def perform(wav, seconds, device, domain):
    """Speak a file to a talker, both as processes of their own.

    Returns the list of `node.recorder.RecordedFrame` messages and the talker's statistics (dict). Raises
    TalkerError with the sentence of the process that failed.
    """
    from tqdm import tqdm

    from streamingtalker_ros.dds.recorder import FaceMotionRecorder

    environment = {"ROS_LOCALHOST_ONLY": "1", "ROS_DOMAIN_ID": str(domain)}
    os.environ.update(environment)  # the recorder's too
    with tempfile.TemporaryDirectory() as scratch, FaceMotionRecorder(domain) as recorder:
        path = Path(scratch) / "statistics.json"
        talk = _Process(
            scratch, "talk", "--param", f"device={device}", "--until-idle", str(_IDLE), "--stats", str(path)
        )
        play = None
        try:
            print("starting the talker", flush=True)
            talk.wait_for(lambda: recorder.wait_for_publisher(0.2) and talk.said(), _LOADING)
            print(talk.said(), flush=True)
            print("playing", flush=True)
            play = _Process(scratch, "play", wav, "--quiet")
            with tqdm(unit="frame", desc="face_motion", leave=False, disable=None) as bar:

                def come():
                    bar.update(len(recorder.frames) - bar.n)
                    return play.ended() and talk.ended()

                talk.wait_for(come, seconds + _LOADING, others=[play])
            time.sleep(0.2)  # the last messages are on their way
            frames = list(recorder.frames)
        finally:
            talk.stop()
            if play:
                play.stop()
        if not frames or not path.exists():
            raise TalkerError("no face motion came back: check that the loopback network interface is up")
        return frames, json.loads(path.read_text())


class _Process:
    """A `streamingtalker` command, its words kept in a file."""

    def __init__(self, scratch, command, *arguments) -> None:
        self._log = Path(scratch) / f"{command}.log"
        self._command = command
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streamingtalker_ros", command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def said(self):
        return self._log.read_text(errors="replace").strip()

    def ended(self):
        """Whether it has ended well. Raises TalkerError with its last line when it has failed."""
        code = self._process.poll()
        if code:
            last = (self.said().splitlines() or ["without a word"])[-1]
            raise TalkerError(
                f"`streamingtalker {self._command}` failed: " + last.replace("streamingtalker: error: ", "")
            )
        return code == 0

    def wait_for(self, condition, timeout, others=()) -> None:
        """Poll until condition() is true. Raises TalkerError when this or another process fails, or time is
        up."""
        deadline = time.monotonic() + timeout
        while not condition():
            for process in (self, *others):
                process.ended()
            if time.monotonic() > deadline:
                raise TalkerError(
                    f"`streamingtalker {self._command}` is not there after {timeout:.0f} s: run "
                    "it by itself to see why"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=10)


def motion_of(recorded, frame_rate):
    """RecordedFrame messages -> BlendshapeClip, on the grid of their stamps; frame 0 is the audio's first
    sample.

    A frame that never came shows the one before it. Takes the last stream, should the voice have begun anew.
    """
    begin = max((k for k, message in enumerate(recorded) if message.frame == 0), default=0)
    recorded = recorded[begin:]
    start = recorded[0].stamp - round(recorded[0].frame * NS_PER_S / frame_rate)
    places = [round((message.stamp - start) * frame_rate / NS_PER_S) for message in recorded]
    at = {place: message for place, message in zip(places, recorded)}
    frames, last = [], recorded[0]
    for place in range(max(places) + 1):
        last = at.get(place, last)
        frames.append(last)
    return BlendshapeClip(
        weights=np.stack([frame.weights for frame in frames]),
        head=np.stack([frame.head for frame in frames]),
        times=np.arange(len(frames)) / frame_rate,
        speaking=np.array([frame.speaking for frame in frames]),
        frame_rate=frame_rate,
    )


def summary(statistics, received, seconds) -> str:
    """The line that tells whether all went well."""
    value = statistics
    return (
        f"{value['frames']} frames of audio published ({value['frame_rate']:g} × {seconds:.2f} s), "
        f"{value['idle_frames']} idle frames, dropped {value['dropped']}, {received} received; "
        f"p50 {value['latency_p50_ms']:.1f} ms, p99 {value['latency_p99_ms']:.1f} ms "
        "from the last needed sample's arrival to publication"
    )
