# SPDX-License-Identifier: Apache-2.0
"""Finds a voice in audio that is announced before its time, with a second state of the stream's encoder.

The encoder detects voice hop by hop, in later audio as it will in the stream. The onset of a hum or of music
may look like a voice for some hops, so it takes `MIN_VOICED_HOPS` of them. The state is one of its own: audio
may be announced and dropped, and no bit of a voiced frame depends on it. Hops near the noise floor are not
encoded.
"""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.streaming.parted_rest import LEAD_FRAMES, VOICE_PROBABILITY
from streamingtalker_ros.streaming.voice_gate import hop_power

if TYPE_CHECKING:
    from streamingtalker_ros.streaming.talker import Talker

MIN_VOICED_HOPS: Final = 15
"""Voiced hops that make a voice,"""

EVIDENCE_HOPS: Final = 24
"""of this many from the first on."""

PREVIEW_HOPS: Final = LEAD_FRAMES + EVIDENCE_HOPS
"""Hops of announced audio that count."""

MAX_HOPS: Final = 4
"""Hops that are encoded for one announcement, so that no frame waits for many."""

AUDIBLE_DB: Final = 6.0
"""dB above the noise floor from which on a hop may be the beginning of a voice."""

_VOICE_LOGIT: Final = math.log(VOICE_PROBABILITY / (1.0 - VOICE_PROBABILITY))


class VoicePreview:
    """First voice in the announced audio of one stream.

    Args:
        talker: Its backend encodes the audio.
    """

    def __init__(self, talker: Talker) -> None:
        self._talker = talker
        self._row: int | None = None  # of the encoder's state, once there is an announcement
        self.reset()

    def reset(self) -> None:
        """Forget all announcements."""
        self._next_hop = -1  # to which the newest announcement belongs
        self._position = 0  # first hop that has not been examined
        self._forget_voice()

    def _forget_voice(self) -> None:
        self._is_encoding = False  # whether the examined hops are in the encoder's state
        self._first: int | None = None  # voiced hop
        self._voiced = 0  # hops from there on

    def update(self, pcm: npt.NDArray[np.float32], next_hop: int, floor_power: float) -> None:
        """Process an announcement. The caller holds the talker's lock.

        Args:
            pcm: (n,) the audio from the start of that hop on.
            next_hop: Number of the hop that the stream encodes next.
            floor_power: Of the noise around the voice.
        """
        is_next = next_hop in (self._next_hop, self._next_hop + 1) and next_hop <= self._position
        if not is_next or (self._first is not None and self._first < next_hop):
            self._forget_voice()
            self._position = next_hop
        self._next_hop, size, encoded = next_hop, self._talker.hop, 0
        end = next_hop + len(pcm) // size
        while self._voiced < MIN_VOICED_HOPS and self._position < end and encoded < MAX_HOPS:
            start = (self._position - next_hop) * size
            encoded += self._examine(pcm[start : start + size], floor_power)
            self._position += 1

    def frames_to_voice(self, hop: int, frame: int) -> int | None:
        """Return the frames from a frame to the first voiced hop of the announced audio; None without one.

        Args:
            hop: Number of the hop that completed the frame; only an announcement before it counts.
            frame: Number of the frame.
        """
        if self._first is None or self._voiced < MIN_VOICED_HOPS or hop != self._next_hop:
            return None
        return self._first - frame

    def _examine(self, hop: npt.NDArray[np.float32], floor_power: float) -> bool:
        """Examine the next hop; returns whether it had to be encoded."""
        if self._first is None and hop_power(hop) < floor_power * 10.0 ** (0.1 * AUDIBLE_DB):
            self._is_encoding = False
            return False
        backend = self._talker.backend
        if self._row is None:
            self._row = backend.open_row()
            weakref.finalize(self, backend.close_row, self._row)
        elif not self._is_encoding:
            backend.reset_row(self._row)
        self._is_encoding = True
        _, logits = backend.encode_hops([self._row], hop[None])
        if self._first is not None and self._position - self._first >= EVIDENCE_HOPS:
            self._first, self._voiced = None, 0  # it was none
        if float(logits[0, 0]) > _VOICE_LOGIT:
            self._first = self._position if self._first is None else self._first
            self._voiced += 1
        return True
