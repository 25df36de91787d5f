# SPDX-License-Identifier: Apache-2.0
"""Pool of the states of all open streams of a talker, so that ready streams are stepped as one batch.

A stream owns a row. `batch(rows)` gathers the state of some rows into a contiguous batch and scatters it back
changed; where the rows are the whole pool, as with a single stream, nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch

from streamingtalker_ros.model.blendshape.row_allocator import RowAllocator


class PooledState(Protocol):
    """A dataclass of tensors whose first dimension is the batch, nested in dataclasses and lists."""

    def reset(self, rows: slice | list[int] = ...) -> None:
        """Reset some rows in place."""
        ...


StateT = TypeVar("StateT", bound=PooledState)


def state_tensors(state: Any) -> list[torch.Tensor]:
    """Return all tensors of a state in a fixed order; nested dataclasses and sequences are walked.

    Raises:
        TypeError: If the state holds anything else.
    """
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, (list, tuple)):
        return [tensor for item in state for tensor in state_tensors(item)]
    if is_dataclass(state):
        return [tensor for field in fields(state) for tensor in state_tensors(getattr(state, field.name))]
    raise TypeError(f"a state holds tensors, lists and dataclasses, not {type(state).__name__}")


class StatePool(RowAllocator, Generic[StateT]):
    """Growing pool of rows.

    Args:
        init_state: Called with a batch size; returns a fresh state of that many rows.
    """

    def __init__(self, init_state: Callable[[int], StateT]) -> None:
        super().__init__()
        self._init_state = init_state
        self._state: StateT | None = None
        self._gather_buffers: dict[int, StateT] = {}  # by batch size

    @property
    def state(self) -> StateT:
        """State of all rows, open or free."""
        assert self._state is not None, "no row was opened yet"
        return self._state

    def reset(self, row: int) -> None:
        """Reset the state of a row in place."""
        self.state.reset([row])

    def _resize(self, size: int) -> None:
        grown = self._init_state(size)
        if self._state is not None:
            for new, old in zip(state_tensors(grown), state_tensors(self._state), strict=True):
                new[: self.size] = old
        self._state, self._gather_buffers = grown, {}

    @contextmanager
    def batch(self, rows: list[int], *subset: str) -> Generator[StateT, None, None]:
        """Yield the state of some rows as a batch, and write its changes back afterwards.

        Args:
            rows: Rows of the pool.
            subset: Names of the state's fields that are used and written back; all if left out.
        """
        pool_state = self.state
        if rows == list(range(self.size)):
            yield pool_state
            return
        if len(rows) not in self._gather_buffers:
            self._gather_buffers[len(rows)] = self._init_state(len(rows))
        buffer = self._gather_buffers[len(rows)]

        def used(state: StateT) -> list[torch.Tensor]:
            return state_tensors([getattr(state, name) for name in subset] if subset else state)

        pairs = list(zip(used(buffer), used(pool_state), strict=True))
        index = torch.tensor(rows, device=pairs[0][0].device)
        for gathered, pooled in pairs:
            torch.index_select(pooled, 0, index, out=gathered)
        yield buffer
        for gathered, pooled in pairs:
            pooled.index_copy_(0, index, gathered)
