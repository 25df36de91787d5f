# SPDX-License-Identifier: Apache-2.0
"""One real-time session: audio packets in, frames out at the right moment; no transport, no threads.

    session = VoiceSession(talker, parameters, publish)
    session.push(packet)                                  # any thread
    while run_batch(talker, [session]).hops:              # the thread that drives it
        pass
    wait_until(session.next_deadline())                   # or until a packet or a command arrives

All rules of docs/node.md (pacing, idle frames, overload, barge-in, new streams) are decided here, on the
states and events of `states`. The ROS node, the DDS node, the web server and bag replay drive the same class.
`run_batch` steps any number of sessions as one batch; the clock is passed in, so that it may be simulated.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.clock import MAX_GAP_S, AudioClock
from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioPacket
from streamingtalker_ros.conversation.commands import ConversationCommand, LookAt, PartnerAudio
from streamingtalker_ros.conversation.gaze import reach_problem
from streamingtalker_ros.conversation.neck import NeckLimits
from streamingtalker_ros.conversation.turn_taking import DialogueState, TurnTaking
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.protocol import AnyFrame, StreamProtocol, TalkerProtocol
from streamingtalker_ros.runtime.audio_queue import BoundedAudioQueue, EndOfAudio
from streamingtalker_ros.runtime.conversation_inputs import ConversationInputs
from streamingtalker_ros.runtime.frame_output import FrameOutput, TimedFrame
from streamingtalker_ros.runtime.frames import Clock, FramePublisher, WarningCallback
from streamingtalker_ros.runtime.lossless_aligner import LosslessAligner
from streamingtalker_ros.runtime.packet_aligner import PacketAligner
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.partner_input import PartnerInput
from streamingtalker_ros.runtime.scheduler import FrameScheduler
from streamingtalker_ros.runtime.sender_faults import SenderFaults
from streamingtalker_ros.runtime.states import TRANSITIONS, SessionAction, SessionEvent, StreamState
from streamingtalker_ros.runtime.statistics import Statistics
from streamingtalker_ros.runtime.timeline import AudioSegment, AudioTimeline

CLOSING_FRAMES: Final = 5  # frames of silence that close the mouth: one may hold audio, four close the gate
MAX_TRUNCATED_SAMPLES: Final = 2 * SAMPLE_RATE  # audio of a wrong format that can be taken back
MAX_PACKET_DELAY_RATIO: Final = 0.5  # of a packet, by which the next one may be delayed,
FIRST_PACKET_DELAY_S: Final = (
    0.05  # and at most: while it is not known whether packets arrive as they are recorded
)
LIVE_PACKET_DELAY_S: Final = 0.1  # once they do


@dataclass(frozen=True)
class SessionPolicy:
    """How a kind of sender differs from a ROS topic.

    Attributes:
        detects_end: Whether the absence of packets for `idle_after` ends the audio. If not, only `end_audio`
            does.
        flushes_silence: Whether the silence that closes the mouth is consumed at once, so that its frames are
            published early. If not, it follows the clock from the end of the audio on.
        overload_after: s of lag after which old audio is skipped; None for the parameter of that name.
        is_lossless: Whether no packet is lost, repeated or reordered, and each continues the one before.
    """

    detects_end: bool = True
    flushes_silence: bool = True
    overload_after: float | None = None
    is_lossless: bool = False


TOPIC_POLICY: Final = SessionPolicy()
"""Packets of a ROS topic: the end of the audio is not announced, and stamps give the time."""

WEB_POLICY: Final = SessionPolicy(detects_end=False, flushes_silence=False, is_lossless=True)
"""A browser: a lossless connection that announces the end of its audio, and plays frames by their time."""


class DialogueCallback(Protocol):
    """Receives who speaks, when that changes."""

    def __call__(self, state: DialogueState, stamp: int, interrupted: bool, /) -> object:
        """Process a change.

        Args:
            state: Who speaks from now on.
            stamp: ns, of the frame with which it begins.
            interrupted: Whether the partner has interrupted the face.
        """
        ...


def _ignore_warning(kind: str, message: str) -> None: ...


def ignore_dialogue(state: DialogueState, stamp: int, interrupted: bool) -> None:
    """Ignore who speaks.

    Args:
        state: Who speaks.
        stamp: ns.
        interrupted: Whether the partner has interrupted the face.
    """


class VoiceSession:
    """State of one voice between its audio packets and its published frames.

    `push`, `end_audio` and the commands (`interrupt`, `suspend`, `reset`, `set_parameters`, `post`) may be
    called from any thread. All other methods are for the thread that drives the session.

    Args:
        talker: The model.
        parameters: Values of the parameters.
        publish: Receives each frame.
        statistics: Counters; default fresh ones.
        clock: Time in seconds, monotonic.
        warn: Receives what is wrong with packets, the model or the publisher.
        policy: Kind of sender.
        retains_audio: Whether frames hold the audio that they cover.
        on_dialogue: Receives who speaks when that changes, in the driving thread.

    Raises:
        TalkerError: If the talker lacks the style or the number of steps.
    """

    def __init__(
        self,
        talker: TalkerProtocol,
        parameters: TalkerParameters,
        publish: FramePublisher,
        *,
        statistics: Statistics | None = None,
        clock: Clock = time.monotonic,
        warn: WarningCallback = _ignore_warning,
        policy: SessionPolicy = TOPIC_POLICY,
        retains_audio: bool = False,
        on_dialogue: DialogueCallback = ignore_dialogue,
    ) -> None:
        self.talker = talker
        self.parameters = parameters
        self.statistics = statistics or Statistics()
        self._clock = clock
        self._warn = warn
        self._policy = policy
        self._state = StreamState.WAITING
        self._lookahead = round(talker.lookahead * SAMPLE_RATE)  # samples
        self._queue = BoundedAudioQueue(parameters.queue_seconds, self.statistics, warn)
        # a frame is complete, and shown, the look-ahead after its own audio
        self._conversation_inputs = ConversationInputs(warn, talker.lookahead + 1.0 / talker.frame_rate)
        self.partner = PartnerInput(parameters, warn)
        """Audio of the conversation partner."""
        self.turn_taking = TurnTaking()
        """Who speaks; for the driving thread."""
        self._on_dialogue = on_dialogue
        self._dialogue_stamp = 0  # ns, of the frame generated last
        self.sender_faults = SenderFaults(warn, clock)
        """What is wrong with the sender of the audio."""
        self._aligner = (
            LosslessAligner(parameters.audio_format, self.statistics)
            if policy.is_lossless
            else PacketAligner(parameters.audio_format, self.statistics, self.sender_faults.report)
        )
        self._timeline = AudioTimeline(talker.hop, talker.frame_rate, retains_audio)
        self._closing_samples = self._lookahead + self._timeline.frame_position(CLOSING_FRAMES)
        self._scheduler = FrameScheduler(self._timeline, self._lookahead, parameters.pacing == "audio")
        self._pending_stream: deque[AudioSegment] = deque()  # segments of the streams after this one
        self.default_seed = parameters.seed
        """Seed of the streams that follow, unless `suspend` sets another; for the driving thread."""
        self._seed = parameters.seed
        self._epoch = 0
        self._epoch_stamp: int | None = None  # ns; None until the first stream of the epoch
        self._last_packet_time = 0.0  # when a packet arrived last, usable or not
        self._packet_seconds = 0.0  # duration of that packet
        self._packet_end_stamp: int | None = None  # ns, by the stamp of that packet
        self._is_live = False  # whether the packets of the stream arrive as they are recorded
        self._hop_arrival: float | None = None  # of the audio that completed the hop; None for silence
        self._deadline: float | None = None
        controls = self._supported_controls(parameters)
        self.stream: StreamProtocol = talker.open_stream(
            parameters.seed, parameters.style or None, parameters.steps or None, **controls
        )
        self._output = FrameOutput(talker, self.stream, publish, self.statistics, clock, warn)

    # --------------------------------------------------------------------------------------------- any thread

    def push(self, packet: AudioPacket) -> bool:
        """Queue a packet; returns at once.

        Returns:
            False if the packet is rejected: empty, too long, or the queue is full.
        """
        return self._queue.push(packet, packet.format or self.parameters.audio_format)

    def reject(self, kind: str, message: str) -> None:
        """Count and report a message that could not be converted to an AudioPacket.

        Args:
            kind: Kind of the problem; the receiver of warnings limits how often a kind is reported.
            message: For the user.
        """
        self._queue.reject(kind, message)

    def end_audio(self, epoch: int | None = None) -> None:
        """End the audio behind what is queued: the mouth closes, idle frames follow.

        Args:
            epoch: Number of the timeline that begins there; None to keep the current one.
        """
        self._queue.push_end(EndOfAudio(epoch, self._clock()))

    def interrupt(self, epoch: int | None = None) -> None:
        """Barge-in: drop the queued audio and close the mouth; the next audio begins a new stream.

        Args:
            epoch: Number of the timeline that begins there; None to keep the current one.
        """
        self._queue.post(lambda: self._on_interrupt(epoch), drop_audio=True)

    def suspend(self, epoch: int | None = None, seed: int | None = None) -> None:
        """Drop the stream and its audio, and publish nothing until audio arrives.

        The next stream cross-fades from the last pose.

        Args:
            epoch: Number of the timeline that the next audio begins, with stamps from 0; None to keep the
                current one.
            seed: Seed of the streams that follow; None for `default_seed`.
        """
        self._queue.post(lambda: self._on_suspend(epoch, seed), drop_audio=True)

    def reset(self) -> None:
        """Return to the initial state: nothing is published until audio arrives."""
        self._queue.post(lambda: self._dispatch(SessionEvent.RESET), drop_audio=True)

    def set_parameters(self, parameters: TalkerParameters) -> None:
        """Set the dynamic parameters; the motion continues without a gap."""
        self._queue.post(lambda: self._apply_parameters(parameters))

    def post(self, command: Callable[[], None]) -> None:
        """Queue a callable for the thread that drives the session.

        Args:
            command: Called there, without arguments.
        """
        self._queue.post(command)

    def command(self, command: ConversationCommand, stamp: int = 0) -> None:
        """Queue a command of the conversation; returns at once.

        It takes effect at the first frame whose stamp is not earlier than its own, or at the next frame if
        that one has been generated.

        Args:
            command: The command.
            stamp: ns, on the clock of the audio's stamps; 0 for the next frame.
        """
        self._conversation_inputs.push(command, stamp)

    def set_neck_limits(self, limits: NeckLimits) -> None:
        """Set the limits of the head's turn; without effect on a vertex model, which has no head pose.

        Args:
            limits: Of the neck.
        """
        if self.talker.family == "blendshape":
            self.stream.apply(limits)

    @property
    def state(self) -> StreamState:
        """State of the stream."""
        return self._state

    @property
    def queued_seconds(self) -> float:
        """Duration of the audio that is queued."""
        return self._queue.seconds + self._timeline.buffered_samples / SAMPLE_RATE

    @property
    def is_at_rest(self) -> bool:
        """Whether the mouth is closed because the audio has ended, or there is no stream."""
        if self._queue.has_commands:
            return False
        return self._state is StreamState.WAITING or self._output.is_at_rest

    # ------------------------------------------------------------------------------------- the driving thread

    def next_hop(self, now: float) -> npt.NDArray[np.float32] | None:
        """Return the next hop for the model, if one is due.

        The caller passes it to the talker with `stream`, and the result to `deliver` or `on_model_error`,
        before it calls `next_hop` again. Publishes the frames whose time has come.

        Args:
            now: s, the present time.

        Returns:
            (hop,) float32 at 16 kHz, or None: nothing is to be done until `next_deadline`, or until a packet
            or a command arrives.
        """
        self._output.publish_due(now)
        while True:
            for command in self._queue.take_commands():
                command()
            self.partner.receive()
            if self._timeline.has_audio or self._dequeue_until_audio(now):
                self._skip_overload(now)
                self._dequeue_preview(now)
                wait_until, hop = self._consume_audio(now)
            else:
                wait_until, hop = self._consume_silence(now)
            if hop is not None or wait_until is None or wait_until > now:
                break
        deadlines = [time for time in (wait_until, self._output.next_due) if time is not None]
        self._deadline = min(deadlines, default=None)
        if hop is not None:
            self._apply_commands()
            self._announce_audio(hop)
        return hop

    def next_deadline(self) -> float | None:
        """Time at which `next_hop` has something to do although nothing arrives; None if there is none."""
        return self._deadline

    def wait_for_audio(self) -> float:
        """Return how much audio has to arrive before there is a next hop; then `next_deadline` is None.

        Call it after `deliver`, in place of the `next_hop` that would return None.

        Returns:
            Samples at 16 kHz, a lower bound; 0 if `next_hop` has to be called, because something else than
            audio is due.
        """
        timeline, aligner = self._timeline, self._aligner
        if (
            not isinstance(aligner, LosslessAligner)
            or self._state is not StreamState.SPEAKING
            or self._policy.detects_end
            or self._queue
            or self._queue.has_commands
            or self._pending_stream
            or self._output.next_due is not None
        ):
            return 0.0
        missing = timeline.samples_to_next_hop - timeline.buffered_samples
        if missing <= 0:
            return 0.0
        self._deadline = None
        return max(1.0, missing - aligner.surplus)

    def deliver(self, frames: Sequence[AnyFrame], model_seconds: float = 0.0) -> None:
        """Publish the frames that the talker returned for the last hop.

        Args:
            frames: Frames of `stream`.
            model_seconds: Duration of the model step.
        """
        self.statistics.model_seconds += model_seconds
        for frame in frames:
            timed = self._to_timed(frame, model_seconds)
            if timed.idle and self._pending_stream and self.talker.frames_per_step > 1:
                continue  # the end of a chunk lies behind the end of its stream
            self._output.add(timed)
            self._follow_dialogue(timed)

    def on_model_error(self, error: Exception) -> None:
        """Handle an exception of the model: the frame is lost, the next audio begins a new stream.

        Args:
            error: The exception; its type and message appear in a warning.
        """
        self.statistics.errors += 1
        self.statistics.dropped += 1
        self._warn(
            "model",
            f"the model failed on a frame ({type(error).__name__}: {error}): the next audio begins a new "
            "stream, restart the node if this goes on",
        )
        self._dispatch(SessionEvent.MODEL_ERROR)

    # ------------------------------------------------------------------------------------------------- events

    def _dispatch(
        self, event: SessionEvent, segment: AudioSegment | None = None, now: float | None = None
    ) -> None:
        transition = TRANSITIONS[self._state, event]
        self._run_action(transition.action, segment, self._clock() if now is None else now)
        self._state = transition.state

    def _run_action(self, action: SessionAction, segment: AudioSegment | None, now: float) -> None:
        match action:
            case SessionAction.START_STREAM:
                self._start_stream(segment)
            case SessionAction.CONTINUE_STREAM:
                self._continue_stream(segment)
            case SessionAction.RESYNC_SILENCE:
                self._resync_silence(now)
            case SessionAction.CLOSE_MOUTH:
                self._close_mouth(now)
            case SessionAction.START_IDLE:
                self._start_idle(now)
            case SessionAction.START_LISTENING:
                self._start_idle(now, self.partner.first_stamp or 0)
            case SessionAction.BARGE_IN:
                self._barge_in(now)
            case SessionAction.DISCARD_STREAM:
                self._discard_stream()
            case SessionAction.RESET:
                self._reset()
            case SessionAction.IGNORE | SessionAction.MARK_END | SessionAction.RUN_IDLE:
                pass

    def _on_interrupt(self, epoch: int | None) -> None:
        self.statistics.interrupts += 1
        self._dispatch(SessionEvent.INTERRUPT)
        self._begin_epoch(epoch)

    def _on_suspend(self, epoch: int | None, seed: int | None) -> None:
        self._dispatch(SessionEvent.SUSPEND)
        self._output.allow_any_stamp()
        self._seed = self.default_seed if seed is None else seed
        if epoch is not None:
            self._epoch, self._epoch_stamp = epoch, 0

    def _on_end(self, end: EndOfAudio) -> None:
        self._dispatch(SessionEvent.END_OF_AUDIO, now=end.time)
        self._begin_epoch(end.epoch)

    def _begin_epoch(self, epoch: int | None) -> None:
        """Count time from the end of the audio on."""
        if epoch is None or self._state is StreamState.WAITING:
            return
        first_frame = self._timeline.first_frame_at(self._timeline.end)
        self._epoch, self._epoch_stamp = epoch, self._timeline.frame_stamp(first_frame)

    def _apply_parameters(self, parameters: TalkerParameters) -> None:
        old, self.parameters = self.parameters, parameters
        if parameters.style != old.style:
            self.stream.style = parameters.style or None
        if parameters.steps != old.steps:
            self.stream.steps = parameters.steps or None
        self.stream.seed = self._seed = self.default_seed = parameters.seed
        self.stream.set(**self._supported_controls(parameters))
        self._scheduler.paced = parameters.pacing == "audio"

    @property
    def _overload_after(self) -> float:
        overload_after = self._policy.overload_after
        return self.parameters.overload_after if overload_after is None else overload_after

    def _supported_controls(self, parameters: TalkerParameters) -> dict[str, Any]:
        names = self.talker.control_names
        return {name: value for name, value in parameters.controls.items() if name in names}

    # ------------------------------------------------------------------------------------------------ actions

    def _discard_stream(self) -> None:
        self._aligner.reset()
        self._timeline.clear()
        self._scheduler.reset()
        self._pending_stream.clear()
        self._output.discard()
        self._last_packet_time = self._packet_seconds = 0.0
        self._packet_end_stamp = None
        self._end_dialogue()

    def _reset(self) -> None:
        self._discard_stream()
        if isinstance(self._aligner, PacketAligner):
            self._aligner.forget_sender()
        self._output.reset()
        self._conversation_inputs.clear()
        self.partner.reset()
        self.stream.reset(self._seed)

    def _start_stream(self, segment: AudioSegment | None) -> None:
        assert segment is not None
        playing_until, network_delay = 0.0, 0.0
        if self._state is StreamState.SPEAKING:  # not before the stream that is still played has ended
            playing_until = self._scheduler.position_time(self._timeline.audio_end)
        if self._state is not StreamState.WAITING:
            network_delay = self._scheduler.network_delay(segment)
        self._begin_stream()
        self._scheduler.start(segment.arrival, network_delay, playing_until)
        self._append(segment)
        if self._epoch_stamp is None:
            self._epoch_stamp = segment.clock.stamp_of(0)

    def _begin_stream(self) -> None:
        self._is_live = False
        self._timeline.clear()
        self.stream.reset(self._seed, keep_conversation=True)
        self._output.start_stream()
        self.statistics.streams += 1

    def _continue_stream(self, segment: AudioSegment | None) -> None:
        assert segment is not None
        self._append(segment)

    def _append(self, segment: AudioSegment) -> None:
        position = self._timeline.end
        self._timeline.append(segment)
        if len(segment.pcm) and segment.is_received:
            self._scheduler.track_clock_drift(segment, position)

    def _close_mouth(self, now: float) -> None:
        tail = self._aligner.flush()
        if len(tail):
            assert self._timeline.clock is not None
            self._append(AudioSegment(tail, now, self._timeline.clock))
        end = self._timeline.end
        start_time = max(self._last_packet_time, self._scheduler.playback_time(end))
        self._start_silence(end, start_time if self._policy.flushes_silence else now)

    def _barge_in(self, now: float) -> None:
        self._timeline.drop_audio()
        self._pending_stream.clear()
        self._aligner.reset()
        self._output.is_interrupted = True
        self._start_silence(self._timeline.position, now)

    def _start_idle(self, now: float, stamp: int = 0) -> None:
        self._begin_stream()
        clock = AudioClock(SAMPLE_RATE)
        clock.assign(stamp, 0)
        self._timeline.clock = clock
        self._scheduler.start(now)
        self._start_silence(0, now)

    def _start_silence(self, position: int, start_time: float) -> None:
        self._timeline.silence_start = position
        self._timeline.closing_end = position + self._closing_samples
        if not self._policy.flushes_silence:  # the first hop follows at once
            start_time -= self._timeline.hop / SAMPLE_RATE
        self._scheduler.silence_start_time = start_time

    def _resync_silence(self, now: float) -> None:
        # audio arrives again, though too late to be used: the silence waits for it to catch up
        self._timeline.silence_start = self._timeline.position
        self._scheduler.silence_start_time = now

    # -------------------------------------------------------------------------------------------------- audio

    def _dequeue_until_audio(self, now: float) -> bool:
        """Take items out of the queue, past packets that are dropped, until there is audio to consume."""
        while not self._dequeue(now):
            if not self._queue:
                return False
        return True

    def _dequeue(self, now: float) -> bool:
        """Take the next item out of the queue.

        Returns:
            Whether there is audio to consume now.
        """
        item, _ = self._queue.pop()
        if self._pending_stream and not isinstance(item, AudioPacket):
            if item is not None:
                self._queue.restore_end(item)
            self._open_pending_stream(now)
            return self._timeline.has_audio
        if item is None:
            return False
        if isinstance(item, EndOfAudio):
            self._on_end(item)
            return self._timeline.has_audio
        interval = item.arrival - self._last_packet_time
        self.turn_taking.is_yielding &= self._continues_audio(item)
        self._is_live |= (
            self._state is StreamState.SPEAKING and interval > MAX_PACKET_DELAY_RATIO * self._packet_seconds
        )
        self._last_packet_time = max(self._last_packet_time, item.arrival)
        self._packet_seconds = self._aligner.duration(item)
        if item.stamp is not None:
            self._packet_end_stamp = item.stamp + round(self._packet_seconds * NS_PER_S)
        if self.turn_taking.is_yielding:
            self.statistics.yielded += 1
            return False
        try:
            segments = self._aligner.align(item)
        except TalkerError as error:
            self._queue.reject("format", str(error), counted=True)
            return False
        if not segments:
            self._dispatch(SessionEvent.LATE_AUDIO, now=now)
        return self._route(segments, now)

    def _dequeue_preview(self, now: float) -> None:
        """Take queued packets out ahead of their time, as far as the stream looks for a voice."""
        samples = self.stream.preview_samples
        while (
            samples > self._timeline.buffered_samples
            and not self._pending_stream
            and self._queue.has_packet_next
        ):
            self._dequeue(now)

    def _announce_audio(self, hop: npt.NDArray[np.float32]) -> None:
        """Announce the queued audio to the stream, so that lips part before a voice."""
        samples = self.stream.preview_samples - len(hop)
        if samples > 0 and self._timeline.has_audio:
            self.stream.announce(np.concatenate((hop, self._timeline.peek(samples))))

    def _continues_audio(self, packet: AudioPacket) -> bool:
        """Return whether a packet continues the one before without a pause."""
        if packet.stamp is None or self._packet_end_stamp is None:
            return packet.arrival - self._last_packet_time < MAX_GAP_S
        return abs(packet.stamp - self._packet_end_stamp) < MAX_GAP_S * NS_PER_S

    def _route(self, segments: Sequence[AudioSegment], now: float) -> bool:
        """Append segments to the current stream or, behind the start of a new stream, to the pending one."""
        for segment in segments:
            if segment.starts_stream:
                if (
                    segment.format_changed
                    and self._state is not StreamState.WAITING
                    and not self._pending_stream
                ):
                    self._truncate(segment.clock)
                self._flush_lookahead(segment.arrival)
                self._pending_stream.append(segment)
            elif self._pending_stream:
                self._pending_stream.append(segment)
            elif len(segment.pcm):
                self._dispatch(SessionEvent.AUDIO, segment, now)
            else:
                self._timeline.append(segment)
        if not self._timeline.has_audio and self._pending_stream:
            self._open_pending_stream(now)
        return self._timeline.has_audio

    def _open_pending_stream(self, now: float) -> None:
        segments, self._pending_stream = self._pending_stream, deque()
        self._dispatch(SessionEvent.STREAM_START, segments.popleft(), now)
        self._route(segments, now)

    def _truncate(self, clock: AudioClock) -> None:
        """End the stream where a new format begins by the stamps.

        `audio_info` may announce a format some packets late: packets read in the old format seem longer than
        they are.
        """
        old = self._timeline.clock
        if old is None or old.arrival or clock.arrival:
            return
        position = self._timeline.stamp_position(clock.stamp_of(0))
        if self._timeline.audio_end - MAX_TRUNCATED_SAMPLES < position < self._timeline.audio_end:
            self._timeline.truncate(position)

    def _flush_lookahead(self, arrival: float) -> None:
        """Pad the stream with silence so that its look-ahead frames are flushed."""
        if self._state is StreamState.WAITING or self._pending_stream:
            return
        timeline = self._timeline
        padding = timeline.end_of_frame_at(timeline.audio_end) + self._lookahead - timeline.end
        if padding > 0:
            timeline.append_silence(padding, arrival)

    def _consume_audio(self, now: float) -> tuple[float | None, npt.NDArray[np.float32] | None]:
        """Consume the first segment up to the next hop, if its frame is due.

        Returns:
            The time at which to try again, and the hop if it is complete.
        """
        segment = self._timeline.segments[0]
        count = min(self._timeline.samples_to_next_hop, len(segment.pcm))
        due = self._due_time(count)
        if due > now:
            return due, None
        arrival = segment.arrival if segment.is_received else None
        return now, self._with_arrival(self._timeline.consume(count), arrival)

    def _consume_silence(self, now: float) -> tuple[float | None, npt.NDArray[np.float32] | None]:
        """Without audio: close the mouth after `idle_after`, then generate idle frames at the frame rate.

        Returns:
            As `_consume_audio`.
        """
        if self._state is StreamState.WAITING:
            if self.partner.first_stamp is None or not self.parameters.idle:
                return self._pause()
            self._dispatch(SessionEvent.PARTNER_AUDIO, now=now)
        if self._state is StreamState.SPEAKING:
            return self._detect_end(now), None
        timeline = self._timeline
        count = timeline.samples_to_next_hop
        target = timeline.position + count
        if self._state is not StreamState.IDLE and target > timeline.closing_end:
            self._dispatch(SessionEvent.MOUTH_CLOSED, now=now)
        if self._state is StreamState.IDLE and not self.parameters.idle:
            return self._pause()
        due = 0.0
        if self._state is StreamState.IDLE or not self._policy.flushes_silence:
            due = self._scheduler.silence_time(target)
            if now - due > self._overload_after:
                frames = timeline.skippable_frames((now - due) * SAMPLE_RATE)
                self._aligner.insert_silence(timeline.frame_position(frames))
                timeline.skip_frames(frames)
        due = max(due, self._due_time(count))
        if due > now:
            return due, None
        self._aligner.insert_silence(count)
        return now, self._with_arrival(timeline.consume_silence(count), None)

    def _pause(self) -> tuple[None, None]:
        """Without frames nobody is heard; returns that nothing is to be done."""
        self.partner.discard()
        self._end_dialogue()
        return None, None

    def _detect_end(self, now: float) -> float | None:
        """End the audio if no packet arrived for too long; returns when to look again."""
        if not self._policy.detects_end:
            return None
        # Packets of a microphone arrive when they have been recorded: the next one is due a packet later,
        # when this one has been played. A sentence in one message has been played then, too.
        max_delay = LIVE_PACKET_DELAY_S if self._is_live else FIRST_PACKET_DELAY_S
        max_delay = min(MAX_PACKET_DELAY_RATIO * self._packet_seconds, max_delay)
        timeout = max(self.parameters.idle_after, self._packet_seconds + max_delay)
        deadline = self._last_packet_time + timeout
        if deadline <= now:
            self._dispatch(SessionEvent.AUDIO_TIMEOUT, now=now)
        return deadline

    def _with_arrival(
        self, hop: npt.NDArray[np.float32] | None, arrival: float | None
    ) -> npt.NDArray[np.float32] | None:
        if hop is not None:
            self._hop_arrival = arrival
        return hop

    def _due_time(self, count: int) -> float:
        """Earliest time at which `count` more samples may be consumed."""
        timeline = self._timeline
        if count < timeline.samples_to_next_hop:
            return 0.0
        frame = timeline.completed_frame(timeline.samples_consumed + count, self._lookahead)
        return self._scheduler.due_time(timeline.published_index(frame)) if frame >= 0 else 0.0

    def _skip_overload(self, now: float) -> None:
        """Skip to the newest audio if the audio at hand is older than `overload_after`."""
        timeline = self._timeline
        segment = timeline.segments[0]
        lag = now - max(segment.arrival, self._scheduler.playback_time(timeline.position))
        if not segment.is_received or lag < self._overload_after or not timeline.is_at_hop:
            return
        playback_position = self._scheduler.playback_position(now)
        while not self._pending_stream and self._queue.has_packet_next and timeline.end < playback_position:
            self._dequeue(now)
            playback_position = self._scheduler.playback_position(now)
        newest = min(timeline.end, playback_position)
        frames = timeline.skippable_frames(newest - timeline.position - self._lookahead - timeline.hop)
        if frames <= 0:
            return
        timeline.discard_frames(frames)
        self.statistics.overloads += 1
        self.statistics.dropped += frames
        self._warn(
            "overload",
            f"the model is too slow for this machine: {frames} frames of old audio were skipped to catch up; "
            "set fewer steps or another device",
        )

    # ------------------------------------------------------------------------------------------------- frames

    def _apply_commands(self) -> None:
        """Apply the commands that take effect at the frame which the consumed samples complete."""
        timeline = self._timeline
        frame = timeline.completed_frame(timeline.samples_consumed, self._lookahead)
        if frame < 0:
            return
        stamp = timeline.frame_stamp(timeline.published_index(frame))
        commands = self._conversation_inputs.take_due(stamp)
        heard = self.partner.window(stamp, timeline.hop)
        if heard is not None:
            commands.append(PartnerAudio(heard))
        for command in commands:
            try:
                self.stream.apply(command)
            except TalkerError as error:
                self._warn(type(command).__name__, str(error))
            if isinstance(command, LookAt) and command.target is not None:
                problem = reach_problem(command.target)
                if problem is not None:
                    self._warn("gaze_reach", problem)

    def _follow_dialogue(self, timed: TimedFrame) -> None:
        """Follow who speaks; the partner may interrupt."""
        turn, before = self.turn_taking, self.turn_taking.state
        self._dialogue_stamp = timed.stamp
        is_heard = not timed.idle and not self._output.is_interrupted
        own_voice = is_heard and bool(getattr(timed.frame, "speaking", True))
        turn.step(own_voice, self.stream.partner_voice_s, 1.0 / self.talker.frame_rate)
        interrupts = (
            turn.is_interrupted
            and self.parameters.interrupt_on_partner
            and self._state is StreamState.SPEAKING
        )
        if interrupts:
            self.interrupt()  # takes effect before the next hop
            turn.yield_turn()
        if interrupts or turn.state is not before:
            self._report_dialogue(timed.stamp, interrupts)

    def _end_dialogue(self) -> None:
        """Nobody is heard any more, because there are no frames."""
        is_change = self.turn_taking.state is not DialogueState.IDLE
        self.turn_taking.reset()
        if is_change:
            self._report_dialogue(self._dialogue_stamp, False)

    def _report_dialogue(self, stamp: int, interrupted: bool) -> None:
        try:
            self._on_dialogue(self.turn_taking.state, stamp, interrupted)
        except Exception as error:
            self.statistics.errors += 1
            self._warn(
                "dialogue",
                f"the state of the dialogue could not be published ({type(error).__name__}: {error}): the "
                "node goes on",
            )

    def _to_timed(self, frame: AnyFrame, model_seconds: float) -> TimedFrame:
        """Place a frame of the talker in the published stream."""
        timeline = self._timeline
        index = timeline.published_index(frame.index)
        due = self._scheduler.due_time(index)
        idle = timeline.frame_position(index) >= timeline.audio_end
        return TimedFrame(
            frame=frame,
            due=due,
            index=index,
            stamp=timeline.frame_stamp(index),
            idle=idle,
            arrival=None if self._hop_arrival is None else max(self._hop_arrival, due),
            epoch=self._epoch,
            epoch_stamp=self._epoch_stamp or 0,
            model_seconds=model_seconds,
            audio=None if idle else timeline.frame_audio(index),
        )
