# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker play`: publish an audio file, or the microphone, as a ROS 2 audio topic in real time."""

import signal

from streamingtalker_ros.audio import sources
from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import QuietStream, on_stop_signals, print_line

HELP = "publish an audio file or the microphone as a ROS 2 audio topic"

_WAIT = 10.0


def add_arguments(parser) -> None:
    parser.description = (
        "Publishes a WAV, FLAC, OGG or MP3 file, or the microphone, on the ROS 2 topic `audio`, in real time "
        "and without a ROS installation. Each packet is stamped with the time of its first sample. It begins "
        "when somebody listens."
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="the audio file")
    parser.add_argument(
        "--microphone", action="store_true", help="the microphone instead of a file, until Ctrl-C"
    )
    parser.add_argument("--device", help="which microphone: its number or a part of its name")
    parser.add_argument("--rate", type=int, default=SAMPLE_RATE, help="the microphone's samples per second")
    parser.add_argument("--seconds", type=float, help="end the microphone after this time")
    parser.add_argument(
        "--lineage",
        choices=("ros-drivers", "mgonzs13"),
        default="ros-drivers",
        help="which audio_common_msgs to speak",
    )
    parser.add_argument(
        "--topic", default="audio", help="the topic; its format goes to TOPIC_info (ros-drivers)"
    )
    parser.add_argument("--namespace", default="", help="namespace of the topic")
    parser.add_argument("--domain", type=int, help="ROS domain, instead of ROS_DOMAIN_ID")
    parser.add_argument("--packet-ms", type=float, default=20.0, help="length of a packet in milliseconds")
    parser.add_argument(
        "--pace",
        type=float,
        default=1.0,
        help="1: real time, 4: four times faster, 0: all at once; the stamps stay the same",
    )
    parser.add_argument(
        "--wait", type=float, default=_WAIT, help="seconds to wait for a listener before beginning anyway"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args) -> int:
    if bool(args.file) == args.microphone:
        raise TalkerError("nothing to play, or two things: give a FILE or --microphone")
    if args.packet_ms <= 0 or args.pace < 0:
        raise TalkerError("--packet-ms must be above 0, --pace 0 or above: see streamingtalker play --help")
    from streamingtalker_ros.dds.audio_player import AudioPublisher

    samples, rate = (None, args.rate) if args.microphone else sources.load_pcm16(args.file)
    source = AudioPublisher(rate, args.lineage, args.topic, args.namespace, args.domain)
    on_stop_signals(signal.default_int_handler)
    try:
        if not source.wait_for_subscriber(args.wait):
            print_line(f"nobody listens after {args.wait:g} s: playing all the same")
        sent = _play(source, samples, args)
    except KeyboardInterrupt:
        sent = None
    finally:
        source.close()
    if sent is None:
        print_line("stopped")
        return 0
    print_line(f"played {sent / rate:.2f} s of audio at {rate} Hz as {args.lineage} on {args.topic}")
    return 0


def _play(source, samples, args):
    """Play with a progress bar; returns the samples sent."""
    from tqdm import tqdm

    rate = source.format.sample_rate
    total = None if samples is None else round(len(samples) / rate, 2)
    shape = "{desc} {n:.1f} s" if total is None else "{desc} {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s"
    with tqdm(
        file=QuietStream(), total=total, desc="playing", disable=args.quiet or None, bar_format=shape
    ) as bar:
        if samples is None:
            device = int(args.device) if args.device and args.device.isdigit() else args.device
            blocks = sources.microphone_packets(rate, args.packet_ms / 1000, args.seconds, device)
        else:
            blocks = sources.paced_packets(samples, rate, args.packet_ms / 1000, args.pace)
        sent = 0
        for stamp, block in blocks:
            source.publish(block, stamp)
            sent += len(block)
            bar.update(sent / rate - bar.n)
    return sent
