"""The mouth's rest: voice activity per frame opens a gate, without voice the mouth's shapes fade to rest.

The activity is the encoder's own (learned, so that noise and music do not open the mouth). The gate opens with the
first voice inside the look-ahead, stays open one frame after the last and falls within three, so the mouth is shut
160 ms after the last sound. People part their lips before they speak, with a breath: where the ear for the lips'
opening hears them well apart, they are, voice or no voice.
"""
from dataclasses import dataclass

import numpy as np

from ..face.arkit import ARKIT_NAMES

RISE, FALL = 0.5, 1.0 / 3.0  # of the gate, per frame
VOICE = 0.15  # probability from which on a hop counts as voice
BREATH = 0.07, 0.15  # lip openings, in parts of a wide-open mouth, between which the ear's word for it opens the gate
MOUTH = np.array([name.startswith(("jaw", "mouth", "tongue", "cheekPuff")) for name in ARKIT_NAMES])  # (52,)


@dataclass
class GateState:
    """activity: probabilities of voice in the hops around the frame, oldest first; gate: 0 shut … 1 open."""

    activity: np.ndarray  # (lookahead + 2,)
    gate: float = 0.0

    @classmethod
    def fresh(cls, lookahead_frames):
        return cls(np.zeros(lookahead_frames + 2, np.float32))

    def reset(self):
        self.activity[:] = 0.0
        self.gate = 0.0


def hear(state, probability):
    """Take the probability of voice in the newest hop."""
    state.activity[:-1] = state.activity[1:]
    state.activity[-1] = probability


def rest(state, weights, opening=None):
    """Advance the gate by one frame and fade the mouth in `weights` (52,), in place. Returns `speaking`.

    opening: the lips' opening that is heard, in parts of a wide-open mouth; None for a model without an ear for it.
    """
    speaking = bool((state.activity > VOICE).any())
    state.gate = min(state.gate + RISE, 1.0) if speaking else max(state.gate - FALL, 0.0)
    breath = 0.0 if opening is None else min(max((opening - BREATH[0]) / (BREATH[1] - BREATH[0]), 0.0), 1.0)
    weights[MOUTH] *= np.float32(max(state.gate, breath))
    return speaking
