# SPDX-License-Identifier: Apache-2.0
"""One visitor's WebSocket, from its first word to its last: reads what the page says, sends what the voice or the
watched talker gives, and lets go of both.

Frames wait in a bounded outbox and the page counts those that it has got: what a slow browser cannot take is left
out, and one that stays behind is sent away, so that it slows nobody.
"""

import asyncio
import json
from collections import deque
from typing import NoReturn

from starlette.websockets import WebSocketDisconnect, WebSocketState

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.web import protocol
from streamingtalker_ros.web.limits import Bucket

TRY_LATER, POLICY, FAILED = 1013, 1008, 1011  # close codes of RFC 6455


class Leave(Exception):
    """The visitor is sent away. args: close code, sentence."""


class Session:
    """house: House; socket: an accepted Starlette WebSocket."""

    def __init__(self, house, socket) -> None:
        self.house, self.socket = house, socket
        self._loop = asyncio.get_running_loop()
        self._outbox, self._texts, self._news = deque(), deque(), asyncio.Event()
        self._voice = self._watched = None
        self._sent = self._seen = self.left_out = 0  # frames
        self._behind_since = None
        limits = house.limits
        self._texts_allowed = Bucket(limits.texts_per_second, 3 * limits.texts_per_second)
        self._messages_allowed = Bucket(
            limits.messages_per_second, limits.ahead_seconds * limits.messages_per_second
        )
        self._seconds_allowed = Bucket(1.05, limits.ahead_seconds)  # of audio; a new start does not refill it
        self._rate = None  # Hz of the audio that may come

    async def run(self) -> None:
        """Until the page leaves or is sent away; whatever happens, its voice is freed."""
        self._say(type="hello", **self.house.hello())
        tasks = [asyncio.create_task(part()) for part in (self._read, self._write, self._watch_time)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            reasons = [task.exception() for task in done if task.exception() is not None]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._let_go()
        leave = next((reason for reason in reasons if isinstance(reason, Leave)), None)
        if leave is not None:
            await self._farewell(*leave.args)
        for reason in reasons:
            if not isinstance(reason, (Leave, WebSocketDisconnect, OSError, RuntimeError)):
                raise reason

    # -- in --

    async def _read(self) -> None:
        wait = self.house.limits.hello_seconds
        while True:
            try:
                message = await asyncio.wait_for(self.socket.receive(), wait)
            except asyncio.TimeoutError:
                raise Leave(POLICY, f"nothing came for {wait:g} s: the connection is closed") from None
            wait = self.house.limits.quiet_seconds
            if message["type"] == "websocket.disconnect":
                return
            if not self._messages_allowed.take():
                self._too_many(self.house.limits.messages_per_second)
            try:
                if message.get("bytes") is not None:
                    self._on_bytes(message["bytes"])
                else:
                    self._on_text(message.get("text") or "")
            except TalkerError as error:
                self._say(type="error", text=str(error))
            except Leave:
                raise
            except Exception as fault:
                self.house.faults.log("a visitor's message could not be handled", fault)
                raise Leave(FAILED, "a message failed on the server: connect again") from None

    def _on_bytes(self, data) -> None:
        if self._rate is None:
            self._may_text()
            raise TalkerError('audio came before a start: send {"type": "start", …} first')
        epoch, samples = protocol.read_pcm(data)
        if not self._seconds_allowed.take(len(samples) / self._rate):
            raise Leave(POLICY, "the audio came faster than it can be spoken: send it in real time")
        self._voice.ask("hear", epoch, samples)

    def _may_text(self) -> None:
        if not self._texts_allowed.take():
            self._too_many(self.house.limits.texts_per_second)

    def _too_many(self, allowed) -> NoReturn:
        raise Leave(POLICY, f"too many messages: send fewer than {allowed:g} in a second")

    def _on_text(self, text) -> None:
        self._may_text()
        message = protocol.read_text(text)
        kind = message.pop("type")
        if kind == "seen":
            self._seen = min(message["count"], self._sent)
        elif kind == "watch":
            self._let_go()
            self._watched = self.house.watch(self, message["epoch"])
        elif kind == "pause":
            self._let_go(keep_voice=True)
            if self._voice is not None:
                self._voice.ask("pause")
        else:
            self._let_go(keep_voice=True)
            self._speak(kind, message)

    def _speak(self, kind, message) -> None:
        if self._voice is None:
            self._voice = self.house.stepper.open(self.deliver_soon, self._complain_soon)
        if kind == "set":
            self._voice.ask("set", message)
        elif kind == "start":
            self._rate = message["rate"]
            self._voice.ask("start", message["epoch"], self._rate, message.get("seed"))
        else:
            self._voice.ask(kind, message["epoch"])

    def _let_go(self, keep_voice=False) -> None:
        if self._watched is not None:
            self._watched.close()
            self._watched = None
        if self._voice is not None and not keep_voice:
            self.house.stepper.close(self._voice)
            self._voice = self._rate = None

    # -- out --

    def deliver_soon(self, packed) -> None:
        """Frames as bytes, from any thread."""
        self._call_soon(self._deliver, packed)

    def tell_soon(self, **message) -> None:
        """A text, from any thread."""
        self._call_soon(lambda: self._say(**message))

    def _complain_soon(self, sentence) -> None:
        self.tell_soon(type="error", text=sentence)

    def _call_soon(self, function, *values) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *values)
        except RuntimeError:
            pass  # the server has gone

    def _deliver(self, packed) -> None:
        window = self.house.window
        for data in packed:
            if len(self._outbox) + self._sent - self._seen >= window:
                self.left_out += 1
                self._behind_since = self._behind_since or self._loop.time()
                continue
            self._outbox.append(data)
        if len(self._outbox) + self._sent - self._seen < window:
            self._behind_since = None
        self._news.set()

    def _say(self, **message) -> None:
        if len(self._texts) < 64:
            self._texts.append(json.dumps(message))
        self._news.set()

    async def _write(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._texts or self._outbox:
                if self._texts:
                    await self.socket.send_text(self._texts.popleft())
                else:
                    data = self._outbox.popleft()
                    self._sent += 1
                    await self.socket.send_bytes(data)

    async def _watch_time(self) -> None:
        limits, begin = self.house.limits, self._loop.time()
        while True:
            await asyncio.sleep(1.0)
            now = self._loop.time()
            if now - begin > limits.session_seconds:
                raise Leave(TRY_LATER, f"a session lasts {limits.session_seconds / 60:g} min: connect again")
            if self._behind_since is not None and now - self._behind_since > limits.slow_seconds:
                raise Leave(
                    TRY_LATER, "this browser takes the frames too slowly: close other tabs and connect again"
                )
            self._say(type="state", visitors=self.house.visitors, left_out=self.left_out)

    async def _farewell(self, code, sentence) -> None:
        """A last sentence and the close, for which nobody waits long."""
        try:
            if self.socket.application_state == WebSocketState.CONNECTED:
                await asyncio.wait_for(self._close(code, sentence), 2.0)
        except (asyncio.TimeoutError, RuntimeError, OSError, WebSocketDisconnect):
            pass

    async def _close(self, code, sentence) -> None:
        await self.socket.send_text(json.dumps({"type": "bye", "text": sentence}))
        await self.socket.close(code, sentence[:100])
