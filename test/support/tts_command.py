# SPDX-License-Identifier: Apache-2.0
"""A text-to-speech command of the tests, in a process of its own: `tts_command.py MODE [FILE] [RATE]`.

It writes the bytes of FILE, PCM of 16 bits, to its standard output, in the way that MODE says. `command`
returns the command line.
"""

from __future__ import annotations

import os
import shlex
import struct
import subprocess
import sys
import time
from pathlib import Path

PIECE_BYTES = 1001  # odd: pieces end within a sample
SLOW_S = 0.25  # pause of the mode `slow` after a sixth of the file


def command(mode: str, *arguments: object) -> str:
    """The command line of a mode."""
    return shlex.join([sys.executable, "-S", str(Path(__file__)), mode, *map(str, arguments)])


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _main(mode: str, file: str = "", rate: str = "16000") -> int:
    data = Path(file).read_bytes() if file and mode not in ("hang", "note") else b""
    if mode == "note":  # what the command got
        Path(file).write_text(f"{sys.argv[3:]!r} {sys.stdin.read()!r}")
        return 0
    if mode == "wav":  # of a stream: the length is not known yet
        header = struct.pack(
            "<4sI8sIHHIIHH", b"RIFF", 0xFFFFFFFF, b"WAVEfmt ", 16, 1, 1, int(rate), 2 * int(rate), 2, 16
        )
        _write(header + struct.pack("<4sI", b"data", 0xFFFFFFFF))
    if mode in ("pcm", "wav"):
        _write(data)
    elif mode == "odd":
        for begin in range(0, len(data), PIECE_BYTES):
            _write(data[begin : begin + PIECE_BYTES])
            time.sleep(0.002)
    elif mode == "slow":
        for begin in range(0, len(data), len(data) // 6 + 1):
            _write(data[begin : begin + len(data) // 6 + 1])
            time.sleep(SLOW_S)
    elif mode == "endless":
        while True:
            _write(data)
    elif mode == "crash":
        print("Traceback (most recent call last):\n\nvoice.onnx: no such voice\x1b[0m", file=sys.stderr)
        return 1
    elif mode == "late-crash":
        _write(data)
        print("out of memory", file=sys.stderr)
        return 3
    elif mode == "killed":
        os.kill(os.getpid(), 9)
    elif mode == "text":
        _write(b"usage: tts [-h] [--model MODEL] the following arguments are required: --model\n")
    elif mode == "hang":  # with a process that it has started; FILE gets the numbers of both
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        Path(file).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:4]) if sys.argv[1] != "note" else _main("note", sys.argv[2]))
