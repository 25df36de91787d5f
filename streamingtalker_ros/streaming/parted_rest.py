# SPDX-License-Identifier: Apache-2.0
"""Keeps lips slightly parted in the pauses of a turn, and parts them before a voice that is announced.

People do not shut the mouth between two phrases, and part their lips before they begin: after a voice in
quiet the inner-lip gap stays at `REST_GAP_M` and closes between `HOLD_S` and `END_S` after the last voiced
hop. Only silence, the lead-in of a voice and the frames of the closing gate are changed, no voiced frame; a
closure that the articulation heads predict closes the lips here too.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.lip_measure import lip_gap_measure
from streamingtalker_ros.streaming.voice_gate import VAD_THRESHOLD

REST_GAP_M: Final = 0.0015
"""Metres of inner-lip gap, above rest, in a pause."""

ANNOUNCED_GAP_M: Final = 0.004
"""Metres of inner-lip gap, above rest, before an announced voice: wider than after, as with people."""

HOLD_S: Final = 0.5
"""s after the last voiced hop from which on the lips close,"""

END_S: Final = 0.8
"""and at which they are shut."""

RISE_FRAMES: Final = 4
"""Frames in which the gap grows to its full size from lips that touch."""

LEAD_FRAMES: Final = 7
"""Frames before the first voiced hop in which an announced voice parts the lips: 280 ms."""

MIN_VOICE_S: Final = 0.6
"""s of voice that make a turn: the onset of a hum may look like one for up to 0.44 s."""

VOICE_PROBABILITY: Final = 0.5
"""Voice activity of a hop that counts for it."""

MIN_SNR_DB: Final = 22.0
"""dB of the voice above its noise floor; noise 10 dB under a voice leaves 8 to 20 (`noise_floor`)."""


class PartedRest:
    """Rest of one stream's lips.

    Args:
        frame_rate: Frames per second.
    """

    def __init__(self, frame_rate: float) -> None:
        self._min_voiced = round(MIN_VOICE_S * frame_rate)
        self._hold, self._end = HOLD_S * frame_rate, END_S * frame_rate  # frames
        self.reset()

    def reset(self) -> None:
        """Return to the start of a stream: no voice yet, lips shut."""
        self._gap = 0.0  # m, the least in the frame before
        self._voiced = 0  # voiced frames of the turn, up to the number that is enough
        self._silent = round(self._end)  # frames since the last voiced hop
        self._is_quiet = False  # whether the pause has been quiet enough

    @property
    def awaits_voice(self) -> bool:
        """Whether an announced voice would change the next frame: the lips are shut, or about to close."""
        return self._silent + 1 >= self._hold

    def apply(
        self,
        weights: npt.NDArray[np.float32],
        activity: npt.NDArray[np.float32],
        closing: float,
        snr_db: float,
        frames_to_voice: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Advance by one frame and part its lips.

        Args:
            weights: (52,) in 0..1, behind the gate.
            activity: Of `VadGateState`: the hop before the frame's, its own, and those of the look-ahead.
            closing: How firmly the lips are pressed together in the frame, 0…1.
            snr_db: dB of the voice's level above its noise floor.
            frames_to_voice: Frames until the first voiced hop of announced audio; None without one.

        Returns:
            (52,), a new array, or the same if nothing changes.
        """
        if activity[1] > VOICE_PROBABILITY:
            self._voiced = min(self._voiced + 1, self._min_voiced)
            self._silent, self._is_quiet = 0, False
        else:
            self._silent += 1
        is_parted = self._gap > 0.0 or frames_to_voice is not None  # which a doubtful voice does not end
        if activity[:2].max() > (VOICE_PROBABILITY if is_parted else VAD_THRESHOLD):
            self._gap = 0.0
            return weights
        self._is_quiet |= snr_db >= MIN_SNR_DB
        target = self._target()
        if frames_to_voice is not None and frames_to_voice <= LEAD_FRAMES:
            target = ANNOUNCED_GAP_M
        elif self._gap > 0.0 and activity[2:].max() > VAD_THRESHOLD:
            target = self._gap  # the voice goes on
        if self._silent >= self._end:
            self._voiced = 0
        if target <= 0.0:
            self._gap = 0.0
            return weights
        lip_gap = lip_gap_measure()
        gap = lip_gap(weights)
        rise = target / RISE_FRAMES
        self._gap = min(max(gap, self._gap) + rise, target) * (1.0 - closing)
        return lip_gap.negative.limit(weights, -self._gap, -gap) if gap < self._gap else weights

    def _target(self) -> float:
        """Return the gap in metres of the pause: whole up to `HOLD_S`, then falling smoothly to 0."""
        if self._voiced < self._min_voiced or not self._is_quiet:
            return 0.0
        phase = min(max((self._end - self._silent) / (self._end - self._hold), 0.0), 1.0)
        return REST_GAP_M * phase * phase * (3.0 - 2.0 * phase)
