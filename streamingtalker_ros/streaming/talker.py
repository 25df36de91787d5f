# SPDX-License-Identifier: Apache-2.0
"""A talker: the weights of a checkpoint on a device, from which any number of streams are opened.

    talker = Talker.load()            # the default weights, CUDA where there is one
    stream = talker.open_stream(seed=0)

Streams that have a hop of audio ready are stepped together as one batch; who shares the batch changes no frame.
"""

import os
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.rotation import rotation_vector_to_quaternion
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.blendshape.fused_inference import FusedNetwork, FusedSampler
from streamingtalker_ros.model.ddim import Schedule, frame_noise
from streamingtalker_ros.model.protocol import Frame
from streamingtalker_ros.streaming.controls import CONTROLS, Controls
from streamingtalker_ros.streaming.cuda_graph import Recorded
from streamingtalker_ros.streaming.eye_motion import keep_alive
from streamingtalker_ros.streaming.lip_constraints import listen, shape
from streamingtalker_ros.streaming.state_pool import StatePool
from streamingtalker_ros.streaming.stream import Stream
from streamingtalker_ros.streaming.voice_gate import hear, rest

GRAPH = "STREAMINGTALKER_CUDA_GRAPH"  # environment: "1" records the frame step as CUDA graphs
DEFAULT = Path(__file__).parent.parent / "weights" / "default"


