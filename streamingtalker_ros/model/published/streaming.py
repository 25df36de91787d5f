"""Bounded streaming of a published checkpoint: audio chunks in, frames of vertices out, at a constant cost.

    model = PublishedModel.load(folder)
    stream = model.open_stream(seed=0, identity=None)
    frames = stream.accept(pcm) + stream.finish()

Where the published order looks at everything (exact.py), this hears a window of audio, keeps the last h rows
of motion, composes the head's steps into one matrix and decodes a window of latents. docs/published.md says
what it costs in accuracy.
"""
from dataclasses import dataclass

import numpy as np
import torch

from ...errors import TalkerError
from ..sampler import frame_noise
from . import checkpoint, hubert
from .grid import SAMPLE_RATE, Grid
from .predictor import PredictorState

PRIOR_SECONDS, PRIOR_RMS = 1.0, 0.05  # speech of usual level, assumed to precede the stream: see Loudness


@dataclass
class VertexFrame:
    """One frame; index: 0, 1, 2, …; time: seconds, index / frame_rate; vertices: (V, 3) float32, metres, in
    the checkpoint's own axes (both releases: x to the person's left, y up, z out of the face)."""

    index: int
    time: float
    vertices: np.ndarray


@dataclass
class Loudness:
    """Running mean and variance of all that was heard: the causal form of the published normalisation.

    A second of speech at a usual level is counted in front, so that a quiet first moment is not blown up.
    """

    count: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def hear(self, pcm):
        pcm = pcm.astype(np.float64)
        self.count += len(pcm)
        self.total += float(pcm.sum())
        self.squares += float(pcm @ pcm)

    def normalise(self, pcm):
        prior = PRIOR_SECONDS * SAMPLE_RATE
        mean = self.total / (self.count + prior)
        variance = (self.squares + prior * PRIOR_RMS**2) / (self.count + prior) - mean**2
        return ((pcm - mean) / np.sqrt(variance + 1e-7)).astype(np.float32)

    def reset(self):
        self.count = self.total = self.squares = 0.0


@dataclass
class VoiceState:
    """All that one voice remembers, of fixed size."""

    pcm: np.ndarray  # (a window and a stride,) float32, the newest audio at its end
    loudness: Loudness
    predictor: PredictorState
    latents: torch.Tensor  # (1, decode rows, H·C), the newest at its end
    rows: int = 1  # latents that are there, the start latent included

    def reset(self, start_latent):
        self.pcm[:] = 0.0
        self.loudness.reset()
        self.predictor.reset()
        self.latents.zero_()
        self.latents[0, -1] = start_latent
        self.rows = 1


class PublishedModel:
    """A published network on a device, with the bounds of its streaming; opens streams, holds no voice.

    hop: frames per pass (more cost less, and wait longer); window: seconds of audio that HuBERT hears in a
    pass; context: seconds of audio after a pass's last frame that it waits for; decode: rows of latents
    decoded together, None for h of the configuration; normalise: False when the audio comes normalised.
    """

    def __init__(self, network, device="cpu", hop=12, window=1.0, context=0.1, decode=None, normalise=True):
        c = network.config
        self.network, self.device, self.normalise = network.to(device), device, normalise
        stride, reach = hubert.geometry(network.audio)
        self.grid = Grid.fitted(c.frame_rate, c.audio_fps, stride, reach, hop, window, context)
        self.decode = c.history if decode is None else decode
        if self.decode < hop + 1:
            raise TalkerError(f"decoding {self.decode} rows is too few for a hop of {hop} frames: give "
                              f"{hop + 1} or more")
        with torch.inference_mode():
            self.start_latent = network.codec.start_latent()  # (H·C,)
        self._collapsed = {}

    @classmethod
    def load(cls, folder, device="cpu", **bounds):
        """Load a converted folder. Raises TalkerError when it is none, or the bounds cannot be had."""
        return cls(checkpoint.load(folder), device, **bounds)

    @property
    def frame_rate(self):
        return self.network.config.frame_rate

    @property
    def lookahead(self):
        """Seconds: frame n depends on audio up to (n + 1)/frame_rate + lookahead and on nothing later."""
        return self.grid.lookahead

    @property
    def identities(self):
        """Names of the known identities, the first is the default."""
        return self.network.config.identities

    @property
    def template(self):
        """(V, 3) float32, metres: the rest face, zeros when the checkpoint was converted without one."""
        return (self.network.template * self.network.config.unit).cpu().numpy()

    @property
    def triangles(self):
        """(T, 3) uint32, empty when the template had no faces."""
        return self.network.triangles.cpu().numpy().astype(np.uint32)

    @property
    def steps(self):
        return self.network.config.steps

    def collapsed(self, steps):
        """The head's affine map for so many steps, composed once. Raises TalkerError out of range."""
        if steps not in self._collapsed:
            self._collapsed[steps] = self.network.collapsed(steps)
        return self._collapsed[steps]

    def identity_row(self, identity):
        """Name (None: the first) -> row of the embedding. Raises TalkerError listing the known."""
        known = self.identities
        if identity in (None, ""):
            return 0
        if str(identity) not in known:
            raise TalkerError(f"unknown identity {identity!r}: this model knows {', '.join(known)}")
        return known.index(str(identity))

    def open_stream(self, seed=0, identity=None, steps=None):
        """A fresh voice. seed: of its noise; identity: one of `identities`; steps: DDIM steps per frame."""
        return PublishedStream(self, seed, identity, steps)

    def state(self):
        """A fresh VoiceState."""
        latents = self.start_latent.new_zeros(1, self.decode, self.network.config.latent_dim)
        state = VoiceState(np.zeros(self.grid.window_samples + self.grid.stride, np.float32), Loudness(),
                           self.network.predictor.state(1), latents)
        state.reset(self.start_latent)
        return state

    @torch.inference_mode()
    def step(self, k, state, identity, noise, head):
        """Pass k: `state.pcm` ends where the pass's hearing ends. noise (hop, H·C) -> offsets (hop, 3V)."""
        return self.speak(self.listen(k, state), state, identity, noise, head)

    def listen(self, k, state):
        """The features (hop, audio_dim) of pass k's frames, from the newest window of audio."""
        end, (start, stop) = self.grid.end(k), self.grid.span(k)
        newest = len(state.pcm) - end  # state.pcm[newest + i] is sample i of the stream
        window = state.pcm[newest + start:newest + stop]  # (≤ grid.window_samples,)
        if self.normalise:
            state.loudness.hear(state.pcm[newest + (self.grid.end(k - 1) if k else 0):])
            window = state.loudness.normalise(window)
        # (1, N, audio_dim)
        features = hubert.encode(self.network.audio, torch.from_numpy(window).to(self.device)[None])
        places = torch.tensor(self.grid.positions(k), dtype=torch.float32, device=self.device)
        return hubert.pick(features, places)[0]

    def speak(self, features, state, identity, noise, head):
        """The next frames: features (hop, audio_dim), noise (hop, H·C) -> offsets (hop, 3V)."""
        net, hop = self.network, len(features)
        latent, new = state.latents[:, -1], []
        for i in range(hop):
            condition = net.predictor.step(latent, features[i: i + 1], identity, state.predictor)  # (1, d)
            latent = head(noise[i: i + 1], condition)  # (1, H·C)
            new.append(latent)
        joined = torch.cat((state.latents[:, hop:], torch.stack(new, 1)), 1)  # (1, decode, H·C)
        state.latents.copy_(joined)
        state.rows = min(state.rows + hop, self.decode)
        return net.codec.decode(state.latents[:, -state.rows:], newest=hop)[0]  # (hop, 3V)


