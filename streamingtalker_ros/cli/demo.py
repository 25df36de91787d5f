# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker demo`: a voice and a talker over DDS, recorded into a video with sound.

Starts `streamingtalker talk` and `streamingtalker play` as processes in a separate ROS domain on this
machine, records the FaceMotion messages and renders them, placed by their stamps: demo.mp4 and demo.png. The
last line of the output gives the number of frames and the latency.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.files import AudioSource, read_audio
from streamingtalker_ros.child_processes import start_command
from streamingtalker_ros.cli.animate import draw_contact_sheet, render
from streamingtalker_ros.cli.argument_types import add_backend_options, ros_domain
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.motion_clip import BlendshapeClip
from streamingtalker_ros.face.named_faces import FACE_HELP, open_face
from streamingtalker_ros.output_files import atomic_output, check_output_file
from streamingtalker_ros.process import QuietStream, print_result
from streamingtalker_ros.resources import DEMO_AUDIO
from streamingtalker_ros.supervision import Supervisor

if TYPE_CHECKING:
    from streamingtalker_ros.dds.recorder import RecordedFrame

HELP = "run talker and audio source over DDS, and record the face into a video with sound"

MAX_LOADING_S: Final = 120.0
"""Maximum time for the talker to load its model."""

IDLE_S: Final = 1.0
"""Duration of the idle frames after the voice; then the talker exits."""

_DOMAINS: Final = (101, 200)  # far from the domains that people choose
_POLL_S: Final = 0.05
_LAST_MESSAGES_S: Final = 0.2
_STOP_TIMEOUT_S: Final = 0.5  # of a process that is not needed any more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command.

    Args:
        parser: Parser of the command; it is extended in place.
    """
    parser.add_argument(
        "--wav", metavar="FILE", default=str(DEMO_AUDIO), help="audio to play: WAV, FLAC, OGG or MP3"
    )
    parser.add_argument("--out-dir", default=".", help="folder for demo.mp4 and demo.png")
    parser.add_argument(
        "--face",
        metavar="FACE",
        help=f"face to record: {FACE_HELP} with ARKit shapes (default: the built-in face)",
    )
    add_backend_options(parser)
    parser.add_argument(
        "--domain", type=ros_domain, help="ROS domain; a random one of 101 to 200 if left out"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.

    Returns:
        The exit code.

    Raises:
        TalkerError: If a package is missing, the audio or folder is unusable, or one of the processes fails.
    """
    require("rosbags", "the demo", "dds")
    for module, purpose in (
        ("cyclonedds", "the demo"),
        ("vtk", "rendering"),
        ("av", "writing a video"),
        ("PIL", "the contact sheet"),
    ):
        require(module, purpose)  # now, rather than after the voice has been played
    folder = Path(args.out_dir)
    for name in ("demo.mp4", "demo.png"):
        check_output_file(folder / name, option="--out-dir", inputs=[args.wav, args.face])
    rig = open_face(args.face)
    pcm, rate = read_audio(args.wav)
    duration = len(pcm) / rate
    domain = random.randint(*_DOMAINS) if args.domain is None else args.domain
    print_result(f"voice: {args.wav}, {duration:.2f} s; ROS domain {domain} on this machine only")
    options = {name: getattr(args, name) for name in ("device", "backend", "precision")}
    with Supervisor(interrupt_main=True) as supervisor:
        try:
            frames, statistics = record_demo(args.wav, duration, options, domain)
        except KeyboardInterrupt:
            if supervisor.failed_thread is None:
                raise
            return supervisor.exit_code
    clip = replace(frames_to_clip(frames, statistics["frame_rate"]), rig=rig)
    from streamingtalker_ros.face.rendering.video import write_video

    video, picture = folder / "demo.mp4", folder / "demo.png"
    print_result(f"rendering {len(clip)} frames")
    write_video(video, render(clip, range(len(clip))), clip.frame_rate, pcm, rate)
    title = f"{Path(args.wav).name}: recorded from face_motion"
    sheet = draw_contact_sheet(clip, AudioSource.from_samples(pcm, rate), title=title)
    with atomic_output(picture) as partial:
        sheet.save(partial)
    print_result(f"wrote {video} and {picture}")
    print_result(format_summary(statistics, len(frames), duration))
    return 0


