# SPDX-License-Identifier: Apache-2.0
"""Listening of one stream: the face attends to its partner's voice with nods, brows, posture and blinks.

It never moves the mouth. Time is that of the partner's audio, of which each frame takes as much as it lasts;
audio that is not there counts as silence.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.conversation.backchannel import (
    MIN_FEEDBACK_INTERVAL_S,
    NOD_PROBABILITY,
    REFRACTORY_S,
    Cue,
    CueDetector,
)
from streamingtalker_ros.conversation.echo import EchoGuard
from streamingtalker_ros.conversation.frame import FrameContext, FramePose, Purpose
from streamingtalker_ros.conversation.prosody import ProsodyTracker
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import INDEX

MAX_BUFFERED_S: Final = 600.0
"""s of the partner's audio that may wait for their frames."""

ANALYSIS_FRAMES: Final = 2
"""Frames whose audio is analysed at once."""

NOD_AMPLITUDE_DEG: Final = (4.0, 8.0)
"""Degrees by which a nod lowers the head; a listener's nods are smaller than those of lively talk."""

NOD_PERIOD_S: Final = 0.56
"""s of one cycle of a nod: 1.8 Hz (Hadar, Steiner and Rose 1985 call 1.8 to 3.7 Hz ordinary head motion)."""

SECOND_NOD_PROBABILITY: Final = 0.4
SECOND_NOD_RATIO: Final = 0.55  # of the first one's amplitude

BROW_RAISE: Final = 0.22
"""Weight of the brows' shapes at the top of a raise."""

BROW_RAISE_S: Final = 0.7
BROW_RAISE_PROBABILITY: Final = 0.5  # of a cue that no nod answers
BROW_RAISE_INTERVAL_S: Final = 4.0

BLINK_PROBABILITY: Final = 0.6
"""Of the end of a partner's phrase: listeners blink there (Nakano and Kitazawa 2010, "Eyeblink entrainment at
breakpoints of speech")."""

BLINK_DELAY_S: Final = (0.0, 0.2)
"""s from the end of a phrase, which is known `backchannel.PAUSE_S` after it, to the blink: 0.3 to 0.5 s."""

POSTURE_STD_DEG: Final = (1.2, 0.6, 0.8)
"""Standard deviation of the posture while the partner speaks: tilt to the side, pitch, yaw."""

POSTURE_INTERVAL_S: Final = (4.0, 7.0)
POSTURE_TIME_CONSTANT_S: Final = 1.2

ATTENTION_S: Final = 3.0
"""s after the partner's voice in which the face still attends."""

