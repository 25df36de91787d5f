# SPDX-License-Identifier: Apache-2.0
"""State of voices in NumPy, a row each: delay lines of convolutions, rings of attention's keys and values.

A history is never moved: the newest row overwrites the oldest one in its ring, and an index per frame says
which rows a graph reads. So a frame costs the same whatever the reach of a convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.model.blendshape.row_allocator import RowAllocator

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_MASKED: Final = -np.inf


class RowPool(RowAllocator):
    """Rows of arrays whose first dimension grows; a voice owns a row of each.

    Args:
        init_arrays: Called with a number of rows; returns the arrays at the start of as many voices.
    """

    def __init__(self, init_arrays: Callable[[int], dict[str, np.ndarray]]) -> None:
        super().__init__()
        self._init_arrays = init_arrays
        self._initial = init_arrays(1)
        self.arrays: dict[str, np.ndarray] = init_arrays(0)

    def reset(self, row: int) -> None:
        """Return a row to the start of a voice, in place."""
        for name, array in self.arrays.items():
            array[row] = self._initial[name][0]

    def _resize(self, size: int) -> None:
        grown = self._init_arrays(size)
        for name, array in self.arrays.items():
            grown[name][: self.size] = array
        self.arrays = grown

    def layout(self) -> list[tuple[int, tuple[int, ...]]]:
        """Return the address and shape of each array."""
        return [(array.ctypes.data, array.shape) for array in self.arrays.values()]


class DelayLines:
    """Which rows of their rings several causal convolutions of one width read and write.

    A ring holds as many frames as the convolution reaches back, rounded up to a power of two, so that all
    indices repeat after `period` frames.

    Args:
        offsets: Of each convolution the past rows that it reads, as negative offsets from its frame's first.
        rows_per_frame: Rows that a frame adds to each.
    """

    def __init__(self, offsets: Sequence[Sequence[int]], rows_per_frame: int = 1) -> None:
        self.rows_per_frame = rows_per_frame
        self._offsets = [np.asarray(each, np.int64) for each in offsets]
        self._rings: list[int] = []
        for each in self._offsets:
            frames = -(-int(-each.min()) // rows_per_frame)
            self._rings.append(rows_per_frame * (1 << (frames - 1).bit_length()))
        self._starts = [sum(self._rings[:i]) for i in range(len(self._rings))]
        self.slots = sum(self._rings)
        self.period = max(self._rings, default=rows_per_frame) // rows_per_frame
        self.counts = [len(each) for each in self._offsets]
        self._indices: dict[int, tuple[IntArray, IntArray]] = {}

    def indices(self, rows: Sequence[int], frames: Sequence[int]) -> tuple[IntArray, IntArray]:
        """Return what a frame reads and writes, in a pool (rows, slots, width) seen as (rows·slots, width).

        Args:
            rows: Of B voices.
            frames: Index of the frame of each.

        Returns:
            Indices of the rows read (B·total reads,) and written (B·lines·rows_per_frame,), both sorted by
            line, then by voice.
        """
        if len(rows) == 1:
            reads, writes = self._of_frame(frames[0] % self.period)
            start = rows[0] * self.slots
            return reads + start, writes + start
        each = [
            tuple(index + row * self.slots for index in self._of_frame(frame % self.period))
            for row, frame in zip(rows, frames, strict=True)
        ]
        reads = _interleave([pair[0] for pair in each], self.counts)
        writes = _interleave([pair[1] for pair in each], [self.rows_per_frame] * len(self.counts))
        return reads, writes

    def _of_frame(self, frame: int) -> tuple[IntArray, IntArray]:
        if frame not in self._indices:
            first, new = frame * self.rows_per_frame, np.arange(self.rows_per_frame)
            lines = list(zip(self._offsets, self._rings, self._starts, strict=True))
            self._indices[frame] = (
                np.concatenate([start + (first + offsets) % ring for offsets, ring, start in lines]),
                np.concatenate([start + (first + new) % ring for _, ring, start in lines]),
            )
        return self._indices[frame]


def _interleave(indices: Sequence[IntArray], counts: Sequence[int]) -> IntArray:
    """Sort the indices of voices, each sorted by line, by line and then by voice."""
    ends = np.cumsum(counts)
    return np.concatenate(
        [index[end - count : end] for count, end in zip(counts, ends, strict=True) for index in indices]
    )


class AgeBias:
    """Bias of attention over a ring of h past frames, by their age (ALiBi, Press et al. 2022).

    Args:
        heads: Number of attention heads.
        past: Frames h of the ring; row n mod h holds frame n.
    """

    def __init__(self, heads: int, past: int) -> None:
        self.past = past
        self._slopes = np.array([2.0 ** (-8.0 * i / heads) for i in range(1, heads + 1)], np.float32)
        self._tables: dict[int, FloatArray] = {}  # by number of frames that count

    def fill(self, bias: FloatArray, frame: int, cached: int, context_frames: int | None) -> None:
        """Fill the bias of a voice's next frame; the frame itself is no part of the ring yet.

        Args:
            bias: (heads, past), filled; -inf for rows that do not count.
            frame: Index of the frame.
            cached: Frames in the ring since the voice's start.
            context_frames: Frames that attention sees, the frame itself included; None for h.
        """
        limit = self.past if context_frames is None else max(context_frames, 1)
        reach = min(cached + 1, limit)
        table = self._tables.get(reach)
        if table is None:
            age = np.arange(2 * self.past, 0, -1) % self.past
            visible = (age > 0) & (age < reach)
            table = np.where(visible, -self._slopes[:, None] * age.astype(np.float32), _MASKED)
            self._tables[reach] = table = table.astype(np.float32)
        slot = frame % self.past
        bias[:] = table[:, self.past - slot : 2 * self.past - slot]
