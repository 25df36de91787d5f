# SPDX-License-Identifier: Apache-2.0
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

from streamingtalker_ros.audio.pcm import as_mono_float32
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.ddim import frame_noise
from streamingtalker_ros.model.vertex import checkpoint, hubert
from streamingtalker_ros.model.vertex.chunking import SAMPLE_RATE, Grid
from streamingtalker_ros.model.vertex.predictor import PredictorState

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

    def hear(self, pcm) -> None:
        pcm = pcm.astype(np.float64)
        self.count += len(pcm)
        self.total += float(pcm.sum())
        self.squares += float(pcm @ pcm)

    def normalise(self, pcm):
        prior = PRIOR_SECONDS * SAMPLE_RATE
        mean = self.total / (self.count + prior)
        variance = (self.squares + prior * PRIOR_RMS**2) / (self.count + prior) - mean**2
        return ((pcm - mean) / np.sqrt(variance + 1e-7)).astype(np.float32)

    def reset(self) -> None:
        self.count = self.total = self.squares = 0.0


@dataclass
class VoiceState:
    """All that one voice remembers, of fixed size."""

    pcm: np.ndarray  # (a window and a stride,) float32, the newest audio at its end
    loudness: Loudness
    predictor: PredictorState
    latents: torch.Tensor  # (1, decode rows, H·C), the newest at its end
    rows: int = 1  # latents that are there, the start latent included

    def reset(self, start_latent) -> None:
        self.pcm[:] = 0.0
        self.loudness.reset()
        self.predictor.reset()
        self.latents.zero_()
        self.latents[:, -1] = start_latent
        self.rows = 1


class PublishedModel:
    """A published network on a device, with the bounds of its streaming; opens streams, holds no voice.

    hop: frames per pass (more cost less, and wait longer); window: seconds of audio that HuBERT hears in a
    pass; context: seconds of audio after a pass's last frame that it waits for; decode: rows of latents
    decoded together, None for h of the configuration; normalise: False when the audio comes normalised.
    """

    def __init__(
        self, network, device="cpu", hop=12, window=1.0, context=0.1, decode=None, normalise=True
    ) -> None:
        c = network.config
        self.network, self.device, self.normalise = network.to(device), device, normalise
        stride, reach = hubert.geometry(network.audio)
        self.grid = Grid.fitted(c.frame_rate, c.audio_fps, stride, reach, hop, window, context)
        self.decode = c.history if decode is None else decode
        if self.decode < hop + 1:
            raise TalkerError(
                f"decoding {self.decode} rows is too few for a hop of {hop} frames: give {hop + 1} or more"
            )
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
        pcm = np.zeros(self.grid.window_samples + self.grid.stride, np.float32)
        state = VoiceState(pcm, Loudness(), self.network.predictor.state(1), latents)
        state.reset(self.start_latent)
        return state

    def accept(self, streams, chunks):
        """Hear one chunk for each of several streams; passes that are due are stepped as one batch.

        streams: of this model, each at most once; chunks: as PublishedStream.accept takes them.
        Returns a list of lists of VertexFrame, in the streams' order.
        """
        if len(set(map(id, streams))) != len(streams):
            raise TalkerError("a stream is given twice in one call: join its chunks")
        chunks = [stream.checked(chunk) for stream, chunk in zip(streams, chunks)]
        frames = [[] for _ in streams]
        fills = [stream.fill(chunk) for stream, chunk in zip(streams, chunks)]
        due = list(range(len(streams)))
        while due:
            due = [i for i in due if next(fills[i], None) is not None]
            groups = {}  # passes of one shape and number of steps; after a few seconds all have one shape
            for i in due:
                start, stop = self.grid.span(streams[i].passes)
                groups.setdefault((stop - start, streams[i].state.rows, streams[i].steps), []).append(i)
            for group in groups.values():
                for i, made in zip(group, self._pass([streams[i] for i in group])):
                    frames[i] += made
        return frames

    @torch.inference_mode()
    def _pass(self, streams):
        """The next pass of each of B streams: a list of `hop` VertexFrames for each."""
        c, hop = self.network.config, self.grid.hop
        states, first = [stream.state for stream in streams], [stream.passes * hop for stream in streams]
        features = self.listen([stream.passes for stream in streams], states)
        noise = np.stack(
            [
                [frame_noise(stream.seed, n + i, c.latent_dim) for i in range(hop)]
                for stream, n in zip(streams, first)
            ]
        )
        who = torch.tensor([stream.row for stream in streams], device=self.device)
        offsets = self.speak(
            features, states, who, torch.from_numpy(noise).to(self.device), self.collapsed(streams[0].steps)
        )
        vertices = (offsets.unflatten(2, (-1, 3)) + self.network.template) * c.unit  # (B, hop, V, 3)
        for stream in streams:
            stream.passes += 1
        return [
            [VertexFrame(n + i, (n + i) / c.frame_rate, frame.copy()) for i, frame in enumerate(rows)]
            for n, rows in zip(first, vertices.cpu().numpy())
        ]

    def listen(self, passes, states):
        """Features (B, hop, audio_dim) of the frames of pass passes[b] of voice b, from its newest audio."""
        windows = []
        for k, state in zip(passes, states):
            end, (start, stop) = self.grid.end(k), self.grid.span(k)
            newest = len(state.pcm) - end  # state.pcm[newest + i] is sample i of the stream
            window = state.pcm[newest + start : newest + stop]  # (≤ grid.window_samples,)
            if self.normalise:
                state.loudness.hear(state.pcm[newest + (self.grid.end(k - 1) if k else 0) :])
                window = state.loudness.normalise(window)
            windows.append(window)
        audio = torch.from_numpy(np.stack(windows)).to(self.device)  # (B, samples)
        places = torch.tensor([self.grid.positions(k) for k in passes], dtype=torch.float32)  # (B, hop)
        return hubert.pick(hubert.encode(self.network.audio, audio), places.to(self.device))

    def speak(self, features, states, identity, noise, head):
        """The next frames of B voices, whose states, of equal `rows`, move on in place.

        features (B, hop, audio_dim), identity (B,), noise (B, hop, H·C), a Collapsed -> offsets (B, hop, 3V)
        """
        net, hop = self.network, features.shape[1]
        predictor = PredictorState.gather([state.predictor for state in states])
        past = torch.cat([state.latents for state in states])  # (B, decode, H·C)
        latent, new = past[:, -1], []
        for i in range(hop):
            condition = net.predictor.step(latent, features[:, i], identity, predictor)  # (B, d)
            latent = head(noise[:, i], condition)  # (B, H·C)
            new.append(latent)
        past = torch.cat((past[:, hop:], torch.stack(new, 1)), 1)
        rows = min(states[0].rows + hop, self.decode)
        for i, state in enumerate(states):
            state.latents.copy_(past[i : i + 1])
            state.rows = rows
        predictor.scatter([state.predictor for state in states])
        return net.codec.decode(past[:, -rows:], newest=hop)