_BROWS: Final = [INDEX[name] for name in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")]
_ROLL, _PITCH, _YAW = 0, 1, 2  # axes of a rotation vector: out of the face, to the left, up
_MIN_POSTURE: Final = 1e-4  # rad; less is none


@dataclass
class _Nod:
    """A nod in progress.

    Attributes:
        amplitude: rad of its first cycle.
        cycles: 1 or 2.
        frame: Frames since its beginning.
    """

    amplitude: float
    cycles: int
    frame: int = 0

    def pitch(self, frame_rate: float) -> float | None:
        """Return the angle in rad, positive downwards, of the next frame; None behind its end."""
        self.frame += 1
        cycle, phase = divmod(self.frame / frame_rate / NOD_PERIOD_S, 1.0)
        if cycle >= self.cycles:
            return None
        amplitude = self.amplitude * (SECOND_NOD_RATIO if cycle else 1.0)
        return amplitude * math.sin(math.pi * phase) ** 2


class PartnerListener:
    """Listening state of one stream.

    Attributes:
        partner_voice_s: s since the partner's present voice began; 0 without one, and while that voice is the
            echo of the face's own.
        nods: Number of nods since the last reset.
        nod_time_s: s of the partner's audio at the beginning of the last nod; -inf before the first.
    """

    def __init__(self) -> None:
        self._prosody = ProsodyTracker()
        self._cues = CueDetector()
        self._echo = EchoGuard()
        self.reset()

    def reset(self) -> None:
        """Forget the partner, and return to the pose without one."""
        self._prosody.reset()
        self._cues.reset()
        self._echo.reset()
        self._buffer: deque[npt.NDArray[np.float32]] = deque()
        self._buffered = 0  # samples
        self._own_hops: list[npt.NDArray[np.float32]] = []  # of frames that have not been analysed
        self._partner_hops: list[npt.NDArray[np.float32]] = []
        self._is_echo = False
        self._posture = [0.0, 0.0, 0.0]  # rad
        self._posture_target = [0.0, 0.0, 0.0]
        self._posture_frames = 0  # until the next change
        self._is_listening = False
        self._since_voice_s = math.inf
        self._since_own_voice_s = math.inf
        self._since_echo_s = math.inf
        self._pending: Cue | None = None
        self._nod: _Nod | None = None
        self._raise_frame = -1  # of the brow raise; below 0: none
        self._raise_time_s = -math.inf
        self._phrases = 0
        self.partner_voice_s = 0.0
        self._blink_frames = -1  # until a blink; below 0: none
        self.nods = 0
        self.nod_time_s = -math.inf

    @property
    def is_active(self) -> bool:
        """Whether there is audio of the partner, or the pose has not returned yet."""
        return self._is_listening or self._buffered > 0

    @property
    def is_attending(self) -> bool:
        """Whether the partner speaks or has just spoken."""
        return self._since_voice_s < ATTENTION_S

    @property
    def time_s(self) -> float:
        """S of the partner's audio that have been heard."""
        return self._cues.time_s

    def hear(self, pcm: npt.NDArray[np.float32]) -> None:
        """Append audio of the partner.

        Args:
            pcm: (n,) float32, mono, 16 kHz, in -1..1, which continues the audio before.

        Raises:
            TalkerError: If more than `MAX_BUFFERED_S` would wait for their frames.
        """
        if self._buffered + len(pcm) > MAX_BUFFERED_S * SAMPLE_RATE:
            raise TalkerError(
                f"more than {MAX_BUFFERED_S:g} s of the partner's audio wait for frames: pass it along with "
                "the audio of the face"
            )
        if len(pcm):
            self._buffer.append(pcm.copy())
            self._buffered += len(pcm)

    def step(self, context: FrameContext, pose: FramePose) -> None:
        """Hear the partner for one frame, and attend.

        Args:
            context: Of the frame.
            pose: Head, brows and eyelids are changed in place; no shape of the mouth is.
        """
        seconds = 1.0 / context.frame_rate
        cues = self._hear_frame(context, seconds)
        self._answer(context, cues, seconds)
        self._blink(context)
        self._drift(context)
        self._move(context, pose)
        is_still = self._nod is None and self._raise_frame < 0 and not any(self._posture)
        self._is_listening = self._buffered > 0 or self.is_attending or not is_still

    def _hear_frame(self, context: FrameContext, seconds: float) -> list[Cue]:
        """Hear the partner for one frame; returns the cues of its audio.

        Audio is analysed every other frame: most of the cost is that of the calls, whatever their length.
        """
        self._own_hops.append(context.hop.copy())
        self._partner_hops.append(self._take(len(context.hop)))
        cues: list[Cue] = []
        if len(self._partner_hops) >= ANALYSIS_FRAMES:
            cues = self._analyse()
        self._since_echo_s = 0.0 if self._is_echo else self._since_echo_s + seconds
        is_voice = self._cues.voice.is_voice and not self._is_echo
        self.partner_voice_s = min(self._cues.voice.voice_s, self._since_echo_s) if is_voice else 0.0
        self._since_voice_s = 0.0 if is_voice else self._since_voice_s + seconds
        self._since_own_voice_s = 0.0 if context.speaking else self._since_own_voice_s + seconds
        return cues

    def _analyse(self) -> list[Cue]:
        """Analyse the audio of the last frames; returns its cues."""
        own, partner = np.concatenate(self._own_hops), np.concatenate(self._partner_hops)
        self._own_hops.clear()
        self._partner_hops.clear()
        cues = self._cues.update(self._prosody.update(partner))
        self._is_echo = self._echo.update(own, partner, self._cues.voice.is_voice)
        return [] if self._is_echo else cues

    def _take(self, count: int) -> npt.NDArray[np.float32]:
        """Remove and return `count` samples; what is missing is silence."""
        if self._buffer and len(self._buffer[0]) == count:
            self._buffered -= count
            return self._buffer.popleft()
        samples = np.zeros(count, np.float32)
        filled = 0
        while self._buffer and filled < count:
            chunk = self._buffer.popleft()
            part = chunk[: count - filled]
            samples[filled : filled + len(part)] = part
            filled += len(part)
            if len(part) < len(chunk):
                self._buffer.appendleft(chunk[len(part) :])
        self._buffered -= filled
        return samples

    def _answer(self, context: FrameContext, cues: list[Cue], seconds: float) -> None:
        """Choose an answer to cues, and begin a nod that is due."""
        now = self._cues.time_s
        if self._since_own_voice_s < MIN_FEEDBACK_INTERVAL_S:  # who speaks gives no feedback
            self._pending = None
            return
        chance, raise_chance = _draw(context, 0, 2) if cues else (1.0, 1.0)
        for cue in cues:
            if self._pending is not None or self._nod is not None:
                continue
            is_rested = cue.feedback_s - self.nod_time_s >= REFRACTORY_S
            if is_rested and chance < NOD_PROBABILITY:
                self._pending = cue
            elif (
                now - self._raise_time_s >= BROW_RAISE_INTERVAL_S
                and now - self.nod_time_s >= MIN_FEEDBACK_INTERVAL_S
                and raise_chance < BROW_RAISE_PROBABILITY
            ):
                self._raise_frame, self._raise_time_s = 0, now
        if self._pending is not None and now >= self._pending.feedback_s:
            amplitude, second = _draw(context, 2, 2)
            low, high = NOD_AMPLITUDE_DEG
            cycles = 2 if second < SECOND_NOD_PROBABILITY else 1
            self._nod = _Nod(math.radians(low + (high - low) * amplitude), cycles)
            self._pending = None
            self.nods += 1
            self.nod_time_s = now

    def _blink(self, context: FrameContext) -> None:
        """Ask for a blink at the end of the partner's phrase."""
        has_ended, self._phrases = self._cues.phrases > self._phrases, self._cues.phrases
        if has_ended and self._since_own_voice_s > MIN_FEEDBACK_INTERVAL_S:
            chance, delay = _draw(context, 4, 2)
            if chance < BLINK_PROBABILITY:
                low, high = BLINK_DELAY_S
                self._blink_frames = round(context.frame_rate * (low + (high - low) * delay))
        if self._blink_frames == 0:
            context.modulation.blink_requested = True
        self._blink_frames = max(self._blink_frames - 1, -1)

    def _drift(self, context: FrameContext) -> None:
        """Move the posture slowly, and return it when the partner has finished."""
        self._posture_frames -= 1
        if not self.is_attending:
            self._posture_target = [0.0, 0.0, 0.0]
            self._posture_frames = 0
        elif self._posture_frames <= 0:
            interval, *uniform = _draw(context, 6, 4)
            low, high = POSTURE_INTERVAL_S
            self._posture_frames = round(context.frame_rate * (low + (high - low) * interval))
            # uniform numbers have the variance 1/12
            self._posture_target = [
                math.radians(std) * 12**0.5 * (number - 0.5)
                for std, number in zip(POSTURE_STD_DEG, uniform, strict=True)
            ]
        rate = 1.0 / (POSTURE_TIME_CONSTANT_S * context.frame_rate)
        self._posture = [
            angle + rate * (target - angle)
            for angle, target in zip(self._posture, self._posture_target, strict=True)
        ]
        if not self.is_attending and max(map(abs, self._posture)) < _MIN_POSTURE:
            self._posture = [0.0, 0.0, 0.0]

    def _move(self, context: FrameContext, pose: FramePose) -> None:
        """Add posture, nod and brow raise to a pose."""
        expressiveness = context.modulation.expressiveness
        rotation = self._posture.copy()
        if self._nod is not None:
            pitch = self._nod.pitch(context.frame_rate)
            if pitch is None:
                self._nod = None
            else:
                rotation[_PITCH] += expressiveness * pitch
        if any(rotation):
            pose.rotation += np.array(rotation, np.float32)
        if self._raise_frame >= 0:
            self._raise_frame += 1
            phase = self._raise_frame / context.frame_rate / BROW_RAISE_S
            if phase >= 1.0:
                self._raise_frame = -1
                return
            raised = np.float32(expressiveness * BROW_RAISE * math.sin(math.pi * phase) ** 2)
            for i in _BROWS:
                pose.weights[i] = min(pose.weights[i] + raised, np.float32(1.0))


def _draw(context: FrameContext, first: int, count: int) -> list[float]:
    """Return uniform numbers `first` to `first + count` of a frame."""
    return context.draw_uniform(Purpose.LISTENING, first + count)[first:].tolist()
