# SPDX-License-Identifier: Apache-2.0
"""CUDA graph of a frame step: captured once over static buffers, replayed for every frame.

    step = CudaGraphed(function, state, inputs)  # function(*inputs) -> tensors; changes `state` in place
    outputs = step(*inputs)  # the same by one launch; the next call overwrites the outputs

A frame of this network is some two hundred small kernels, whose launches cost more than their work; a graph
launches them together. On the CPU nothing is captured: the same buffers are used and the function is called,
so that tests cover the wrapper without a GPU. Off by default (see `Talker`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from streamingtalker_ros.model.blendshape.state_pool import state_tensors

WARM_UP_RUNS = 3  # before the capture, in which libraries choose their kernels and allocate


class CudaGraphed:
    """A function of tensors that is replayed as one CUDA graph.

    Args:
        function: Of tensors alone, whose shapes and device never change; it must not read a value on the
            host.
        state: All tensors that it changes in place, in dataclasses and lists; they must keep their storage.
        inputs: Tensors of the shapes and device of every call.
    """

    def __init__(
        self, function: Callable[..., Any], state: Sequence[Any], inputs: Sequence[torch.Tensor]
    ) -> None:
        self._function, self._inputs = function, [value.clone() for value in inputs]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._outputs: Any = None
        if self._inputs[0].is_cuda:
            self._capture(state)

    def _capture(self, state: Sequence[Any]) -> None:
        saved = [(value, value.clone()) for value in state_tensors(state)]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                self._function(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = self._function(*self._inputs)
        for value, saved_value in saved:  # the warm-up runs have changed it
            value.copy_(saved_value)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        """Run the function on inputs of the captured shapes; the outputs are valid until the next call."""
        for buffer, value in zip(self._inputs, inputs, strict=True):
            buffer.copy_(value)
        if self._graph is None:
            return self._function(*self._inputs)
        self._graph.replay()
        return self._outputs
