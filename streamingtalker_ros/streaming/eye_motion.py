# SPDX-License-Identifier: Apache-2.0
"""A guard of the eyes' life, made of rules: whatever the network does, the face blinks and looks about.

The network has learned blinks and saccades; most of the time this only watches and leaves every bit as it is. It adds
a blink where none came for 2.8 to 5.2 s, or at the end of a phrase where the last is more than 2 s ago; it holds back
what comes beyond 24 blinks a minute; it lets the gaze jump where it stood still for 3 to 5 s. Its chances are
functions of (seed, frame) alone, so that chunked = offline holds, and no future frame is asked.
"""

from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.face.arkit import INDEX

LIDS = INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]
# of each eye: (to the person's left, to the right, up, down)
EYES = [
    [INDEX[f"eyeLook{way}{side}"] for way in ways]
    for side, ways in (("Left", ("Out", "In", "Up", "Down")), ("Right", ("In", "Out", "Up", "Down")))
]
SHUT, OPEN = 0.5, 0.25  # a blink begins above the one and has ended below the other
LONGEST = 0.6  # seconds: lids that stay shut for longer count as a new blink, and are held back as such
RATE, BURST = 24.0 / 60.0, 8.0  # blinks a second in the long run, blinks at once
WAIT, STILL = (2.8, 5.2), (3.0, 5.0)  # seconds without a blink, without a saccade
AFTER_PHRASE, CHANCE, DELAY = (
    2.0,
    0.6,
    0.25,
)  # seconds since the last blink, chance of one, seconds it may wait
CLOSING, HOLD, OPENING = 0.12, 0.045, 0.20  # seconds of a lid's way down, at the bottom, up
MOVED = 0.03  # of the gaze, in weights: a saccade, or a drift that has become one
REACH = (0.10, 0.06)  # standard deviation of the gaze that is added, sideways and up


@dataclass
class LifeState:
    """What the guard remembers of one voice; times in frames."""

    spoke: bool = False
    shut: bool = False  # the lids are in a blink
    held: int = 0  # for how long the network's blink has been held back; 0: it is not
    since: int = 0  # since the last blink began
    limit: float = 0.0  # `since` at which a blink is added; 0: to be drawn
    blink: int = -1  # frames of a blink that is being added; below 0: none
    due: int = -1  # frames until a blink at a phrase's end; below 0: none
    tokens: float = BURST  # blinks that may come
    still: int = 0  # since the gaze last jumped
    patience: float = 0.0  # `still` at which it is made to; 0: to be drawn
    gaze: tuple = (0.0, 0.0)  # of the network, when it last jumped: to the person's left, up
    added: tuple = (0.0, 0.0)  # to the gaze

    def reset(self) -> None:
        self.__init__()


def draw(seed, n, count):
    """`count` uniform numbers of frame n, apart from the noise of that frame (`sampler.frame_noise`)."""
    return np.random.Generator(np.random.Philox(key=seed % 2**64, counter=[0, n, 1, 0])).random(count)


def lid(seconds):
    """How far a lid is shut, `seconds` after a blink began: 0..1, raised cosines down and up."""
    if seconds < CLOSING:
        return 0.5 - 0.5 * np.cos(np.pi * seconds / CLOSING)
    rest = seconds - CLOSING - HOLD
    return 1.0 if rest < 0.0 else 0.5 + 0.5 * np.cos(np.pi * min(rest / OPENING, 1.0))


def keep_alive(state, weights, speaking, seed, n, rate) -> None:
    """Take frame n (weights (52,), changed in place; speaking: its voice activity) at `rate` frames/s."""
    _blink(state, weights, state.spoke and not speaking, seed, n, rate)
    _look(state, weights, seed, n, rate)
    state.spoke = speaking


def _blink(state, weights, phrase_ends, seed, n, rate) -> None:
    lids = 0.5 * sum(float(weights[i]) for i in LIDS)
    state.since += 1
    state.tokens = min(state.tokens + RATE / rate, BURST)
    if state.limit == 0.0:
        state.limit = rate * (WAIT[0] + (WAIT[1] - WAIT[0]) * draw(seed, n, 1)[0])
    if phrase_ends and state.since > AFTER_PHRASE * rate:
        chance, delay = draw(seed, n, 3)[1:]
        state.due = int(delay * DELAY * rate) if chance < CHANCE else -1
    if state.shut and state.blink < 0 and (lids < OPEN or state.since > LONGEST * rate):
        state.shut = False
    if state.held:
        state.held += 1
        if lids < OPEN or (state.held > LONGEST * rate and state.tokens >= 1.0):
            state.held = 0
    elif not state.shut and lids > OPEN and state.tokens < 1.0:
        state.held = 1
    if not state.shut and not state.held and lids > SHUT:
        _begin(state)
    if not state.shut and state.tokens >= 1.0 and (state.since > state.limit or state.due == 0):
        _begin(state)
        state.blink = 0
    state.due = max(state.due - 1, -1)
    if state.held:
        for i in LIDS:
            weights[i] = min(weights[i], OPEN)
    if state.blink >= 0:
        state.blink += 1
        seconds = (state.blink - 0.5) / rate  # the middle of the frame: the first already moves
        for i in LIDS:
            weights[i] = max(weights[i], lid(seconds))
        if seconds > CLOSING + HOLD + OPENING:
            state.blink = -1


def _begin(state) -> None:
    state.shut, state.held, state.since, state.limit, state.due = True, 0, 0, 0.0, -1
    state.tokens -= 1.0


def _look(state, weights, seed, n, rate) -> None:
    left, right, up, down = (float(weights[i]) for i in EYES[0])
    side, up = left - right, up - down
    state.still += 1
    if state.patience == 0.0:
        state.patience = rate * (STILL[0] + (STILL[1] - STILL[0]) * draw(seed, n, 4)[3])
    if max(abs(side - state.gaze[0]), abs(up - state.gaze[1])) > MOVED:
        # the network's own jump hides the way back
        state.gaze, state.added, state.still, state.patience = (side, up), (0.0, 0.0), 0, 0.0
    elif state.still > state.patience:
        state.still, state.patience = 0, 0.0
        first, second, third, fourth = draw(seed, n, 8)[4:]
        # the sum of two uniform numbers: a triangle, of variance 1/6 about its middle
        state.added = (6**0.5 * REACH[0] * (first + second - 1.0), 6**0.5 * REACH[1] * (third + fourth - 1.0))
    if state.added != (0.0, 0.0):
        for left, right, up, down in EYES:
            for plus, minus, add in ((left, right, state.added[0]), (up, down, state.added[1])):
                value = float(weights[plus]) - float(weights[minus]) + add
                weights[plus], weights[minus] = min(max(value, 0.0), 1.0), min(max(-value, 0.0), 1.0)
