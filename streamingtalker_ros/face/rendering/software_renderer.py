# SPDX-License-Identifier: Apache-2.0
"""Pictures of a rig in plain numpy, for machines without any OpenGL: same face, same studio, half as fast as
Mesa.

`SoftwareRenderer` has the constructor and the methods of `face.render.FaceRenderer`, which becomes one of
these where VTK finds no driver, not even Mesa's; `opengl_works()` tells. A z-buffer over the coarse
triangles, Phong-shaded.
"""

import functools
import subprocess
import sys

import numpy as np

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.geometry.normals import smooth_normals, vertex_corners
from streamingtalker_ros.face.rendering.vtk_renderer import _GLOSS, _LIGHTS, VIEWS

_PROBE = (
    "import vtkmodules.vtkRenderingOpenGL2\n"
    "from vtkmodules.vtkRenderingCore import vtkRenderWindow\n"
    "window = vtkRenderWindow()\nwindow.SetOffScreenRendering(1)\n"
    "window.SetSize(8, 8)\nwindow.Render()"
)
_AMBIENT, _DIFFUSE = 0.27, 0.84
_SMALL = 100_000  # pixels; smaller pictures are drawn at twice the size and averaged
_FRAGMENTS = 400_000  # pixels of bounding boxes worked on at once, to bound the memory


