# SPDX-License-Identifier: Apache-2.0
"""Bounded streaming of a vertex checkpoint: audio in, frames of vertices out, at constant cost.

    talker = VertexTalker.load(folder)
    stream = talker.open_stream(seed=0, style=None)
    frames = stream.accept(pcm) + stream.finish()

The published order of computation (offline.py) depends on the whole utterance. Here a chunk of frames is
computed from a window of audio and from the last h rows of motion, the head's diffusion steps are composed
into one matrix, and a window of latents is decoded. docs/vertex.md gives the cost in accuracy.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from streamingtalker_ros.audio.pcm import as_mono_float32
from streamingtalker_ros.config_files import describe
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.ddim import frame_noise
from streamingtalker_ros.model.protocol import StreamProtocol, VertexFrame
from streamingtalker_ros.model.stream_checks import NotCopyable, check_batch, check_seed, check_steps
from streamingtalker_ros.model.vertex import checkpoint, hubert
from streamingtalker_ros.model.vertex.chunking import SAMPLE_RATE, ChunkSchedule
from streamingtalker_ros.model.vertex.diffusion_head import ComposedSampler
from streamingtalker_ros.model.vertex.network import VertexNetwork
from streamingtalker_ros.model.vertex.predictor import PredictorState

# speech at a usual level, assumed to precede the stream: see RunningNormalizer
PRIOR_SECONDS = 1.0
PRIOR_RMS = 0.05  # of full scale

LIMITS = ("chunk_frames", "window", "context", "decode_frames", "normalize")
MAX_SAMPLERS = 4  # numbers of diffusion steps whose tables are kept, each of the size of a few layers
MAX_CHUNK_FRAMES = 1000
MAX_WINDOW_S = 60.0  # HuBERT's memory grows with the square of the window
MAX_DECODE_FRAMES = 10_000


@dataclass
class RunningNormalizer:
    """Zero mean and unit variance over all audio so far: the causal form of the published normalization.

    `PRIOR_SECONDS` of speech at a usual level are counted in front, so that a quiet beginning is not
    amplified.

    Attributes:
        count: Samples so far.
        total: Their sum.
        squares: The sum of their squares.
    """

    count: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def update(self, pcm: npt.NDArray[np.float32]) -> None:
        """Add new audio, (n,), to the statistics.

        Args:
            pcm: Samples at 16 kHz, full scale ±1, each counted once.
        """
        samples = pcm.astype(np.float64)
        self.count += len(samples)
        self.total += float(samples.sum())
        self.squares += float(samples @ samples)

    def normalize(self, pcm: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return (n,) audio with the running mean removed, divided by the running standard deviation.

        Args:
            pcm: Samples at 16 kHz, full scale ±1; they do not change the statistics.
        """
        prior = PRIOR_SECONDS * SAMPLE_RATE
        mean = self.total / (self.count + prior)
        variance = (self.squares + prior * PRIOR_RMS**2) / (self.count + prior) - mean**2
        return ((pcm - mean) / np.sqrt(variance + 1e-7)).astype(np.float32)

    def reset(self) -> None:
        """Discard the statistics of all audio."""
        self.count = self.total = self.squares = 0.0


@dataclass
class VertexStreamState:
    """State of one stream, of fixed size.

    Attributes:
        pcm: (window_samples + feature_stride,) float32, the newest audio at its end.
        normalizer: Statistics of all audio so far.
        predictor: Cached keys and values of the last h rows.
        latents: (1, decode_frames, H·C), the newest at its end.
        num_latents: Rows of `latents` that are valid, the start latent included.
    """

    pcm: npt.NDArray[np.float32]
    normalizer: RunningNormalizer
    predictor: PredictorState
    latents: torch.Tensor
    num_latents: int = 1

    def reset(self, start_latent: torch.Tensor) -> None:
        """Begin a stream anew, in place; start_latent: (H·C,)."""
        self.pcm[:] = 0.0
        self.normalizer.reset()
        self.predictor.reset()
        self.latents.zero_()
        self.latents[:, -1] = start_latent
        self.num_latents = 1


