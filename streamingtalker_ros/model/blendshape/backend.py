# SPDX-License-Identifier: Apache-2.0
"""What steps a blendshape network: the one interface of both backends, NumPy arrays on both sides.

| `backend.name` | class | runs on |
|---|---|---|
| `"torch"` | `torch_backend.TorchBackend` | CPU and CUDA, float32 |
| `"onnx"` | `onnx_backend.OnnxBackend` | CPU through ONNX Runtime, float32 or int8; no torch |

A backend keeps the state of all voices, one row each. Audio enters and motion leaves as arrays, so that
noise, gates, constraints and controls are the same code for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.model.blendshape.config import TalkerConfig

BackendName: TypeAlias = Literal["torch", "onnx"]
Precision: TypeAlias = Literal["float32", "int8"]
FloatArray: TypeAlias = npt.NDArray[np.float32]

MAX_SAMPLERS: Final = 16
"""Numbers of diffusion steps, and of batch sizes, whose tables and buffers a backend keeps."""
BACKENDS: Final[tuple[str, ...]] = ("auto", *get_args(BackendName))
"""Values of the parameter `backend`."""
PRECISIONS: Final[tuple[str, ...]] = ("auto", *get_args(Precision))
"""Values of the parameter `precision`."""


@runtime_checkable
class FrameBackend(Protocol):
    """A network on a device, and the state of its voices.

    Its methods are called by one thread at a time, except `close_row` and `close_uncond_row`, which a
    finalizer calls in any thread and at any point.
    """

    @property
    def name(self) -> BackendName:
        """Which backend it is, see the table above."""
        ...

    @property
    def precision(self) -> Precision:
        """Type in which the weights are multiplied."""
        ...

    @property
    def device(self) -> str:
        """The torch device, such as "cpu" or "cuda:0"; "cpu" for ONNX Runtime."""
        ...

    @property
    def description(self) -> str:
        """What runs, for a log: library and its version, precision, device, threads."""
        ...

    @property
    def config(self) -> TalkerConfig:
        """Sizes and rates of the network."""
        ...

    def open_row(self) -> int:
        """Return a fresh row of state, for one voice."""
        ...

    def close_row(self, row: int) -> None:
        """Free a row."""
        ...

    def reset_row(self, row: int) -> None:
        """Reset the state of a row, in place."""
        ...

    def open_uncond_row(self, frame: int) -> int:
        """Return a fresh row of the unconditional branch of a voice with guidance.

        Args:
            frame: Index of the voice's next frame.
        """
        ...

    def close_uncond_row(self, row: int) -> None:
        """Free a row of the unconditional branch."""
        ...

    def reset_uncond_row(self, row: int) -> None:
        """Reset a row of the unconditional branch to frame 0, in place."""
        ...

    def prepare_steps(self, steps: int) -> None:
        """Compute what depends on the number of diffusion steps alone, so that no frame waits for it.

        Args:
            steps: Number of DDIM steps, 1 or more.
        """
        ...

    def encode_hops(self, rows: Sequence[int], hops: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Encode one hop of audio of each of B voices.

        Args:
            rows: B rows, each at most once; their state advances.
            hops: (B, config.hop) samples in -1..1.

        Returns:
            Features (B, audio_width), and the outputs of the auxiliary heads (B, 1 to 5), see
            `AudioEncoder.auxiliary_logits`; both are valid until the next call.
        """
        ...

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
        """Generate the next frame of motion of each of B voices.

        Args:
            rows: B rows, each at most once; their state advances.
            features: (B, audio_width) of the hop that completes each frame's look-ahead.
            noise: (B, D) noise that sampling begins with.
            style_rows: B rows of the style embedding.
            steps: Number of DDIM steps.
            context_frames: Past frames that count, at most h; None for h.
            uncond_rows: With guidance B rows of the unconditional branch, else empty.
            guidance: With guidance B scales, else empty.

        Returns:
            (B, motion_dim), weights not yet clipped to 0..1; a new array.
        """
        ...

    def state_layout(self) -> list[tuple[int, tuple[int, ...]]]:
        """Return the address and shape of each array of the state, which are fixed while no row is opened."""
        ...

    def stages(self, steps: int) -> dict[str, tuple[object, str]]:
        """Return the parts of a step that a benchmark may time: name -> (object, name of its method).

        Args:
            steps: Number of DDIM steps.
        """
        ...
