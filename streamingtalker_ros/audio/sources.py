# SPDX-License-Identifier: Apache-2.0
"""Audio sources: a file or the microphone as a sequence of stamped int16 packets in real time."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.pcm import to_int16
from streamingtalker_ros.errors import TalkerError, require

PACKET_SECONDS = 0.02
MICROPHONE_TIMEOUT_S = 2.0
"""Time without a block after which a microphone counts as lost."""

_MAX_WAITING_BLOCKS = 1000


def load_pcm16(path: str | os.PathLike[str]) -> tuple[npt.NDArray[np.int16], int]:
    """Read an audio file as 16-bit mono.

    Args:
        path: a WAV, FLAC, OGG or MP3 file.

    Returns:
        (n,) int16 samples, and their rate in Hz.

    Raises:
        TalkerError: if the file does not exist or is not readable audio.
    """
    pcm, rate = read_audio(path)
    return to_int16(pcm), rate


def paced_packets(
    samples: npt.NDArray[np.int16], rate: int, packet_seconds: float = PACKET_SECONDS, speed: float = 1.0
) -> Iterator[tuple[int, npt.NDArray[np.int16]]]:
    """Cut samples into packets and yield each at the moment a microphone would deliver it.

    Args:
        samples: (n,) int16 audio.
        rate: Hz.
        packet_seconds: length of a packet; the last one may be shorter.
        speed: 1 for real time, n for n times faster, 0 for all packets at once. Stamps are those of real time
            at any speed.

    Yields:
        The time of the packet's first sample in ns of the system clock, and the packet, (m,) int16.
    """
    packet_samples = max(1, round(packet_seconds * rate))
    start, start_ns = time.monotonic(), time.time_ns()
    for begin in range(0, len(samples), packet_samples):
        packet = samples[begin : begin + packet_samples]
        wait = start + (begin + len(packet)) / rate / speed - time.monotonic() if speed else 0.0
        if wait > 0:
            time.sleep(wait)
        yield start_ns + (begin * NS_PER_S + rate // 2) // rate, packet


def microphone_packets(
    rate: int,
    packet_seconds: float = PACKET_SECONDS,
    seconds: float | None = None,
    device: int | str | None = None,
) -> Iterator[tuple[int, npt.NDArray[np.int16]]]:
    """Record the microphone and yield its packets.

    Stamps count samples from the arrival of the first packet, so that they follow the sound card's clock and
    have no jitter.

    Args:
        rate: Hz.
        packet_seconds: length of a packet.
        seconds: length of the recording, None for no end.
        device: sounddevice's index or name of the input device, None for the default one.

    Yields:
        The time of the packet's first sample in ns of the system clock, and the packet, (m,) int16.

    Raises:
        TalkerError: if `sounddevice` is not installed, or the microphone cannot be opened or delivers no more
            audio.
    """
    sounddevice = require("sounddevice", "the microphone")
    recorded: queue.Queue[tuple[bytes, int]] = queue.Queue(_MAX_WAITING_BLOCKS)

    def on_block(data: Any, *_: object) -> None:
        with contextlib.suppress(queue.Full):  # nobody reads on
            recorded.put_nowait((bytes(data), time.time_ns()))

    yielded = 0  # samples
    start_ns: int | None = None
    try:
        with sounddevice.RawInputStream(
            samplerate=rate,
            channels=1,
            dtype="int16",
            blocksize=max(1, round(packet_seconds * rate)),
            device=device,
            callback=on_block,
        ):
            while seconds is None or yielded < seconds * rate:
                data, arrival_ns = recorded.get(timeout=max(MICROPHONE_TIMEOUT_S, 3 * packet_seconds))
                packet = np.frombuffer(data, np.int16)
                if start_ns is None:
                    start_ns = arrival_ns - len(packet) * NS_PER_S // rate
                yield start_ns + yielded * NS_PER_S // rate, packet
                yielded += len(packet)
    except queue.Empty:
        raise TalkerError(
            f"the microphone has delivered no audio for {max(MICROPHONE_TIMEOUT_S, 3 * packet_seconds):g} s: "
            "check that it is still plugged in"
        ) from None
    except (sounddevice.PortAudioError, ValueError) as error:
        raise TalkerError(
            f"the microphone cannot be opened ({error}): check that one is plugged in, or play a file"
        ) from None
