# SPDX-License-Identifier: Apache-2.0
"""Backend on PyTorch: the fused frame step on CPU or CUDA, optionally as captured CUDA graphs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Final, Literal

import torch

from streamingtalker_ros.model.blendshape.backend import MAX_SAMPLERS, FloatArray
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.cuda_graph import CudaGraphed
from streamingtalker_ros.model.blendshape.fused_inference import FusedNetwork, FusedSampler
from streamingtalker_ros.model.blendshape.network import NetworkState, TalkerNetwork
from streamingtalker_ros.model.blendshape.state_pool import StatePool, state_tensors
from streamingtalker_ros.model.ddim import NoiseSchedule

CUDA_GRAPH_VARIABLE: Final = "STREAMINGTALKER_CUDA_GRAPH"
"""Environment: "1" captures the frame step as CUDA graphs."""


class TorchBackend:
    """A network on a torch device. Implements `backend.FrameBackend`.

    Args:
        network: The backend takes ownership: the weights must not change afterwards.
        device: "cpu", "cuda" or "cuda:N".
        use_cuda_graph: Whether the frame step runs as captured CUDA graphs; None to follow the environment
            variable STREAMINGTALKER_CUDA_GRAPH.
    """

    name: Literal["torch"] = "torch"
    precision: Literal["float32"] = "float32"

    def __init__(self, network: TalkerNetwork, device: str, use_cuda_graph: bool | None = None) -> None:
        self.device = device
        self.network = network.to(device).eval().requires_grad_(False)
        self.fused = FusedNetwork(self.network)  # what runs: the same numbers in fewer operations
        if use_cuda_graph is None:
            use_cuda_graph = os.environ.get(CUDA_GRAPH_VARIABLE) == "1" and device != "cpu"
        self.use_cuda_graph = use_cuda_graph
        self._samplers: dict[int, FusedSampler] = {}  # by number of steps, the oldest first
        self._samplers_lock = threading.Lock()
        # with the states of each graph, so that no id of a state is reused
        self._graphs: dict[tuple[Any, ...], tuple[list[Any], CudaGraphed]] = {}
        self._pool = StatePool(self.network.init_state)
        self._uncond_pool = StatePool(self.network.predictor.init_state)  # of voices with guidance

    @property
    def config(self) -> TalkerConfig:
        """Sizes and rates of the network."""
        return self.network.config

    @property
    def description(self) -> str:
        """What runs, for a log."""
        if self.device.startswith("cuda"):
            return f"torch {torch.__version__}, float32, {torch.cuda.get_device_name(self.device)}"
        threads = torch.get_num_threads()
        return f"torch {torch.__version__}, float32, CPU, {threads} thread{'s' if threads > 1 else ''}"

    @property
    def network_state(self) -> NetworkState:
        """State of all rows; of fixed size while no row is opened."""
        return self._pool.state

    @property
    def num_graphs(self) -> int:
        """Number of captured frame steps, one per batch size and options; 0 without CUDA graphs."""
        return len(self._graphs)

    def state_layout(self) -> list[tuple[int, tuple[int, ...]]]:
        """See `FrameBackend.state_layout`."""
        return [(tensor.data_ptr(), tuple(tensor.shape)) for tensor in state_tensors(self._pool.state)]

    def stages(self, steps: int) -> dict[str, tuple[object, str]]:
        """See `FrameBackend.stages`."""
        return {
            "encoder": (self.fused, "encode_hop"),
            "predictor": (self.fused, "predictor"),
            "head": (self.sampler(steps), "sample"),
            "decoder": (self.fused, "decoder"),
        }

    def sampler(self, steps: int) -> FusedSampler:
        """Return the head's sampler for a number of steps; the last `MAX_SAMPLERS` are kept.

        Raises:
            TalkerError: If the number of steps is out of range.
        """
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

    def prepare_steps(self, steps: int) -> None:
        """See `FrameBackend.prepare_steps`."""
        self.sampler(steps)

    def open_row(self) -> int:
        """See `FrameBackend.open_row`."""
        return self._pool.open()

    def close_row(self, row: int) -> None:
        """See `FrameBackend.close_row`."""
        self._pool.close(row)

    def reset_row(self, row: int) -> None:
        """See `FrameBackend.reset_row`."""
        self._pool.reset(row)

    def open_uncond_row(self, frame: int) -> int:
        """See `FrameBackend.open_uncond_row`."""
        row = self._uncond_pool.open()
        try:
            with self._uncond_pool.batch([row]) as state:
                state.frame[:] = frame
        except BaseException:
            self._uncond_pool.close(row)
            raise
        return row

    def close_uncond_row(self, row: int) -> None:
        """See `FrameBackend.close_uncond_row`."""
        self._uncond_pool.close(row)

    def reset_uncond_row(self, row: int) -> None:
        """See `FrameBackend.reset_uncond_row`."""
        self._uncond_pool.reset(row)

    @torch.inference_mode()
    def encode_hops(self, rows: Sequence[int], hops: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `FrameBackend.encode_hops`."""
        with self._pool.batch(list(rows), "encoder") as state:

            def encode(hop: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                return self.fused.encode_hop(hop, state)

            features, logits = self._run(("encode",), encode, [state], torch.from_numpy(hops).to(self.device))
        return features.cpu().numpy(), logits.cpu().numpy()

    @torch.inference_mode()
    def generate(
        self,
        rows: Sequence[int],
        features: FloatArray,
        noise: FloatArray,
        style_rows: Sequence[int],
        steps: int,
        context_frames: int | None = None,
        uncond_rows: Sequence[int] = (),
        guidance: Sequence[float] = (),
    ) -> FloatArray:
        """See `FrameBackend.generate`."""
        sampler = self.sampler(steps)
        inputs = [torch.from_numpy(array).to(self.device) for array in (features, noise)]
        inputs.append(torch.tensor(style_rows, device=self.device))
        if uncond_rows:
            inputs.append(torch.tensor([[scale] for scale in guidance], device=self.device))
        with (
            self._pool.batch(list(rows), "predictor", "codec", "latent") as state,
            self._uncond_pool.batch(list(uncond_rows)) if uncond_rows else nullcontext() as uncond,
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
