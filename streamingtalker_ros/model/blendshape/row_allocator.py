# SPDX-License-Identifier: Apache-2.0
"""Rows of a pool of state: opened, closed in any thread, and doubled in number when none is free."""

from __future__ import annotations

from abc import ABC, abstractmethod


class RowAllocator(ABC):
    """Base of the pools of state: which rows are free. A voice owns a row."""

    def __init__(self) -> None:
        self.size = 0
        self._free: list[int] = []

    def open(self) -> int:
        """Return a fresh row; the pool doubles when it is full."""
        if not self._free:
            size = max(2 * self.size, 1)
            self._resize(size)
            self._free.extend(range(self.size, size))
            self.size = size
        row = self._free.pop()  # the one freed last: a closed voice's row serves the next one
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
        return self.size - len(self._free)

    @abstractmethod
    def reset(self, row: int) -> None:
        """Return a row to the start of a voice, in place."""

    @abstractmethod
    def _resize(self, size: int) -> None:
        """Make place for `size` rows, keeping the first `self.size`."""
