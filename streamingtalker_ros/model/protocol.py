# SPDX-License-Identifier: Apache-2.0
"""Common interface of both families of talkers, and the frames that they return.

A talker holds the weights of one checkpoint on one device. It opens streams, one per voice, and steps any
number of them as one batch. The two families differ in what a frame carries:

| `talker.family` | class | frame |
|---|---|---|
| `"blendshape"` | `streaming.talker.Talker` | `BlendshapeFrame`: 52 ARKit weights and the head's rotation |
| `"vertex"` | `model.vertex.streaming.VertexTalker` | `VertexFrame`: the vertices of its own mesh |

Code outside `model/` and `streaming/` branches on `talker.family`, or on the type of a frame, and on nothing
else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Family: TypeAlias = Literal["blendshape", "vertex"]


@dataclass
class BlendshapeFrame:
    """One frame of a blendshape talker; it owns its arrays.

    Attributes:
        index: 0, 1, 2, … since the stream began.
        time: `index / frame_rate` in seconds, where the frame's own audio begins.
        weights: (52,) float32 in 0..1, in the order of `ARKIT_NAMES`.
        head: (4,) float32 unit quaternion xyzw, rotation from the neutral pose (x out of the face, y to the
            person's left, z up).
        speaking: Voice activity, the same that opens and closes the mouth.
    """

    index: int
    time: float
    weights: npt.NDArray[np.float32]
    head: npt.NDArray[np.float32]
    speaking: bool


@dataclass
class VertexFrame:
    """One frame of a vertex talker; it owns its array.

    Attributes:
        index: 0, 1, 2, … since the stream began.
        time: `index / frame_rate` in seconds, where the frame's own audio begins.
        vertices: (V, 3) float32 positions in metres, in the checkpoint's own axes (both releases: x to the
            person's left, y up, z out of the face).
    """

    index: int
    time: float
    vertices: npt.NDArray[np.float32]


Frame: TypeAlias = BlendshapeFrame
AnyFrame: TypeAlias = BlendshapeFrame | VertexFrame


class StreamProtocol(Protocol):
    """One voice of a talker: audio in, frames out. Opened by `TalkerProtocol.open_stream`.

    `seed`, `style`, `steps` and the controls may change at any time; the frames that follow use the new
    value.
    """

    @property
    def seed(self) -> int:
        """Seed of the stream's noise."""
        ...

    @seed.setter
    def seed(self, seed: int) -> None: ...

    @property
    def style(self) -> str:
        """Name of the speaking style, one of `talker.styles`."""
        ...

    @style.setter
    def style(self, style: str | None) -> None: ...

    @property
    def steps(self) -> int:
        """Diffusion steps per frame."""
        ...

    @steps.setter
    def steps(self, steps: int | None) -> None: ...

    def accept(self, pcm: np.ndarray) -> Sequence[AnyFrame]:
        """Process audio, (n,) floats at 16 kHz in -1..1, and return the frames that it completes.

        Args:
            pcm: (n,) mono floats at 16 kHz in -1..1, any n.

        Returns:
            The frames in order; none if the audio completes none.
        """
        ...

    def finish(self) -> Sequence[AnyFrame]:
        """End the audio and return the frames still pending because of the look-ahead."""
        ...

    def reset(self, seed: int | None = None, *, keep_conversation: bool = False) -> None:
        """Start over at frame 0.

        Args:
            seed: Replaces the seed of the noise unless it is None.
            keep_conversation: Whether the state of the conversation (gaze, emotion, …) goes on; the vertex
                family has none.
        """
        ...

    def set(self, **controls: Any) -> None:
        """Change controls of `talker.control_names`; raises TalkerError for a bad name or value."""
        ...

    @property
    def preview_samples(self) -> int:
        """Samples that `announce` needs to change the next frame; 0 if it would change none."""
        ...

    def announce(self, pcm: np.ndarray) -> None:
        """Announce the audio that follows; the vertex family ignores it.

        Args:
            pcm: (n,) mono floats at 16 kHz in -1..1, what `accept` will get next.
        """
        ...

    @property
    def partner_voice_s(self) -> float:
        """Seconds since the partner's voice began; 0 while the partner is silent or cannot be heard."""
        ...

    def apply(self, command: Any) -> None:
        """Apply a command of `conversation.commands`; raises TalkerError if the family has none.

        Args:
            command: A `ConversationCommand`.
        """
        ...


class TalkerProtocol(Protocol):
    """The weights of one checkpoint on one device; opens streams and steps them."""

    @property
    def family(self) -> Family:
        """What a frame carries, see the table above."""
        ...

    @property
    def name(self) -> str:
        """Name of the checkpoint."""
        ...

    @property
    def device(self) -> str:
        """The torch device, such as "cpu" or "cuda:0"."""
        ...

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        ...

    @property
    def hop(self) -> int:
        """Samples of 16 kHz audio that one frame takes; rounded where frames end between samples."""
        ...

    @property
    def frames_per_step(self) -> int:
        """Frames that one step of the network returns: 1, or the chunk of a vertex talker."""
        ...

    @property
    def lookahead(self) -> float:
        """Seconds: frame n depends on audio up to (n + 1) / frame_rate + lookahead and on nothing later."""
        ...

    @property
    def steps(self) -> int:
        """Diffusion steps per frame of a stream that sets no other number."""
        ...

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the speaking styles, or of the identities of a vertex model; the first is the default."""
        ...

    @property
    def template(self) -> npt.NDArray[np.float32] | None:
        """(V, 3) rest pose of the checkpoint's own mesh in metres; None for the blendshape family."""
        ...

    @property
    def triangles(self) -> npt.NDArray[np.uint32] | None:
        """(T, 3) indices of the mesh's vertices; None for the blendshape family."""
        ...

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names that `open_stream` and `StreamProtocol.set` accept as controls."""
        ...

    def check(self, style: str | None = None, steps: int | None = None) -> None:
        """Raise TalkerError unless a stream can have this style and number of steps; None: the default."""
        ...

    def open_stream(
        self, seed: int = 0, style: str | None = None, steps: int | None = None, **controls: Any
    ) -> StreamProtocol:
        """Open a fresh stream.

        Args:
            seed: Seed of the stream's noise.
            style: One of `styles`; None for the first.
            steps: Diffusion steps per frame; None for `self.steps`.
            controls: Initial values of controls.

        Raises:
            TalkerError: If a value is unknown or out of range.
        """
        ...

    def accept(
        self, streams: Sequence[StreamProtocol], chunks: Sequence[np.ndarray]
    ) -> Sequence[Sequence[AnyFrame]]:
        """Process one chunk of audio for each of several streams, stepped together as a batch.

        Args:
            streams: Streams of this talker, each at most once.
            chunks: For each stream its audio, as `StreamProtocol.accept` takes it.

        Returns:
            For each stream the frames that its chunk completed.

        Raises:
            TalkerError: If a stream is passed twice, is finished, or belongs to another talker, or if the
                chunks are not one array of floats for each stream. No stream has changed then. After any
                other exception, of the model, the streams have to be reset.
        """
        ...

    def warm_up(self) -> None:
        """Run some silence through a stream, so that the first real frame finds everything allocated."""
        ...
