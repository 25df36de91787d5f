# SPDX-License-Identifier: Apache-2.0
"""The audio of one stream on its way to the model: pieces that wait, how much was heard, what was left out.

Counts in samples at 16 kHz from frame 0. Under overload whole frames are left out of the middle; `index` then
tells which published frame a frame of the model is, so that numbers and stamps skip together.
"""

from collections import deque


class AudioTimeline:
    """hop: samples per frame."""

    def __init__(self, hop) -> None:
        self._hop = hop
        self.clear()

    def clear(self) -> None:
        """The next piece begins a new stream."""
        self.pieces = deque()
        self.fed = 0  # samples that the model has heard
        self._splices = [(0, 0)]  # (frame of the model, frames left out before it)

    def __bool__(self) -> bool:
        return bool(self.pieces)

    @property
    def position(self):
        """Position of the next sample that the model hears."""
        return self.fed + self._splices[-1][1] * self._hop

    @property
    def waiting(self):
        """Samples that wait."""
        return sum(len(piece.pcm) for piece in tuple(self.pieces))

    @property
    def end(self):
        """Position where the pieces end."""
        return self.position + self.waiting

    @property
    def to_hop(self):
        """Samples that the model wants to complete a hop, 1 to hop."""
        return self._hop - self.fed % self._hop

    def take(self, count):
        """Take `count` samples, no more than the first piece holds, to be heard."""
        piece = self.pieces[0]
        chunk, piece.pcm = piece.pcm[:count], piece.pcm[count:]
        if not len(piece.pcm):
            self.pieces.popleft()
        return chunk

    def cut(self, position) -> None:
        """Take away what waits beyond a position."""
        excess = self.end - max(position, self.position)
        while excess > 0:
            piece = self.pieces[-1]
            kept = max(0, len(piece.pcm) - excess)
            excess -= len(piece.pcm) - kept
            piece.pcm = piece.pcm[:kept]
            if not kept:
                self.pieces.pop()

    def drop(self, frames) -> None:
        """Leave out the next frames of what waits."""
        samples = frames * self._hop
        while samples:
            samples -= len(self.take(min(samples, len(self.pieces[0].pcm))))
        self.skip(frames)

    def skip(self, frames) -> None:
        """Count frames as left out before the next that the model hears; the model is at a whole hop."""
        self._splices.append((self.fed // self._hop, self._splices[-1][1] + frames))
        del self._splices[:-8]  # frames are owed for the look-ahead only

    def index(self, frame):
        """Index of the model's frame in the published stream."""
        return frame + next(skipped for start, skipped in reversed(self._splices) if start <= frame)
