# SPDX-License-Identifier: Apache-2.0
"""Renderer of a rig in plain numpy, for machines without OpenGL: a z-buffer with Phong shading.

Draws the scene of `vtk_renderer` about half as fast as Mesa, without tessellation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.geometry.normals import index_corners, vertex_normals
from streamingtalker_ros.face.rendering.scene import (
    AMBIENT,
    DEFAULT_MATERIAL,
    DIFFUSE,
    LIGHTS,
    MATERIALS,
    VIEW_ANGLE_DEG,
    Color,
    Shot,
    material_per_vertex,
    place_camera,
)
from streamingtalker_ros.face.rig import Rig

_SUPERSAMPLED_PIXELS = 100_000  # smaller images are drawn at twice the size and averaged
_MAX_FRAGMENTS = 400_000  # pixels of bounding boxes worked on at once, to bound the memory


class SoftwareRenderer:
    """Draws one rig from one camera.

    Args:
        rig: The face.
        width: Pixels.
        height: Pixels.
        view: front, three_quarter or profile.
        background: A colour, 0..1; None for a backdrop that grows darker upwards.
        zoom: 1 shows the whole head; a greater zoom brings the camera nearer.
        center: (3,) metres, the point in the middle of the image; None for the middle of the head.

    Raises:
        TalkerError: If the view is unknown.
    """

    def __init__(
        self,
        rig: Rig,
        width: int = 480,
        height: int = 640,
        view: str = "front",
        background: Color | None = None,
        zoom: float = 1.0,
        center: npt.ArrayLike | None = None,
    ) -> None:
        shot = Shot(width, height, view, background, zoom, center)
        self.rig = rig
        self._size = int(width), int(height)
        self._supersampling = 2 if width * height < _SUPERSAMPLED_PIXELS else 1
        self._triangles = rig.triangles.astype(np.int64)
        self._corners = index_corners(self._triangles)
        self._colors = np.clip(rig.colors, 0, 1).astype(np.float32)
        materials = np.array([DEFAULT_MATERIAL, *MATERIALS.values()], np.float32)
        # (T, 2) specular strength and power of each triangle, those of its first vertex
        self._materials = materials[material_per_vertex(rig)[self._triangles[:, 0]]]
        self._lights: list[tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]] = []
        for position, color, intensity in LIGHTS:
            direction = np.asarray(position, np.float32)
            self._lights.append(
                (direction / np.linalg.norm(direction), intensity * np.asarray(color, np.float32))
            )
        camera = place_camera(rig, shot)
        right = np.cross([0, 0, 1.0], camera.backward)
        right /= np.linalg.norm(right)
        up = np.cross(camera.backward, right)
        self._camera_position = camera.position
        self._camera_axes = np.stack([right, up, -camera.backward]).astype(np.float32)
        half_height = self._supersampling * self._size[1] / 2
        self._focal_length = half_height / np.tan(np.radians(VIEW_ANGLE_DEG / 2))
        bottom, top = np.array(shot.backdrop, np.float32)
        fraction = np.linspace(1, 0, self._size[1] * self._supersampling, dtype=np.float32)[:, None]
        # (rows, 3), upper row first
        self._backdrop = bottom * (1 - fraction) + top * fraction

    def render(self, weights: npt.ArrayLike, head: npt.ArrayLike | None = None) -> npt.NDArray[np.uint8]:
        """Draw one pose.

        Args:
            weights: (S,), 0..1.
            head: (4,) quaternion xyzw; None for no rotation.

        Returns:
            (height, width, 3) RGB, upper row first; an array of its own.
        """
        return self.render_vertices(self.rig.pose(weights, head))

    def render_vertices(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Draw the mesh with given vertices.

        Args:
            points: (V, 3) metres.

        Returns:
            (height, width, 3) RGB, upper row first; an array of its own.
        """
        normals = vertex_normals(points, self._triangles, self._corners)
        width, height = self._size[0] * self._supersampling, self._size[1] * self._supersampling
        x, y, depth = ((points - self._camera_position) @ self._camera_axes.T).T
        scale = self._focal_length / depth
        screen = np.stack([width / 2 + scale * x, height / 2 - scale * y, 1 / depth], axis=1)
        pixel, triangle, barycentric = rasterize(screen[self._triangles], width, height)
        vertices = self._triangles[triangle]
        barycentric = barycentric / depth[vertices]  # perspective-correct: weights on the surface
        barycentric = (barycentric / barycentric.sum(axis=1, keepdims=True)).astype(np.float32)
        image = np.repeat(self._backdrop[:, None], width, axis=1).reshape(-1, 3)
        image[pixel] = self._shade(points, normals, vertices, barycentric, self._materials[triangle])
        factor = self._supersampling
        image = image.reshape(self._size[1], factor, self._size[0], factor, 3).mean(axis=(1, 3))
        return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)

    def close(self) -> None:
        """Do nothing: the renderer holds no resources."""

    def _shade(
        self,
        points: npt.NDArray[np.float32],
        normals: npt.NDArray[np.float32],
        vertices: npt.NDArray[np.int64],
        barycentric: npt.NDArray[np.float32],
        materials: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.float32]:
        """Phong's reflection model for N pixels.

        Args:
            points: (V, 3) posed vertices.
            normals: (V, 3) their normals.
            vertices: (N, 3) vertices of each pixel's triangle.
            barycentric: (N, 3) their weights.
            materials: (N, 2) specular strength and power.

        Returns:
            (N, 3) RGB.
        """

        def interpolate(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            corners = [barycentric[:, k, None] * values[vertices[:, k]] for k in range(3)]
            return (corners[0] + corners[1] + corners[2]).astype(np.float32, copy=False)

        color, normal = interpolate(self._colors), interpolate(normals.astype(np.float32))
        to_camera = (self._camera_position - interpolate(points)).astype(np.float32)
        to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        facing = np.einsum("ij,ij->i", normal, to_camera)
        normal *= np.where(facing < 0, -1, 1)[:, None]  # both sides are lit
        result = AMBIENT * color
        for direction, intensity in self._lights:
            diffuse = normal @ direction
            reflected = 2 * diffuse[:, None] * normal - direction
            cosine = np.clip(np.einsum("ij,ij->i", reflected, to_camera), 0, None)
            specular = cosine ** materials[:, 1] * materials[:, 0]
            specular *= diffuse > 0
            result += intensity * (DIFFUSE * color * np.clip(diffuse, 0, None)[:, None] + specular[:, None])
        return result.astype(np.float32, copy=False)


def rasterize(
    triangles: npt.NDArray[np.floating], width: int, height: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """Find the triangle in front at each pixel (z-buffer).

    Args:
        triangles: (T, 3, 3) corners as x and y in pixels and 1 / depth.
        width: Pixels.
        height: Pixels.

    Returns:
        For the P covered pixels: flat index (P,), triangle (P,), barycentric weights in the image plane (P,
            3).
    """
    low = np.floor(triangles[:, :, :2].min(axis=1)).astype(np.int64).clip(0)
    high = np.ceil(triangles[:, :, :2].max(axis=1)).astype(np.int64).clip(None, [width, height])
    extent = (high - low).max(axis=1)
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    double_area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    visible = (high > low).all(axis=1) & (np.abs(double_area) > 1e-9) & (triangles[:, :, 2] > 0).all(axis=1)
    fragments = []
    side = 1
    while side < 2 * max(width, height):  # triangles of about one size at a time, as squares of pixels
        group = np.flatnonzero(visible & (extent <= side) & (extent > side // 2))
        block = max(1, _MAX_FRAGMENTS // side**2)
        for start in range(0, len(group), block):
            subset = group[start : start + block]
            fragments.append(
                _fragments(triangles[subset], double_area[subset], low[subset], subset, side, width, height)
            )
        side *= 2
    pixel, triangle, barycentric, inverse_depth = (
        np.concatenate(kind) for kind in zip(*fragments, strict=True)
    )
    order = np.lexsort((-inverse_depth, pixel))
    nearest = order[np.concatenate([[True], np.diff(pixel[order]) > 0])] if len(order) else order
    return pixel[nearest], triangle[nearest], barycentric[nearest]


def _fragments(
    triangles: npt.NDArray[np.floating],
    double_area: npt.NDArray[np.floating],
    low: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    side: int,
    width: int,
    height: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Pixels inside each triangle, of a square of `side` pixels from `low`.

    Returns:
        Flat index of the pixel, id of the triangle, barycentric weights, 1 / depth.
    """
    steps = np.arange(side)
    column = low[:, 0, None, None] + steps[None, None, :]
    row = low[:, 1, None, None] + steps[None, :, None]
    x, y = column + 0.5, row + 0.5
    weights = []
    for k in (1, 2):  # double area of the triangle between the pixel and the edge opposite corner k
        p, q = triangles[:, (k + 1) % 3, :2, None, None], triangles[:, (k + 2) % 3, :2, None, None]
        weights.append(
            ((q[:, 0] - p[:, 0]) * (y - p[:, 1]) - (q[:, 1] - p[:, 1]) * (x - p[:, 0]))
            / double_area[:, None, None]
        )
    weights.insert(0, 1 - weights[0] - weights[1])
    inside = (weights[0] >= 0) & (weights[1] >= 0) & (weights[2] >= 0) & (column < width) & (row < height)
    index, down, across = np.nonzero(inside)
    barycentric = np.stack([weight[inside] for weight in weights], axis=1)
    inverse_depth = np.einsum("ij,ij->i", barycentric, triangles[index, :, 2])
    return (low[index, 1] + down) * width + low[index, 0] + across, ids[index], barycentric, inverse_depth
