# SPDX-License-Identifier: Apache-2.0
"""A page's side of the WebSocket in Python, for tests: says what a page says and keeps what comes back."""

import contextlib
import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("uvicorn", reason="the extra `web` is not installed")
connect = pytest.importorskip("websockets.sync.client", reason="the extra `web` is not installed").connect

from streamingtalker_ros.web import protocol  # noqa: E402
from streamingtalker_ros.web.app import WebContext  # noqa: E402
from streamingtalker_ros.web.limits import Limits  # noqa: E402
from streamingtalker_ros.web.server import Server  # noqa: E402


@contextlib.contextmanager
def serving(talker, host="127.0.0.1", token=None, domain=None, **limits):
    """A server in this process, with these limits changed; gives the Server."""
    context = WebContext(talker, Limits(**limits), domain=domain, warn=lambda sentence: None)
    with Server(context, host, 0, token).background() as server:
        yield server


class Client:
    """Connected to a Server. `faces`, `audio`, `texts`: what came, dicts; `closed`: (code, reason) at the end."""

    def __init__(self, server, reads=True, acknowledges=True, **options) -> None:
        headers = {"origin": server.origin, **options}
        address = server.origin.replace("http", "ws") + "/socket"
        self._leave = contextlib.ExitStack()
        self.socket = self._leave.enter_context(connect(address, max_size=None, compression=None, **headers))
        self.faces, self.audio, self.texts, self.closed = [], [], [], None
        self._acknowledges, self._come = acknowledges, threading.Condition()
        if reads:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        frames = 0
        try:
            for message in self.socket:
                with self._come:
                    if isinstance(message, str):
                        self.texts.append(json.loads(message))
                    else:
                        frame = unpack(message)
                        (self.audio if frame["kind"] == protocol.AUDIO else self.faces).append(frame)
                    self._come.notify_all()
                frames += isinstance(message, bytes)
                if self._acknowledges and isinstance(message, bytes) and frames % 10 == 0:
                    self.say(type="seen", count=frames)
        except Exception:
            pass
        finally:
            with self._come:
                self.closed = (self.socket.close_code, self.socket.close_reason)
                self._come.notify_all()

    def say(self, **message) -> None:
        self.socket.send(json.dumps(message))

    def wait(self, condition, timeout=20.0):
        """Until condition() is true. Returns whether it is, after at most `timeout` seconds."""
        with self._come:
            return self._come.wait_for(condition, timeout)

    def text(self, kind, timeout=20.0):
        """The first text of a type; fails when none comes."""
        found = []
        assert self.wait(
            lambda: found or found.extend(m for m in self.texts if m["type"] == kind) or found, timeout
        ), f"no {kind} among {self.texts}, closed {self.closed}"
        return found[0]

    def speak(self, pcm, rate=16000, epoch=1, packet=0.02, pace=0.0, seed=0):
        """Send (n,) float32 as one voice; pace: 1 for real time, 0 at once."""
        self.say(type="start", epoch=epoch, rate=rate, seed=seed)
        samples, size = np.round(np.clip(pcm, -1, 1) * 32767).astype("<i2"), round(packet * rate)
        start = time.monotonic()
        for first in range(0, len(samples), size):
            self.socket.send(bytes([protocol.PCM, epoch, 0, 0]) + samples[first : first + size].tobytes())
            wait = start + pace * (first + size) / rate - time.monotonic()
            if pace and wait > 0:
                time.sleep(wait)
        return samples.astype(np.float32) / 32768

    def close(self) -> None:
        self._leave.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def unpack(data):
    """A frame's bytes -> dict."""
    kind, epoch, flags, index, at, model_ms, wait_ms, dropped = protocol.HEADER.unpack_from(data)
    body = data[protocol.HEADER.size :]
    frame = dict(
        kind=kind,
        epoch=epoch,
        speaking=bool(flags & protocol.SPEAKING),
        idle=bool(flags & protocol.IDLE),
        index=index,
        time=at,
        model_ms=model_ms,
        wait_ms=wait_ms,
        dropped=dropped,
        came=time.monotonic(),
    )
    if kind == protocol.FACE:
        values = np.frombuffer(body, "<f4")
        frame |= {"weights": values[:52], "head": values[52:]}
    elif kind == protocol.VERTICES:
        frame["offsets"] = np.frombuffer(body, "<f4", 1)[0] * np.frombuffer(body, "<i2", offset=4).reshape(
            -1, 3
        )
    else:
        frame["samples"] = np.frombuffer(body, "<i2")
    return frame
