# SPDX-License-Identifier: Apache-2.0
"""The interface of renderers, and the choice among them: VTK where OpenGL works, plain numpy elsewhere."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Protocol

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.rendering.scene import TRANSPARENT, Color
from streamingtalker_ros.face.rig import Rig

_OPENGL_PROBE = (
    "import vtkmodules.vtkRenderingOpenGL2\n"
    "from vtkmodules.vtkRenderingCore import vtkRenderWindow\n"
    "window = vtkRenderWindow()\nwindow.SetOffScreenRendering(1)\n"
    "window.SetSize(8, 8)\nwindow.Render()"
)
_OPENGL_PROBE_TIMEOUT_S = 60.0


class Renderer(Protocol):
    """Draws one rig from one camera."""

    @property
    def rig(self) -> Rig:
        """The face that is drawn."""
        ...

    def render(self, weights: npt.ArrayLike, head: npt.ArrayLike | None = None) -> npt.NDArray[np.uint8]:
        """Draw one pose.

        Args:
            weights: (S,), 0..1.
            head: (4,) quaternion xyzw; None for no rotation.

        Returns:
            (height, width, 3) RGB, with a transparent background (height, width, 4) RGBA, upper row first; an
            array of its own.
        """
        ...

    def render_vertices(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Draw the mesh with given vertices.

        Args:
            points: (V, 3) metres.

        Returns:
            As `render`.
        """
        ...

    def close(self) -> None:
        """Release the renderer's resources."""
        ...


class _TransparentRenderer:
    """Draws a rig with alpha: the difference of two images, on black and on white."""

    def __init__(self, on_black: Renderer, on_white: Renderer) -> None:
        self._on_black, self._on_white = on_black, on_white
        self.rig = on_black.rig

    def render(self, weights: npt.ArrayLike, head: npt.ArrayLike | None = None) -> npt.NDArray[np.uint8]:
        return self.render_vertices(self.rig.pose(weights, head))

    def render_vertices(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        black, white = (
            renderer.render_vertices(points).astype(np.float32)
            for renderer in (self._on_black, self._on_white)
        )
        alpha = 255.0 - (white - black).mean(axis=2, keepdims=True).clip(0.0, 255.0)
        color = (255.0 * black / alpha.clip(1.0)).clip(0.0, 255.0)
        return np.concatenate([color, alpha], axis=2).round().astype(np.uint8)

    def close(self) -> None:
        self._on_black.close()
        self._on_white.close()


def create_renderer(
    rig: Rig,
    width: int = 480,
    height: int = 640,
    view: str = "front",
    background: Color | str | None = None,
    zoom: float = 1.0,
    center: npt.ArrayLike | None = None,
) -> Renderer:
    """Create a `VtkRenderer`, or a `SoftwareRenderer` on a machine without any OpenGL driver.

    Args:
        rig: The face.
        width: Pixels.
        height: Pixels.
        view: front, three_quarter or profile.
        background: A colour, 0..1; `TRANSPARENT` for images with alpha; None for a backdrop that grows
            darker upwards.
        zoom: 1 shows the whole head; a greater zoom brings the camera nearer.
        center: (3,) metres, the point in the middle of the image; None for the middle of the head.

    Returns:
        The renderer; call `close` when done.

    Raises:
        TalkerError: If the view or the background is unknown or VTK is not installed.
    """
    require("vtk", "rendering")
    if isinstance(background, str):
        if background != TRANSPARENT:
            raise TalkerError(f"background {background!r} is no colour: give three numbers, or {TRANSPARENT}")
        on_black, on_white = (
            create_renderer(rig, width, height, view, (level, level, level), zoom, center)
            for level in (0.0, 1.0)
        )
        return _TransparentRenderer(on_black, on_white)
    if has_opengl():
        from streamingtalker_ros.face.rendering.vtk_renderer import VtkRenderer

        return VtkRenderer(rig, width, height, view, background, zoom, center)
    from streamingtalker_ros.face.rendering.software_renderer import SoftwareRenderer

    return SoftwareRenderer(rig, width, height, view, background, zoom, center)


@functools.cache
def has_opengl() -> bool:
    """Whether VTK can render here. Probed in a separate process, since VTK crashes without a driver."""
    try:
        command = [sys.executable, "-c", _OPENGL_PROBE]
        return subprocess.run(command, capture_output=True, timeout=_OPENGL_PROBE_TIMEOUT_S).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
