# SPDX-License-Identifier: Apache-2.0
"""Receives the messages of one audio topic that several nodes may publish: one of them is followed.

Audio of two publishers at once, such as a microphone and text to speech, is never mixed into one voice. The
first is followed until it falls silent, or leaves the graph; the parameter `audio_publisher` names one that
is followed whenever it sends. What the node itself says (`on_speech`) interrupts all others.

Its methods may be called from any thread.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder

SILENCE_S: Final = 0.5
"""Seconds without audio after which another publisher is followed."""

SPEECH_PUBLISHER: Final = "speech of this node"
"""Stands for the publisher of what the node itself says."""

_MAX_PUBLISHERS: Final = 16  # that are remembered
_NUMBERS: Final = {2: "two", 3: "three"}
_PARTICIPANT_CHARS: Final = 24  # of the 32 hexadecimal digits of a GUID, which a node's publishers share
_MAX_NAMING_S: Final = 1.0  # s from a conflict until it is reported without the names of the nodes
_MAX_QUEUED_S: Final = 0.1  # of audio that is still to be played, when a publisher counts as silent


class AudioSink(Protocol):
    """What `AudioReceiver` uses of `runtime.worker.TalkerWorker`."""

    @property
    def queued_seconds(self) -> float:
        """Duration of the queued audio."""
        ...

    def push(self, packet: AudioPacket) -> bool:
        """Queue a packet; return whether it is accepted."""
        ...

    def reject(self, kind: str, message: str) -> None:
        """Count and report a message that cannot be used.

        Args:
            kind: Kind of the problem.
            message: For the user.
        """
        ...

    def interrupt(self) -> None:
        """Drop the queued audio."""
        ...

    def report_sender_fault(self, kind: str, message: str) -> None:
        """Report a mistake of the audio's sender.

        Args:
            kind: Kind of the mistake.
            message: For the user.
        """
        ...

    def sender_faults(self) -> list[str]:
        """Return what is wrong with the audio's sender at present."""
        ...

    def count_other_publisher(self) -> None:
        """Count a message of a publisher that is not followed."""
        ...