class PublishedStream:
    """One voice of a PublishedModel."""

    def __init__(self, model, seed=0, identity=None, steps=None):
        self.model, self.identity = model, identity
        self._who = torch.tensor([model.identity_row(identity)], device=model.device)
        self._head = model.collapsed(steps or model.steps)
        self._state = model.state()
        self._zero(seed)

    def _zero(self, seed):
        self.seed = int(seed)
        self._heard = 0  # samples accepted
        self._passes = 0
        self._finished = False

    def reset(self, seed=None):
        """Forget everything, in place; frames count from 0 again. seed: a new one, or None to keep it."""
        self._state.reset(self.model.start_latent)
        self._zero(self.seed if seed is None else seed)

    def accept(self, pcm):
        """Hear audio and return the VertexFrames that it completes, in order.

        pcm: (n,) float mono 16 kHz in −1..1, any n; what is not finite counts as silence.
        Raises TalkerError after `finish` (call `reset`), and on an array of another kind.
        """
        if self._finished:
            raise TalkerError("this stream is finished: call reset() before it hears new audio")
        pcm = np.asarray(pcm)
        if pcm.ndim != 1:
            raise TalkerError(f"audio of shape {pcm.shape} given: pass one channel, shape (samples,)")
        if not np.issubdtype(pcm.dtype, np.floating):
            raise TalkerError(f"audio of type {pcm.dtype} given: pass floats in -1..1 (int16 / 32768)")
        return self._take(np.nan_to_num(pcm.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0))

    def finish(self):
        """End the audio: pad with silence and return the frames still owed, ceil(samples·f/16000) in all."""
        if self._finished:
            return []
        grid = self.model.grid
        total = grid.frames(self._heard)
        frames = []
        while self._passes * grid.hop < total:
            frames += self._take(np.zeros(grid.end(self._passes) - self._heard, np.float32))
        self._finished = True
        return [frame for frame in frames if frame.index < total]

    def _take(self, pcm):
        frames, taken, buffer = [], 0, self._state.pcm
        while taken < len(pcm):
            count = min(self.model.grid.end(self._passes) - self._heard, len(pcm) - taken)
            buffer[:-count] = buffer[count:].copy()
            buffer[-count:] = pcm[taken:taken + count]
            taken, self._heard = taken + count, self._heard + count
            if self._heard == self.model.grid.end(self._passes):
                frames += self._pass()
        return frames

    def _pass(self):
        model, hop, first = self.model, self.model.grid.hop, self._passes * self.model.grid.hop
        config = model.network.config
        noise = np.stack([frame_noise(self.seed, n, (config.latent_dim,)) for n in range(first, first + hop)])
        noise = torch.from_numpy(noise).to(model.device)  # (hop, H·C)
        offsets = model.step(self._passes, self._state, self._who, noise, self._head)
        self._passes += 1
        vertices = (offsets.view(hop, -1, 3) + model.network.template) * config.unit  # (hop, V, 3)
        return [VertexFrame(first + i, (first + i) / model.frame_rate, v.copy())
                for i, v in enumerate(vertices.cpu().numpy())]
