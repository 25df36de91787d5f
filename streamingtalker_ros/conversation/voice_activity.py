# SPDX-License-Identifier: Apache-2.0
"""Detects a human voice in a microphone's signal by its moving pitch; numpy only.

A voice is periodic and its pitch glides; noise is not periodic, the pitch of hum and of played notes stands
still or jumps. So a block is evidence of a voice if it is louder than the noise floor, voiced, and part of a
glide. The floor is the least power of the last seconds (minimum statistics, Martin 2001).
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from streamingtalker_ros.conversation.prosody import BLOCK_S

MIN_SNR_DB: Final = 6.0
"""dB above the noise floor, from which on a block may be voice."""

MIN_LEVEL_DB: Final = -65.0
"""dB of full scale below which nothing is voice."""

HANGOVER_S: Final = 0.2
"""s without a voiced block after which the voice has ended: stops of consonants are shorter."""

# semitones of three steps in one direction that make a glide; less is a held note, more an error of octave
_GLIDE_RANGE: Final = (0.06, 4.0)
_EVIDENCE_BLOCKS: Final = 25  # that count for the decision
_MIN_EVIDENCE: Final = 4  # gliding blocks among them that begin a voice,
_MIN_GLIDE_RATIO: Final = 0.7  # and their least ratio to those that stand still
_MAX_STILL_S: Final = 0.6  # s without a decision for a voice that end it, whatever is voiced
_FLOOR_BLOCKS: Final = 25  # of one part of the memory of the noise floor
_FLOOR_PARTS: Final = 8  # of that memory: 2 s
_SMOOTHING: Final = 0.3  # of the power, for the floor
_NO_PITCH: Final = math.nan


class VoiceActivityDetector:
    """Detects the voice in consecutive blocks of prosody.

    Attributes:
        is_voice: Whether the newest block belongs to a voice.
        voice_s: s since the voice began, pauses of up to `HANGOVER_S` included; 0 without a voice.
        silence_s: s since the newest voiced block of a voice; 0 before the first.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all blocks."""
        self.is_voice = False
        self.voice_s = 0.0
        self.silence_s = 0.0
        self._semitones = _NO_PITCH  # of the newest block
        self._steps = (_NO_PITCH, _NO_PITCH, _NO_PITCH)  # of the pitch, the newest last
        self._glides: deque[int] = deque([0] * _EVIDENCE_BLOCKS, _EVIDENCE_BLOCKS)  # 1: gliding, -1: still
        self._glide_count = self._still_count = 0
        self._voiced_s = 0.0  # s since the first of the voiced blocks that may begin a voice
        self._unvoiced_s = HANGOVER_S  # s since the newest of them
        self._still_s = 0.0  # s since the evidence was last enough
        self._has_heard_voice = False
        self._power: float | None = None  # dB, smoothed
        self._floors: deque[float] = deque(maxlen=_FLOOR_PARTS)  # least power of each part
        self._part_blocks = 0

    def update(self, pitch_hz: float, power_db: float) -> bool:
        """Process the next block; see `prosody.ProsodyBlocks`.

        Args:
            pitch_hz: Hz, 0 if the block is not voiced.
            power_db: dB of full scale.

        Returns:
            Whether it belongs to a voice.
        """
        is_loud = power_db > max(self._update_floor(power_db) + MIN_SNR_DB, MIN_LEVEL_DB)
        is_voiced = is_loud and pitch_hz > 0.0
        self._add_evidence(12.0 * math.log2(pitch_hz) if is_voiced else _NO_PITCH)
        self._voiced_s += BLOCK_S
        self._unvoiced_s = 0.0 if is_voiced else self._unvoiced_s + BLOCK_S
        if self._unvoiced_s >= HANGOVER_S:
            self._voiced_s = 0.0
        is_evident = (
            self._glide_count >= _MIN_EVIDENCE and self._glide_count > _MIN_GLIDE_RATIO * self._still_count
        )
        self._still_s = 0.0 if is_evident else self._still_s + BLOCK_S
        if self.is_voice:
            self.is_voice = self._unvoiced_s < HANGOVER_S and self._still_s < _MAX_STILL_S
        else:
            self.is_voice = is_evident and is_voiced
        self._has_heard_voice |= self.is_voice
        self.voice_s = self._voiced_s if self.is_voice else 0.0
        if self.is_voice and is_voiced:
            self.silence_s = 0.0
        elif self._has_heard_voice:
            self.silence_s += BLOCK_S
        return self.is_voice

    def _update_floor(self, power_db: float) -> float:
        """Return the noise floor in dB of full scale."""
        previous = power_db if self._power is None else self._power
        self._power = previous + _SMOOTHING * (power_db - previous)
        if self._part_blocks == 0:
            self._floors.append(self._power)
        self._floors[-1] = min(self._floors[-1], self._power)
        self._part_blocks = (self._part_blocks + 1) % _FLOOR_BLOCKS
        return min(self._floors)

    def _add_evidence(self, semitones: float) -> None:
        """Add the pitch of a block, NaN if it is not voiced."""
        steps = (*self._steps[1:], semitones - self._semitones)
        self._semitones, self._steps = semitones, steps
        low, high = _GLIDE_RANGE
        evidence, total = 0, abs(steps[0] + steps[1] + steps[2])
        if total < high:  # not of NaN
            is_glide = total > low and (min(steps) > 0.0 or max(steps) < 0.0)
            evidence = 1 if is_glide else -1
        oldest = self._glides[0]
        self._glides.append(evidence)
        self._glide_count += (evidence > 0) - (oldest > 0)
        self._still_count += (evidence < 0) - (oldest < 0)
