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


class StatePool(Generic[StateT]):
    """Growing pool of rows.

    Args:
        init_state: Called with a batch size; returns a fresh state of that many rows.
    """

    def __init__(self, init_state: Callable[[int], StateT]) -> None:
        self._init_state = init_state
        self._size = 0
        self._state: StateT | None = None
        self._free: list[int] = []
        self._gather_buffers: dict[int, StateT] = {}  # by batch size

    @property
    def state(self) -> StateT:
        """State of all rows, open or free."""
        assert self._state is not None, "no row was opened yet"
        return self._state

    def open(self) -> int:
        """Return a fresh row; the pool doubles when it is full."""
        if not self._free:
            self._grow(max(2 * self._size, 1))
        row = self._free.pop()  # the one freed last: a closed stream's row serves the next one
        try:
            self.reset(row)
        except BaseException:
            self.close(row)
            raise
        return row

    def close(self, row: int) -> None:
        """Free a row. Safe in any thread and at any point, also inside of another method of the pool."""
        self._free.append(row)  # atomic

    @property
    def num_open(self) -> int:
        """Number of rows in use."""
        return self._size - len(self._free)

    def reset(self, row: int) -> None:
        """Reset the state of a row in place."""
        self.state.reset([row])

    def _grow(self, size: int) -> None:
        grown = self._init_state(size)
        if self._state is not None:
            for new, old in zip(state_tensors(grown), state_tensors(self._state), strict=True):
                new[: self._size] = old
        self._free.extend(range(self._size, size))
        self._state, self._size, self._gather_buffers = grown, size, {}

    @contextmanager
    def batch(self, rows: list[int], *subset: str) -> Generator[StateT, None, None]:
        """Yield the state of some rows as a batch, and write its changes back afterwards.

        Args:
            rows: Rows of the pool.
            subset: Names of the state's fields that are used and written back; all if left out.
        """
        pool_state = self.state
        if rows == list(range(self._size)):
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
