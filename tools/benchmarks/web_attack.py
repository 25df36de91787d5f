# SPDX-License-Identifier: Apache-2.0
"""Latency of one visitor of `streamingtalker web` while another address attacks the server.

    python tools/benchmarks/web_attack.py [--seconds 8]

The visitor sends speech in real time; the latency of a frame runs from the message that completes its audio
and look-ahead until the frame arrives. The attacker, a process of its own at 127.0.0.66, does one thing as
fast as it can, and connects again whenever it is disconnected. Needs Linux, where all of 127.0.0.0/8 is this
machine.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import multiprocessing
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from websockets.sync.client import connect
from websockets.typing import Origin

from streamingtalker_ros.web import protocol

ATTACKER: Final = "127.0.0.66"
RATE: Final = 16000  # Hz
CHUNK_S: Final = 0.01
FRAME_S: Final = 0.04
LOOKAHEAD_S: Final = 0.08
WARM_UP_S: Final = 2.0


def _mask_free_frame(opcode: int, data: bytes, fin: bool = True) -> bytes:
    """A masked frame whose mask is zero."""
    first = (0x80 if fin else 0) | opcode
    size = (
        struct.pack("!B", 0x80 | len(data))
        if len(data) < 126
        else struct.pack("!BH", 0xFE, len(data))
        if len(data) < 65536
        else struct.pack("!BQ", 0xFF, len(data))
    )
    return bytes([first]) + size + bytes(4) + data


def _open(port: int, upgrade: bool) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 5, (ATTACKER, 0))
    if upgrade:
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(
            f"GET /socket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        connection.recv(4096)
    return connection


def _text(**message: object) -> bytes:
    return _mask_free_frame(1, json.dumps(message).encode())


_REQUEST: Final = b"GET /no-such-file HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_START: Final = _text(type="start", epoch=1, rate=RATE)
_PCM: Final = bytes([protocol.PCM, 1, 0, 0])
# name: whether it opens a WebSocket, what it sends first, what it repeats, pause in s
ATTACKS: Final[dict[str, tuple[bool, bytes, Callable[[int], bytes], float]]] = {
    "connections": (False, b"", lambda k: b"", -1.0),
    "requests": (False, b"", lambda k: 50 * _REQUEST, 0.0),
    "large responses": (False, b"", lambda k: _REQUEST.replace(b"no-such-file", b"face.glb"), 0.0),
    "pings": (True, b"", lambda k: 200 * _mask_free_frame(9, b""), 0.0),
    "empty fragments": (
        True,
        _mask_free_frame(1, b"", False),
        lambda k: 200 * _mask_free_frame(0, b"", False),
        0.0,
    ),
    "one-sample messages": (True, _START, lambda k: 20 * _mask_free_frame(2, _PCM + b"\1\0"), 0.0),
    "one-sample messages, 240/s": (True, _START, lambda k: _mask_free_frame(2, _PCM + b"\1\0"), 1 / 240),
    "starts, 19/s": (
        True,
        b"",
        lambda k: _text(type="start", epoch=1, rate=8000 + k) + _mask_free_frame(2, _PCM + bytes(2000)),
        1 / 19,
    ),
    "deep JSON of 64 KB": (True, b"", lambda k: _mask_free_frame(1, b"[" * 65000), 1 / 19),
    "long expressions": (
        True,
        b"",
        lambda k: _text(type="set", expression={"jawOpen": 0.1, **{f"x{j}": 1 for j in range(3000)}}),
        1 / 19,
    ),
    "audio of 192 kHz": (
        True,
        _text(type="start", epoch=1, rate=192000),
        lambda k: _mask_free_frame(2, _PCM + bytes(65000)),
        0.0,
    ),
    "16 steps": (True, _text(type="set", steps=16) + _text(type="rest", epoch=1), lambda k: b"", 0.2),
}


def attack(port: int, name: str) -> None:
    """Attack until the process is killed."""
    upgrade, first, message, pause = ATTACKS[name]
    while True:
        with contextlib.suppress(OSError), _open(port, upgrade) as connection:
            connection.sendall(first)
            threading.Thread(target=_drain, args=(connection,), daemon=True).start()
            k = 0
            while pause >= 0:
                connection.sendall(message(k))
                k += 1
                time.sleep(pause)


def _drain(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


def measure(port: int, seconds: float) -> tuple[list[float], int]:
    """Speak for some seconds.

    Args:
        port: of the server.
        seconds: after the warm-up.

    Returns:
        Latency of each frame in s; frames that did not arrive.
    """
    origin = f"http://127.0.0.1:{port}"
    pcm = (np.random.default_rng(0).standard_normal(RATE) * 2000).astype("<i2")
    size = round(CHUNK_S * RATE)
    sent: list[float] = []  # time of each chunk
    arrivals: dict[int, float] = {}
    address = f"ws://127.0.0.1:{port}/socket"
    with connect(address, origin=Origin(origin), max_size=None, compression=None) as client:

        def receive() -> None:
            with contextlib.suppress(Exception):
                for message in client:
                    if isinstance(message, bytes):
                        index = protocol.HEADER.unpack_from(message)[3]
                        arrivals.setdefault(index, time.monotonic())
                        if len(arrivals) % 10 == 0:
                            client.send(json.dumps({"type": "seen", "count": len(arrivals)}))

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        client.send(json.dumps({"type": "start", "epoch": 1, "rate": RATE}))
        start = time.monotonic()
        for k in range(round((WARM_UP_S + seconds) / CHUNK_S)):
            time.sleep(max(0.0, start + k * CHUNK_S - time.monotonic()))
            sent.append(time.monotonic())
            first = k * size % RATE
            client.send(bytes([protocol.PCM, 1, 0, 0]) + pcm[first : first + size].tobytes())
        time.sleep(0.5)
    frames = range(round(WARM_UP_S / FRAME_S), round((WARM_UP_S + seconds - LOOKAHEAD_S) / FRAME_S) - 1)
    completed = {n: sent[round(((n + 1) * FRAME_S + LOOKAHEAD_S) / CHUNK_S) - 1] for n in frames}
    latencies = [arrivals[n] - completed[n] for n in frames if n in arrivals]
    return latencies, len(frames) - len(latencies)


def main() -> int:
    """Measure, and print a table.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0] if __doc__ else None, allow_abbrev=False
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="to measure, for each attack")
    parser.add_argument("--only", nargs="*", help="names of attacks")
    args = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, "-m", "streamingtalker_ros", "web", "--port", "0", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        line = next(line for line in server.stdout if "open http" in line)
        port = int(line.rstrip("/\n").rpartition(":")[2])
        time.sleep(5.0)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
        print("| attack | median, ms | 95 % | 99 % | max | frames missing |")
        print("|---|---|---|---|---|---|")
        for name in ("none", *ATTACKS):
            if args.only and name not in args.only:
                continue
            process = multiprocessing.get_context("spawn").Process(
                target=attack, args=(port, name), daemon=True
            )
            if name != "none":
                process.start()
            latencies, missing = measure(port, args.seconds)
            if name != "none":
                process.kill()
                process.join()
            values = 1000 * np.array(latencies or [float("nan")])
            cells = [*np.percentile(values, (50, 95, 99)), values.max()]
            print(
                f"| {name} | " + " | ".join(f"{value:.0f}" for value in cells) + f" | {missing} |", flush=True
            )
            time.sleep(2.0)
    finally:
        server.terminate()
        server.wait(30)
    return 0


if __name__ == "__main__":
    sys.exit(main())
