# SPDX-License-Identifier: Apache-2.0
"""The interface of renderers, and the choice among them: VTK where OpenGL works, plain numpy elsewhere."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Protocol

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import require
from streamingtalker_ros.face.rendering.scene import BACKGROUND
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
            (height, width, 3) RGB, upper row first; an array of its own.
        """
        ...

    def render_vertices(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Draw the mesh with given vertices.

        Args:
            points: (V, 3) metres.

        Returns:
            (height, width, 3) RGB, upper row first; an array of its own.
        """
        ...

    def close(self) -> None:
        """Release the renderer's resources."""
        ...


def create_renderer(
    rig: Rig,
    width: int = 480,
    height: int = 640,
    view: str = "front",
    background: tuple[float, float, float] = BACKGROUND,
    zoom: float = 1.0,
    center: npt.ArrayLike | None = None,
) -> Renderer:
    """Create a `VtkRenderer`, or a `SoftwareRenderer` on a machine without any OpenGL driver.

    Args:
        rig: The face.
        width: Pixels.
        height: Pixels.
        view: front, three_quarter or profile.
        background: RGB, 0..1, of the backdrop at the lower border.
        zoom: 1 shows the whole head; a greater zoom brings the camera nearer.
        center: (3,) metres, the point in the middle of the image; None for the middle of the head.

    Returns:
        The renderer; call `close` when done.

    Raises:
        TalkerError: If the view is unknown or VTK is not installed.
    """
    require("vtk", "rendering")
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
