"""One voice: audio chunks in, frames of face motion out, exact for every way of cutting the audio.

    stream = talker.open_stream(seed=0)
    frames = stream.accept(pcm)      # float32 mono 16 kHz, any length
    frames += stream.finish()
"""
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import TalkerError
from ..model.sampler import frame_noise
from .rest import GateState, hear, rest


@dataclass
class Frame:
    """One frame of motion; it owns its arrays.

    index: 0, 1, 2, …; time: seconds, index / frame_rate, where its audio begins; weights: (52,) float32 in 0..1,
    ARKIT_NAMES order; head: (4,) float32 quaternion xyzw, rotation from neutral (x out of the face, y to the person's
    left, z up); speaking: voice activity, the one that also rests the mouth.
    """

    index: int
    time: float
    weights: np.ndarray
    head: np.ndarray
    speaking: bool


def quaternion(rotation):
    """Rotation vector (3,) in rad -> unit quaternion xyzw (4,) float32: axis·sin(angle/2), cos(angle/2)."""
    half = 0.5 * float(np.linalg.norm(rotation))
    vector = rotation * (0.5 * float(np.sinc(half / np.pi)))  # sinc keeps the small angles exact
    return np.append(vector, np.cos(half)).astype(np.float32)


class Stream:
    """The state of one voice; opened by `Talker.open_stream`."""

    def __init__(self, talker, seed=0, style=None, steps=None, history=None):
        self.talker = talker
        self.style = style
        self.steps = steps
        self.history = history
        self._state = talker.network.state(1)
        self._gate = GateState.fresh(talker.network.config.lookahead_frames)
        self._buffer = np.zeros(talker.hop, np.float32)  # the hop that is being filled
        self._zero(seed)

    @property
    def steps(self):
        """Diffusion steps per frame; may be set at any time."""
        return self._steps

    @steps.setter
    def steps(self, steps):
        self._sampler = self.talker.sampler(steps or self.talker.steps)
        self._steps = steps or self.talker.steps

    @property
    def style(self):
        """Name of the speaking style; may be set at any time."""
        return self._style

    @style.setter
    def style(self, style):
        styles = self.talker.styles
        style = styles[0] if style in (None, "") else style
        if style not in styles:
            raise TalkerError(f"unknown style {style!r}: this model knows {', '.join(styles)}")
        self._style = style
        self._style_row = torch.tensor([styles.index(style)], device=self.talker.device)

    def accept(self, pcm):
        """Hear audio and return the frames that it completes, in order.

        pcm: (n,) float mono 16 kHz in -1..1, any n; what is not finite counts as silence.
        Frame n is returned by the call that brings sample (n + 1)·hop + look-ahead.
        Raises TalkerError after `finish` (call `reset`), and on an array that is not one-dimensional.
        """
        if self._finished:
            raise TalkerError("this stream is finished: call reset() before it hears new audio")
        pcm = np.asarray(pcm)
        if pcm.ndim != 1:
            raise TalkerError(f"audio of shape {pcm.shape} given: pass one channel, shape (samples,)")
        if not np.issubdtype(pcm.dtype, np.floating):
            raise TalkerError(f"audio of type {pcm.dtype} given: pass floats in -1..1 (int16 / 32768)")
        self._heard += len(pcm)
        return self._take(np.nan_to_num(pcm.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0))

    def finish(self):
        """End the audio: pad with silence and return the frames still owed, ceil(samples / hop) in all."""
        if self._finished:
            return []
        hop = self.talker.hop
        total = -(-self._heard // hop)
        owed = (total + self.talker.network.config.lookahead_frames) * hop - self._heard if total else 0
        frames = self._take(np.zeros(owed, np.float32))
        self._finished = True
        return frames

    def reset(self, seed=None):
        """Forget everything, in place; frames count from 0 again. seed: a new one, or None to keep it."""
        self._state.reset()
        self._gate.reset()
        self._buffer[:] = 0.0
        self._zero(self.seed if seed is None else seed)

    def _zero(self, seed):
        self.seed = int(seed)
        self._filled = 0  # samples in the buffer
        self._heard = 0  # samples accepted
        self._hops = 0  # whole hops listened to
        self._finished = False

    def _take(self, pcm):
        frames, start, hop = [], 0, self.talker.hop
        while start < len(pcm):
            count = min(hop - self._filled, len(pcm) - start)
            self._buffer[self._filled:self._filled + count] = pcm[start:start + count]
            start, self._filled = start + count, self._filled + count
            if self._filled == hop:
                self._filled = 0
                frame = self._step()
                if frame is not None:
                    frames.append(frame)
        return frames

    @torch.inference_mode()
    def _step(self):
        """One hop: listen, and speak the frame whose look-ahead it completes (None for the first hops)."""
        network, device = self.talker.network, self.talker.device
        feature, voice = network.listen(torch.from_numpy(self._buffer).to(device)[None], self._state)
        hear(self._gate, float(torch.sigmoid(voice)))
        index = self._hops - network.config.lookahead_frames
        self._hops += 1
        if index < 0:
            return None
        noise = torch.from_numpy(frame_noise(self.seed, index, (1, network.config.latent_dim))).to(device)
        motion = network.speak(feature, noise, self._style_row, self._sampler, self._state,
                               self.history)[0].cpu().numpy()
        weights = np.clip(motion[:52], 0.0, 1.0)
        speaking = rest(self._gate, weights)
        return Frame(index, index / self.talker.frame_rate, weights, quaternion(motion[52:55]), speaking)