def record_demo(
    wav: str, duration: float, parameters: Mapping[str, str], domain: int
) -> tuple[list[RecordedFrame], dict[str, Any]]:
    """Play a file to a talker, each in a separate process, and record the FaceMotion messages.

    Args:
        wav: audio file.
        duration: of the audio, in seconds.
        parameters: of the talker, by name.
        domain: ROS domain.

    Returns:
        The messages, and the talker's statistics.

    Raises:
        TalkerError: with the error message of the process that failed, or if no message arrives.
    """
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread that only redraws bars
    from streamingtalker_ros.dds.recorder import FaceMotionRecorder

    os.environ.update({"ROS_LOCALHOST_ONLY": "1", "ROS_DOMAIN_ID": str(domain)})  # for the recorder too
    with tempfile.TemporaryDirectory() as scratch, FaceMotionRecorder(domain) as recorder:
        statistics_path = Path(scratch) / "statistics.json"
        options = ("--until-idle", str(IDLE_S), "--stats", str(statistics_path))
        assignments = [word for name, value in parameters.items() for word in ("--param", f"{name}={value}")]
        talk = _CommandProcess(scratch, "talk", *assignments, *options)
        play = None
        try:
            print_result("starting the talker")
            talk.wait_for(
                lambda: recorder.wait_for_publisher(0.2) and bool(talk.read_output()), MAX_LOADING_S
            )
            print_result(talk.read_output())
            print_result("playing")
            play = player = _CommandProcess(scratch, "play", wav, "--quiet")
            with tqdm(file=QuietStream(), unit="frame", desc="face_motion", leave=False, disable=None) as bar:

                def both_exited() -> bool:
                    bar.update(len(recorder.frames) - bar.n)
                    return player.has_exited() and talk.has_exited()

                talk.wait_for(both_exited, duration + MAX_LOADING_S, others=[player])
            time.sleep(_LAST_MESSAGES_S)
            frames = list(recorder.frames)
        finally:
            talk.stop()
            if play is not None:
                play.stop()
        if not frames or not statistics_path.exists():
            raise TalkerError("no face motion was received: check that the loopback network interface is up")
        return frames, json.loads(statistics_path.read_text())


class _CommandProcess:
    """A `streamingtalker` command in a separate process, with its output in a file."""

    def __init__(self, scratch: str, command: str, *arguments: str) -> None:
        self._log = Path(scratch) / f"{command}.log"
        self._command = command
        with open(self._log, "w") as log:
            self._process = start_command([command, *arguments], stdout=log, stderr=subprocess.STDOUT)

    def read_output(self) -> str:
        """Return what it has printed."""
        return self._log.read_text(errors="replace").strip()

    def has_exited(self) -> bool:
        """Return whether it has exited; raise TalkerError with its last line if it has failed."""
        code = self._process.poll()
        if code:
            last = (self.read_output().splitlines() or ["no output"])[-1]
            reason = last.replace("streamingtalker: error: ", "")
            raise TalkerError(f"`streamingtalker {self._command}` failed: {reason}")
        return code == 0

    def wait_for(
        self, condition: Callable[[], bool], timeout: float, others: Sequence[_CommandProcess] = ()
    ) -> None:
        """Poll until `condition()` is true.

        Args:
            condition: called repeatedly.
            timeout: in seconds.
            others: further processes that must not fail.

        Raises:
            TalkerError: if this process or another fails, or at the timeout.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            for process in (self, *others):
                process.has_exited()
            if time.monotonic() > deadline:
                raise TalkerError(
                    f"`streamingtalker {self._command}` is not ready after {timeout:.0f} s: run it by itself "
                    "to see why"
                )
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Terminate it if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()


def frames_to_clip(frames: Sequence[RecordedFrame], frame_rate: float) -> BlendshapeClip:
    """Place recorded frames on the grid of their stamps.

    A missing frame repeats the one before it. Of several streams the last is used.

    Args:
        frames: in the order of arrival, not empty.
        frame_rate: frames per second.

    Returns:
        The clip; time 0 is that of the audio's first sample.
    """
    first = max((k for k, frame in enumerate(frames) if frame.frame == 0), default=0)
    frames = frames[first:]
    start = frames[0].stamp - round(frames[0].frame * NS_PER_S / frame_rate)
    by_index = {round((frame.stamp - start) * frame_rate / NS_PER_S): frame for frame in frames}
    placed: list[RecordedFrame] = []
    last = frames[0]
    for index in range(max(by_index) + 1):
        last = by_index.get(index, last)
        placed.append(last)
    return BlendshapeClip(
        weights=np.stack([frame.weights for frame in placed]),
        head=np.stack([frame.head for frame in placed]),
        times=np.arange(len(placed)) / frame_rate,
        speaking=np.array([frame.speaking for frame in placed]),
        frame_rate=frame_rate,
    )


def format_summary(statistics: Mapping[str, Any], received: int, duration: float) -> str:
    """Return the last line of the output: numbers of frames and the latency.

    Args:
        statistics: of the talker.
        received: number of FaceMotion messages received.
        duration: of the audio, in seconds.
    """
    return (
        f"{statistics['frames']} frames of audio published "
        f"({statistics['frame_rate']:g} × {duration:.2f} s), "
        f"{statistics['idle_frames']} idle frames, dropped {statistics['dropped']}, {received} received; "
        f"p50 {statistics['latency_p50_ms']:.1f} ms, p99 {statistics['latency_p99_ms']:.1f} ms "
        "from the last needed sample's arrival to publication"
    )
