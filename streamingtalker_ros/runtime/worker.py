# SPDX-License-Identifier: Apache-2.0
"""The node's core: audio packets in from any transport's thread, face frames out through a callback, one
worker thread.

    core = TalkerWorker(talker, settings, publish=send)      # send(FaceFrame), called in the worker's thread
    core.start(); core.push(AudioPacket(…)); core.interrupt(); core.statistics(); core.stop()

Both the rclpy node and the node without ROS are thin shells around it. What it does when is `performance`'s.
"""

import logging
import threading
import time

from streamingtalker_ros.audio.packet import AudioPacket
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import FaultLog, never_raising
from streamingtalker_ros.runtime.scheduler import FaceFrame, FrameScheduler
from streamingtalker_ros.runtime.statistics import Statistics

__all__ = ["AudioPacket", "FaceFrame", "TalkerWorker", "load_talker"]

LOOK_EVERY = 0.01  # s between looks at a clock that does not run with real time


def load_talker(settings):
    """The Talker that the settings ask for, warmed up. Raises TalkerError when the model or the device is not
    there."""
    from streamingtalker_ros.streaming import load_talker  # late: this is where torch comes in

    talker = load_talker(settings.model or None, device=settings.device)
    if talker.family != "blendshape":
        raise TalkerError(
            f"the model {settings.model} is a published checkpoint, whose frames are vertices, not "
            "weights: the node cannot publish them yet, use it from Python"
        )
    talker.check(settings.style, settings.steps)
    talker.warm_up()
    return talker


class TalkerWorker:
    """talker: streaming.Talker; settings: TalkerParameters; publish: callable taking a FaceFrame; warn: callable
    taking a sentence, called once for each kind of trouble, from any thread; clock: seconds that never go back,
    the time of packets' `arrival`. One that does not run with real time, such as a simulation's, is looked at
    a hundred times a second."""

    def __init__(self, talker, settings, publish, warn=None, clock=time.monotonic) -> None:
        talker.check(settings.style, settings.steps)
        self.talker, self.clock = talker, clock
        self._warn = never_raising(warn or logging.getLogger("streamingtalker_ros").warning)
        self._statistics = Statistics()
        self._complained, self._complaints = set(), threading.Lock()
        self._performance = FrameScheduler(talker, settings, self._statistics, publish, clock, self._complain)
        self._news = threading.Condition()
        self._came = False
        self._thread, self._faults = None, FaultLog()

    @property
    def parameters(self):
        return self._performance.settings

    @property
    def state(self):
        """ "waiting" before the first audio, "speaking", or "idle" when the audio has stopped."""
        return self._performance.state

    @property
    def queued(self):
        """Seconds of audio that wait."""
        return self._performance.queued

    def start(self) -> None:
        """Start the worker; packets pushed before are worked on now."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._work, name="talker", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the worker after the frame at hand; audio still queued stays unheard. May be started again."""
        if self._thread is not None:
            self._stopping = True
            self._notify()
            self._thread.join()
            self._thread = None

    def push(self, packet):
        """Queue an AudioPacket; never blocks. Returns False when it is refused (counted, and told once per
        kind)."""
        accepted = self._performance.push(packet)
        self._notify()
        return accepted

    def reject(self, kind, sentence) -> None:
        """Count a message that could not become an AudioPacket; the sentence is told once per kind."""
        self._performance.reject(kind, sentence)

    def interrupt(self) -> None:
        """Barge-in: drop the queued audio and close the mouth within 150 ms; the next audio begins a new
        stream."""
        self._performance.interrupt()
        self._notify()

    def close_mouth(self, timeout=1.0):
        """Interrupt, and wait until the mouth is closed. Returns whether it is, after at most `timeout`
        seconds."""
        self.interrupt()
        deadline = time.monotonic() + timeout
        while not self._performance.at_rest and time.monotonic() < deadline:
            time.sleep(0.01)
        return self._performance.at_rest

    def drain(self, timeout):
        """Wait until the audio that came is spoken and the mouth is closed. Returns whether both are, after at
        most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (self.state == "speaking" or not self._performance.at_rest) and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.state != "speaking" and self._performance.at_rest

    def reset(self) -> None:
        """Start afresh: forget the audio, publish nothing until new audio comes; warnings are told anew."""
        with self._complaints:
            self._complained.clear()
        self._performance.reset()
        self._notify()

    def set_parameters(self, settings) -> None:
        """Take new live parameters. Raises TalkerError when the talker cannot follow them; the old ones hold
        then."""
        self.talker.check(settings.style, settings.steps)
        self._performance.apply(settings)
        self._notify()

    def statistics(self):
        """dict of numbers: the counters of `Statistics`, latency percentiles, queued seconds."""
        return {**self._statistics.as_dict(), "queued_seconds": round(self.queued, 3)}

    def summary(self):
        """One line: frames of audio, idle frames, dropped frames, latency."""
        return self._statistics.summary()

    def _notify(self) -> None:
        with self._news:
            self._came = True
            self._news.notify()

    def _complain(self, kind, sentence) -> None:
        with self._complaints:
            if kind in self._complained:
                return
            self._complained.add(kind)
        self._warn(sentence)

    def _step(self):
        """One piece of work -> the seconds to wait. After a fault the mouth closes; after one in that, all is
        forgotten."""
        try:
            wait = self._performance.step()
            self._failures = 0
            return wait
        except Exception as fault:
            self._faults.log("the talker's work failed", fault)
            self._complain(
                "fault",
                f"the talker's work failed ({type(fault).__name__}: {str(fault)[:300]}): the audio "
                "that waited is dropped",
            )
            self._failures += 1
            (self._performance.interrupt if self._failures == 1 else self._performance.reset)()
            time.sleep(0.0 if self._failures == 1 else 0.1)
            return 0

    def _work(self) -> None:
        self._failures = 0
        while not self._stopping:
            wait = self._step()
            if wait == 0:
                continue
            if wait is not None and self.clock is not time.monotonic:
                wait = min(wait, LOOK_EVERY)
            with self._news:
                if not self._came:
                    self._news.wait(wait)
                self._came = False
