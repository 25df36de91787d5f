# SPDX-License-Identifier: Apache-2.0
"""One voice: audio chunks in, frames of face motion out, exact for every way of cutting the audio.

stream = talker.open_stream(seed=0)
frames = stream.accept(pcm)      # float32 mono 16 kHz, any length
frames += stream.finish()
"""

import weakref

import numpy as np

from streamingtalker_ros.audio.pcm import as_mono_float32
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.streaming.controls import CONTROLS, Controls, Shaping
from streamingtalker_ros.streaming.eye_motion import LifeState
from streamingtalker_ros.streaming.lip_constraints import Lips
from streamingtalker_ros.streaming.noise_floor import NoiseFloor
from streamingtalker_ros.streaming.voice_gate import GateState


class Stream:
    """The state of one voice; opened by `Talker.open_stream`, which says what its options mean.

    `seed`, `steps`, `style` and what `set` takes may change at any time; the frames to come follow.
    """

    def __init__(self, talker, row, seed, style, steps, history, controls=Controls(), lively=True) -> None:
        self.talker, self.row, self.history, self.lively = talker, row, history, lively
        self.style, self.steps = style, steps
        self.gate, self.life = GateState.fresh(talker.network.config.lookahead_frames), LifeState()
        self.noise = NoiseFloor(talker.frame_rate)
        self.controls, self.shaping = controls, Shaping(controls)
        self.blind_row = None  # of the branch that hears nothing, where there is guidance
        self._buffer = np.zeros(talker.hop, np.float32)  # the hop that is being filled
        self._zero(seed)
        weakref.finalize(self, talker.release, row)  # a stream that is dropped frees its row
        self._guide()

    @property
    def steps(self):
        """Diffusion steps per frame; may be set at any time."""
        return self._steps

    @steps.setter
    def steps(self, steps) -> None:
        steps = self.talker.steps if steps is None else steps
        self.talker.sampler(steps)  # refuses a number that cannot be had
        self._steps = steps

    @property
    def style(self):
        """Name of the speaking style; may be set at any time."""
        return self.talker.styles[self.style_row]

    @style.setter
    def style(self, style) -> None:
        styles = self.talker.styles
        style = styles[0] if style in (None, "") else style
        if style not in styles:
            raise TalkerError(f"unknown style {style!r}: this model knows {', '.join(styles)}")
        self.style_row = styles.index(style)

    def set(self, **values) -> None:
        """Change controls (see `controls.Controls`), such as mouth_expressiveness=1.2, from the next frame on.

        Gains and the expression glide there in `controls.GLIDE` frames. Raises TalkerError, and changes nothing, for
        a name that is none or a value that cannot be had.
        """
        for name in values:
            if name not in CONTROLS:
                raise TalkerError(f"{name} is no control of a stream: known are {', '.join(CONTROLS)}")
        controls = self.controls.changed(**values)
        with self.talker.lock:
            self.controls = controls
            self.shaping.aim(controls)
            self._guide()

    @property
    def mouth_at_rest(self):
        """(52,) float32: the mouth's shapes where nobody speaks, zeros unless an expression moves them."""
        return self.shaping.mouth_at_rest

    def _guide(self) -> None:
        """Have the branch of guidance where it is wanted, and not where it is not."""
        wanted = self.controls.guidance != 1.0
        if wanted and self.blind_row is None:
            frame = max(self.hops - self.talker.network.config.lookahead_frames, 0)
            self.blind_row = self.talker.open_blind(frame)
            self._release = weakref.finalize(self, self.talker.release_blind, self.blind_row)
        elif not wanted and self.blind_row is not None:
            self._release()
            self.blind_row = None

    def accept(self, pcm):
        """Hear audio and return the frames that it completes, in order.

        pcm: (n,) float mono 16 kHz in -1..1, any n; what is not finite counts as silence.
        Frame n is returned by the call that brings sample (n + 1)·hop + look-ahead.
        Raises TalkerError after `finish` (call `reset`), and on an array that is not one-dimensional floats.
        """
        return self.talker.accept([self], [pcm])[0]

    def finish(self):
        """End the audio: pad with silence and return the frames still owed, ceil(samples / hop) in all."""
        if self._finished:
            return []
        hop = self.talker.hop
        total = -(-self._heard // hop)
        owed = (total + self.talker.network.config.lookahead_frames) * hop - self._heard if total else 0
        frames = self.accept(np.zeros(owed, np.float32))
        self._finished = True
        return frames

    def reset(self, seed=None) -> None:
        """Forget everything, in place; frames count from 0 again. seed: a new one, or None to keep it."""
        self.talker.forget(self.row, self.blind_row)
        self.gate.reset()
        self.life.reset()
        self.noise.reset()
        self.shaping.reset()
        self._buffer[:] = 0.0
        self._zero(self.seed if seed is None else seed)

    def _zero(self, seed) -> None:
        self.lips = Lips()  # what the ears say of the newest frame
        self.seed = int(seed)
        self.hops = 0  # whole hops that the talker has listened to
        self._filled = 0  # samples in the buffer
        self._heard = 0  # samples accepted
        self._finished = False

    def checked(self, pcm):
        """The audio as (n,) float32, what is not finite made silent. Raises TalkerError as `accept` says."""
        if self._finished:
            raise TalkerError("this stream is finished: call reset() before it hears new audio")
        return as_mono_float32(pcm)

    def fill(self, pcm):
        """Yield each hop (a view that the next one overwrites) that checked audio completes."""
        start, hop = 0, self.talker.hop
        self._heard += len(pcm)
        while start < len(pcm):
            count = min(hop - self._filled, len(pcm) - start)
            self._buffer[self._filled : self._filled + count] = pcm[start : start + count]
            start, self._filled = start + count, self._filled + count
            if self._filled == hop:
                self._filled = 0
                yield self._buffer