def choose_device(device):
    """ "auto" | "cpu" | "cuda" | "cuda:N" -> a torch device string. Raises TalkerError when it is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise TalkerError(f"unknown device {device!r}: choose auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise TalkerError(f"device {device!r} is not there: this PyTorch sees no CUDA, choose auto or cpu")
    if number and int(number) >= torch.cuda.device_count():
        raise TalkerError(
            f"device {device!r} is not there: {torch.cuda.device_count()} CUDA devices are seen"
        )
    return device


def load_talker(path=None, device="auto", **limits):
    """Load a checkpoint folder of either family, by default the weights inside the package.

    Args:
        path: Folder with `config.json` and `weights.safetensors`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        limits: Of a vertex checkpoint alone: hop, window, context and decode, see `VertexTalker`.

    Returns:
        A Talker, or a VertexTalker where `streamingtalker convert` made the folder.

    Raises:
        TalkerError: If the folder, its weights or the device are not there.
    """
    path, device = path or DEFAULT, choose_device(device)
    if checkpoint.read_config(path).get("family") == "published":
        from streamingtalker_ros.model.vertex.streaming import VertexTalker  # late: transformers

        return VertexTalker.load(path, device, **limits)
    if limits:
        raise TalkerError(f"{', '.join(limits)}: only a vertex checkpoint has such limits, {path} is none")
    return Talker(checkpoint.load(path), device)


class Talker:
    """Weights on a device, and the pool of its voices' states. Safe to use from several threads.

    network: a TalkerNetwork, which is the talker's from now on: its weights must not change any more. record: whether
    the frame step runs as recorded CUDA graphs; by default the environment's STREAMINGTALKER_CUDA_GRAPH says so.
    """

    def __init__(self, network, device="auto", record=None) -> None:
        self.device = choose_device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.fused = FusedNetwork(self.network)  # what runs: the same numbers in fewer operations
        self.record = os.environ.get(GRAPH) == "1" and self.device != "cpu" if record is None else record
        self._samplers, self._recorded = {}, {}
        self._pool = StatePool(self.network.state)
        self._blind = StatePool(self.network.predictor.state)  # of voices with guidance
        self.lock = threading.RLock()  # held while frames are made

    family: Literal["blendshape"] = "blendshape"
    frames_per_step = 1
    template = None  # frames belong to no mesh: see TalkerProtocol
    triangles = None

    @classmethod
    def load(cls, path=None, device="auto", **limits):
        """Load a checkpoint folder of either family; see `load_talker`."""
        return load_talker(path, device, **limits)

    @property
    def name(self):
        return self.network.config.name

    @property
    def frame_rate(self):
        """Frames per second."""
        return self.network.config.frame_rate

    @property
    def hop(self):
        """Samples of 16 kHz audio per frame."""
        return self.network.config.hop

    @property
    def lookahead(self):
        """Seconds of audio after a frame's own that the frame waits for."""
        return self.network.config.lookahead_frames / self.frame_rate

    @property
    def steps(self):
        """Diffusion steps per frame unless a stream asks for others."""
        return self.network.config.steps

    @property
    def styles(self):
        """Names of the speaking styles, the first is the default."""
        return self.network.config.styles

    def sampler(self, steps):
        """The head's sampler for a number of steps, made once. Raises TalkerError when it is out of range."""
        if steps not in self._samplers:
            config = self.network.config
            schedule = Schedule(config.beta_start, config.beta_end, config.train_steps)
            self._samplers[steps] = FusedSampler(self.network.head, steps, schedule)
        return self._samplers[steps]

    @property
    def control_names(self):
        """Names of the controls that a stream has."""
        return CONTROLS

    def check(self, style=None, steps=None) -> None:
        """Raise TalkerError unless a stream can have this style and this number of steps; None: the default."""
        if style and style not in self.styles:
            raise TalkerError(f"unknown style {style!r}: this model knows {', '.join(self.styles)}")
        if steps:
            self.sampler(steps)

    def open_stream(self, seed=0, style=None, steps=None, history=None, lively=True, **controls):
        """A fresh voice. Raises TalkerError on a bad value.

        seed: of its noise; style: one of `styles`; steps: diffusion steps per frame; history: frames of past motion
        that count, None for all that the model keeps; lively: whether rules stand in where the network forgets to
        blink or to look about (see `life`); controls: fields of `controls.Controls`, as `Stream.set` takes them.
        """
        limit = self.network.config.history
        if history is not None and not 0 <= history <= limit:
            raise TalkerError(f"a history of {history} frames cannot be had: this model keeps 0 to {limit}")
        try:
            controls = Controls(**controls)
        except TypeError:
            raise TalkerError(f"{', '.join(controls)}: a stream knows no such option") from None
        with self.lock:
            return Stream(self, self._pool.open(), seed, style, steps, history, controls, lively)

    def release(self, row) -> None:
        """Called when a stream is gone: its row serves the next one."""
        with self.lock:
            self._pool.close(row)

    def open_blind(self, frame):
        """Called by a stream that wants guidance from `frame` on: a row for the branch that hears nothing."""
        with self.lock:
            row = self._blind.open()
            with self._blind.batch([row]) as state:
                state.frame[:] = frame
            return row

    def release_blind(self, row) -> None:
        """Called when a stream is gone, or wants guidance no more."""
        with self.lock:
            self._blind.close(row)

    def forget(self, row, blind_row=None) -> None:
        """Called by `Stream.reset`: zero what the network remembers of one voice."""
        with self.lock:
            self._pool.reset(row)
            if blind_row is not None:
                self._blind.reset(blind_row)

    def warm_up(self, frames=10) -> None:
        """Run a few frames of silence, so that the first real one finds everything allocated."""
        self.open_stream().accept(np.zeros(frames * self.hop, np.float32))

    def accept(self, streams, chunks):
        """Hear one chunk for each of several streams, stepped together: list of lists of Frame, in their order.

        streams: of this talker, each at most once; chunks: as `Stream.accept` takes them.
        """
        if len(set(map(id, streams))) != len(streams):
            raise TalkerError("a stream is given twice in one call: join its chunks")
        frames = [[] for _ in streams]
        with self.lock:
            hops = [
                stream.fill(pcm)
                for stream, pcm in zip(
                    streams, [stream.checked(chunk) for stream, chunk in zip(streams, chunks)]
                )
            ]
            ready = list(range(len(streams)))
            while ready:
                heard = [(i, hop) for i in ready for hop in [next(hops[i], None)] if hop is not None]
                ready = [i for i, _ in heard]
                if heard:
                    made = self._step([streams[i] for i in ready], np.stack([hop for _, hop in heard]))
                    for i, frame in zip(ready, made):
                        if frame is not None:
                            frames[i].append(frame)
        return frames

    @torch.inference_mode()
    def _step(self, streams, hops):
        """One hop (B, hop) for B streams: listen, and speak the frames whose look-ahead it completes (None for the
        first hops of a stream)."""
        config = self.network.config
        with self._pool.batch([stream.row for stream in streams], "encoder") as state:
            features, cues = self._run(
                "listen",
                lambda hop: self.fused.listen(hop, state),
                [state],
                torch.from_numpy(hops).to(self.device),
            )
        frames = [None] * len(streams)
        groups = {}  # streams that share steps, history and whether there is guidance share a pass of the head
        for i, (stream, hop, logits) in enumerate(zip(streams, hops, cues.tolist())):
            hear(stream.gate, 1.0 / (1.0 + np.exp(-logits[0])), hop)
            stream.lips = listen(logits, config, stream.lips, stream.noise.hear(hop))
            stream.hops += 1
            if stream.hops > config.lookahead_frames:
                groups.setdefault((stream.steps, stream.history, stream.blind_row is not None), []).append(i)
        for (steps, history, _), rows in groups.items():
            motion = self._speak([streams[i] for i in rows], features[rows], steps, history)
            for i, row in zip(rows, motion):
                frames[i] = self._frame(streams[i], row)
        return frames

    def _speak(self, streams, features, steps, history):
        """Motion (B, 55) of the next frame of each stream."""
        lookahead = self.network.config.lookahead_frames
        noise = np.float32(self.network.config.temperature) * np.stack(
            [frame_noise(s.seed, s.hops - 1 - lookahead, self.network.config.latent_dim) for s in streams]
        )
        style = torch.tensor([stream.style_row for stream in streams], device=self.device)
        given, sampler = [features, torch.from_numpy(noise).to(self.device), style], self.sampler(steps)
        rows, blind_rows = [stream.row for stream in streams], [stream.blind_row for stream in streams]
        if blind_rows[0] is not None:
            given.append(torch.tensor([[stream.controls.guidance] for stream in streams], device=self.device))
        with (
            self._pool.batch(rows, "predictor", "codec", "latent") as state,
            self._blind.batch(blind_rows) if len(given) > 3 else nullcontext() as blind,
        ):

            def speak(feature, noise, style, guidance=None):
                return self.fused.speak(feature, noise, style, sampler, state, history, guidance, blind)

            motion = self._run(
                ("speak", steps, history), speak, [state] if blind is None else [state, blind], *given
            )
        return motion.cpu().numpy()

    def _run(self, name, work, states, *inputs):
        """work(*inputs), whose outputs live until the next call; through a recording where that is asked for."""
        if not self.record:
            return work(*inputs)
        key = (name, *map(id, states))
        if key not in self._recorded:
            self._recorded[key] = (
                states,
                Recorded(work, states, inputs),
            )  # with its states, so that no id is reused
        return self._recorded[key][1](*inputs)

    def _frame(self, stream, motion):
        index = stream.hops - 1 - self.network.config.lookahead_frames
        weights = np.clip(motion[:52], 0.0, 1.0)
        weights = shape(weights, stream.lips, self.network.config)
        speaking = rest(stream.gate, weights, stream.lips.opening)
        if stream.lively:
            keep_alive(stream.life, weights, speaking, stream.seed, index, self.frame_rate)
        weights, rotation = stream.shaping.frame(weights, motion[52:55])
        return Frame(
            index, index / self.frame_rate, weights, rotation_vector_to_quaternion(rotation), speaking
        )