class AudioReceiver:
    """Decodes the audio of the followed publisher and queues it.

    Args:
        sink: Receives the packets.
        topic: Name of the topic, for log messages.
        default_format: Format of audio that nothing describes.
        preferred: Node name, full or without namespace, frame_id or identifier of the publisher that is
            followed whenever it sends; empty for none, None if no parameter names one.
        publisher_name: Returns the name of the node of a publisher, "" if it is not known.
        is_present: Returns whether a publisher is in the graph.
    """

    def __init__(
        self,
        sink: AudioSink,
        topic: str,
        default_format: AudioFormat,
        preferred: str | None = None,
        publisher_name: Callable[[str], str] = lambda publisher: "",
        is_present: Callable[[str], bool] = lambda publisher: True,
    ) -> None:
        self._sink = sink
        self._topic = topic
        self._default_format = default_format
        self._preferred = (preferred or "").strip()
        self._has_parameter = preferred is not None
        self._lock = threading.RLock()
        self._publisher_name = publisher_name
        self._is_present = is_present
        self._decoders: OrderedDict[str, AudioMessageDecoder] = OrderedDict()  # by publisher
        self._infos: OrderedDict[str, Any] = OrderedDict()  # audio_info by participant, the newest last
        self._frame_ids: dict[str, str] = {}  # by publisher
        self._conflict: tuple[str, str, str] | None = None  # two publishers, and the one that is followed
        self._conflict_since: float | None = None  # s
        self._known: set[str] = set()  # publishers that have sent audio
        self._followed: str | None = None
        self._voice = 0  # changes of the followed publisher, while the one before could go on
        self._last_arrival = 0.0  # s, of the followed publisher
        self._last_seconds = 0.0  # s of audio in its last message

    def on_audio_info(self, info: Any, publisher: str = "") -> None:
        """Accept an AudioInfo message, which describes the audio of its own node, else that of all.

        Args:
            info: An audio_common_msgs/AudioInfo message of ros-drivers.
            publisher: Identifier of its publisher, "" if the middleware does not tell.
        """
        with self._lock:
            self._accept_info(info, publisher)

    def _accept_info(self, info: Any, publisher: str) -> None:
        participant = publisher[:_PARTICIPANT_CHARS]
        self._infos[participant] = info
        self._infos.move_to_end(participant)
        if len(self._infos) > _MAX_PUBLISHERS:
            self._infos.popitem(last=False)
        if not self._decoders:
            self._decoder("")  # reports a description that cannot be used
            return
        for other, decoder in self._decoders.items():
            own = other[:_PARTICIPANT_CHARS]
            if own == participant or own not in self._infos:
                decoder.on_audio_info(info)

    def on_audio(
        self,
        message: Any,
        type_name: str,
        publisher: str = "",
        now_ns: int | None = None,
        arrival: float | None = None,
    ) -> None:
        """Decode a message of the followed publisher and queue its packets; drop one of another.

        Args:
            message: The message.
            type_name: Its type, a key of `audio_common.AUDIO_TYPES`.
            publisher: Identifier of its publisher; "" if the middleware does not tell, the frame_id of the
                message identifies it then.
            now_ns: Time of the node's clock, default the system's; for messages without a stamp.
            arrival: s on the clock of `time.monotonic()`, default now.
        """
        arrival = time.monotonic() if arrival is None else arrival
        header = getattr(message, "header", None)
        frame_id = str(getattr(header, "frame_id", ""))[:100]
        publisher = publisher or frame_id
        if self._frame_ids.get(publisher) != frame_id:
            if len(self._frame_ids) >= _MAX_PUBLISHERS:
                self._frame_ids.clear()
            self._frame_ids[publisher] = frame_id
        with self._lock:
            followed = self._followed
            if not self._follow(publisher, arrival):
                self._sink.count_other_publisher()
                return
            packets = self._decoder(publisher).decode(message, type_name, now_ns, arrival)
            if self._voice:
                packets = [dataclasses.replace(packet, publisher=str(self._voice)) for packet in packets]
            self._queue(packets, publisher, followed, arrival)

    def on_speech(self, packets: Sequence[AudioPacket]) -> None:
        """Queue audio of this node's own speech, which is followed at once.

        Args:
            packets: The packets; another `publisher` begins a new stream.
        """
        with self._lock:
            for packet in packets:
                followed = self._followed
                if not self._follow(SPEECH_PUBLISHER, packet.arrival):
                    self._sink.count_other_publisher()
                else:
                    self._queue([packet], SPEECH_PUBLISHER, followed, packet.arrival)

    def _queue(
        self, packets: Sequence[AudioPacket], publisher: str, followed: str | None, arrival: float
    ) -> None:
        """Queue the packets of a publisher; `followed` is the one that was followed before."""
        seconds, is_used = 0.0, False
        for packet in packets:
            audio_format = packet.format or self._default_format
            seconds += len(packet.payload) / (audio_format.frame_bytes * audio_format.sample_rate)
            is_used |= self._sink.push(packet)
        if publisher != followed and not is_used:  # what cannot be used must not hide another voice
            self._followed = followed
        else:
            self._last_arrival, self._last_seconds = arrival, seconds

    def reset(self) -> None:
        """Forget files that messages continue and the followed publisher; call it before the end, too."""
        with self._lock:
            for decoder in self._decoders.values():
                decoder.reset()
            self._followed = self._conflict = self._conflict_since = None

    def report_indistinct(self, nodes: Sequence[str]) -> None:
        """Report several publishers whose messages nothing tells apart, if the audio is faulty.

        Args:
            nodes: Names of the nodes that publish the topic.
        """
        if len(nodes) > 1 and len(self._known) <= 1 and self._sink.sender_faults():
            self._sink.report_sender_fault(
                "publishers",
                f"{_NUMBERS.get(len(nodes), str(len(nodes)))} publishers on {self._topic}: "
                f"{' and '.join(sorted(nodes))}: nothing tells their messages apart; give each its own "
                "frame_id, or stop one",
            )

    def _decoder(self, publisher: str) -> AudioMessageDecoder:
        decoder = self._decoders.get(publisher)
        if decoder is None:
            decoder = self._decoders[publisher] = AudioMessageDecoder(self._sink.reject, self._default_format)
            info = self._infos.get(publisher[:_PARTICIPANT_CHARS])
            if info is None and self._infos:
                info = self._infos[next(reversed(self._infos))]
            if info is not None:
                decoder.on_audio_info(info)
            if len(self._decoders) > _MAX_PUBLISHERS:
                self._decoders.popitem(last=False)[1].reset()
        self._decoders.move_to_end(publisher)
        return decoder

    def _follow(self, publisher: str, arrival: float) -> bool:
        """Return whether a publisher is followed, after it may have replaced another one."""
        followed = self._followed
        if self._conflict is not None:
            self._report_conflict(arrival)
        if followed is None or publisher == followed:
            self._followed = publisher
            self._remember(publisher)
            return True
        pause = arrival - self._last_arrival - self._last_seconds
        is_new = publisher not in self._known
        self._remember(publisher)
        if (followed != SPEECH_PUBLISHER and not self._is_present(followed)) or (
            is_new and pause > 0 and self._are_of_one_node(followed, publisher)
        ):  # it restarted, or its node goes on with another publisher: the same voice
            self._followed = publisher
            return True
        is_silent = pause > SILENCE_S and self._sink.queued_seconds <= _MAX_QUEUED_S
        takes_over = self._priority(publisher) > self._priority(followed)
        if not is_silent:
            pair = (followed, publisher, publisher if takes_over else followed)
            self._conflict, since = pair, self._conflict_since
            self._conflict_since = arrival if since is None else since
            self._report_conflict(arrival)
        if not is_silent and takes_over:
            self._sink.interrupt()
        if is_silent or takes_over:
            self._followed = publisher
            self._voice += 1
            return True
        return False

    def _remember(self, publisher: str) -> None:
        if len(self._known) >= _MAX_PUBLISHERS:
            self._known.clear()
        self._known.add(publisher)

    def _are_of_one_node(self, first: str, second: str) -> bool:
        names = self._publisher_name(first), self._publisher_name(second)
        is_one_name = names[0] == names[1] or not all(names)
        return is_one_name and first[:_PARTICIPANT_CHARS] == second[:_PARTICIPANT_CHARS]

    def _priority(self, publisher: str) -> int:
        """Return which of two publishers interrupts the other: the one of the higher number."""
        return 2 if publisher == SPEECH_PUBLISHER else int(self._is_preferred(publisher))

    def _is_preferred(self, publisher: str) -> bool:
        if not self._preferred:
            return False
        name = self._publisher_name(publisher)
        names = (publisher, name, name.rpartition("/")[2], self._frame_ids.get(publisher, ""))
        wanted = self._preferred
        return wanted in names or (wanted.strip("/") == name.strip("/") and bool(name))

    def _report_conflict(self, arrival: float) -> None:
        """Report two publishers as soon as the graph tells their names, or after a while."""
        assert self._conflict is not None and self._conflict_since is not None
        first, second, followed = self._conflict
        is_named = all(self._publisher_name(each) or self._frame_ids.get(each) for each in (first, second))
        if not is_named and arrival - self._conflict_since < _MAX_NAMING_S:
            return
        self._conflict = None
        labels = {publisher: self._label(publisher) for publisher in (first, second)}
        if labels[first] == labels[second]:
            labels = {publisher: f"{label} ({publisher})" for publisher, label in labels.items()}
        goes_on = "whenever it sends" if self._priority(followed) else "until it falls silent"
        advice = ", or name the one to follow by the parameter audio_publisher" if self._has_parameter else ""
        self._sink.report_sender_fault(
            "publishers",
            f"two publishers on {self._topic}: {labels[first]} and {labels[second]}: {labels[followed]} is "
            f"followed {goes_on}; stop one{advice}",
        )

    def _label(self, publisher: str) -> str:
        """Return the best name of a publisher for the user."""
        return self._publisher_name(publisher) or self._frame_ids.get(publisher) or publisher or "unnamed"
