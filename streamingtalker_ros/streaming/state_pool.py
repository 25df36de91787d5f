# SPDX-License-Identifier: Apache-2.0
"""The states of all open voices of a talker in one set of tensors, so that ready voices are stepped as one batch.

A voice owns a row. `batch(rows)` lends the state of some rows as a contiguous batch and takes it back changed; when
the rows are the whole pool, as with a single voice, nothing is copied.
"""

from contextlib import contextmanager
from dataclasses import fields, is_dataclass

import torch


def tensors(state):
    """All tensors of a state, in a fixed order: nested dataclasses and lists are walked."""
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, list):
        return [tensor for part in state for tensor in tensors(part)]
    if is_dataclass(state):
        return [tensor for field in fields(state) for tensor in tensors(getattr(state, field.name))]
    raise TypeError(f"a state holds tensors, lists and dataclasses, not {type(state).__name__}")


class StatePool:
    """make(batch) gives a fresh state of that many rows."""

    def __init__(self, make) -> None:
        self._make = make
        self._size = 0
        self._state = None
        self._free = []
        self._borrowed = {}  # batch size -> state that batches of that size are gathered into

    def open(self):
        """A fresh row; the pool doubles when it is full."""
        if not self._free:
            self._grow(max(2 * self._size, 1))
        row = self._free.pop()  # the one freed last: a dropped stream serves the next one
        self._state.reset([row])
        return row

    def close(self, row) -> None:
        self._free.append(row)

    def reset(self, row) -> None:
        self._state.reset([row])

    def _grow(self, size) -> None:
        grown = self._make(size)
        if self._state is not None:
            for new, old in zip(tensors(grown), tensors(self._state)):
                new[: self._size] = old
        self._free.extend(range(self._size, size))
        self._state, self._size, self._borrowed = grown, size, {}

    @contextmanager
    def batch(self, rows, *parts):
        """The state of `rows` (list of int) as a batch; what is done in place to `parts`, fields of the state, default
        all, is kept, and the others are not to be used."""
        if rows == list(range(self._size)):
            yield self._state
            return
        if len(rows) not in self._borrowed:
            self._borrowed[len(rows)] = self._make(len(rows))
        borrowed = self._borrowed[len(rows)]
        pairs = list(
            zip(
                *(
                    tensors([getattr(state, part) for part in parts] or state)
                    for state in (borrowed, self._state)
                )
            )
        )
        index = torch.tensor(rows, device=pairs[0][0].device)
        for part, whole in pairs:
            torch.index_select(whole, 0, index, out=part)
        yield borrowed
        for part, whole in pairs:
            whole.index_copy_(0, index, part)
