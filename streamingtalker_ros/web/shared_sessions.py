# SPDX-License-Identifier: Apache-2.0
"""Shared sessions: the frames and the audio of one visitor, for every visitor who knows the session's name.

A visitor shares his session under a name (message `share`), others watch that name (message `watch`), in
either order. Times are seconds since the name came into use and only grow, over all streams of the session
that shares it and over its reconnections.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.resample import Resampler
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.web import protocol

if TYPE_CHECKING:
    from streamingtalker_ros.web.topic_watcher import SendText

CLOSING_FRAMES: Final = 5  # from the last frame of a session that ends to the rest pose
AUDIO_CHUNK_S: Final = 0.04  # of an audio message
_MAX_TIMELINES: Final = 4  # epochs of the sharing session whose frames may still arrive
_INT16_SCALE: Final = 32768.0


class Subscription(Protocol):
    """What a session watches."""

    def close(self) -> None:
        """End the subscription."""
        ...


class SharedSubscription:
    """Subscription of one session to a shared one.

    Args:
        channel: That serves it.
        deliver: Called with a list of binary messages, in any thread.
        epoch: Number of the client's timeline, 0..255.
    """

    def __init__(self, channel: SharedChannel, deliver: Callable[[list[bytes]], None], epoch: int) -> None:
        self.deliver = deliver
        self.epoch = epoch
        self._channel = channel

    def close(self) -> None:
        """End the subscription."""
        self._channel.unsubscribe(self)


class SharedChannel:
    """A name, the session that shares itself under it, and those that watch it.

    Args:
        name: Of the session.
        frame_rate: Frames per second.
        release: Called without locks when nobody uses the channel any more.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        name: str,
        frame_rate: float,
        release: Callable[[SharedChannel], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._period = 1.0 / frame_rate
        self._release = release
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._subscriptions: list[SharedSubscription] = []
        self._is_shared = False
        self._start = clock()
        self._offsets: dict[int, float] = {}  # of the times of each epoch of the sharing session
        self._last_time = 0.0  # of a frame
        self._last_frame: bytes | None = None
        self._restart_audio(SAMPLE_RATE)

    @property
    def is_used(self) -> bool:
        """Whether a session shares it or watches it."""
        with self._lock:
            return self._is_shared or bool(self._subscriptions)

    # ------------------------------------------------------------------------------------------- who watches

    def subscribe(self, deliver: Callable[[list[bytes]], None], epoch: int) -> SharedSubscription:
        """Open a subscription.

        Args:
            deliver: Called with a list of binary messages, in any thread.
            epoch: Number of the client's timeline, 0..255.
        """
        subscription = SharedSubscription(self, deliver, epoch)
        with self._lock:
            self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: SharedSubscription) -> None:
        """End a subscription; one that has ended is ignored.

        Args:
            subscription: Of this channel.
        """
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
        self._release(self)

    # -------------------------------------------------------------------------------------------- who shares

    def open(self) -> bool:
        """Share; return False if another session does already."""
        with self._lock:
            if self._is_shared:
                return False
            self._is_shared = True
            return True

    def close(self) -> None:
        """Stop sharing: the face goes to rest."""
        with self._lock:
            self._is_shared = False
            messages = self._closing_messages()
            self._offsets.clear()
        self._broadcast(messages)
        self._release(self)

    def start(self, epoch: int, rate: int) -> None:
        """Begin a stream of the sharing session.

        Args:
            epoch: Number of its timeline, 0..255.
            rate: Hz of its audio.
        """
        with self._lock:
            self._offsets.pop(epoch, None)
            self._restart_audio(rate)
            self._audio_epoch = epoch

    def push_audio(self, epoch: int, samples: npt.NDArray[np.int16]) -> None:
        """Forward audio of the sharing session.

        Args:
            epoch: Number of its timeline; audio of another one than that which was started is ignored.
            samples: (n,) at the rate that was given to `start`.
        """
        with self._lock:
            if epoch != self._audio_epoch:
                return
            start = self._audio_samples / self._audio_rate
            self._audio_samples += len(samples)
            if not self._subscriptions:  # its resampler begins anew with the next one
                self._audio_out = None
                return
            if self._audio_out is None:
                self._resampler.reset()
                self._audio_out = self._to_shared_time(epoch, start, is_frame=False)
            pcm = self._resampler.accept(samples.astype(np.float32) / np.float32(_INT16_SCALE))
            self._audio_chunk = np.concatenate([self._audio_chunk, pcm])
            if len(self._audio_chunk) < AUDIO_CHUNK_S * SAMPLE_RATE:
                return
            chunk, self._audio_chunk = self._audio_chunk, self._audio_chunk[:0]
            time_s = self._audio_out
            self._audio_out += len(chunk) / SAMPLE_RATE
            int16 = np.round(np.clip(chunk, -1.0, 1.0) * (_INT16_SCALE - 1)).astype(np.int16)
            messages = [protocol.encode_audio(0, time_s, int16)]
        self._broadcast(messages)

    def push_frames(self, messages: list[bytes]) -> None:
        """Forward frames of the sharing session.

        Args:
            messages: As they are encoded for the session itself.
        """
        with self._lock:
            if not self._is_shared:
                return
            moved: list[bytes] = []
            for message in messages:
                epoch, frame_time = protocol.message_time(message)
                self._last_time = self._to_shared_time(epoch, frame_time, is_frame=True)
                self._last_frame = protocol.move_to_timeline(message, 0, self._last_time)
                moved.append(self._last_frame)
        self._broadcast(moved)

    def _restart_audio(self, rate: int) -> None:
        self._audio_epoch: int | None = None
        self._audio_rate = rate
        self._audio_samples = 0  # received of the stream
        self._audio_out: float | None = None  # time of the next sample that is sent
        self._audio_chunk = np.zeros(0, np.float32)  # not sent yet
        self._resampler = Resampler(rate)

    def _to_shared_time(self, epoch: int, time_s: float, is_frame: bool) -> float:
        """Place a time of the sharing session; its timelines follow each other, and frames are in order."""
        offset = self._offsets.get(epoch)
        earliest = self._last_time + 0.5 * self._period  # frames keep their distance, whatever is rounded
        if offset is None or (is_frame and offset + time_s < earliest):
            offset = max(self._clock() - self._start, self._last_time + self._period) - time_s
            self._offsets[epoch] = offset
            if len(self._offsets) > _MAX_TIMELINES:
                del self._offsets[next(iter(self._offsets))]
        return offset + time_s

    def _closing_messages(self) -> list[bytes]:
        last, self._last_frame = self._last_frame, None
        if last is None:
            return []
        messages: list[bytes] = []
        for number in range(1, CLOSING_FRAMES + 1):
            self._last_time += self._period
            frame = protocol.fade_to_rest(last, 1.0 - number / CLOSING_FRAMES)
            messages.append(protocol.move_to_timeline(frame, 0, self._last_time))
        return messages

    def _broadcast(self, messages: list[bytes]) -> None:
        """Deliver messages to all subscriptions, with the epoch of each."""
        if not messages:
            return
        with self._lock:
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription.deliver(
                [
                    protocol.move_to_timeline(message, subscription.epoch, protocol.message_time(message)[1])
                    for message in messages
                ]
            )


