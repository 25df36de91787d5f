# SPDX-License-Identifier: Apache-2.0
"""A frame step on CUDA as one graph: recorded once over static buffers, replayed for every frame.

    step = Recorded(work, state, inputs)     # work(*inputs) -> tensors; changes `state` in place
    outputs = step(*inputs)                  # the same, by one launch; outputs are overwritten by the next call

A frame of this network is some two hundred small kernels, whose launches cost more than their work; a graph launches
them together, in a quarter of the time (docs/streaming.md). On the CPU there is nothing to record: the same buffers are used
and `work` is called, which is what the tests can see without a GPU. Off unless asked for (see `Talker`).
"""

import torch

from streamingtalker_ros.streaming.state_pool import tensors

WARM = 3  # runs before the recording, in which libraries choose their kernels and allocate


class Recorded:
    """work: a function of tensors alone, whose shapes and device never change and which asks the host for nothing;
    state: all that it changes in place, which must stay where it is; inputs: tensors like those of every call."""

    def __init__(self, work, state, inputs) -> None:
        self._work, self._inputs = work, [value.clone() for value in inputs]
        self._graph = None
        if self._inputs[0].is_cuda:
            self._record(state)

    def _record(self, state) -> None:
        kept = [(value, value.clone()) for value in tensors(state)]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM):
                self._work(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = self._work(*self._inputs)
        for value, before in kept:  # the warm runs have moved it on
            value.copy_(before)

    def __call__(self, *inputs):
        for mine, given in zip(self._inputs, inputs):
            mine.copy_(given)
        if self._graph is None:
            return self._work(*self._inputs)
        self._graph.replay()
        return self._outputs
