# SPDX-License-Identifier: Apache-2.0
"""Laws of the mouth's rest: shut without a voice, open with one, and with a breath that parts the lips before it."""

import numpy as np

from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.streaming.voice_gate import BREATH, GateState, hear, rest


def mouths(voice, openings=None, lookahead=2, silence=()):
    """jawOpen and browInnerUp, both 1 before the gate, per frame (T, 2); voice: probability per hop; openings: per frame;
    silence: hops without sound."""
    state, out = GateState.fresh(lookahead), []
    room = 0.001 * np.random.default_rng(0).standard_normal(640)
    for hop, probability in enumerate(voice):
        hear(state, probability, room * 0.0 + 0.1 if hop in silence else room)
        if hop >= lookahead:
            weights = np.zeros(52, np.float32)
            weights[[INDEX["jawOpen"], INDEX["browInnerUp"]]] = 1.0
            rest(state, weights, None if openings is None else openings[hop - lookahead])
            out.append(weights[[INDEX["jawOpen"], INDEX["browInnerUp"]]])
    return np.array(out)


def test_the_mouth_opens_with_a_voice_ahead_and_is_shut_160_ms_after_it() -> None:
    voice = np.zeros(40)
    voice[10:20] = 0.9
    jaw, brow = mouths(voice).T
    assert (jaw[:8] == 0).all() and jaw[9] == 1.0  # the voice is heard two frames ahead
    assert (jaw[9:21] == 1.0).all() and (jaw[23:] < 1e-6).all() and (np.diff(jaw[20:24]) < 0).all()
    assert (brow == 1.0).all()


def test_lips_that_are_heard_apart_part_before_there_is_a_voice() -> None:
    voice, openings = np.zeros(30), np.zeros(28)
    openings[5:9] = 0.5 * BREATH[0], 0.5 * sum(BREATH), BREATH[1], 0.9
    jaw, _ = mouths(voice, openings).T
    assert jaw[5] == 0.0 and abs(jaw[6] - 0.5) < 1e-6 and jaw[7] == jaw[8] == 1.0
    assert (np.delete(jaw, [6, 7, 8]) == 0).all()  # without a voice it is the breath alone that opens
    voice[:] = 0.9
    assert (mouths(voice, openings)[2:, 0] == 1.0).all()  # and with one it takes nothing away
    assert (mouths(np.zeros(30), -openings)[:, 0] == 0).all()


def test_in_silence_nobody_speaks_whatever_the_ears_expect_to_go_on() -> None:
    voice, openings = np.full(40, 0.9), np.full(38, 0.9)
    jaw, _ = mouths(voice, openings, silence=range(20, 40)).T
    assert (jaw[2:21] == 1.0).all() and (jaw[23:] < 1e-6).all()  # as where the ears hear the end
    assert (mouths(voice, openings, silence=(20, 21))[2:, 0] == 1.0).all()  # and a stop's gap is no end