class SharedSessions:
    """All shared sessions of a server, by their names.

    Args:
        frame_rate: Frames per second.
        clock: Monotonic time in seconds.
    """

    def __init__(self, frame_rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._frame_rate = frame_rate
        self._clock = clock
        self._lock = threading.Lock()
        self._channels: dict[str, SharedChannel] = {}

    @property
    def count(self) -> int:
        """Number of names in use."""
        with self._lock:
            return len(self._channels)

    def share(self, name: str) -> SharedChannel:
        """Share a session.

        Args:
            name: Its name.

        Raises:
            TalkerError: If another session has the name.
        """
        with self._lock:
            channel = self._channel(name)
            if channel.open():
                return channel
        raise TalkerError(f"another session is shared as {name!r} already: choose another name")

    def watch(
        self, name: str, deliver: Callable[[list[bytes]], None], send_text: SendText, epoch: int
    ) -> SharedSubscription:
        """Watch a session; one that is not shared yet is waited for.

        Args:
            name: Its name.
            deliver: Called with a list of binary messages, in any thread.
            send_text: Called with the fields of a text message.
            epoch: Number of the client's timeline, 0..255.
        """
        with self._lock:
            subscription = self._channel(name).subscribe(deliver, epoch)
        fields: dict[str, Any] = {"topic": None, "domain": None, "session": name}
        send_text(type="watching", **fields)
        return subscription

    def _channel(self, name: str) -> SharedChannel:
        channel = self._channels.get(name)
        if channel is None:
            channel = SharedChannel(name, self._frame_rate, self._drop, self._clock)
            self._channels[name] = channel
        return channel

    def _drop(self, channel: SharedChannel) -> None:
        with self._lock:
            if not channel.is_used and self._channels.get(channel.name) is channel:
                del self._channels[channel.name]
