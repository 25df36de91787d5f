# SPDX-License-Identifier: Apache-2.0
"""Seeded protocol fuzzer of the web server: hostile clients beside a well-behaved one.

`run(seed, count)` starts a server and lets `count` clients do random things to it: malformed HTTP, broken
handshakes, random and damaged WebSocket frames and messages in random order, and leaving in every way. The
laws, for all of them:

- the well-behaved client gets its frames all the while, and its session goes on;
- nothing is logged with a traceback, nothing as an error;
- afterwards no session, no stream and no connection is left;
- the process does not grow.

Client number `index` of a seed depends on (seed, index) alone: `run(seed, 1, first=index)` repeats it.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.model.control_ranges import NUMBER_CONTROLS
from streamingtalker_ros.model.protocol import TalkerProtocol
from streamingtalker_ros.process import LOGGER_NAME
from streamingtalker_ros.speech_synthesis.command import TtsCommand
from streamingtalker_ros.web import protocol
from support.dds_domain import own_domain
from support.tts_command import command
from support.waiting import wait_for
from support.web_client import WebClient, running_server

MAX_FRAME_GAP_S: Final = 2.0  # of the well-behaved client; frames come every 40 ms
MAX_GROWTH_BYTES: Final = 50e6
_MAX_ACTIONS: Final = 40  # of one client
_TIMEOUT_S: Final = 5.0
_RELEASE_S: Final = 30.0
_WARM_UP: Final = 50  # clients before the memory is measured
_LOGGERS: Final = (LOGGER_NAME, "uvicorn", "uvicorn.error", "websockets", "asyncio")
_NUMBERS: Final = (0, 1, -1, 0.5, 255, 256, 16000, 48000, 2**31, 2**53, 2**64, 10**400, 1e308, -1e308, 1e-320)
_VALUES: Final = ("", "1", "\ud800", "é", None, True, [], {}, [1], {"a": 1}, "x" * 5000)
_JSON_TOKENS: Final = (b"", b"[" * 3000, b"1" * 5000, b"NaN", b"\xff", b"}", b'"', b"\x00", b"1e999")
_HTTP_TOKENS: Final = (
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"\x00",
    b"\xff\xfe",
    b" ",
    b":",
    b"HTTP/9.9",
    b"HTTP/1.0",
    b"POST",
    b"CONNECT",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: -1\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\n",
    b"Connection: close\r\n",
    b"Cookie: " + b"a=" * 2000 + b"\r\n",
    b"%00%ff%2e%2e/",
    b"?token=%ff%00",
    b"x" * 9000,
    b"ffffffffffffffff\r\n",
)


@dataclass
class WebFuzzReport:
    """Result of `run`.

    Attributes:
        clients: hostile clients so far.
        findings: laws that did not hold; empty if all did.
        frames: frames of the well-behaved client.
        max_gap: longest time between two of them, s.
        growth: of the resident memory, bytes.
    """

    clients: int = 0
    findings: list[str] = field(default_factory=list)
    frames: int = 0
    max_gap: float = 0.0
    growth: float = 0.0


class _LogRecorder(logging.Handler):
    """Collects what must not be logged: errors, and anything with a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.ERROR or record.exc_info or "Traceback" in text:
            self.messages.append(text[-3000:])


@contextlib.contextmanager
def recorded_logs() -> Iterator[list[str]]:
    """The errors and tracebacks that are logged while the block runs."""
    recorder = _LogRecorder()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addHandler(recorder)
    try:
        yield recorder.messages
    finally:
        for logger in loggers:
            logger.removeHandler(recorder)


