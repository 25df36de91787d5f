# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker play`: publish an audio file, or the microphone, as a ROS 2 audio topic in real time."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio import sources
from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.packet import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from streamingtalker_ros.cli.argument_types import duration_s, integer, number
from streamingtalker_ros.cli.audio_topic_options import add_audio_topic_options
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import QuietStream, print_line
from streamingtalker_ros.supervision import Supervisor

HELP = "publish an audio file or the microphone as a ROS 2 audio topic"

if TYPE_CHECKING:
    from streamingtalker_ros.dds.audio_player import AudioPublisher

MAX_PACKET_MS = 60_000.0
MAX_PACE = 1000.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: Parser of the command; its description is set and it is extended in place.
    """
    parser.description = (
        "Publishes a WAV, FLAC, OGG or MP3 file, or the microphone, on the ROS 2 topic `audio`, in real time "
        "and without a ROS installation. Each packet is stamped with the time of its first sample. It starts "
        "when the topic has a subscriber."
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="the audio file")
    parser.add_argument(
        "--microphone", action="store_true", help="the microphone instead of a file, until Ctrl-C"
    )
    parser.add_argument("--device", help="the microphone: its number or a part of its name")
    parser.add_argument(
        "--rate",
        type=integer(MIN_SAMPLE_RATE, MAX_SAMPLE_RATE),
        default=SAMPLE_RATE,
        help="the microphone's samples per second",
    )
    parser.add_argument("--seconds", type=duration_s, help="end the microphone after this time")
    add_audio_topic_options(parser)
    parser.add_argument(
        "--packet-ms",
        type=number(0, MAX_PACKET_MS, above=True),
        default=20.0,
        help="length of a packet in milliseconds",
    )
    parser.add_argument(
        "--pace",
        type=number(0, MAX_PACE),
        default=1.0,
        help="1: real time, 4: four times faster, 0: all at once; the stamps stay the same",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    Args:
        args: Parsed command line, with the options of `add_arguments` as attributes.
    """
    if bool(args.file) == args.microphone:
        raise TalkerError("nothing to play, or two things: give a FILE or --microphone")
    from streamingtalker_ros.dds.audio_player import AudioPublisher

    samples, rate = (None, args.rate) if args.microphone else sources.load_pcm16(args.file)
    with Supervisor(interrupt_main=True) as supervisor:
        publisher = AudioPublisher(rate, args.lineage, args.topic, args.namespace, args.domain)
        sent = None
        try:
            if not publisher.wait_for_subscriber(args.wait):
                print_line(f"no subscriber after {args.wait:g} s: playing anyway")
            sent = _play(publisher, samples, args)
        except KeyboardInterrupt:
            pass
        finally:
            publisher.close()
    if sent is None:
        print_line("stopped")
        return supervisor.exit_code
    print_line(f"played {sent / rate:.2f} s of audio at {rate} Hz as {args.lineage} on {args.topic}")
    return supervisor.exit_code


def _play(publisher: AudioPublisher, samples: npt.NDArray[np.int16] | None, args: argparse.Namespace) -> int:
    """Play with a progress bar; return the number of samples sent."""
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread that only redraws bars
    rate = publisher.format.sample_rate
    total = None if samples is None else round(len(samples) / rate, 2)
    bar_format = (
        "{desc} {n:.1f} s" if total is None else "{desc} {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s"
    )
    with tqdm(
        file=QuietStream(), total=total, desc="playing", disable=args.quiet or None, bar_format=bar_format
    ) as bar:
        if samples is None:
            device = int(args.device) if args.device and args.device.isdigit() else args.device
            packets = sources.microphone_packets(rate, args.packet_ms / 1000, args.seconds, device)
        else:
            packets = sources.paced_packets(samples, rate, args.packet_ms / 1000, args.pace)
        sent = 0
        for stamp, packet in packets:
            publisher.publish(packet, stamp)
            sent += len(packet)
            bar.update(sent / rate - bar.n)
    return sent
