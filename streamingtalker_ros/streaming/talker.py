# SPDX-License-Identifier: Apache-2.0
"""Talker: the weights of a blendshape checkpoint on a device, from which any number of streams are opened.

    talker = Talker.load()  # the default weights, CUDA where available
    stream = talker.open_stream(seed=0)

Streams that have a hop of audio ready are stepped together as one batch; sharing a batch changes no frame.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt
import torch

from streamingtalker_ros.config_files import describe
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.rotation import rotation_vector_to_quaternion
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.blendshape.fused_inference import FusedNetwork, FusedSampler
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.model.ddim import NoiseSchedule, frame_noise
from streamingtalker_ros.model.protocol import BlendshapeFrame, StreamProtocol
from streamingtalker_ros.model.stream_checks import NotCopyable, check_batch, check_steps
from streamingtalker_ros.model.vertex.streaming import VertexTalker
from streamingtalker_ros.streaming.controls import CONTROL_NAMES, Controls
from streamingtalker_ros.streaming.cuda_graph import CudaGraphed
from streamingtalker_ros.streaming.eye_motion import apply_eye_motion
from streamingtalker_ros.streaming.lip_constraints import apply_lip_constraints, read_articulation_heads
from streamingtalker_ros.streaming.state_pool import StatePool
from streamingtalker_ros.streaming.stream import Stream
from streamingtalker_ros.streaming.voice_gate import apply_gate, update_vad

MAX_SAMPLERS = 16  # numbers of diffusion steps whose tables are kept
CUDA_GRAPH_VARIABLE = "STREAMINGTALKER_CUDA_GRAPH"  # environment: "1" captures the frame step as CUDA graphs
DEFAULT_CHECKPOINT = Path(__file__).parent.parent / "weights" / "default"


def choose_device(device: str) -> str:
    """Resolve "auto", "cpu", "cuda" or "cuda:N" to a torch device.

    Raises:
        TalkerError: If the device is unknown or not available.
    """
    device = str(device)  # of a torch.device, too
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    is_number = number.isascii() and number.isdecimal() and len(number) < 6
    if kind not in ("cpu", "cuda") or (number and not is_number):
        raise TalkerError(f"unknown device {describe(device)}: choose auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise TalkerError(
            f"device {device!r} is not available: this PyTorch sees no CUDA, choose auto or cpu"
        )
    if number and int(number) >= torch.cuda.device_count():
        raise TalkerError(
            f"device {device!r} is not available: {torch.cuda.device_count()} CUDA devices are seen"
        )
    return device


class Talker(NotCopyable):
    """Blendshape network on a device, and the pool of its streams' states. Safe to use from several threads.

    Implements `model.protocol.TalkerProtocol`. Calls that generate frames wait for each other.

    Args:
        network: The talker takes ownership: the weights must not change afterwards.
        device: "auto", "cpu", "cuda" or "cuda:N".
        use_cuda_graph: Whether the frame step runs as captured CUDA graphs; None to follow the environment
            variable STREAMINGTALKER_CUDA_GRAPH.

    Raises:
        TalkerError: If the device is not available.
    """

    family: Literal["blendshape"] = "blendshape"
    frames_per_step = 1
    template = None  # frames belong to no mesh
    triangles = None

    def __init__(
        self, network: TalkerNetwork, device: str = "auto", use_cuda_graph: bool | None = None
    ) -> None:
        self.device = choose_device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.fused = FusedNetwork(self.network)  # what runs: the same numbers in fewer operations
        if use_cuda_graph is None:
            use_cuda_graph = os.environ.get(CUDA_GRAPH_VARIABLE) == "1" and self.device != "cpu"
        self.use_cuda_graph = use_cuda_graph
        self.lock = threading.RLock()  # held while frames are generated
        self._samplers: dict[int, FusedSampler] = {}  # by number of steps, the oldest first
        self._samplers_lock = threading.Lock()
        # with the states of each graph, so that no id of a state is reused
        self._graphs: dict[tuple[Any, ...], tuple[list[Any], CudaGraphed]] = {}
        self._pool = StatePool(self.network.init_state)
        self._uncond_pool = StatePool(self.network.predictor.init_state)  # of streams with guidance

    @overload
    @classmethod
    def load(cls, path: None = None, device: str = "auto") -> Talker: ...

    @overload
    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "auto", **limits: Any) -> AnyTalker: ...

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "auto", **limits: Any) -> AnyTalker:
        """Load a checkpoint folder of either family; see `load_talker`.

        Args:
            path: Checkpoint folder; None for the default checkpoint.
            device: "auto", "cpu", "cuda" or "cuda:N".
            limits: Limits of a vertex checkpoint, as `load_talker` takes them.

        Returns:
            A Talker, or a VertexTalker for a vertex checkpoint.
        """
        return load_talker(path, device, **limits)

    @property
    def name(self) -> str:
        """Name of the checkpoint."""
        return self.network.config.name

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.network.config.frame_rate

    @property
    def hop(self) -> int:
        """Samples of 16 kHz audio per frame."""
        return self.network.config.hop

    @property
    def lookahead(self) -> float:
        """Seconds: frame n depends on audio up to (n + 1) / frame_rate + lookahead and on nothing later."""
        return self.network.config.lookahead_frames / self.frame_rate

    @property
    def steps(self) -> int:
        """Diffusion steps per frame of a stream that sets no other number."""
        return self.network.config.num_inference_steps

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the speaking styles; the first is the default."""
        return self.network.config.styles

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of the controls of a stream, the fields of `controls.Controls`."""
        return CONTROL_NAMES

    @property
    def network_state(self) -> Any:
        """State of all streams' rows, a `NetworkState`; of fixed size while no stream is opened."""
        return self._pool.state

    @property
    def num_graphs(self) -> int:
        """Number of captured frame steps, one per batch size and options; 0 without CUDA graphs."""
        return len(self._graphs)

    def style_row(self, style: object) -> int:
        """Return the row of the style embedding of a style; None or "" is the first.

        Raises:
            TalkerError: If the style is unknown; the message lists the known ones.
        """
        if style is None or (isinstance(style, str) and not style):
            return 0
        if not isinstance(style, str) or style not in self.styles:
            raise TalkerError(f"unknown style {describe(style)}: choose one of {', '.join(self.styles)}")
        return self.styles.index(style)

    def check_steps(self, steps: int) -> int:
        """Return a number of diffusion steps as an integer.

        Raises:
            TalkerError: If it is no whole number, or out of range.
        """
        return check_steps(steps, self.network.config.num_train_timesteps)

    def sampler(self, steps: int) -> FusedSampler:
        """Return the head's sampler for a number of steps; the last `MAX_SAMPLERS` are kept.

        Raises:
            TalkerError: If the number of steps is out of range.
        """
        steps = self.check_steps(steps)
        sampler = self._samplers.get(steps)
        if sampler is None:
            config = self.network.config
            schedule = NoiseSchedule(config.beta_start, config.beta_end, config.num_train_timesteps)
            sampler = FusedSampler(self.network.head, steps, schedule)
            with self._samplers_lock:
                while len(self._samplers) >= MAX_SAMPLERS:
                    del self._samplers[next(iter(self._samplers))]
                self._samplers[steps] = sampler
        return sampler

    def check(self, style: str | None = None, steps: int | None = None) -> None:
        """Raise TalkerError unless a stream can have this style and number of steps; None: the default."""
        self.style_row(style)
        if steps is not None and steps != 0:
            self.sampler(steps)

    def open_stream(
        self,
        seed: int = 0,
        style: str | None = None,
        steps: int | None = None,
        context_frames: int | None = None,
        eye_motion: bool = True,
        **controls: Any,
    ) -> Stream:
        """Open a fresh stream.

        Args:
            seed: Seed of the stream's noise.
            style: One of `styles`; None for the first.
            steps: Diffusion steps per frame; None for `self.steps`.
            context_frames: Frames of past motion that count; None for all that the model keeps.
            eye_motion: Whether rules add blinks and saccades where the network has none
                (`streaming.eye_motion`).
            controls: Fields of `controls.Controls`, as `Stream.set` takes them.

        Raises:
            TalkerError: If a name is unknown or a value is out of range.
        """
        unknown = [name for name in controls if name not in CONTROL_NAMES]
        if unknown:
            raise TalkerError(f"{', '.join(unknown)}: a stream has no such option")
        values = Controls(**controls)
        return Stream(self, seed, style, steps, context_frames, values, eye_motion)

    def open_row(self) -> int:
        """Open a fresh row of the state pool. Called by the stream."""
        with self.lock:
            return self._pool.open()

    def release(self, row: int) -> None:
        """Free the row of a garbage-collected stream, in whichever thread and call that happens."""
        self._pool.close(row)  # takes no lock: a finalizer must not wait for one

    def open_uncond(self, frame: int) -> int:
        """Open the unconditional branch of a stream with guidance from `frame` on; returns its row."""
        with self.lock:
            row = self._uncond_pool.open()
            try:
                with self._uncond_pool.batch([row]) as state:
                    state.frame[:] = frame
            except BaseException:
                self._uncond_pool.close(row)
                raise
            return row

    def release_uncond(self, row: int) -> None:
        """Free the row of an unconditional branch, as `release` does."""
        self._uncond_pool.close(row)

    def reset_state(self, row: int, uncond_row: int | None = None) -> None:
        """Reset the network's state of one stream. Called by `Stream.reset`.

        Args:
            row: Row of the stream in the state pool.
            uncond_row: Row of its unconditional branch in that branch's pool, or None without guidance.
        """
        with self.lock:
            self._pool.reset(row)
            if uncond_row is not None:
                self._uncond_pool.reset(uncond_row)

    def warm_up(self, frames: int = 10) -> None:
        """Run a few frames of silence, so that the first real one finds everything allocated."""
        self.open_stream().accept(np.zeros(frames * self.hop, np.float32))

    def accept(
        self, streams: Sequence[StreamProtocol], chunks: Sequence[np.ndarray]
    ) -> list[list[BlendshapeFrame]]:
        """Process one chunk of audio for each of several streams, stepped together.

        Args:
            streams: Streams of this talker, each at most once.
            chunks: For each stream its audio, as `Stream.accept` takes it.

        Returns:
            For each stream the frames that its chunk completed.

        Raises:
            TalkerError: If a stream is passed twice, is finished, or belongs to another talker, or if the
                chunks are not one array of floats for each stream. No stream has changed then. After any
                other exception, of the model, the streams have to be reset.
        """
        checked_streams, checked_chunks = check_batch(self, Stream, streams, chunks)
        frames: list[list[BlendshapeFrame]] = [[] for _ in checked_streams]
        with self.lock:
            pcm = [
                stream.validate(chunk) for stream, chunk in zip(checked_streams, checked_chunks, strict=True)
            ]
            hops = [stream.pop_hops(samples) for stream, samples in zip(checked_streams, pcm, strict=True)]
            ready = list(range(len(checked_streams)))
            try:
                while ready:
                    batch = [(i, hop) for i in ready for hop in [next(hops[i], None)] if hop is not None]
                    ready = [i for i, _ in batch]
                    if batch:
                        stepped = self._step(
                            [checked_streams[i] for i in ready], np.stack([hop for _, hop in batch])
                        )
                        for i, frame in zip(ready, stepped, strict=True):
                            if frame is not None:
                                frames[i].append(frame)
            except BaseException:  # also Ctrl-C: the streams are in the middle of a step
                for stream in checked_streams:
                    stream.mark_failed()
                raise
        return frames

    @torch.inference_mode()
    def _step(self, streams: Sequence[Stream], hops: npt.NDArray[np.float32]) -> list[BlendshapeFrame | None]:
        """Encode one hop (B, hop) for B streams and generate the frames whose look-ahead it completes.

        Returns None for the first hops of a stream, which complete no frame.
        """
        config = self.network.config
        with self._pool.batch([stream.row for stream in streams], "encoder") as state:

            def encode(hop: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                return self.fused.encode_hop(hop, state)

            features, logits = self._run(
                ("encode",),
                encode,
                [state],
                torch.from_numpy(hops).to(self.device),
            )
        frames: list[BlendshapeFrame | None] = [None] * len(streams)
        # streams of equal steps and context, with or without guidance, share a pass of the head
        groups: dict[tuple[int, int | None, bool], list[int]] = {}
        for i, (stream, hop, stream_logits) in enumerate(zip(streams, hops, logits.tolist(), strict=True)):
            update_vad(stream.vad_gate, 1.0 / (1.0 + np.exp(-stream_logits[0])), hop)
            stream.lip_targets = read_articulation_heads(
                stream_logits, config, stream.lip_targets, stream.noise_floor.update(hop)
            )
            stream.hops += 1
            if stream.hops > config.lookahead_frames:
                key = (stream.steps, stream.context_frames, stream.uncond_row is not None)
                groups.setdefault(key, []).append(i)
        for (steps, context_frames, _), rows in groups.items():
            motion = self._generate([streams[i] for i in rows], features[rows], steps, context_frames)
            for i, row in zip(rows, motion, strict=True):
                frames[i] = self._to_frame(streams[i], row)
        return frames

    def _generate(
        self, streams: Sequence[Stream], features: torch.Tensor, steps: int, context_frames: int | None
    ) -> npt.NDArray[np.float32]:
        """Generate motion (B, 55) of the next frame of each stream."""
        config = self.network.config
        noise = np.float32(config.temperature) * np.stack(
            [
                frame_noise(stream.seed, stream.hops - 1 - config.lookahead_frames, config.latent_dim)
                for stream in streams
            ]
        )
        style = torch.tensor([stream.style_row for stream in streams], device=self.device)
        inputs, sampler = [features, torch.from_numpy(noise).to(self.device), style], self.sampler(steps)
        rows = [stream.row for stream in streams]
        uncond_rows = [stream.uncond_row for stream in streams if stream.uncond_row is not None]
        if uncond_rows:
            guidance = [[stream.controls.guidance] for stream in streams]
            inputs.append(torch.tensor(guidance, device=self.device))
        with (
            self._pool.batch(rows, "predictor", "codec", "latent") as state,
            self._uncond_pool.batch(uncond_rows) if uncond_rows else nullcontext() as uncond,
        ):

            def generate(
                feature: torch.Tensor,
                noise: torch.Tensor,
                style: torch.Tensor,
                guidance: torch.Tensor | None = None,
            ) -> torch.Tensor:
                return self.fused.generate_frame(
                    feature, noise, style, sampler, state, context_frames, guidance, uncond
                )

            states = [state] if uncond is None else [state, uncond]
            motion = self._run(("generate", steps, context_frames), generate, states, *inputs)
        return motion.cpu().numpy()

    def _run(
        self, key: tuple[Any, ...], function: Callable[..., Any], states: list[Any], *inputs: torch.Tensor
    ) -> Any:
        """Return function(*inputs), valid until the next call; through a CUDA graph where that is enabled."""
        if not self.use_cuda_graph:
            return function(*inputs)
        key = (*key, *map(id, states))
        if key not in self._graphs:
            self._graphs[key] = (states, CudaGraphed(function, states, inputs))
        return self._graphs[key][1](*inputs)

    def _to_frame(self, stream: Stream, motion: npt.NDArray[np.float32]) -> BlendshapeFrame:
        """Apply constraints, gate, eye motion and controls to motion (55,) of a stream's next frame."""
        config = self.network.config
        index = stream.hops - 1 - config.lookahead_frames
        weights = np.clip(motion[:52], 0.0, 1.0)
        weights = apply_lip_constraints(weights, stream.lip_targets, config)
        speaking = apply_gate(stream.vad_gate, weights, stream.lip_targets.aperture)
        if stream.eye_motion:
            apply_eye_motion(stream.eye_motion_state, weights, speaking, stream.seed, index, self.frame_rate)
        weights, rotation = stream.smoother.frame(weights, motion[52:55])
        quaternion = rotation_vector_to_quaternion(rotation)
        return BlendshapeFrame(index, index / self.frame_rate, weights, quaternion, speaking)


AnyTalker: TypeAlias = Talker | VertexTalker  # distinguished by `talker.family`


def load_talker(path: str | Path | None = None, device: str = "auto", **limits: Any) -> AnyTalker:
    """Load a checkpoint folder of either family, by default the weights inside the package.

    Args:
        path: Folder with `config.json` and `weights.safetensors`; None for the default checkpoint.
        device: "auto", "cpu", "cuda" or "cuda:N".
        limits: Of a vertex checkpoint alone: chunk_frames, window, context and decode_frames, see
            `VertexTalker`.

    Returns:
        A Talker, or a VertexTalker for a folder that `streamingtalker convert` wrote.

    Raises:
        TalkerError: If the folder, its weights or the device are not available.
    """
    path, device = path or DEFAULT_CHECKPOINT, choose_device(device)
    if checkpoint.read_family(path) == "vertex":
        return VertexTalker.load(path, device, **limits)
    if limits:
        raise TalkerError(
            f"{', '.join(limits)}: only a vertex checkpoint has these limits, {path} is of the other family"
        )
    return Talker(checkpoint.load(path), device)