class HostileClient:
    """One connection, from an address of its own in 127.0.0.0/8, that does random things.

    Args:
        port: of the server.
        random: all its choices.
    """

    def __init__(self, port: int, random: np.random.Generator) -> None:
        self._random = random
        self._port = port
        source = f"127.{random.integers(1, 255)}.{random.integers(256)}.{random.integers(1, 255)}"
        self._socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S, (source, 0))

    def run(self) -> None:
        """Do everything, and leave."""
        try:
            if self._random.random() < 0.3:
                self._send_damaged_http()
            elif self._shake_hands():
                actions: tuple[Callable[[], None], ...] = (
                    *(3 * (self._send_text,)),
                    *(2 * (self._start, self._receive_some)),
                    self._send_damaged_text,
                    self._send_bytes,
                    self._send_control_frame,
                    self._send_fragments,
                    self._send_damaged_frame,
                    self._send_many,
                )
                for _ in range(self._random.integers(_MAX_ACTIONS)):
                    self._choose(actions)()
        except OSError:  # the server has closed the connection
            pass
        finally:
            self._leave()

    def _choose(self, choices: Any) -> Any:
        return choices[int(self._random.integers(len(choices)))]

    # ------------------------------------------------------------------------------------------------- HTTP

    def _request(self, upgrade: bool) -> bytes:
        host = f"127.0.0.1:{self._port}"
        query = self._choose(("", "", "?version=1", "?frames=json", "?version=7", "?frames=%ff&version="))
        lines = [f"GET {f'/socket{query}' if upgrade else '/face.glb'} HTTP/1.1", f"Host: {host}"]
        if upgrade:
            key = base64.b64encode(self._random.bytes(16)).decode()
            lines += [
                "Upgrade: websocket",
                "Connection: Upgrade",
                f"Origin: http://{host}",
                f"Sec-WebSocket-Key: {key}",
                "Sec-WebSocket-Version: 13",
            ]
        return "\r\n".join([*lines, "", ""]).encode()

    def _send_damaged_http(self) -> None:
        data = bytearray(self._request(self._random.random() < 0.5))
        for _ in range(self._random.integers(1, 5)):
            position = int(self._random.integers(len(data) + 1))
            match self._random.integers(4):
                case 0:
                    data[position:position] = self._choose(_HTTP_TOKENS)
                case 1:
                    del data[position : position + int(self._random.integers(1, 40))]
                case 2:
                    data[position : position + 1] = self._random.bytes(1)
                case _:
                    data += self._request(self._random.random() < 0.5)
        self._socket.sendall(data)
        self._receive_some(0.02)

    def _shake_hands(self) -> bool:
        self._socket.sendall(self._request(upgrade=True))
        received = b""
        while b"\r\n\r\n" not in received:
            part = self._socket.recv(4096)
            if not part:
                return False
            received += part
        return b" 101 " in received

    # --------------------------------------------------------------------------------------------- WebSocket

    def _send_frame(self, opcode: int, data: bytes, fin: bool = True, masked: bool = True) -> None:
        first = (0x80 if fin else 0) | opcode
        mask_bit = 0x80 if masked else 0
        if len(data) < 126:
            header = struct.pack("!BB", first, mask_bit | len(data))
        elif len(data) < 65536:
            header = struct.pack("!BBH", first, mask_bit | 126, len(data))
        else:
            header = struct.pack("!BBQ", first, mask_bit | 127, len(data))
        mask = self._random.bytes(4) if masked else b""
        self._socket.sendall(header + mask + (_mask(data, mask) if masked else data))

    def _send_text(self) -> None:
        self._send_frame(1, json.dumps(self._message()).encode())

    def _send_damaged_text(self) -> None:
        data = bytearray(json.dumps(self._message()).encode())
        for _ in range(self._random.integers(1, 4)):
            position = int(self._random.integers(len(data) + 1))
            token = self._choose(
                (b"", b"[" * 3000, b"1" * 5000, b"NaN", b"\xff", b"}", b'"', b"\x00", b"1e999")
            )
            data[position : position + int(self._random.integers(3))] = token
        self._send_frame(1, bytes(data))

    def _message(self) -> dict[str, Any]:
        kind = self._choose(protocol.MESSAGE_TYPES)
        message: dict[str, Any] = {"type": kind, "epoch": self._choose((0, 1, 255, *_NUMBERS))}
        if kind in ("watch", "share"):
            message["session"] = self._choose(("a", "b", "c", *_VALUES[1:]))
        elif self._random.random() < 0.2:
            message["session"] = self._choose(_VALUES)
        if kind == "start":
            message |= {"rate": self._choose((8000, 16000, 44100, 48000, 192000, 8001, *_NUMBERS))}
            if self._random.random() < 0.5:
                message["epoch"] = 1
        elif kind == "seen":
            message["count"] = self._choose(_NUMBERS)
        elif kind == "set":
            name = self._choose((*NUMBER_CONTROLS, "seed", "style", "steps", "expression", "nothing"))
            shapes = {self._choose(ARKIT_NAMES): self._choose(_NUMBERS)}
            message = {"type": "set", name: self._choose((*_NUMBERS, *_VALUES, shapes, "neutral"))}
        elif kind == "say":
            message["text"] = self._choose(("hello", *_VALUES))
        elif kind in ("look_at", "express", "gesture"):
            names = ("nod", "lean", "happy", "sad", *_VALUES)
            points = ([1, 0, 0], [0, 0, 0], [self._choose(_NUMBERS), 1, self._choose(_NUMBERS)], *_VALUES)
            message |= {"point": self._choose(points), "name": self._choose(names)}
            for name in ("strength", "valence", "arousal", "decay", "amplitude", "count"):
                message[name] = self._choose((None, None, None, 1, *_NUMBERS, *_VALUES))
        if self._random.random() < 0.1:
            message[self._choose(("type", "epoch", "rate", "count", "seed"))] = self._choose(_VALUES)
        return message

    def _start(self) -> None:
        rate = self._choose((8000, 16000, 44100, 48000, 192000))
        self._send_frame(1, json.dumps({"type": "start", "epoch": 1, "rate": rate}).encode())
        for _ in range(self._random.integers(1, 6)):
            samples = self._random.bytes(2 * int(self._random.integers(0, 4000)))
            self._send_frame(2, bytes([self._choose((protocol.PCM, protocol.PARTNER)), 1, 0, 0]) + samples)

    def _send_bytes(self) -> None:
        self._send_frame(2, self._random.bytes(int(self._random.integers(0, 3000))))

    def _send_control_frame(self) -> None:
        self._send_frame(self._choose((8, 9, 10)), self._random.bytes(int(self._random.integers(0, 130))))

    def _send_fragments(self) -> None:
        self._send_frame(self._choose((1, 2)), b'{"type":', fin=False)
        for _ in range(self._random.integers(0, 30)):
            self._send_frame(0, b"", fin=False)
        self._send_frame(0, b'"pause"}')

    def _send_damaged_frame(self) -> None:
        match self._random.integers(4):
            case 0:
                self._send_frame(int(self._random.integers(16)), b"x", masked=False)
            case 1:
                self._send_frame(int(self._random.integers(3, 16)), b"x")
            case 2:
                self._socket.sendall(struct.pack("!BBQ", 0x82, 0xFF, 2**62))
            case _:
                self._socket.sendall(self._random.bytes(int(self._random.integers(1, 200))))

    def _send_many(self) -> None:
        kind = self._choose((9, 2, 1))
        for _ in range(self._random.integers(1, 200)):
            self._send_frame(kind, b"")

    def _receive_some(self, timeout: float = 0.005) -> None:
        self._socket.settimeout(timeout)
        with contextlib.suppress(TimeoutError):
            self._socket.recv(65536)
        self._socket.settimeout(_TIMEOUT_S)

    def _leave(self) -> None:
        with contextlib.suppress(OSError):
            match self._random.integers(3):
                case 0:  # a reset
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                case 1:
                    self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()


