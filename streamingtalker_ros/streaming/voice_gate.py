# SPDX-License-Identifier: Apache-2.0
"""The mouth's rest: voice activity per frame opens a gate, without voice the mouth's shapes fade to rest.

The activity is the encoder's own (learned, so that noise and music do not open the mouth). The gate opens with the
first voice inside the look-ahead, stays open one frame after the last and falls within three, so the mouth is shut
160 ms after the last sound. People part their lips before they speak, with a breath: where the ear for the lips'
opening hears them well apart, they are, voice or no voice, unless there is no sound at all.
"""

from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.face.arkit import ARKIT_NAMES

RISE, FALL = 0.5, 1.0 / 3.0  # of the gate, per frame
VOICE = 0.15  # probability from which on a hop counts as voice
SILENT = (
    1e-8  # power of a hop, -80 dB of full scale, which no microphone's noise stays under; pauses in a file do
)
BREATH = (
    0.07,
    0.15,
)  # lip openings, in parts of a wide-open mouth, between which the ear's word for it opens the gate
MOUTH = np.array([name.startswith(("jaw", "mouth", "tongue", "cheekPuff")) for name in ARKIT_NAMES])  # (52,)


@dataclass
class GateState:
    """activity: probabilities of voice in the hops around the frame, oldest first; silent: how many hops, up to the
    newest, without any sound; gate: 0 shut … 1 open."""

    activity: np.ndarray  # (lookahead + 2,)
    silent: int = 0
    gate: float = 0.0

    @classmethod
    def fresh(cls, lookahead_frames):
        return cls(np.zeros(lookahead_frames + 2, np.float32))

    def reset(self) -> None:
        self.activity[:] = 0.0
        self.silent = 0
        self.gate = 0.0


def hear(state, probability, hop) -> None:
    """Take the newest hop: the probability of voice in it, and its audio (hop,) in -1..1. In silence nobody speaks,
    whatever the encoder expects to go on."""
    state.silent = 0 if np.var(hop) > SILENT else state.silent + 1
    state.activity[:-1] = state.activity[1:]
    state.activity[-1] = 0.0 if state.silent else probability


def rest(state, weights, opening=None):
    """Advance the gate by one frame and fade the mouth in `weights` (52,), in place. Returns `speaking`.

    opening: the lips' opening that is heard, in parts of a wide-open mouth; None for a model without an ear for it.
    """
    speaking = bool((state.activity > VOICE).any())
    state.gate = min(state.gate + RISE, 1.0) if speaking else max(state.gate - FALL, 0.0)
    unheard = opening is None or state.silent >= len(state.activity)
    breath = 0.0 if unheard else min(max((opening - BREATH[0]) / (BREATH[1] - BREATH[0]), 0.0), 1.0)
    weights[MOUTH] *= np.float32(max(state.gate, breath))
    return speaking
