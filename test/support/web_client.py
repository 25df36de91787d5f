# SPDX-License-Identifier: Apache-2.0
"""WebSocket client in Python for tests of the web server: sends as a page does, records what it receives."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.model.protocol import TalkerProtocol
from streamingtalker_ros.speech_synthesis.command import TtsCommand
from streamingtalker_ros.web import protocol
from streamingtalker_ros.web.app import WebContext
from streamingtalker_ros.web.limits import Limits
from streamingtalker_ros.web.server import Server
from streamingtalker_ros.web.speaker_output import SpeakerOutput

ACKNOWLEDGE_EVERY = 10  # frames
PACKET_SECONDS = 0.02
TIMEOUT_S = 20.0
JSON_KINDS = {"frame": protocol.FACE, "vertices": protocol.VERTICES, "audio": protocol.AUDIO}


@contextlib.contextmanager
def running_server(
    talker: TalkerProtocol,
    host: str = "127.0.0.1",
    domain: int | None = None,
    origins: Iterable[str] = (),
    output: SpeakerOutput | None = None,
    tts: TtsCommand | None = None,
    **limits: Any,
) -> Iterator[Server]:
    """A server in this process while the block runs; `limits`: those that differ from the defaults."""
    context = WebContext(
        talker, Limits(**limits), domain=domain, warn=lambda message: None, output=output, tts=tts
    )
    with Server(context, host, 0, origins=origins).background() as server:
        yield server


class WebClient:
    """A client that is connected to a server.

    Args:
        server: to connect to.
        reads: whether received messages are read.
        acknowledges: whether frames are acknowledged.
        origin: value of the header Origin; by default that of the server's page.
        headers: further headers of the handshake.
        source: address of this machine to connect from.
        query: of the address, such as version=1.

    Attributes:
        frames: face and vertex frames received, as `decode_message` gives them.
        audio: audio messages received.
        texts: text messages received.
        close: close code and reason, once the connection is closed.
        frame_count: number of face and vertex frames received.
        max_frame_gap: longest time between the arrivals of two of them, s.
    """

    def __init__(
        self,
        server: Server,
        reads: bool = True,
        acknowledges: bool = True,
        origin: str | None = "",
        headers: dict[str, str] | None = None,
        source: str = "127.0.0.1",
        query: str = "",
    ) -> None:
        self.frames: list[dict[str, Any]] = []
        self.audio: list[dict[str, Any]] = []
        self.texts: list[dict[str, Any]] = []
        self.close: tuple[int | None, str | None] | None = None
        self.frame_count = 0
        self.max_frame_gap = 0.0
        self._last_arrival: float | None = None  # of a frame
        self._acknowledges = acknowledges
        self._condition = threading.Condition()
        self._exit_stack = contextlib.ExitStack()
        connection = connect(
            server.origin.replace("http", "ws") + "/socket" + (f"?{query}" if query else ""),
            origin=server.origin if origin == "" else origin,  # pyright: ignore[reportArgumentType], a NewType
            additional_headers=headers,
            max_size=None,
            compression=None,
            source_address=(source, 0),
        )
        self.socket: ClientConnection = self._exit_stack.enter_context(connection)
        if reads:
            threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        count = 0
        try:
            for message in self.socket:
                text: dict[str, Any] = json.loads(message) if isinstance(message, str) else {}
                is_text = isinstance(message, str) and text["type"] not in JSON_KINDS
                with self._condition:
                    if is_text:
                        self.texts.append(text)
                    else:
                        decoded = decode_message(message) if isinstance(message, bytes) else decode_json(text)
                        if decoded["kind"] == protocol.AUDIO:
                            self.audio.append(decoded)
                        else:
                            self._add_frame(decoded)
                    self._condition.notify_all()
                if not is_text:
                    count += 1
                    if self._acknowledges and count % ACKNOWLEDGE_EVERY == 0:
                        # messages that came before a close wait to be read
                        with contextlib.suppress(ConnectionClosed):
                            self.send(type="seen", count=count)
        except Exception:  # the connection is closed
            pass
        finally:
            with self._condition:
                self.close = (self.socket.close_code, self.socket.close_reason)
                self._condition.notify_all()

    def _add_frame(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)
        self.frame_count += 1
        gap = 0.0 if self._last_arrival is None else frame["arrival"] - self._last_arrival
        self.max_frame_gap = max(self.max_frame_gap, gap)
        self._last_arrival = frame["arrival"]

    @property
    def is_closed(self) -> bool:
        """Whether the connection is closed."""
        return self.close is not None

    @property
    def close_code(self) -> int | None:
        """Close code of RFC 6455; None while the connection is open."""
        return self.close[0] if self.close else None

    def send(self, **message: Any) -> None:
        """Send a text message."""
        self.socket.send(json.dumps(message))

    def send_samples(self, epoch: int, samples: npt.NDArray[np.int16], kind: int = protocol.PCM) -> None:
        """Send one audio message."""
        header = bytes([kind, epoch, 0, 0])
        self.socket.send(header + samples.astype("<i2").tobytes())

    def send_audio(
        self,
        pcm: npt.NDArray[np.floating[Any]],
        rate: int = SAMPLE_RATE,
        epoch: int = 1,
        packet: float = PACKET_SECONDS,
        speed: float = 0.0,
        seed: int = 0,
    ) -> npt.NDArray[np.float32]:
        """Start a stream and send its audio.

        Args:
            pcm: (n,), -1..1.
            rate: Hz.
            epoch: of the stream.
            packet: seconds of one message.
            speed: 1 for real time; 0 for as fast as possible.
            seed: of the stream.

        Returns:
            The samples that the server receives, (n,).
        """
        self.send(type="start", epoch=epoch, rate=rate, seed=seed)
        samples = np.round(np.clip(pcm, -1, 1) * 32767).astype(np.int16)
        size = round(packet * rate)
        start = time.monotonic()
        for first in range(0, len(samples), size):
            self.send_samples(epoch, samples[first : first + size])
            if speed:
                time.sleep(max(0.0, start + speed * (first + size) / rate - time.monotonic()))
        return (samples / 32768).astype(np.float32)

    def wait_until(self, condition: Callable[[], Any], timeout: float = TIMEOUT_S) -> bool:
        """Wait for a condition on what was received, at most `timeout` seconds; returns its truth."""
        with self._condition:
            return bool(self._condition.wait_for(condition, timeout))

    def wait_until_closed(self, timeout: float = TIMEOUT_S) -> bool:
        """Wait until the connection is closed."""
        return self.wait_until(lambda: self.is_closed, timeout)

    def wait_for_text(self, kind: str, timeout: float = TIMEOUT_S) -> dict[str, Any]:
        """The first text message of a type; fails if none arrives."""
        self.wait_until(lambda: any(text["type"] == kind for text in self.texts) or self.is_closed, timeout)
        found = [text for text in self.texts if text["type"] == kind]
        assert found, f"no {kind} among {self.texts}, closed: {self.close}"
        return found[0]

    def disconnect(self) -> None:
        """Close the connection."""
        self._exit_stack.close()

    def __enter__(self) -> WebClient:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disconnect()


def decode_json(fields: dict[str, Any]) -> dict[str, Any]:
    """A frame or audio message in JSON, as `decode_message` gives the binary one."""
    message = {**fields, "kind": JSON_KINDS[fields["type"]], "arrival": time.monotonic()}
    for name in ("weights", "head"):
        if name in fields:
            message[name] = np.array(fields[name], np.float32)
    if "offsets" in fields:
        offsets = np.frombuffer(base64.b64decode(fields["offsets"]), "<i2")
        message["offsets"] = fields["scale"] * offsets.reshape(-1, 3)
    if "samples" in fields:
        message["samples"] = np.frombuffer(base64.b64decode(fields["samples"]), "<i2")
    return message


def decode_message(data: bytes) -> dict[str, Any]:
    """A binary message of the server: the fields of its header, and weights and head, offsets, or samples."""
    kind, epoch, flags, index, frame_time, model_ms, wait_ms, dropped = protocol.HEADER.unpack_from(data)
    body = data[protocol.HEADER.size :]
    message: dict[str, Any] = {
        "kind": kind,
        "epoch": epoch,
        "speaking": bool(flags & protocol.SPEAKING),
        "idle": bool(flags & protocol.IDLE),
        "index": index,
        "time": frame_time,
        "model_ms": model_ms,
        "wait_ms": wait_ms,
        "dropped": dropped,
        "arrival": time.monotonic(),
    }
    if kind == protocol.FACE:
        values = np.frombuffer(body, "<f4")
        message |= {"weights": values[:52], "head": values[52:]}
    elif kind == protocol.VERTICES:
        scale = np.frombuffer(body, "<f4", 1)[0]
        message["offsets"] = scale * np.frombuffer(body, "<i2", offset=4).reshape(-1, 3)
    else:
        message["samples"] = np.frombuffer(body, "<i2")
    return message
