# SPDX-License-Identifier: Apache-2.0
"""Talker: the weights of a blendshape checkpoint on a device, from which any number of streams are opened.

    talker = Talker.load()  # the default weights, CUDA where available
    stream = talker.open_stream(seed=0)

Streams that have a hop of audio ready are stepped together as one batch; sharing a batch changes no frame.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.config_files import describe
from streamingtalker_ros.conversation.frame import FrameContext, Modulation
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.rotation import rotation_vector_to_quaternion
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.blendshape.backend import FrameBackend
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.load_backend import check_choices, load_backend
from streamingtalker_ros.model.ddim import frame_noise
from streamingtalker_ros.model.devices import choose_device
from streamingtalker_ros.model.protocol import BlendshapeFrame, StreamProtocol
from streamingtalker_ros.model.stream_checks import NotCopyable, check_batch, check_steps
from streamingtalker_ros.streaming.controls import CONTROL_NAMES, Controls
from streamingtalker_ros.streaming.eye_motion import apply_eye_motion, request_blink
from streamingtalker_ros.streaming.lip_constraints import apply_lip_constraints, read_articulation_heads
from streamingtalker_ros.streaming.mouth_asymmetry import apply_asymmetry
from streamingtalker_ros.streaming.speaking_style import SpeakingStyle, measure_amplitude, read_styles
from streamingtalker_ros.streaming.stream import Stream
from streamingtalker_ros.streaming.voice_gate import apply_gate, update_vad

if TYPE_CHECKING:
    from streamingtalker_ros.model.blendshape.network import TalkerNetwork
    from streamingtalker_ros.model.blendshape.torch_backend import TorchBackend
    from streamingtalker_ros.model.vertex.streaming import VertexTalker

DEFAULT_CHECKPOINT: Final = Path(__file__).parent.parent / "weights" / "default"


class Talker(NotCopyable):
    """Blendshape network on a device, and the pool of its streams' states. Safe to use from several threads.

    Implements `model.protocol.TalkerProtocol`. Calls that generate frames wait for each other.

    Args:
        backend: What steps the network; or a `TalkerNetwork`, which then runs on torch. The talker takes
            ownership: the weights must not change afterwards.
        device: Of a network alone: "auto", "cpu", "cuda" or "cuda:N".
        use_cuda_graph: Of a network alone: whether the frame step runs as captured CUDA graphs; None to
            follow the environment variable STREAMINGTALKER_CUDA_GRAPH.

    Raises:
        TalkerError: If the device is not available.
    """

    family: Literal["blendshape"] = "blendshape"
    frames_per_step = 1
    template = None  # frames belong to no mesh
    triangles = None

    def __init__(
        self,
        backend: FrameBackend | TalkerNetwork,
        device: str = "auto",
        use_cuda_graph: bool | None = None,
    ) -> None:
        if not isinstance(backend, FrameBackend):
            from streamingtalker_ros.model.blendshape.torch_backend import TorchBackend

            backend = TorchBackend(backend, choose_device(device), use_cuda_graph)
        self.backend: FrameBackend = backend
        self.lock = threading.RLock()  # held while frames are generated
        self._styles = read_styles(self.config.styles, self.config.style_amplitudes)

    @overload
    @classmethod
    def load(
        cls, path: None = None, device: str = "auto", backend: str = "auto", precision: str = "auto"
    ) -> Talker: ...

    @overload
    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "auto",
        **limits: Any,
    ) -> AnyTalker: ...

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "auto",
        **limits: Any,
    ) -> AnyTalker:
        """Load a checkpoint folder of either family; see `load_talker`.

        Args:
            path: Checkpoint folder; None for the default checkpoint.
            device: "auto", "cpu", "cuda" or "cuda:N".
            backend: "auto", "torch" or "onnx".
            precision: "auto", "float32" or "int8".
            limits: Limits of a vertex checkpoint, as `load_talker` takes them.

        Returns:
            A Talker, or a VertexTalker for a vertex checkpoint.
        """
        return load_talker(path, device, backend, precision, **limits)

    @property
    def config(self) -> TalkerConfig:
        """Sizes and rates of the network."""
        return self.backend.config

    @property
    def device(self) -> str:
        """The torch device, such as "cpu" or "cuda:0"."""
        return self.backend.device

    @property
    def torch_backend(self) -> TorchBackend:
        """The backend where it is torch's.

        Raises:
            TalkerError: If the talker runs on ONNX Runtime.
        """
        if self.backend.name == "torch":
            from streamingtalker_ros.model.blendshape.torch_backend import TorchBackend

            assert isinstance(self.backend, TorchBackend)
            return self.backend
        raise TalkerError("this talker runs on ONNX Runtime: load it with backend='torch' for its network")

    @property
    def network(self) -> TalkerNetwork:
        """The torch network of a talker that runs on torch."""
        return self.torch_backend.network

    @property
    def name(self) -> str:
        """Name of the checkpoint."""
        return self.config.name

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.config.frame_rate

    @property
    def hop(self) -> int:
        """Samples of 16 kHz audio per frame."""
        return self.config.hop

    @property
    def lookahead(self) -> float:
        """Seconds: frame n depends on audio up to (n + 1) / frame_rate + lookahead and on nothing later."""
        return self.config.lookahead_frames / self.frame_rate

    @property
    def steps(self) -> int:
        """Diffusion steps per frame of a stream that sets no other number."""
        return self.config.num_inference_steps

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the speaking styles; the first is the default."""
        return tuple(self._styles)

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of the controls of a stream, the fields of `controls.Controls`."""
        return CONTROL_NAMES

    def speaking_style(self, style: object) -> SpeakingStyle:
        """Return a style by its name; None or "" is the first.

        Raises:
            TalkerError: If the style is unknown; the message lists the known ones.
        """
        if style is None or (isinstance(style, str) and not style):
            style = self.styles[0]
        if not isinstance(style, str) or style not in self._styles:
            raise TalkerError(f"unknown style {describe(style)}: choose one of {', '.join(self.styles)}")
        return self._styles[style]

    def add_style(self, name: str, weights: npt.NDArray[np.float32], frame_rate: float | None = None) -> None:
        """Add the style of a speaker from an example of their motion. It becomes the first, the default.

        Args:
            name: Of the style; one of the same name is replaced.
            weights: (T, 52) ARKit weights of some seconds of speech.
            frame_rate: Frames per second of the example; None for the talker's.

        Raises:
            TalkerError: If the mouth hardly moves, or the checkpoint has no head of the mouth's measures.
        """
        if not self.config.lip_measure_weight:
            raise TalkerError("this checkpoint has no head of the mouth's measures: use the default one")
        amplitude = np.array(measure_amplitude([weights], frame_rate or self.frame_rate))
        others = {key: style for key, style in self._styles.items() if key != name}
        self._styles = {name: SpeakingStyle(0, amplitude), **others}

    def check_steps(self, steps: int) -> int:
        """Return a number of diffusion steps as an integer.

        Raises:
            TalkerError: If it is no whole number, or out of range.
        """
        return check_steps(steps, self.config.num_train_timesteps)

    def prepare_steps(self, steps: int) -> None:
        """Compute what depends on a number of diffusion steps alone, so that no frame waits for it.

        Raises:
            TalkerError: If the number of steps is out of range.
        """
        self.backend.prepare_steps(self.check_steps(steps))

    def check(self, style: str | None = None, steps: int | None = None) -> None:
        """Raise TalkerError unless a stream can have this style and number of steps; None: the default."""
        self.speaking_style(style)
        if steps is not None and steps != 0:
            self.prepare_steps(steps)

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
        """Open a fresh row of state. Called by the stream."""
        with self.lock:
            return self.backend.open_row()

    def release(self, row: int) -> None:
        """Free the row of a garbage-collected stream, in whichever thread and call that happens."""
        self.backend.close_row(row)  # takes no lock: a finalizer must not wait for one

    def open_uncond(self, frame: int) -> int:
        """Open the unconditional branch of a stream with guidance from `frame` on; returns its row."""
        with self.lock:
            return self.backend.open_uncond_row(frame)

    def release_uncond(self, row: int) -> None:
        """Free the row of an unconditional branch, as `release` does."""
        self.backend.close_uncond_row(row)

    def reset_state(self, row: int, uncond_row: int | None = None) -> None:
        """Reset the network's state of one stream. Called by `Stream.reset`.

        Args:
            row: Row of the stream.
            uncond_row: Row of its unconditional branch, or None without guidance.
        """
        with self.lock:
            self.backend.reset_row(row)
            if uncond_row is not None:
                self.backend.reset_uncond_row(uncond_row)

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

    def _step(self, streams: Sequence[Stream], hops: npt.NDArray[np.float32]) -> list[BlendshapeFrame | None]:
        """Encode one hop (B, hop) for B streams and generate the frames whose look-ahead it completes.

        Returns None for the first hops of a stream, which complete no frame.
        """
        config = self.config
        features, logits = self.backend.encode_hops([stream.row for stream in streams], hops)
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
                frames[i] = self._to_frame(streams[i], row, hops[i])
        return frames

    def _generate(
        self,
        streams: Sequence[Stream],
        features: npt.NDArray[np.float32],
        steps: int,
        context_frames: int | None,
    ) -> npt.NDArray[np.float32]:
        """Generate motion (B, 55) of the next frame of each stream."""
        config = self.config
        noise = np.float32(config.temperature) * np.stack(
            [
                frame_noise(stream.seed, stream.hops - 1 - config.lookahead_frames, config.latent_dim)
                for stream in streams
            ]
        )
        uncond_rows = [stream.uncond_row for stream in streams if stream.uncond_row is not None]
        return self.backend.generate(
            [stream.row for stream in streams],
            features,
            noise,
            [stream.speaking_style.row for stream in streams],
            steps,
            context_frames,
            uncond_rows,
            [stream.controls.guidance for stream in streams] if uncond_rows else (),
        )

    def _to_frame(
        self, stream: Stream, motion: npt.NDArray[np.float32], hop: npt.NDArray[np.float32]
    ) -> BlendshapeFrame:
        """Apply constraints, gate, eye motion, conversation and controls to a stream's next frame.

        Args:
            stream: The stream.
            motion: (55,) weights and rotation vector of the network.
            hop: (hop,) newest samples, which completed the frame.
        """
        config = self.config
        index = stream.hops - 1 - config.lookahead_frames
        weights = np.clip(motion[:52], 0.0, 1.0)
        weights = apply_lip_constraints(weights, stream.lip_targets, config, stream.speaking_style.amplitude)
        speaking = apply_gate(stream.vad_gate, weights, stream.lip_targets.aperture)
        if stream.controls.parted_rest:
            weights = stream.parted_rest.apply(
                weights,
                stream.vad_gate.activity,
                stream.lip_targets.closing,
                stream.noise_floor.snr_db,
                stream.voice_preview.frames_to_voice(stream.hops - 1, index),
            )
        apply_asymmetry(weights, stream.next_asymmetry())
        if stream.eye_motion:
            apply_eye_motion(stream.eye_motion_state, weights, speaking, stream.seed, index, self.frame_rate)
        rotation = motion[52:55]
        context: FrameContext | None = None
        if stream.conversation.is_active:
            context = FrameContext(index, self.frame_rate, stream.seed, speaking, hop, Modulation())
            weights, rotation = stream.conversation.shape_motion(weights, rotation, context)
        weights, rotation = stream.smoother.frame(weights, rotation)
        if context is not None:
            weights, rotation = stream.conversation.direct_gaze(weights, rotation, context)
            if context.modulation.blink_requested:
                request_blink(stream.eye_motion_state)
        quaternion = rotation_vector_to_quaternion(rotation)
        return BlendshapeFrame(index, index / self.frame_rate, weights, quaternion, speaking)


AnyTalker: TypeAlias = "Talker | VertexTalker"  # distinguished by `talker.family`


def load_talker(
    path: str | Path | None = None,
    device: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    **limits: Any,
) -> AnyTalker:
    """Load a checkpoint folder of either family, by default the weights inside the package.

    Args:
        path: Folder with `config.json` and `weights.safetensors`; None for the default checkpoint.
        device: "auto", "cpu", "cuda" or "cuda:N".
        backend: "auto", "torch" or "onnx".
        precision: "auto", "float32" or "int8".
        limits: Of a vertex checkpoint alone: chunk_frames, window, context and decode_frames, see
            `VertexTalker`.

    Returns:
        A Talker, or a VertexTalker for a folder that `streamingtalker convert` wrote.

    Raises:
        TalkerError: If the folder, its weights, the device or the backend are not available.
    """
    check_choices(backend, precision)
    path = path or DEFAULT_CHECKPOINT
    if checkpoint.read_family(path) == "vertex":
        if backend == "onnx" or precision == "int8":
            raise TalkerError(
                f"{path} is a vertex checkpoint, which runs on torch in float32: leave out backend and "
                "precision"
            )
        require("torch", "a vertex checkpoint")
        from streamingtalker_ros.model.vertex.streaming import VertexTalker

        return VertexTalker.load(path, choose_device(device), **limits)
    if limits:
        raise TalkerError(
            f"{', '.join(limits)}: only a vertex checkpoint has these limits, {path} is of the other family"
        )
    return Talker(load_backend(path, device, backend, precision))
