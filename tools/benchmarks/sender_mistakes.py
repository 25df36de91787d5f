# SPDX-License-Identifier: Apache-2.0
"""Sends audio with the mistakes that senders make to the talker node without ROS, over DDS; prints a table.

    python tools/benchmarks/sender_mistakes.py [--seconds 6] [--variant ros-drivers]

Each row is one mistake in one form of delivery: how many frames of audio the node published, of how many, and
what its log and /diagnostics say. The table of docs/node.md is its output.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode, matched_readers
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.audio_common import Variant
from streamingtalker_ros.model.protocol import TalkerProtocol
from streamingtalker_ros.resources import DEMO_AUDIO
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.worker import load_talker

PACKET_S = 0.02
DELIVERIES = ("live", "burst", "one message")
MISTAKES = ("none", "shared", "zero", "sending time", "jittering", "jumping", "missing")
OTHER_MISTAKES = ("48000 Hz announced", "float32 sent as s16", "one byte short", "two publishers")
_TIMEOUT_S = 30.0


class Sender:
    """Publishes audio with one mistake."""

    def __init__(self, domain: int, variant: Variant, name: str) -> None:
        self._type_name = audio_common.PUBLISHED_TYPES[variant]
        self._message_class = message_types.message_class(self._type_name, variant)
        self._variant = variant
        self.node = DdsNode(name, "", domain)
        self._writer: Any = self.node.create_publisher("audio", self._type_name, self.node.qos(1000), variant)
        self._info_writer: Any = self.node.create_publisher("audio_info", audio_common.INFO_TYPE)
        self.node.start()
        while not (matched_readers(self._writer) and matched_readers(self._info_writer)):
            time.sleep(0.01)
        time.sleep(0.3)

    def announce(self, audio_format: AudioFormat) -> None:
        """Publish audio_info."""
        info = message_types.message_class(audio_common.INFO_TYPE)()
        self._info_writer.write(audio_common.to_audio_info(info, audio_format))
        time.sleep(0.3)

    def publish(self, samples: npt.NDArray[np.int16], stamp: int | None, mistake: str, number: int) -> None:
        """Publish one packet."""
        message = audio_common.to_audio_message(
            self._message_class(), self._type_name, samples, AudioFormat(), stamp or 0, "microphone"
        )
        if self._variant == "mgonzs13":
            if mistake == "48000 Hz announced":
                message.audio.info.rate = 48_000
        elif mistake == "float32 sent as s16":
            message.audio.data = list((samples.astype("<f4") / 32768).tobytes())
        elif mistake == "one byte short" and number % 7 == 6:
            message.audio.data = list(samples.tobytes()[:-1])
        self._writer.write(message)


def send(
    sender: Sender, pcm: npt.NDArray[np.int16], mistake: str, delivery: str, other: Sender | None = None
) -> None:
    """Publish a voice, and the same behind its first second through another publisher."""
    generator = np.random.default_rng(0)
    size = len(pcm) if delivery == "one message" else round(PACKET_S * SAMPLE_RATE)
    start = time.time_ns()
    for number, first in enumerate(range(0, len(pcm), size)):
        samples = pcm[first : first + size]
        if delivery == "live":
            end = start / NS_PER_S + (first + len(samples)) / SAMPLE_RATE
            time.sleep(max(0.0, end - time.time()))
        true_stamp = start + first * NS_PER_S // SAMPLE_RATE
        stamps: dict[str, int | None] = {
            "shared": start,
            "zero": None,
            "sending time": time.time_ns(),
            "jittering": true_stamp + int(generator.uniform(-30e6, 30e6)),
            "jumping": true_stamp + (NS_PER_S if number % 10 == 7 else 0),
            "missing": None if number % 3 == 1 else true_stamp,
        }
        sender.publish(samples, stamps.get(mistake, true_stamp), mistake, number)
        if other is not None and first >= SAMPLE_RATE:
            other.publish(samples, true_stamp, mistake, number)


def measure(
    talker: TalkerProtocol, pcm: npt.NDArray[np.int16], variant: Variant, mistake: str, delivery: str
) -> tuple[int, list[str], str]:
    """Send a voice to a node in a domain of its own.

    Args:
        talker: The model.
        pcm: (n,) int16 at 16 kHz.
        variant: Variant of audio_common_msgs.
        mistake: Of `MISTAKES` or `OTHER_MISTAKES`.
        delivery: Of `DELIVERIES`.

    Returns:
        Published frames of audio, log messages, and the worst report of /diagnostics.
    """
    domain, log = random.SystemRandom().randint(1, 100), list[str]()
    # a loaded machine skips no frames: this is about the sender
    parameters = TalkerParameters(device="cpu", overload_after=10.0)
    node = TalkerNode(parameters, "", domain, talker=talker, warn=log.append)
    reports: list[Any] = []
    listener = DdsNode("listener", "", domain)
    listener.create_subscription(
        "/diagnostics",
        "diagnostic_msgs/msg/DiagnosticArray",
        lambda message: reports.append(message.status[0]),
    )
    listener.start()
    sender, other = Sender(domain, variant, "microphone"), None
    if mistake == "48000 Hz announced" and variant == "ros-drivers":
        sender.announce(AudioFormat(48_000, 1, "s16"))
    if mistake == "two publishers":
        other = Sender(domain, variant, "tts")
    send(sender, pcm, mistake, delivery, other)
    deadline = time.monotonic() + len(pcm) / SAMPLE_RATE + _TIMEOUT_S
    while node.worker.statistics()["idle_frames"] < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.1)  # a report
    worst = max(reports, key=lambda status: status.level)
    frames = int(node.worker.statistics()["frames"])
    for peer in filter(None, (sender, other)):
        peer.node.close()
    node.close()
    listener.close()
    return frames, log, worst.message.partition(", ")[2]


def main() -> int:
    """Measure and print.

    Returns:
        The exit code: 1 if a mistake costs more than 2 % of the frames.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--variant", choices=("ros-drivers", "mgonzs13"))
    args = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    talker = load_talker(TalkerParameters(device="cpu"))
    once = np.round(to_16k(*read_audio(DEMO_AUDIO)) * 32767).astype(np.int16)
    pcm = np.resize(once, round(args.seconds * SAMPLE_RATE))
    expected, failed = -(-len(pcm) // 640), False
    print(f"| Mistake | Delivery | Variant | Frames of {expected} | Log | Diagnostics |\n|{'---|' * 6}")
    variants: tuple[Variant, ...] = (args.variant,) if args.variant else ("ros-drivers", "mgonzs13")
    for variant in variants:
        cases = [(mistake, delivery) for mistake in MISTAKES for delivery in DELIVERIES]
        cases += [(mistake, "live") for mistake in OTHER_MISTAKES]
        for mistake, delivery in cases:
            if variant == "mgonzs13" and mistake in ("float32 sent as s16", "one byte short"):
                continue  # its samples are typed
            frames, log, reason = measure(talker, pcm, variant, mistake, delivery)
            failed |= frames < 0.98 * expected
            texts = [": ".join(text.split(": ")[:2])[:90] for text in (*log, reason)]
            logged = "<br>".join(texts[:-1]) or "–"
            print(f"| {mistake} | {delivery} | {variant} | {frames} | {logged} | {texts[-1]} |", flush=True)
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
