# SPDX-License-Identifier: Apache-2.0
"""The audio source on rclpy: a file or the microphone, published in real time as the audio_common_msgs
sourced here.

`ros2 run streamingtalker_ros play FILE` waits for a listener, then sends; `main` is the executable. The
packets and their stamps are `audio.sources`', the same as without ROS.
"""

import argparse
import signal
import sys
import time

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from streamingtalker_ros.audio import sources
from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.process import on_stop_signals, print_line
from streamingtalker_ros.ros import audio_input, qos


class AudioPlayer(Node):
    """Publishes packets on `audio`, and the format on `audio_info` where the variant has it. rate: Hz."""

    def __init__(self, rate, frame_id="microphone", **kwargs) -> None:
        super().__init__("audio_source", **kwargs)
        self.format = AudioFormat(rate, 1, "s16")
        variant = audio_input.installed_variant()
        self._type, self._frame_id = audio_common.PUBLISHED_TYPES[variant], frame_id
        self._made = audio_input.message_class(self._type)
        self._audio = self.create_publisher(self._made, "audio", qos.SENT_AUDIO)
        if variant == "ros-drivers":
            info = audio_input.message_class(audio_common.INFO_TYPE)
            told = self.create_publisher(info, "audio_info", qos.LATCHED)
            told.publish(audio_common.to_audio_info(info(), self.format))

    @property
    def topic(self):
        """The audio's topic, remapped and absolute."""
        return self._audio.topic_name

    def wait_for_subscriber(self, timeout) -> bool:
        """Wait until somebody listens. Returns whether somebody does, after at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self._audio.get_subscription_count():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        time.sleep(0.3)  # both ends know each other now, and the listener has heard the format
        return True

    def publish(self, samples, stamp) -> None:
        """samples: (n,) int16, taken at `stamp` (ns)."""
        message = audio_common.to_audio_message(
            self._made(), self._type, samples, self.format, stamp, self._frame_id
        )
        self._audio.publish(message)


def parse(args):
    parser = argparse.ArgumentParser(
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        prog="play",
        description="Publish an audio file, or the microphone, in real time on the topic "
        "`audio` (remap it with --ros-args -r audio:=/other).",
    )
    parser.add_argument("file", nargs="?", help="WAV, FLAC, OGG or MP3; without it, the microphone")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--loop", action="store_true", help="begin again when the file ends")
    again.add_argument("--once", action="store_false", dest="loop", default=False, help="end with the file")
    parser.add_argument("--rate", type=int, default=SAMPLE_RATE, help="the microphone's samples per second")
    parser.add_argument(
        "--wait",
        type=float,
        default=60.0,
        help="seconds to wait for a listener, such as a talker that is loading",
    )
    return parser.parse_args(remove_ros_args(args)[1:])


def perform(options) -> None:
    """Play what the options ask for. Raises TalkerError for a file that is no audio, or when there is no
    microphone.
    """
    samples, rate = sources.load_pcm16(options.file) if options.file else (None, options.rate)
    player = AudioPlayer(rate)
    if not player.wait_for_subscriber(options.wait):
        raise TalkerError(
            f"nobody listened to {player.topic} within {options.wait:g} s: start the talker "
            "first, in the same ROS_DOMAIN_ID"
        )
    again = True
    while again:
        again = options.loop
        if samples is None:
            packets, what = sources.microphone_packets(rate), "microphone"
        else:
            packets, what = (
                sources.paced_packets(samples, rate),
                f"{options.file}, {len(samples) / rate:.1f} s",
            )
        player.get_logger().info(f"{what} at {rate} Hz on {player.topic}")
        for stamp, block in packets:
            player.publish(block, stamp)
        time.sleep(0.2)  # a publisher that leaves at once takes its last packets with it


def main(args=None) -> int:
    """Returns the exit code."""
    args = sys.argv if args is None else args
    options = parse(args)
    # a signal ends the loop; rclpy's own handlers would end the context under it
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    on_stop_signals(signal.default_int_handler)
    try:
        perform(options)
    except TalkerError as error:
        print_line(f"play: error: {error}", error=True)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    return 0
