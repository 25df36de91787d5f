# SPDX-License-Identifier: Apache-2.0
"""One thread that steps every visitor's voice as one batch.

Whatever voices have a hop ready go through the model together, one hop each; who comes meanwhile goes into the next
batch. So a voice that sends much at once delays the others by nothing. An exception in one voice ends that voice alone.
"""

import contextlib
import threading
import time

from streamingtalker_ros.process import FaultLog, never_raising
from streamingtalker_ros.process import warn as warn_user
from streamingtalker_ros.web.voice_stream import Voice


class Stepper:
    """talker: Talker or PublishedModel; limits: Limits; warn: called with a sentence about what failed.

    on_failure: called with no argument where the thread itself ends by an exception; `failed` is True then."""

    def __init__(self, talker, limits, warn=warn_user) -> None:
        self.talker, self.limits, self._warn = talker, limits, never_raising(warn)
        self._faults = FaultLog()
        self.failed, self.on_failure = False, None
        self._voices = []
        self._come = threading.Condition()
        self._news = self._stopping = False
        self._thread = threading.Thread(target=self._guarded_run, name="stepper", daemon=True)
        self.steps, self.busy = 0, 0.0  # batches so far, seconds that the model worked

    def start(self) -> None:
        if hasattr(self.talker, "warm_up"):
            self.talker.warm_up()
        self._thread.start()

    def stop(self) -> None:
        with self._come:
            self._stopping = True
            self._come.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def open(self, deliver, complain):
        """A new Voice in the batch; see Voice for what is called."""
        voice = Voice(self.talker, deliver, complain, self._wake, self.limits)
        with self._come:
            self._voices.append(voice)
        return voice

    def close(self, voice) -> None:
        """The voice leaves; its stream is freed with it."""
        with self._come, contextlib.suppress(ValueError):  # one that failed has left already
            self._voices.remove(voice)

    def _wake(self) -> None:
        with self._come:
            self._news = True
            self._come.notify()

    def _guarded_run(self) -> None:
        try:
            self._run()
        except BaseException as fault:
            self.failed = True
            self._faults.log("the thread that steps all voices has ended", fault)
            if self.on_failure is not None:
                self.on_failure()

    def _run(self) -> None:
        while True:
            with self._come:
                soonest = min(
                    (due for voice in self._voices if (due := voice.due()) is not None), default=None
                )
                wait = None if soonest is None else soonest - time.monotonic()
                if not self._news and not self._stopping and (wait is None or wait > 0):
                    self._come.wait(wait)
                if self._stopping:
                    return
                self._news = False
                voices = list(self._voices)
            while self._round(voices):
                with self._come:
                    voices = list(self._voices)
            del voices

    def _round(self, voices) -> bool:
        """One hop of each voice that has one. Returns whether any had."""
        ready = []
        for voice in voices:
            try:
                voice.settle()
                hop = voice.take(time.monotonic())
            except Exception as fault:
                self._end(voice, fault)
                continue
            if hop is not None:
                ready.append((voice, hop))
        if not ready:
            return False
        begin = time.monotonic()
        try:
            made = self.talker.accept([voice.stream for voice, _ in ready], [hop for _, hop in ready])
        except Exception as error:  # the model, or its device: the visitors are told, the server lives on
            self._warn(f"the model failed ({type(error).__name__}: {error}): its voices begin afresh")
            for voice, _ in ready:
                try:
                    voice.fail()
                    voice.complain("the model failed on this voice: start again")
                except Exception as fault:
                    self._end(voice, fault)
            return True
        now = time.monotonic()
        self.steps, self.busy = self.steps + 1, self.busy + now - begin
        for (voice, _), frames in zip(ready, made):
            if not frames:
                continue
            try:
                voice.deliver(voice.dress(frames, 1000 * (now - begin), now))
            except Exception as fault:
                self._end(voice, fault)
        return True

    def _end(self, voice, fault) -> None:
        """A fault of ours in one voice: it leaves the batch, its page is told, the others go on."""
        self._faults.log("a visitor's voice failed and was ended", fault)
        self.close(voice)
        with contextlib.suppress(Exception):
            voice.complain("this voice failed on the server and has ended: connect again")
