# SPDX-License-Identifier: Apache-2.0
"""Publishes a file or the microphone as the voice of the conversation partner, beside a talker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio import sources
from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.dds.audio_player import AudioPublisher
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import print_warning

MICROPHONE: Final = "microphone"
"""Source that is no file; `microphone:DEVICE` is a device by its number or a part of its name."""


class PartnerPlayer:
    """Publishes a source in real time, in a thread of its own.

    The topic, not the session, receives it, so that a recording of the topics holds everything.

    Args:
        source: `MICROPHONE`, or path of an audio file, which is played once.

    Raises:
        TalkerError: If the file is not readable audio.
    """

    def __init__(self, source: str) -> None:
        self._device: int | str | None = None
        self._samples: npt.NDArray[np.int16] | None = None
        self._rate = SAMPLE_RATE
        name, _, device = source.partition(":")
        if name == MICROPHONE:
            self._device = int(device) if device.isdigit() else device or None
        else:
            self._samples, self._rate = sources.load_pcm16(source)
        self._publisher: AudioPublisher | None = None
        self._thread: threading.Thread | None = None
        self._is_closing = threading.Event()

    def start(self, topic: str, namespace: str = "", domain: int | None = None) -> None:
        """Begin to publish, when the first packet is there.

        Args:
            topic: Topic of the audio; its format goes to `{topic}_info`.
            namespace: Namespace of the topic.
            domain: ROS domain, None for that of ROS_DOMAIN_ID.

        Raises:
            TalkerError: If the microphone cannot be opened or delivers nothing.
        """
        publisher = AudioPublisher(self._rate, topic=topic, namespace=namespace, domain=domain)
        self._publisher = publisher
        publisher.wait_for_subscriber(sources.MICROPHONE_TIMEOUT_S)
        packets = self._packets()
        first = list(islice(packets, 1))
        self._thread = threading.Thread(
            target=self._publish, args=(publisher, chain(first, packets)), name="partner"
        )
        self._thread.start()

    def close(self) -> None:
        """Stop, and leave the graph."""
        self._is_closing.set()
        if self._thread is not None:
            self._thread.join()
        if self._publisher is not None:
            self._publisher.close(linger=0.0)

    def _packets(self) -> Iterator[tuple[int, npt.NDArray[np.int16]]]:
        if self._samples is None:
            return sources.microphone_packets(self._rate, device=self._device)
        return sources.paced_packets(self._samples, self._rate)

    def _publish(
        self, publisher: AudioPublisher, packets: Iterator[tuple[int, npt.NDArray[np.int16]]]
    ) -> None:
        try:
            for stamp, packet in packets:
                if self._is_closing.is_set():
                    return
                publisher.publish(packet, stamp)
        except TalkerError as error:
            print_warning(f"the face hears its partner no more: {error}")