@functools.cache
def opengl_works():
    """Whether VTK can draw here. Tried in a process of its own, since VTK crashes where it finds no
    driver."""
    try:
        return subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class SoftwareRenderer:
    """Draws one rig from one view."""

    def __init__(
        self, rig, width=480, height=640, view="front", background=(0.95, 0.94, 0.93), zoom=1.0, center=None
    ) -> None:
        """As FaceRenderer. Raises TalkerError for an unknown view."""
        if view not in VIEWS:
            raise TalkerError(f"view {view!r} is unknown: choose one of {', '.join(VIEWS)}")
        self.rig = rig
        self._size = int(width), int(height)
        self._over = 2 if width * height < _SMALL else 1
        self._faces = rig.triangles.astype(np.int64)
        self._corners = vertex_corners(self._faces)
        self._colors = np.clip(rig.colors, 0, 1).astype(np.float32)
        self._gloss = _gloss(rig, self._faces)
        low, high = rig.vertices.min(axis=0), rig.vertices.max(axis=0)
        middle, extent = (low + high) / 2, high - low
        directions = [np.asarray(position, np.float32) for position, _, _ in _LIGHTS]
        self._lights = [
            (direction / np.linalg.norm(direction), strength * np.asarray(color, np.float32))
            for direction, (_, color, strength) in zip(directions, _LIGHTS)
        ]
        center = middle if center is None else np.asarray(center, float)
        self._look(view, zoom, width / height, center, extent)
        foot = np.asarray(background, np.float32)
        share = np.linspace(1, 0, self._size[1] * self._over, dtype=np.float32)[:, None]
        # (rows, 3), top first
        self._backdrop = foot * (1 - share) + foot * np.float32([0.78, 0.84, 0.88]) * share

    def _look(self, view, zoom, aspect, center, extent) -> None:
        azimuth, elevation = np.radians(VIEWS[view])
        toward = np.array(
            [np.cos(azimuth) * np.cos(elevation), -np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        # half the picture's height
        tall = 0.54 * max(extent[2], max(extent[0], extent[1]) / aspect * 0.98) / zoom
        distance = tall / np.tan(np.radians(9.0)) + extent[0] / 2
        right = np.cross([0, 0, 1.0], toward)
        right /= np.linalg.norm(right)
        self._eye = center + distance * toward
        self._axes = np.stack([right, np.cross(toward, right), -toward]).astype(np.float32)
        self._focal = self._over * self._size[1] / 2 / np.tan(np.radians(9.0))

    def frame(self, weights, head=None):
        """weights (S,), head (4,) xyzw or None -> (height, width, 3) uint8, RGB, top row first."""
        points = self.rig.pose(weights, head)
        normals = smooth_normals(points, self._faces, self._corners)
        width, height = self._size[0] * self._over, self._size[1] * self._over
        x, y, depth = ((points - self._eye) @ self._axes.T).T
        scale = self._focal / depth
        screen = np.stack([width / 2 + scale * x, height / 2 - scale * y, 1 / depth], axis=1)
        pixel, face, corner = nearest(screen[self._faces], width, height)
        corner = corner / depth[self._faces[face]]  # from the screen's barycentric weights to the surface's
        corner = (corner / corner.sum(axis=1, keepdims=True)).astype(np.float32)
        image = np.repeat(self._backdrop[:, None], width, axis=1).reshape(-1, 3)
        image[pixel] = self._shade(points, normals, self._faces[face], corner, self._gloss[face])
        image = image.reshape(self._size[1], self._over, self._size[0], self._over, 3).mean(axis=(1, 3))
        return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)

    def close(self) -> None:
        """Nothing is held."""

    def _shade(self, points, normals, vertices, corner, gloss):
        """Phong's model for N pixels: vertices (N, 3) indices, corner (N, 3) weights, gloss (N, 2) -> (N,
        3)."""

        def mixed(values):
            return sum(corner[:, k, None] * values[vertices[:, k]] for k in range(3))

        color, normal = mixed(self._colors), mixed(normals.astype(np.float32))
        toward = (self._eye - mixed(points)).astype(np.float32)
        toward /= np.linalg.norm(toward, axis=1, keepdims=True)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        facing = np.einsum("ij,ij->i", normal, toward)
        normal *= np.where(facing < 0, -1, 1)[:, None]  # both sides are lit
        out = _AMBIENT * color
        for direction, strength in self._lights:
            lit = normal @ direction
            mirrored = 2 * lit[:, None] * normal - direction
            shine = np.clip(np.einsum("ij,ij->i", mirrored, toward), 0, None) ** gloss[:, 1] * gloss[:, 0]
            shine *= lit > 0
            out += strength * (_DIFFUSE * color * np.clip(lit, 0, None)[:, None] + shine[:, None])
        return out


def _gloss(rig, faces):
    """(T, 2) specular strength and power of each triangle, by the part of its first vertex."""
    gloss = np.tile(np.float32([0.14, 12.0]), (len(rig.vertices), 1))
    for part, (first, last) in rig.parts.items():
        for key, shine in _GLOSS.items():
            if part.startswith(key):
                gloss[first:last] = shine
    return gloss[faces[:, 0]]


def nearest(triangles, width, height):
    """The z-buffer. triangles: (T, 3, 3) corners as x, y in pixels and 1 / depth.

    Returns, for the P covered pixels: flat index (P,), triangle in front (P,), its barycentric weights (P,
    3).
    """
    low = np.floor(triangles[:, :, :2].min(axis=1)).astype(np.int64).clip(0)
    high = np.ceil(triangles[:, :, :2].max(axis=1)).astype(np.int64).clip(None, [width, height])
    extent = (high - low).max(axis=1)
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    drawn = ((high > low).all(axis=1)) & (np.abs(area) > 1e-9) & (triangles[:, :, 2] > 0).all(axis=1)
    found = []
    side = 1
    while side < 2 * max(width, height):  # triangles of about one size at a time, as squares of pixels
        group = np.flatnonzero(drawn & (extent <= side) & (extent > side // 2))
        for start in range(0, len(group), max(1, _FRAGMENTS // side**2)):
            part = group[start : start + max(1, _FRAGMENTS // side**2)]
            found.append(_fragments(triangles[part], area[part], low[part], part, side, width, height))
        side *= 2
    pixel, face, corner, near = (np.concatenate(kind) for kind in zip(*found))
    order = np.lexsort((-near, pixel))
    first = order[np.concatenate([[True], np.diff(pixel[order]) > 0])] if len(order) else order
    return pixel[first], face[first], corner[first]


def _fragments(triangles, area, low, names, side, width, height):
    """Pixels inside each triangle, of a square of `side` pixels from `low`: index, name, weights, 1 /
    depth."""
    steps = np.arange(side)
    column = low[:, 0, None, None] + steps[None, None, :]
    row = low[:, 1, None, None] + steps[None, :, None]
    x, y = column + 0.5, row + 0.5
    weights = []
    for k in (1, 2):  # twice the area of the triangle that the pixel makes with the edge across from corner k
        p, q = triangles[:, (k + 1) % 3, :2, None, None], triangles[:, (k + 2) % 3, :2, None, None]
        weights.append(
            ((q[:, 0] - p[:, 0]) * (y - p[:, 1]) - (q[:, 1] - p[:, 1]) * (x - p[:, 0])) / area[:, None, None]
        )
    weights.insert(0, 1 - weights[0] - weights[1])
    inside = (weights[0] >= 0) & (weights[1] >= 0) & (weights[2] >= 0) & (column < width) & (row < height)
    which, down, across = np.nonzero(inside)
    corner = np.stack([weight[inside] for weight in weights], axis=1)
    near = np.einsum("ij,ij->i", corner, triangles[which, :, 2])
    return (low[which, 1] + down) * width + low[which, 0] + across, names[which], corner, near