class VertexTalker(NotCopyable):
    """Vertex network on a device with the limits of its streaming; opens streams.

    Implements `model.protocol.TalkerProtocol`. Safe to use from several threads.

    Args:
        network: The network; it is moved to the device.
        device: A torch device.
        chunk_frames: Frames computed at once; more cost less per frame and wait longer.
        window: Seconds of audio that HuBERT encodes for a chunk.
        context: Seconds of that audio after the chunk's last frame.
        decode_frames: Rows of latents decoded together; None for the configuration's `context_frames`.
        normalize: False if the audio is normalized already.

    Raises:
        TalkerError: If a limit is out of range.
    """

    family: Literal["vertex"] = "vertex"

    def __init__(
        self,
        network: VertexNetwork,
        device: str = "cpu",
        chunk_frames: int = 12,
        window: float = 1.0,
        context: float = 0.1,
        decode_frames: int | None = None,
        normalize: bool = True,
    ) -> None:
        config = network.config
        _check_limit("chunk_frames", chunk_frames, MAX_CHUNK_FRAMES)
        _check_limit("window", window, MAX_WINDOW_S)
        _check_limit("context", context, MAX_WINDOW_S)
        if decode_frames is not None:
            _check_limit("decode_frames", decode_frames, MAX_DECODE_FRAMES)
            decode_frames = int(decode_frames)
        self.network, self.device, self.normalize = network.to(device), str(device), normalize
        feature_stride, receptive_field = hubert.geometry(network.audio)
        self.schedule = ChunkSchedule.create(
            config.frame_rate,
            config.audio_fps,
            feature_stride,
            receptive_field,
            chunk_frames,
            window,
            context,
        )
        self.decode_frames = config.context_frames if decode_frames is None else decode_frames
        if self.decode_frames < chunk_frames + 1:
            raise TalkerError(
                f"decoding {self.decode_frames} rows is too few for a chunk of {chunk_frames} frames: "
                f"give {chunk_frames + 1} or more"
            )
        with torch.inference_mode():
            self.start_latent = network.codec.start_latent()  # (H·C,)
        self._samplers: dict[int, ComposedSampler] = {}  # by number of steps, the oldest first
        self._samplers_lock = threading.Lock()
        self.lock = threading.RLock()  # held while frames are generated

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu", **limits: Any) -> VertexTalker:
        """Load a converted checkpoint.

        Args:
            folder: Folder that `streamingtalker convert` wrote.
            device: A torch device.
            limits: `chunk_frames`, `window`, `context` and `decode_frames`, see the class.

        Raises:
            TalkerError: If the folder holds no such checkpoint, or a limit is out of range.
        """
        unknown = [name for name in limits if name not in LIMITS]
        if unknown:
            raise TalkerError(f"{', '.join(unknown)}: choose from the limits {', '.join(LIMITS)}")
        return cls(checkpoint.load(folder), device, **limits)

    @property
    def name(self) -> str:
        """Name of the data set that the checkpoint was trained on, "vocaset" or "biwi"."""
        return self.network.config.dataset

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.network.config.frame_rate

    @property
    def hop(self) -> int:
        """Samples of 16 kHz audio per frame, rounded."""
        return round(SAMPLE_RATE / self.frame_rate)

    @property
    def frames_per_step(self) -> int:
        """Frames that are computed at once."""
        return self.schedule.chunk_frames

    @property
    def lookahead(self) -> float:
        """Seconds: frame n depends on audio up to (n + 1)/frame_rate + lookahead and on nothing later."""
        return self.schedule.lookahead

    @property
    def steps(self) -> int:
        """Diffusion steps per frame of a stream that sets no other number."""
        return self.network.config.num_inference_steps

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the speaker identities; the first is the default."""
        return self.network.config.identities

    @property
    def control_names(self) -> tuple[str, ...]:
        """A vertex stream has no controls."""
        return ()

    @property
    def template(self) -> npt.NDArray[np.float32]:
        """(V, 3) float32 in metres: the rest pose; zeros if the checkpoint has no template."""
        return (self.network.template * self.network.config.unit).cpu().numpy()

    @property
    def triangles(self) -> npt.NDArray[np.uint32]:
        """(T, 3) uint32 indices of vertices, empty if the template had no faces."""
        return self.network.triangles.cpu().numpy().astype(np.uint32)

    def check(self, style: str | None = None, steps: int | None = None) -> None:
        """Raise TalkerError unless a stream can have this style and number of steps; None: the default."""
        self.style_row(style)
        if steps is not None and steps != 0:
            self.sampler(steps)

    def check_steps(self, steps: int) -> int:
        """Return a number of diffusion steps as an integer.

        Raises:
            TalkerError: If it is no whole number, or out of range.
        """
        return check_steps(steps, self.network.config.num_train_timesteps)

    def sampler(self, steps: int) -> ComposedSampler:
        """Return the head's diffusion steps as one affine map; the last `MAX_SAMPLERS` are kept.

        Raises:
            TalkerError: If the number of steps is out of range.
        """
        steps = self.check_steps(steps)
        sampler = self._samplers.get(steps)
        if sampler is None:
            sampler = self.network.composed_sampler(steps)
            with self._samplers_lock:
                while len(self._samplers) >= MAX_SAMPLERS:
                    del self._samplers[next(iter(self._samplers))]
                self._samplers[steps] = sampler
        return sampler

    def style_row(self, style: object) -> int:
        """Return the row of the identity embedding of a style; None or "" is the first.

        Raises:
            TalkerError: If the style is unknown; the message lists the known ones.
        """
        if style is None or (isinstance(style, str) and not style):
            return 0
        if not isinstance(style, (str, int)) or str(style) not in self.styles:
            raise TalkerError(f"unknown style {describe(style)}: choose one of {', '.join(self.styles)}")
        return self.styles.index(str(style))

    def open_stream(
        self, seed: int = 0, style: str | None = None, steps: int | None = None, **controls: Any
    ) -> VertexStream:
        """Open a fresh stream.

        Args:
            seed: Seed of the stream's noise.
            style: One of `styles`; None for the first.
            steps: Diffusion steps per frame; None for `self.steps`.
            controls: Must be empty: a vertex stream has no controls.

        Raises:
            TalkerError: If a value is unknown or out of range.
        """
        if controls:
            raise TalkerError(f"{', '.join(controls)}: a stream of a vertex model has no such option")
        return VertexStream(self, seed, style, steps)

    def init_state(self) -> VertexStreamState:
        """Return the state of a fresh stream."""
        latents = self.start_latent.new_zeros(1, self.decode_frames, self.network.config.latent_dim)
        pcm = np.zeros(self.schedule.window_samples + self.schedule.feature_stride, np.float32)
        state = VertexStreamState(pcm, RunningNormalizer(), self.network.predictor.init_state(1), latents)
        state.reset(self.start_latent)
        return state

    def warm_up(self) -> None:
        """Compute the first two chunks of silence, so that the first real one finds everything allocated."""
        self.open_stream().accept(np.zeros(self.schedule.samples_needed(1), np.float32))

    def accept(
        self, streams: Sequence[StreamProtocol], chunks: Sequence[np.ndarray]
    ) -> list[list[VertexFrame]]:
        """Process audio of several streams; chunks that are due are computed as one batch.

        Args:
            streams: Streams of this talker, each at most once.
            chunks: For each stream its audio, as `VertexStream.accept` takes it.

        Returns:
            For each stream the frames that its audio completed.

        Raises:
            TalkerError: If a stream is passed twice, is finished, or belongs to another talker, or if the
                chunks are not one array of floats for each stream. No stream has changed then. After any
                other exception, of the model, the streams have to be reset.
        """
        checked_streams, checked_chunks = check_batch(self, VertexStream, streams, chunks)
        frames: list[list[VertexFrame]] = [[] for _ in checked_streams]
        with self.lock:
            pcm = [
                stream.validate(chunk) for stream, chunk in zip(checked_streams, checked_chunks, strict=True)
            ]
            fills = [stream.fill(samples) for stream, samples in zip(checked_streams, pcm, strict=True)]
            due = list(range(len(checked_streams)))
            try:
                while due:
                    due = [i for i in due if next(fills[i], False)]
                    # chunks of one shape and number of steps; after a few seconds all have the same shape
                    groups: dict[tuple[int, int, int], list[int]] = {}
                    for i in due:
                        start, stop = self.schedule.window_span(checked_streams[i].num_chunks)
                        key = (stop - start, checked_streams[i].state.num_latents, checked_streams[i].steps)
                        groups.setdefault(key, []).append(i)
                    for group in groups.values():
                        computed = self._compute_chunk([checked_streams[i] for i in group])
                        for i, chunk in zip(group, computed, strict=True):
                            frames[i] += chunk
            except BaseException:  # also Ctrl-C: the streams are in the middle of a step
                for stream in checked_streams:
                    stream.mark_failed()
                raise
        return frames

    @torch.inference_mode()
    def _compute_chunk(self, streams: Sequence[VertexStream]) -> list[list[VertexFrame]]:
        """Compute the next chunk of each of B streams: `chunk_frames` frames for each."""
        config, chunk_frames = self.network.config, self.schedule.chunk_frames
        states = [stream.state for stream in streams]
        first = [stream.num_chunks * chunk_frames for stream in streams]
        features = self.encode_windows([stream.num_chunks for stream in streams], states)
        noise = np.stack(
            [
                [frame_noise(stream.seed, n + i, config.latent_dim) for i in range(chunk_frames)]
                for stream, n in zip(streams, first, strict=True)
            ]
        )
        style = torch.tensor([stream.style_row for stream in streams], device=self.device)
        noise = torch.from_numpy(noise).to(self.device)
        offsets = self.generate_chunk(features, states, style, noise, self.sampler(streams[0].steps))
        # (B, chunk_frames, V, 3)
        vertices = (offsets.unflatten(2, (-1, 3)) + self.network.template) * config.unit
        for stream in streams:
            stream.num_chunks += 1
        return [
            [VertexFrame(n + i, (n + i) / config.frame_rate, frame.copy()) for i, frame in enumerate(rows)]
            for n, rows in zip(first, vertices.cpu().numpy(), strict=True)
        ]

    def encode_windows(self, chunks: Sequence[int], states: Sequence[VertexStreamState]) -> torch.Tensor:
        """Encode the newest audio of B streams.

        Args:
            chunks: (B,) numbers of the chunks to be computed.
            states: The streams' states; their normalizers advance.

        Returns:
            (B, chunk_frames, audio_dim) features at the chunks' frames.
        """
        windows: list[npt.NDArray[np.float32]] = []
        for chunk, state in zip(chunks, states, strict=True):
            # state.pcm[origin + i] is sample i of the stream
            origin = len(state.pcm) - self.schedule.samples_needed(chunk)
            start, stop = self.schedule.window_span(chunk)
            window = state.pcm[origin + start : origin + stop]  # (≤ window_samples,)
            if self.normalize:
                counted = self.schedule.samples_needed(chunk - 1) if chunk else 0
                state.normalizer.update(state.pcm[origin + counted :])
                window = state.normalizer.normalize(window)
            windows.append(window)
        audio = torch.from_numpy(np.stack(windows)).to(self.device)  # (B, samples)
        positions = torch.tensor(
            [self.schedule.feature_positions(chunk) for chunk in chunks], dtype=torch.float32
        )  # (B, chunk_frames)
        return hubert.gather_features(hubert.encode(self.network.audio, audio), positions.to(self.device))

    def generate_chunk(
        self,
        features: torch.Tensor,
        states: Sequence[VertexStreamState],
        style: torch.Tensor,
        noise: torch.Tensor,
        sampler: ComposedSampler,
    ) -> torch.Tensor:
        """Generate the next frames of B streams.

        Args:
            features: (B, chunk_frames, audio_dim).
            states: States of equal `num_latents`; they advance in place.
            style: (B,) rows of the identity embedding.
            noise: (B, chunk_frames, H·C) white noise.
            sampler: The composed diffusion steps.

        Returns:
            (B, chunk_frames, 3V) offsets from the template, in the checkpoint's own unit.
        """
        network, chunk_frames = self.network, features.shape[1]
        predictor = PredictorState.gather([state.predictor for state in states])
        past = torch.cat([state.latents for state in states])  # (B, decode_frames, H·C)
        latent, new = past[:, -1], []
        for i in range(chunk_frames):
            condition = network.predictor.step(latent, features[:, i], style, predictor)  # (B, d)
            latent = sampler(noise[:, i], condition)  # (B, H·C)
            new.append(latent)
        past = torch.cat((past[:, chunk_frames:], torch.stack(new, 1)), 1)
        num_latents = min(states[0].num_latents + chunk_frames, self.decode_frames)
        for i, state in enumerate(states):
            state.latents.copy_(past[i : i + 1])
            state.num_latents = num_latents
        predictor.scatter([state.predictor for state in states])
        return network.codec.decode(past[:, -num_latents:], last=chunk_frames)


def _check_limit(name: str, value: Any, greatest: float) -> None:
    """Raise TalkerError unless a limit of the streaming is a number; the schedule knows the least one."""
    if isinstance(value, bool) or not isinstance(value, Real) or not -greatest <= float(value) <= greatest:
        raise TalkerError(f"{name} is {describe(value)}: give a number up to {greatest:g}")


class VertexStream(NotCopyable):
    """One voice of a VertexTalker; implements `model.protocol.StreamProtocol`.

    Opened by `VertexTalker.open_stream`, which documents the options.
    """

    def __init__(
        self, talker: VertexTalker, seed: int = 0, style: str | None = None, steps: int | None = None
    ) -> None:
        self.talker = talker
        self.style, self.steps = style, steps
        self.state = talker.init_state()
        self._clear(seed)

    def _clear(self, seed: int) -> None:
        self.seed = seed
        self.num_chunks = 0  # computed so far
        self._accepted = 0  # samples
        self._finished = False
        self._failed = False  # the model raised in the middle of a call

    @property
    def seed(self) -> int:
        """Seed of the noise; may be set at any time."""
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = check_seed(seed)

    @property
    def style(self) -> str:
        """Name of the speaker identity; may be set at any time."""
        return self.talker.styles[self.style_row]

    @style.setter
    def style(self, style: str | None) -> None:
        self.style_row = self.talker.style_row(style)

    @property
    def steps(self) -> int:
        """Diffusion steps per frame; may be set at any time, None for the talker's."""
        return self._steps

    @steps.setter
    def steps(self, steps: int | None) -> None:
        steps = self.talker.check_steps(self.talker.steps if steps is None else steps)
        self.talker.sampler(steps)  # prepared here, not between two chunks
        self._steps = steps

    def set(self, **controls: Any) -> None:
        """Raise TalkerError for any control: a vertex stream has none."""
        for name in controls:
            raise TalkerError(f"{name} is not a control of a stream of a vertex model, which has none")

    @property
    def preview_samples(self) -> int:
        """0: no announcement changes a frame."""
        return 0

    def announce(self, pcm: np.ndarray) -> None:
        """Ignore an announcement.

        Args:
            pcm: Audio that follows.
        """

    @property
    def partner_voice_s(self) -> float:
        """0: a vertex stream hears no partner."""
        return 0.0

    def apply(self, command: object) -> None:
        """Raise TalkerError: a vertex stream has no conversation layer.

        Args:
            command: Any command of the conversation.
        """
        raise TalkerError(
            f"{type(command).__name__} has no effect on a vertex model, whose frames hold neither eyes nor "
            "head pose: load a blendshape model"
        )

    def reset(self, seed: int | None = None, *, keep_conversation: bool = False) -> None:
        """Start over at frame 0, in place.

        Args:
            seed: Replaces the seed of the noise unless it is None.
            keep_conversation: Without effect: a vertex model has no conversation layer.
        """
        seed = self.seed if seed is None else check_seed(seed)
        with self.talker.lock:
            self.state.reset(self.talker.start_latent)
            self._clear(seed)

    def accept(self, pcm: np.ndarray) -> list[VertexFrame]:
        """Process audio and return the frames that it completes, in order.

        Args:
            pcm: (n,) floats, mono, 16 kHz, in −1..1, any n; values that are not finite count as silence.

        Raises:
            TalkerError: After `finish` or a failure of the model (call `reset`), or if the array is not
                one-dimensional floats.
        """
        return self.talker.accept([self], [pcm])[0]

    def finish(self) -> list[VertexFrame]:
        """Pad with silence and return the last frames: ceil(samples · frame_rate / 16000) in all."""
        schedule = self.talker.schedule
        frames: list[VertexFrame] = []
        with self.talker.lock:
            total = schedule.frame_count(self._accepted)
            while not self._finished and self.num_chunks * schedule.chunk_frames < total:
                padding = schedule.samples_needed(self.num_chunks) - self._accepted
                frames += self.accept(np.zeros(padding, np.float32))
            self._finished = True
        return [frame for frame in frames if frame.index < total]

    def validate(self, pcm: np.ndarray) -> npt.NDArray[np.float32]:
        """Return the audio as finite float32. Raises TalkerError as `accept` says.

        Args:
            pcm: (n,) floats, mono, 16 kHz, in −1..1; values that are not finite become silence.
        """
        if self._finished:
            raise TalkerError("this stream is finished: call reset() before it accepts new audio")
        if self._failed:
            raise TalkerError("the model failed on this stream: call reset() before it accepts new audio")
        return as_mono_float32(pcm)

    def mark_failed(self) -> None:
        """Accept no audio until `reset`: its state is that of the middle of a step. Called by the talker."""
        self._failed = True

    def fill(self, pcm: npt.NDArray[np.float32]) -> Iterator[bool]:
        """Yield True each time the newest audio ends where the next chunk's window ends.

        Args:
            pcm: (n,) audio of `validate`; it is copied into the stream's window piece by piece.
        """
        taken, buffer = 0, self.state.pcm
        while taken < len(pcm):
            needed = self.talker.schedule.samples_needed(self.num_chunks)
            count = min(needed - self._accepted, len(pcm) - taken)
            buffer[:-count] = buffer[count:].copy()
            buffer[-count:] = pcm[taken : taken + count]
            taken, self._accepted = taken + count, self._accepted + count
            if self._accepted == needed:
                yield True