def _mask(data: bytes, mask: bytes) -> bytes:
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    return (np.frombuffer(data, np.uint8) ^ np.frombuffer(repeated, np.uint8)).tobytes()


def run(
    talker: TalkerProtocol, seed: int, count: int, first: int = 0, seconds: float | None = None
) -> WebFuzzReport:
    """Let hostile clients at a server.

    Args:
        talker: of the server.
        seed: of all clients.
        count: of clients.
        first: number of the first one.
        seconds: after which no further client is started; None for no limit.

    Returns:
        What was found; the caller asserts that `findings` is empty.
    """
    report = WebFuzzReport()
    with (
        running_server(
            talker,
            domain=own_domain(),
            tts=TtsCommand.parse(command("text")),
            handshake_timeout_seconds=3.0,
        ) as server,
        recorded_logs() as errors,
        WebClient(server) as victim,
    ):
        victim.send(type="rest", epoch=1)
        if not victim.wait_until(lambda: victim.frames):
            report.findings.append("the well-behaved client got no frame")
        end = None if seconds is None else time.monotonic() + seconds
        baseline = 0.0
        for index in range(first, first + count):
            if end is not None and time.monotonic() > end:
                break
            HostileClient(server.port, np.random.default_rng((seed, index))).run()
            report.clients += 1
            del victim.frames[:-100]
            if report.clients == _WARM_UP:
                baseline = resident_bytes()
            if errors or victim.is_closed:
                report.findings += [f"client {index} of seed {seed}: {text}" for text in errors]
                break
        if baseline:
            report.growth = resident_bytes() - baseline
            if report.growth > MAX_GROWTH_BYTES:
                report.findings.append(f"the process grew by {report.growth / 1e6:.0f} MB")
        report.max_gap = victim.max_frame_gap
        report.frames = victim.frame_count
        if victim.is_closed or report.max_gap > MAX_FRAME_GAP_S:
            report.findings.append(
                f"the well-behaved client waited {report.max_gap:.1f} s for a frame, closed: {victim.close}"
            )
        if not wait_for(lambda: server.context.session_count == 1, _RELEASE_S):
            report.findings.append(f"{server.context.session_count - 1} sessions are left")
        if not wait_for(lambda: server.connection_count == 1, _RELEASE_S):
            report.findings.append(f"{server.connection_count - 1} connections are left")
        if server.context.shared_sessions.count:
            report.findings.append(f"{server.context.shared_sessions.count} shared sessions are left")
        if server.context.worker.stream_count != 1:
            report.findings.append(f"{server.context.worker.stream_count - 1} streams are left")
        if not wait_for(lambda: all(thread.name != "speech" for thread in threading.enumerate()), _RELEASE_S):
            report.findings.append("threads of speech are left")
        count_before = victim.frame_count
        if not victim.wait_until(lambda: victim.frame_count > count_before + 5):
            report.findings.append("the well-behaved client gets no frames any more")
    return report


def resident_bytes() -> float:
    """Resident memory of this process; 0 on a system without /proc."""
    gc.collect()
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0.0
