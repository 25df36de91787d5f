# SPDX-License-Identifier: Apache-2.0
"""Worker thread of a node: audio packets in from any thread of a transport, frames out through a callback.

    worker = TalkerWorker(talker, parameters, publish=send)  # send(frame) is called in the worker's thread
    worker.start()
    worker.push(AudioPacket(…))
    worker.interrupt()
    worker.statistics()
    worker.stop()

The ROS node and the node without ROS are adapters around it. `session.VoiceSession` decides what is done
when.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from streamingtalker_ros.audio.packet import AudioPacket
from streamingtalker_ros.conversation.commands import ConversationCommand
from streamingtalker_ros.conversation.neck import NeckLimits
from streamingtalker_ros.model.protocol import TalkerProtocol
from streamingtalker_ros.process import LOGGER_NAME, FaultLog, never_raising
from streamingtalker_ros.runtime.batch import run_batch
from streamingtalker_ros.runtime.frames import Clock, FaceFrame, FramePublisher
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.partner_input import PartnerInput
from streamingtalker_ros.runtime.session import DialogueCallback, VoiceSession, ignore_dialogue
from streamingtalker_ros.runtime.states import StreamState
from streamingtalker_ros.runtime.statistics import Statistics

__all__ = ["AudioPacket", "FaceFrame", "TalkerWorker", "load_talker"]

SIM_CLOCK_POLL_S: Final = 0.01  # interval at which a clock is read that does not follow real time
MAX_WAIT_S: Final = 0.25  # a thread that waits longer notices late that it is to end
_POLL_S: Final = 0.01  # interval at which `close_mouth` and `drain` look at the state
_FAULT_PAUSE_S: Final = 0.1  # after repeated faults


def load_talker(parameters: TalkerParameters) -> TalkerProtocol:
    """Load and warm up the talker that the parameters name.

    Raises:
        TalkerError: If the model, its style, its number of steps or the device is not available.
    """
    from streamingtalker_ros.streaming import load_talker  # late: so that parameters are checked at once
    from streamingtalker_ros.streaming.speaking_style import add_style_example

    talker = load_talker(
        parameters.model or None,
        device=parameters.device,
        backend=parameters.backend,
        precision=parameters.precision,
    )
    if parameters.style_example:
        add_style_example(talker, parameters.style_example)
    talker.check(parameters.style, parameters.steps)
    talker.warm_up()
    return talker


def describe_backend(talker: TalkerProtocol) -> str:
    """Describe what computes a talker's frames, for a log: library, precision, device, threads.

    Args:
        talker: A loaded talker.
    """
    backend = getattr(talker, "backend", None)  # of the blendshape family
    return talker.device if backend is None else str(backend.description)


class TalkerWorker:
    """Drives one `VoiceSession` in a thread of its own.

    Args:
        talker: The model.
        parameters: Values of the parameters.
        publish: Receives each frame, in the worker's thread.
        warn: Receives a message, once for each kind of problem, from any thread; default the package's
            logger.
        clock: Time in seconds, monotonic: the time of the packets' `arrival`. A clock that does not follow
            real time, such as that of a simulation, is polled.
        retains_audio: Whether frames hold the audio that they cover.
        on_dialogue: Receives who speaks when that changes, in the worker's thread.

    Raises:
        TalkerError: If the talker lacks the style or the number of steps.
    """

    def __init__(
        self,
        talker: TalkerProtocol,
        parameters: TalkerParameters,
        publish: FramePublisher,
        warn: Callable[[str], Any] | None = None,
        clock: Clock = time.monotonic,
        retains_audio: bool = False,
        on_dialogue: DialogueCallback = ignore_dialogue,
    ) -> None:
        talker.check(parameters.style, parameters.steps)
        self.talker = talker
        self.clock = clock
        self._warn = never_raising(warn or logging.getLogger(LOGGER_NAME).warning)
        self._warned: set[str] = set()
        self._warn_lock = threading.Lock()
        self._statistics = Statistics()
        self.session = VoiceSession(
            talker,
            parameters,
            publish,
            statistics=self._statistics,
            clock=clock,
            warn=self.warn_once,
            retains_audio=retains_audio,
            on_dialogue=on_dialogue,
        )
        self.partner.on_packet = self._notify
        self._condition = threading.Condition()
        self._wakeup = False
        self._stopping = False
        self._failures = 0  # in a row
        self._thread: threading.Thread | None = None
        self._faults = FaultLog()

    @property
    def parameters(self) -> TalkerParameters:
        """Values of the parameters as set last."""
        return self.session.parameters

    @property
    def state(self) -> str:
        """State for users: "waiting" before the first audio, "speaking", or "idle" after it has ended."""
        return self.session.state.activity

    @property
    def queued_seconds(self) -> float:
        """Duration of the queued audio."""
        return self.session.queued_seconds

    def start(self) -> None:
        """Start the worker; packets pushed before are processed now."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="talker", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the worker after the present frame; queued audio is not processed. May be started again."""
        if self._thread is not None:
            self._stopping = True
            self._notify()
            self._thread.join()
            self._thread = None

    def push(self, packet: AudioPacket) -> bool:
        """Queue a packet; never blocks.

        Returns:
            False if it is rejected, which is counted and reported once per kind.
        """
        accepted = self.session.push(packet)
        self._notify()
        return accepted

    def reject(self, kind: str, message: str) -> None:
        """Count a message that could not be converted to an AudioPacket; reported once per kind."""
        self.session.reject(kind, message)

    def interrupt(self) -> None:
        """Barge-in: drop the queued audio and close the mouth within 150 ms."""
        self.session.interrupt()
        self._notify()

    def command(self, command: ConversationCommand, stamp: int = 0) -> None:
        """Queue a command of the conversation; never blocks. See `VoiceSession.command`.

        Args:
            command: The command.
            stamp: ns, on the clock of the audio's stamps; 0 for the next frame.
        """
        self.session.command(command, stamp)

    def set_neck_limits(self, limits: NeckLimits) -> None:
        """Set the limits of the head's turn before `start`; without effect on a vertex model.

        Args:
            limits: Of the neck.
        """
        self.session.set_neck_limits(limits)

    def close_mouth(self, timeout: float = 1.0) -> bool:
        """Interrupt, and wait until the mouth is closed.

        Args:
            timeout: s to wait at most.

        Returns:
            Whether it is closed.
        """
        self.interrupt()
        deadline = time.monotonic() + timeout
        while self._is_running and not self.session.is_at_rest and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return self.session.is_at_rest

    def drain(self, timeout: float) -> bool:
        """Wait until the received audio is processed and the mouth is closed.

        Args:
            timeout: s to wait at most.

        Returns:
            Whether both hold.
        """
        deadline = time.monotonic() + timeout
        while self._is_running and not self._is_drained and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return self._is_drained

    def reset(self) -> None:
        """Return to the initial state; nothing is published until audio arrives, warnings repeat."""
        with self._warn_lock:
            self._warned.clear()
        self.session.sender_faults.clear()
        self.session.reset()
        self._notify()

    def set_parameters(self, parameters: TalkerParameters) -> None:
        """Set the dynamic parameters.

        Raises:
            TalkerError: If the talker lacks the style or the number of steps; the old values remain.
        """
        self.talker.check(parameters.style, parameters.steps)
        self.session.set_parameters(parameters)
        self._notify()

    def statistics(self) -> dict[str, float]:
        """Return the counters of `Statistics`, latency percentiles in ms and the queued seconds."""
        partner = self.partner.statistics
        return {
            **self._statistics.as_dict(),
            "partner_packets": partner.packets,
            "partner_rejected": partner.rejected,
            "partner_late": partner.late,
            "partner_gaps": partner.gaps,
            "queued_seconds": round(self.queued_seconds, 3),
        }

    def sender_faults(self) -> list[str]:
        """Return what is wrong with the audio's sender at present, as log messages."""
        return self.session.sender_faults.active()

    @property
    def partner(self) -> PartnerInput:
        """Receives the partner's audio."""
        return self.session.partner

    def report_sender_fault(self, kind: str, message: str) -> None:
        """Record that the sender of the audio makes a mistake; reported once per kind.

        Args:
            kind: Kind of the mistake.
            message: For the user.
        """
        self.session.sender_faults.report(kind, message)

    def count_other_publisher(self) -> None:
        """Count a message of a publisher that is not followed."""
        self._statistics.other_publishers += 1

    def summary(self) -> str:
        """Return frames of audio, idle frames, dropped frames and latency in one line."""
        return self._statistics.summary()

    @property
    def _is_running(self) -> bool:
        """Whether there is a thread to wait for; it may have failed."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def _is_drained(self) -> bool:
        return self.session.state is not StreamState.SPEAKING and self.session.is_at_rest

    def _notify(self) -> None:
        with self._condition:
            self._wakeup = True
            self._condition.notify()

    def warn_once(self, kind: str, message: str) -> None:
        """Report a problem, once for each kind until `reset`; from any thread.

        Args:
            kind: Kind of the problem.
            message: For the user.
        """
        with self._warn_lock:
            if kind in self._warned:
                return
            self._warned.add(kind)
        self._warn(message)

    def _step(self) -> bool:
        """Run one hop if one is due.

        After an unexpected exception the mouth closes; after another one in that, the session is reset.

        Returns:
            Whether to call again at once.
        """
        try:
            result = run_batch(self.talker, [self.session], self.clock)
            self._failures = 0
            return result.hops > 0
        except Exception as fault:
            self._faults.log("the talker's work failed", fault)
            self.warn_once(
                "fault",
                f"the talker's work failed ({type(fault).__name__}: {str(fault)[:300]}): "
                "the queued audio is dropped",
            )
            self._failures += 1
            if self._failures == 1:
                self.session.interrupt()
            else:
                self.session.reset()
                time.sleep(_FAULT_PAUSE_S)
            return True

    def _run(self) -> None:
        self._failures = 0
        while not self._stopping:
            if self._step():
                continue
            deadline = self.session.next_deadline()
            timeout = MAX_WAIT_S if deadline is None else min(max(0.0, deadline - self.clock()), MAX_WAIT_S)
            if deadline is not None and self.clock is not time.monotonic:
                timeout = min(timeout, SIM_CLOCK_POLL_S)
            with self._condition:
                if not self._wakeup:
                    self._condition.wait(timeout)
                self._wakeup = False
