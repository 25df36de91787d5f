# SPDX-License-Identifier: Apache-2.0
"""The scene that all renderers draw: views, camera, lights, materials and backdrop.

Axes: x out of the face, y to the person's left, z up; metres. Colours are RGB, 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.rig import Rig

Color: TypeAlias = tuple[float, float, float]


class Light(NamedTuple):
    """A light that stands still while the head moves.

    Attributes:
        position: Relative to the middle of the head, in heights of the head.
        color: RGB.
        intensity: Factor of the colour.
    """

    position: tuple[float, float, float]
    color: tuple[float, float, float]
    intensity: float


class Material(NamedTuple):
    """Specular reflection of a part of the face, as in Phong's model.

    Attributes:
        specular: Strength, 0..1.
        power: Exponent; a higher one gives a smaller highlight.
    """

    specular: float
    power: float


class Camera(NamedTuple):
    """A perspective camera with a vertical angle of view of `VIEW_ANGLE_DEG`; z is up.

    Attributes:
        position: (3,) metres.
        focal_point: (3,) metres, shown in the middle of the image.
        backward: (3,) unit vector from the focal point to the camera.
        distance: Metres between the two.
    """

    position: npt.NDArray[np.floating]
    focal_point: npt.NDArray[np.floating]
    backward: npt.NDArray[np.float64]
    distance: float


VIEW_ANGLE_DEG = 18.0
VIEWS_DEG = {"front": (0.0, 2.0), "three_quarter": (38.0, 4.0), "profile": (90.0, 2.0)}  # azimuth, elevation
AMBIENT, DIFFUSE = 0.27, 0.84
MATERIALS = {  # by the beginning of a part's name
    "eye": Material(0.6, 60.0),
    "glint": Material(1.0, 1.0),
    "teeth": Material(0.25, 30.0),
    "mouth": Material(0.0, 1.0),
    "tongue": Material(0.1, 12.0),
    "brow": Material(0.05, 10.0),
    "shell": Material(0.22, 16.0),
}
DEFAULT_MATERIAL = Material(0.14, 12.0)
LIGHTS = (
    Light((2.6, -1.4, 1.7), (1.0, 0.96, 0.91), 0.74),  # key light, from above at the person's right
    Light((2.6, 2.0, 0.5), (0.90, 0.94, 1.0), 0.42),  # fill light
    Light((-1.6, 1.8, 1.6), (0.95, 0.97, 1.0), 0.42),  # two rim lights
    Light((-1.4, -2.2, 0.8), (1.0, 0.95, 0.92), 0.30),
    Light((1.4, 0.0, -2.0), (1.0, 0.87, 0.80), 0.20),  # bounce light from below
)
TRANSPARENT: Final = "transparent"  # the background of images with alpha
_BACKDROP = (0.95, 0.94, 0.93), (0.74, 0.79, 0.82)  # at the image's lower and upper border


@dataclass(frozen=True)
class Shot:
    """Size and framing of an image.

    Attributes:
        width: Pixels.
        height: Pixels.
        view: One of `VIEWS_DEG`.
        background: A colour, 0..1; `TRANSPARENT`; None for a backdrop that grows darker upwards.
        zoom: 1 shows the whole head; a greater zoom brings the camera nearer.
        center: (3,) metres, the point in the middle of the image; None for the middle of the head.

    Raises:
        TalkerError: If the view is unknown.
    """

    width: int = 480
    height: int = 640
    view: str = "front"
    background: Color | str | None = None
    zoom: float = 1.0
    center: npt.ArrayLike | None = None

    @property
    def backdrop(self) -> tuple[Color, Color]:
        """Colours at the lower and the upper border."""
        if self.background is None or isinstance(self.background, str):
            return _BACKDROP
        return self.background, self.background

    def __post_init__(self) -> None:
        if self.view not in VIEWS_DEG:
            raise TalkerError(f"view {self.view!r} is unknown: choose one of {', '.join(VIEWS_DEG)}")


def place_camera(rig: Rig, shot: Shot) -> Camera:
    """Place the camera so that the head fills the image at zoom 1.

    Args:
        rig: The face, framed by its head at rest.
        shot: Size and framing of the image.

    Returns:
        The camera.
    """
    low, high = rig.head_bounds()
    size = high - low
    focal_point = (low + high) / 2.0 if shot.center is None else np.asarray(shot.center, float)
    azimuth, elevation = np.radians(VIEWS_DEG[shot.view])
    backward = np.array(
        [np.cos(azimuth) * np.cos(elevation), -np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
    )
    aspect = max(shot.width / shot.height, 1e-3)
    half_height = 0.54 * max(size[2], max(size[0], size[1]) / aspect * 0.98) / shot.zoom
    distance = half_height / np.tan(np.radians(VIEW_ANGLE_DEG / 2)) + size[0] / 2.0
    return Camera(focal_point + distance * backward, focal_point, backward, distance)


def material_per_vertex(rig: Rig) -> npt.NDArray[np.int64]:
    """Index of each vertex's material, (V,): 0 for `DEFAULT_MATERIAL`, k + 1 for the k-th of `MATERIALS`.

    Args:
        rig: The face; the name of a vertex's part determines its material.
    """
    material = np.zeros(len(rig.vertices), np.int64)
    for part, (first, last) in rig.parts.items():
        for k, prefix in enumerate(MATERIALS):
            if part.startswith(prefix):
                material[first:last] = k + 1
    return material
