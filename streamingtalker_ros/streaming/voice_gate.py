# SPDX-License-Identifier: Apache-2.0
"""Voice-activity gate with hang-over: fades mouth shapes to the rest pose without voice activity.

Voice activity is predicted by the encoder, which is trained so that noise and music do not open the mouth.
The gate opens with the first voice inside the look-ahead, stays open one frame after the last and closes
within three frames, so that it is shut 160 ms after the last sound. People part their lips before they
speak, with a breath: where the head of the mouth measures predicts lips well apart, the gate opens without
voice too, unless there is no sound at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import MOUTH_MASK

GATE_RISE, GATE_FALL = 0.5, 1.0 / 3.0  # of the gate, per frame
VAD_THRESHOLD = 0.15  # probability from which on a hop counts as voice
_THRESHOLD = np.float32(VAD_THRESHOLD)  # in the precision of the probabilities
# power of a hop, -80 dB of full scale; microphones' noise exceeds it, pauses in a file do not
SILENCE_POWER = 1e-8
# lip apertures, as fractions of a wide-open mouth, between which the predicted aperture opens the gate
PRE_SPEECH_APERTURE = (0.16, 0.26)


@dataclass
class VadGateState:
    """State of the gate of one stream.

    Attributes:
        activity: (lookahead_frames + 2,) probabilities of voice in the hops around the frame, oldest first.
        silent_hops: Number of hops up to the newest without any sound.
        gate: 0 shut … 1 open.
    """

    activity: npt.NDArray[np.float32]
    silent_hops: int = 0
    gate: float = 0.0

    @classmethod
    def create(cls, lookahead_frames: int) -> VadGateState:
        """Return the state at the start of a stream.

        Args:
            lookahead_frames: Frames of later audio that the network needs to generate a frame, 0 or more.
        """
        return cls(np.zeros(lookahead_frames + 2, np.float32))

    def reset(self) -> None:
        """Return to the start of a stream, in place."""
        self.activity[:] = 0.0
        self.silent_hops = 0
        self.gate = 0.0


def hop_power(hop: npt.NDArray[np.float32]) -> float:
    """Return the variance of a hop: its power without a constant offset, which is no noise.

    The same as `np.var`, at a third of its cost.

    Args:
        hop: (hop,) samples in -1..1.
    """
    count = np.float32(len(hop))
    deviations = hop - np.add.reduce(hop) / count
    deviations *= deviations
    return float(np.add.reduce(deviations) / count)


def update_vad(state: VadGateState, probability: float, hop: npt.NDArray[np.float32]) -> None:
    """Process the newest hop.

    In digital silence the activity is 0, regardless of the encoder's prediction.

    Args:
        state: Updated in place.
        probability: Of voice in the hop.
        hop: (hop,) samples in -1..1.
    """
    state.silent_hops = 0 if hop_power(hop) > SILENCE_POWER else state.silent_hops + 1
    state.activity[:-1] = state.activity[1:]
    state.activity[-1] = 0.0 if state.silent_hops else probability


def apply_gate(state: VadGateState, weights: npt.NDArray[np.float32], aperture: float | None = None) -> bool:
    """Advance the gate by one frame and fade the mouth shapes.

    Args:
        state: Updated in place.
        weights: (52,), changed in place.
        aperture: Predicted lip aperture as a fraction of a wide-open mouth; None for a model without that
            head.

    Returns:
        Voice activity of this frame.
    """
    speaking = bool(state.activity.max() > _THRESHOLD)
    state.gate = min(state.gate + GATE_RISE, 1.0) if speaking else max(state.gate - GATE_FALL, 0.0)
    if aperture is None or state.silent_hops >= len(state.activity):
        pre_speech = 0.0
    else:
        low, high = PRE_SPEECH_APERTURE
        pre_speech = min(max((aperture - low) / (high - low), 0.0), 1.0)
    opening = max(state.gate, pre_speech)
    if opening < 1.0:
        np.multiply(weights, np.float32(opening), out=weights, where=MOUTH_MASK)
    return speaking
