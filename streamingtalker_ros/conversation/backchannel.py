# SPDX-License-Identifier: Apache-2.0
"""Decides when a listener gives feedback: at regions of low pitch and in pauses of the partner's speech.

Low pitch: Ward and Tsukahara 2000, "Prosodic features which cue back-channel responses in English and
Japanese": after a region of pitch below the 26th percentile of the speaker's, which lasts 110 ms, after 700
ms of speech, with no feedback in the last 800 ms, feedback follows 700 ms later. Pauses: Dittmann and
Llewellyn 1968, "Relationship between vocalizations and head nods as listener responses": nods follow the
ends of phrases. The rule allows more feedback than people like to see of a robot, so a refractory time and
chance thin it out.
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

from streamingtalker_ros.conversation.prosody import BLOCK_S, PITCH_RANGE_HZ, ProsodyBlocks
from streamingtalker_ros.conversation.voice_activity import VoiceActivityDetector

LOW_PITCH_PERCENTILE: Final = 26.0
"""Of the pitch of the partner, below which pitch is low."""

LOW_PITCH_S: Final = 0.11
"""s for which a region of low pitch lasts at least."""

MIN_SPEECH_S: Final = 0.7
"""s of speech before a cue."""

MIN_FEEDBACK_INTERVAL_S: Final = 0.8
"""s since the feedback before, at a cue."""

FEEDBACK_DELAY_S: Final = 0.7
"""s from a region of low pitch to the feedback."""

PAUSE_S: Final = 0.3
"""s of silence after speech that invite feedback."""

REFRACTORY_S: Final = 5.2
"""s between the beginnings of two nods: at most 11.5 a minute."""

NOD_PROBABILITY: Final = 0.75
"""Of a cue outside of the refractory time."""

_MIN_PITCH_BLOCKS: Final = 100  # voiced blocks before the percentile counts
_PERCENTILE_BLOCKS: Final = 8  # after which the percentile is computed again
_MAX_UNVOICED_BLOCKS: Final = 4  # within a region of low pitch
_BINS_PER_OCTAVE: Final = 48  # of the histogram of pitch: quarter tones
_MAX_WEIGHT: Final = 1e6
_HALF_LIFE_BLOCKS: Final = 3000  # voiced blocks after which a pitch counts half


class CueKind(Enum):
    """What in the partner's speech invites feedback."""

    LOW_PITCH = "low pitch"
    PAUSE = "pause"


@dataclass(frozen=True)
class Cue:
    """An invitation to give feedback.

    Attributes:
        kind: What it is.
        time_s: s of the partner's audio, when it was complete.
        feedback_s: s of the partner's audio, when the feedback is due.
    """

    kind: CueKind
    time_s: float
    feedback_s: float


class PitchPercentile:
    """Percentile of a voice's pitch, over a histogram that forgets slowly."""

    def __init__(self) -> None:
        self._growth = 2.0 ** (1.0 / _HALF_LIFE_BLOCKS)  # newer pitch weighs more than what was before
        self.reset()

    def reset(self) -> None:
        """Forget the voice."""
        octaves = math.log2(PITCH_RANGE_HZ[1] / PITCH_RANGE_HZ[0])
        self._counts = [0.0] * (math.ceil(octaves * _BINS_PER_OCTAVE) + 1)
        self._weight = 1.0
        self._blocks = 0

    def add(self, pitch_hz: float) -> None:
        """Add the pitch of a voiced block.

        Args:
            pitch_hz: Hz.
        """
        position = int(_BINS_PER_OCTAVE * math.log2(pitch_hz / PITCH_RANGE_HZ[0]))
        self._counts[min(max(position, 0), len(self._counts) - 1)] += self._weight
        self._weight *= self._growth
        if self._weight > _MAX_WEIGHT:
            self._counts = [count / self._weight for count in self._counts]
            self._weight = 1.0
        self._blocks += 1

    def value(self, percent: float) -> float:
        """Return a percentile in Hz, a bin's lower edge; 0 until enough is known.

        Args:
            percent: 0 to 100.
        """
        if self._blocks < _MIN_PITCH_BLOCKS:
            return 0.0
        totals = list(itertools.accumulate(self._counts))
        position = bisect.bisect_left(totals, 0.01 * percent * totals[-1])
        return PITCH_RANGE_HZ[0] * 2.0 ** (position / _BINS_PER_OCTAVE)


class CueDetector:
    """Finds the cues in a partner's speech, by the rules above but for the refractory time and chance.

    Attributes:
        voice: Voice activity of the partner.
        time_s: s of the partner's audio that have been processed.
        phrases: Number of the partner's phrases that have ended.
    """

    def __init__(self) -> None:
        self.voice = VoiceActivityDetector()
        self._percentile = PitchPercentile()
        self.reset()

    def reset(self) -> None:
        """Forget the partner."""
        self.voice.reset()
        self._percentile.reset()
        self.time_s = 0.0
        self.phrases = 0
        self._blocks = 0
        self._low_hz = 0.0
        self._low_blocks = self._unvoiced_blocks = 0  # of the region of low pitch
        self._speech_s = 0.0  # s of the phrase, or of the one before the pause
        self._is_in_phrase = False

    def update(self, blocks: ProsodyBlocks) -> list[Cue]:
        """Process blocks.

        Args:
            blocks: Those that follow the ones before.

        Returns:
            The cues that they complete.
        """
        cues: list[Cue] = []
        for pitch_hz, power_db in zip(blocks.pitch_hz, blocks.power_db, strict=True):
            if self._blocks % _PERCENTILE_BLOCKS == 0:
                self._low_hz = self._percentile.value(LOW_PITCH_PERCENTILE)
            is_voice = self.voice.update(pitch_hz, power_db)
            self._blocks += 1
            self.time_s = self._blocks * BLOCK_S
            if is_voice and pitch_hz > 0.0:
                self._percentile.add(pitch_hz)
            if self._ends_low_pitch(pitch_hz if is_voice else 0.0):
                cues.append(Cue(CueKind.LOW_PITCH, self.time_s, self.time_s + FEEDBACK_DELAY_S))
            if self._ends_phrase(is_voice):
                self.phrases += 1
                if self._speech_s >= MIN_SPEECH_S:
                    cues.append(Cue(CueKind.PAUSE, self.time_s, self.time_s))
        return cues

    def _ends_low_pitch(self, pitch_hz: float) -> bool:
        """Add a block to the region of low pitch; return whether it makes the region long enough."""
        if 0.0 < pitch_hz < self._low_hz:
            self._low_blocks += 1
            self._unvoiced_blocks = 0
            is_long_enough = self._low_blocks == round(LOW_PITCH_S / BLOCK_S)
            return is_long_enough and self.voice.voice_s >= MIN_SPEECH_S
        self._unvoiced_blocks += 1
        if pitch_hz > 0.0 or self._unvoiced_blocks > _MAX_UNVOICED_BLOCKS:
            self._low_blocks = 0
        return False

    def _ends_phrase(self, is_voice: bool) -> bool:
        """Follow the phrase; return whether its pause has just become long enough."""
        if is_voice:
            self._speech_s = self.voice.voice_s
            self._is_in_phrase = True
        elif self._is_in_phrase and self.voice.silence_s >= PAUSE_S:
            self._is_in_phrase = False
            return True
        return False
