# SPDX-License-Identifier: Apache-2.0
"""Audio player on rclpy: publishes a file or the microphone in real time as the sourced audio_common_msgs.

`ros2 run streamingtalker_ros play FILE` waits for a subscriber, then publishes. The packets and their stamps
are those of `audio.sources`, the same as without ROS.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rclpy
from rclpy.node import Node

from streamingtalker_ros.audio import sources
from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.process import print_line
from streamingtalker_ros.ros import arguments, audio_input, message_types, qos
from streamingtalker_ros.ros.spin import initialize
from streamingtalker_ros.supervision import Supervisor

_POLL_S: Final = 0.05
_SETTLE_S: Final = 0.3  # until the subscriber has received the format, too
_LINGER_S: Final = 0.2  # the last packets are dropped if the publisher is destroyed immediately


class AudioPlayer(Node):
    """Publishes packets on `audio`, and their format on `audio_info` (ros-drivers).

    Args:
        rate: Samples per second.
        frame_id: frame_id of the headers.
        kwargs: Of `rclpy.node.Node`.

    Raises:
        TalkerError: If no audio_common_msgs is sourced.
    """

    def __init__(self, rate: int, frame_id: str = "microphone", **kwargs: Any) -> None:
        super().__init__("audio_source", **kwargs)
        self.format = AudioFormat(rate, 1, "s16")
        variant = audio_input.installed_variant()
        self._type_name = audio_common.PUBLISHED_TYPES[variant]
        self._frame_id = frame_id
        self._message_class = message_types.message_class(self._type_name)
        self._audio_publisher = self.create_publisher(self._message_class, "audio", qos.AUDIO_PUBLISHER)
        if variant == "ros-drivers":
            info_class = message_types.message_class(audio_common.INFO_TYPE)
            info_publisher = self.create_publisher(info_class, "audio_info", qos.LATCHED)
            info_publisher.publish(audio_common.to_audio_info(info_class(), self.format))

    @property
    def topic(self) -> str:
        """Topic of the audio, remapped and absolute."""
        return self._audio_publisher.topic_name

    def wait_for_subscriber(self, timeout: float) -> bool:
        """Wait until the audio has a subscriber, for at most `timeout` seconds; return whether it has."""
        deadline = time.monotonic() + timeout
        while not self._audio_publisher.get_subscription_count():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        time.sleep(_SETTLE_S)
        return True

    def publish(self, samples: npt.NDArray[np.int16], stamp: int) -> None:
        """Publish a packet.

        Args:
            samples: (n,) int16.
            stamp: Time of the first sample in ns.
        """
        message = audio_common.to_audio_message(
            self._message_class(), self._type_name, samples, self.format, stamp, self._frame_id
        )
        self._audio_publisher.publish(message)


def parse(args: Sequence[str]) -> argparse.Namespace:
    """Parse the command line of the process, whose ROS arguments are removed.

    Args:
        args: Command line with the program's name first; it may contain ROS arguments.

    Returns:
        The options `file`, `loop`, `rate` in samples per second and `wait` in seconds.
    """
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        prog="play",
        description="Publish an audio file, or the microphone, in real time on the topic "
        "`audio` (remap it with --ros-args -r audio:=/other).",
    )
    parser.add_argument("file", nargs="?", help="WAV, FLAC, OGG or MP3; without it, the microphone")
    repetition = parser.add_mutually_exclusive_group()
    repetition.add_argument("--loop", action="store_true", help="start again when the file ends")
    repetition.add_argument(
        "--once", action="store_false", dest="loop", default=False, help="stop at the end of the file"
    )
    parser.add_argument("--rate", type=int, default=SAMPLE_RATE, help="the microphone's samples per second")
    parser.add_argument(
        "--wait",
        type=float,
        default=60.0,
        help="seconds to wait for a subscriber, such as a talker that is loading",
    )
    return parser.parse_args(arguments.split(args[1:])[0])


def play(options: argparse.Namespace) -> None:
    """Play a file or the microphone.

    Args:
        options: As `parse` returns them.

    Raises:
        TalkerError: If the file is no audio, there is no microphone, or there is no subscriber in time.
    """
    samples, rate = sources.load_pcm16(options.file) if options.file else (None, options.rate)
    player = AudioPlayer(rate)
    if not player.wait_for_subscriber(options.wait):
        raise TalkerError(
            f"no subscriber of {player.topic} within {options.wait:g} s: start the talker "
            "first, in the same ROS_DOMAIN_ID"
        )
    while True:
        if samples is None:
            packets, source = sources.microphone_packets(rate), "microphone"
        else:
            packets = sources.paced_packets(samples, rate)
            source = f"{options.file}, {len(samples) / rate:.1f} s"
        player.get_logger().info(f"{source} at {rate} Hz on {player.topic}")
        for stamp, packet in packets:
            player.publish(packet, stamp)
        if not options.loop:
            break
    time.sleep(_LINGER_S)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code.

    Args:
        args: Command line with the program's name first; None for that of the process.

    Returns:
        0 at the end of the audio, 2 after an error, 130 after a signal.
    """
    args = sys.argv if args is None else args
    options = parse(args)
    with Supervisor(interrupt_main=True) as supervisor:
        try:
            initialize(args)
            play(options)
        except TalkerError as error:
            print_line(f"play: error: {error}", error=True)
            return 2
        except KeyboardInterrupt:  # by a signal, or a thread that failed
            return supervisor.exit_code or 130
        finally:
            rclpy.try_shutdown()
    return supervisor.exit_code