class PublishedStream:
    """One voice of a PublishedModel."""

    def __init__(self, model, seed=0, identity=None, steps=None) -> None:
        self.model, self.row = model, model.identity_row(identity)
        self.steps = model.steps if steps is None else steps
        model.collapsed(self.steps)  # refuses a number of steps that cannot be had
        self.state = model.state()
        self._zero(seed)

    def _zero(self, seed) -> None:
        self.seed = int(seed)
        self.passes = 0  # done
        self._heard = 0  # samples accepted
        self._finished = False

    def reset(self, seed=None) -> None:
        """Forget everything, in place; frames count from 0 again. seed: a new one, or None to keep it."""
        self.state.reset(self.model.start_latent)
        self._zero(self.seed if seed is None else seed)

    def accept(self, pcm):
        """Hear audio and return the VertexFrames that it completes, in order.

        pcm: (n,) float mono 16 kHz in −1..1, any n; what is not finite counts as silence.
        Raises TalkerError after `finish` (call `reset`), and on an array of another kind.
        """
        return self.model.accept([self], [pcm])[0]

    def finish(self):
        """End the audio: pad with silence and return the frames still owed, ceil(samples·f/16000) in all."""
        grid, total, frames = self.model.grid, self.model.grid.frames(self._heard), []
        while not self._finished and self.passes * grid.hop < total:
            frames += self.accept(np.zeros(grid.end(self.passes) - self._heard, np.float32))
        self._finished = True
        return [frame for frame in frames if frame.index < total]

    def checked(self, pcm):
        """The chunk as finite float32, or a TalkerError."""
        if self._finished:
            raise TalkerError("this stream is finished: call reset() before it hears new audio")
        return as_mono_float32(pcm)

    def fill(self, pcm):
        """Yield True each time that the newest audio ends where the next pass needs it to end."""
        taken, buffer = 0, self.state.pcm
        while taken < len(pcm):
            count = min(self.model.grid.end(self.passes) - self._heard, len(pcm) - taken)
            buffer[:-count] = buffer[count:].copy()
            buffer[-count:] = pcm[taken : taken + count]
            taken, self._heard = taken + count, self._heard + count
            if self._heard == self.model.grid.end(self.passes):
                yield True
