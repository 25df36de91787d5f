# SPDX-License-Identifier: Apache-2.0
"""A finished clip of face motion, of blendshape weights or of vertices, and the images that show it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.interpolation import resample_motion
from streamingtalker_ros.face.rendering.renderer import Renderer, create_renderer
from streamingtalker_ros.face.rendering.scene import Shot
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.output_files import atomic_output


@dataclass(frozen=True)
class BlendshapeClip:
    """Motion of the 52 ARKit shapes and of the head.

    Attributes:
        weights: (T, 52) float32, 0..1, in the order of `ARKIT_NAMES`.
        head: (T, 4) float32 quaternions xyzw.
        times: (T,) seconds.
        speaking: (T,) bool, voice activity.
        frame_rate: Frames per second.
        rig: The face that shows the motion.
    """

    weights: npt.NDArray[np.float32]
    head: npt.NDArray[np.float32]
    times: npt.NDArray[np.float64]
    speaking: npt.NDArray[np.bool_]
    frame_rate: float
    rig: Rig = field(default_factory=default_rig)

    def __len__(self) -> int:
        return len(self.times)

    def at_rate(self, frame_rate: float) -> BlendshapeClip:
        """Return the clip at another frame rate, interpolated linearly from its first frame to its last.

        Args:
            frame_rate: Frames per second; the clip's own gives the clip itself.
        """
        if frame_rate == self.frame_rate:
            return self
        weights, head, times = resample_motion(self.weights, self.head, self.times, frame_rate)
        index = np.clip(np.searchsorted(self.times, times + 1e-9, side="right") - 1, 0, len(self) - 1)
        return BlendshapeClip(
            weights.astype(np.float32),
            head.astype(np.float32),
            times,
            self.speaking[index],
            frame_rate,
            self.rig,
        )

    def arrays(self) -> dict[str, npt.ArrayLike]:
        """The content of an NPZ file."""
        return {
            "weights": self.weights,
            "head": self.head,
            "times": self.times,
            "speaking": self.speaking,
            "frame_rate": self.frame_rate,
            "names": np.array(ARKIT_NAMES),
        }

    def draw(self, renderer: Renderer, index: int) -> npt.NDArray[np.uint8]:
        """Image (height, width, 3) of a frame, drawn by a renderer of `rig`.

        Args:
            renderer: Renderer of `rig`; it sets the size of the image and the camera.
            index: Frame, 0..T - 1.

        Returns:
            (height, width, 3) uint8 RGB, upper row first.
        """
        return renderer.render(self.weights[index], self.head[index])


@dataclass(frozen=True)
class VertexClip:
    """Motion of the vertices of a mesh.

    Attributes:
        vertices: (T, V, 3) float32, metres; x out of the face, y to the person's left, z up.
        times: (T,) seconds.
        frame_rate: Frames per second.
        rig: The mesh at rest, without shapes.
    """

    vertices: npt.NDArray[np.float32]
    times: npt.NDArray[np.float64]
    frame_rate: float
    rig: Rig

    def __len__(self) -> int:
        return len(self.times)

    def arrays(self) -> dict[str, npt.ArrayLike]:
        """The content of an NPZ file."""
        return {
            "vertices": self.vertices,
            "times": self.times,
            "frame_rate": self.frame_rate,
            "template": self.rig.vertices,
            "triangles": self.rig.triangles,
        }

    def draw(self, renderer: Renderer, index: int) -> npt.NDArray[np.uint8]:
        """Image (height, width, 3) of a frame, drawn by a renderer of `rig`.

        Args:
            renderer: Renderer of `rig`; it sets the size of the image and the camera.
            index: Frame, 0..T - 1.

        Returns:
            (height, width, 3) uint8 RGB, upper row first.
        """
        return renderer.render_vertices(self.vertices[index])


MotionClip: TypeAlias = BlendshapeClip | VertexClip


def write_npz(path: str | os.PathLike[str], clip: MotionClip) -> None:
    """Write the arrays of a clip into a compressed NPZ file.

    Args:
        path: File to write, replaced if it exists; .npz is appended to a name that does not end with it.
        clip: The motion.

    Raises:
        TalkerError: If the file cannot be written.
    """
    arrays: dict[str, Any] = dict(clip.arrays())
    name = os.fspath(path)
    name = name if name.endswith(".npz") else f"{name}.npz"
    with atomic_output(name) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def render_frames(clip: MotionClip, indices: Sequence[int], shot: Shot) -> Iterator[npt.NDArray[np.uint8]]:
    """Draw frames of a clip one by one.

    Args:
        clip: The motion.
        indices: The frames to draw.
        shot: Size, framing and background.

    Yields:
        (height, width, 3) RGB; RGBA with a transparent background.

    Raises:
        TalkerError: If VTK is not installed.
    """
    renderer = create_renderer(clip.rig, **vars(shot))
    try:
        for index in indices:
            yield clip.draw(renderer, index)
    finally:
        renderer.close()
