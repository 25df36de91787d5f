# SPDX-License-Identifier: Apache-2.0
"""Off-screen renderer of a rig through VTK; needs no display, and one core is enough.

VTK receives the mesh once; each frame moves the points and their normals in place. A mesh without textures is
refined by Phong tessellation; textures are drawn by the shader of `textured_shading`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import require
from streamingtalker_ros.face.geometry.normals import index_corners, vertex_normals, weld_seams
from streamingtalker_ros.face.geometry.phong_tessellation import PhongTessellator
from streamingtalker_ros.face.rendering.scene import (
    AMBIENT,
    DEFAULT_MATERIAL,
    DIFFUSE,
    LIGHTS,
    MATERIALS,
    VIEW_ANGLE_DEG,
    Color,
    Material,
    Shot,
    material_per_vertex,
    place_camera,
)
from streamingtalker_ros.face.rendering.textured_shading import apply_material
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.surface_material import SurfaceMaterial

_MULTISAMPLES = 4


class VtkRenderer:
    """Draws one rig from one camera with VTK. Call `close` when done.

    Args:
        rig: The face.
        width: Pixels.
        height: Pixels.
        view: front, three_quarter or profile.
        background: A colour, 0..1; None for a backdrop that grows darker upwards.
        zoom: 1 shows the whole head; a greater zoom brings the camera nearer.
        center: (3,) metres, the point in the middle of the image; None for the middle of the head.

    Raises:
        TalkerError: If the view is unknown or VTK is not installed.
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
        vtk = require("vtk", "rendering")
        numpy_support = require("vtk.util.numpy_support", "rendering")
        self.rig = rig
        self._vtk = vtk
        self._numpy_support = numpy_support
        self._triangles = rig.triangles.astype(np.int64)
        self._tessellator = PhongTessellator(self._triangles, len(rig.vertices)) if rig.uv is None else None
        self._first_twin: npt.NDArray[np.int64] | None = None
        if rig.uv is not None:
            self._first_twin = weld_seams(rig.vertices, rig.deltas)
            self._vtk_uv = numpy_support.numpy_to_vtk(rig.uv * (1, -1) + (0, 1), deep=True)
        self._normal_triangles = (
            self._triangles if self._first_twin is None else self._first_twin[self._triangles]
        )
        self._corners = index_corners(self._normal_triangles)
        self._points = self._refine(rig.vertices).astype(np.float32)
        self._normals = np.zeros_like(self._points)
        colors = self._refine(np.clip(rig.colors, 0, 1))
        self._colors = np.ascontiguousarray((colors * 255).round().astype(np.uint8))
        # VTK shares the memory of the arrays above
        self._vtk_points = numpy_support.numpy_to_vtk(self._points)
        self._vtk_normals = numpy_support.numpy_to_vtk(self._normals)
        self._vtk_colors = numpy_support.numpy_to_vtk(self._colors)
        self._point_set = vtk.vtkPoints()
        self._point_set.SetData(self._vtk_points)
        self._renderer = vtk.vtkRenderer()
        self._meshes: list[Any] = []
        for triangles, material in self._split_by_material():
            self._renderer.AddActor(self._create_actor(triangles, material))
        self._add_lights()
        self._set_camera(shot)
        self._renderer.GradientBackgroundOn()
        bottom, top = shot.backdrop
        self._renderer.SetBackground(*bottom)
        self._renderer.SetBackground2(*top)
        verbosity = vtk.vtkLogger.GetCurrentVerbosityCutoff()
        # VTK would warn that there is no X server, which off-screen rendering does without
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_ERROR)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        # hair that alpha cuts takes seconds with samples per pixel: it is drawn twice as large instead
        self._scale = 2 if any(item.material.alpha == "MASK" for item in rig.materials) else 1
        self._window.SetMultiSamples(_MULTISAMPLES if self._scale == 1 else 0)
        self._window.SetSize(self._scale * int(width), self._scale * int(height))
        self._window.AddRenderer(self._renderer)
        self._window.Render()
        vtk.vtkLogger.SetStderrVerbosity(verbosity)
        self._image_filter = vtk.vtkWindowToImageFilter()
        self._image_filter.SetInput(self._window)
        self._image_filter.ReadFrontBufferOff()
        self._image_filter.ShouldRerenderOff()
        self._image_filter.SetInputBufferTypeToRGB()

    def _refine(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Values (V, …) of the vertices as values of the vertices that are drawn."""
        return values if self._tessellator is None else self._tessellator.interpolate(values)

    def _split_by_material(self) -> Iterator[tuple[npt.NDArray[np.int64], Material | SurfaceMaterial]]:
        """The triangles of each material; the first vertex of a triangle decides."""
        triangles, per_triangle = self._triangles, 1
        if self._tessellator is not None:
            triangles, per_triangle = self._tessellator.triangles, 4
        number = material_per_vertex(self.rig)
        materials: list[Material | SurfaceMaterial] = [DEFAULT_MATERIAL, *MATERIALS.values()]
        textured = {} if self.rig.uv is None else {item.material: None for item in self.rig.materials}
        for first, last, material in self.rig.materials if textured else ():
            number[first:last] = len(materials) + list(textured).index(material)
        for k, surface in enumerate((*materials, *textured)):
            subset = triangles[np.repeat(number[self._triangles[:, 0]] == k, per_triangle)]
            if len(subset):
                yield subset, surface

    def _create_actor(self, triangles: npt.NDArray[np.int64], material: Material | SurfaceMaterial) -> Any:
        vtk, to_ids = self._vtk, self._numpy_support.numpy_to_vtkIdTypeArray
        cells = vtk.vtkCellArray()
        cells.SetData(
            to_ids(3 * np.arange(len(triangles) + 1), deep=True), to_ids(triangles.ravel(), deep=True)
        )
        mesh = vtk.vtkPolyData()
        mesh.SetPoints(self._point_set)
        mesh.SetPolys(cells)
        mesh.GetPointData().SetNormals(self._vtk_normals)
        mesh.GetPointData().SetScalars(self._vtk_colors)
        mapper = vtk.vtkPolyDataMapper()
        mapper.SetInputData(mesh)
        mapper.SetStatic(0)
        actor = vtk.vtkActor()
        actor.SetMapper(mapper)
        surface = actor.GetProperty()
        surface.SetInterpolationToPhong()
        surface.SetAmbient(AMBIENT)
        surface.SetDiffuse(DIFFUSE)
        if isinstance(material, SurfaceMaterial):
            mesh.GetPointData().SetScalars(None)
            mesh.GetPointData().SetTCoords(self._vtk_uv)
            apply_material(vtk, actor, material, len(LIGHTS))
        else:
            surface.SetSpecular(material.specular)
            surface.SetSpecularPower(material.power)
        self._meshes.append(mesh)
        return actor

    def _add_lights(self) -> None:
        low, high = self.rig.head_bounds()
        head_height, middle = high[2] - low[2], (high + low) / 2.0
        self._renderer.AutomaticLightCreationOff()
        self._renderer.RemoveAllLights()
        for position, color, intensity in LIGHTS:
            light = self._vtk.vtkLight()
            light.SetLightTypeToSceneLight()
            light.SetPosition(*(middle + head_height * np.array(position)))
            light.SetFocalPoint(*middle)
            light.SetColor(*color)
            light.SetIntensity(intensity)
            self._renderer.AddLight(light)

    def _set_camera(self, shot: Shot) -> None:
        placed = place_camera(self.rig, shot)
        camera = self._renderer.GetActiveCamera()
        camera.SetViewAngle(VIEW_ANGLE_DEG)
        camera.SetFocalPoint(*placed.focal_point)
        camera.SetPosition(*placed.position)
        camera.SetViewUp(0.0, 0.0, 1.0)
        depth = np.ptp(self.rig.vertices, axis=0).max()
        camera.SetClippingRange(0.2 * placed.distance, placed.distance + 2.0 * depth)

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
        normals = vertex_normals(points, self._normal_triangles, self._corners)
        if self._first_twin is not None:
            normals = normals[self._first_twin]
        if self.rig.normals is not None:
            normals = np.where(np.isnan(self.rig.normals), normals, self.rig.normals)
        if self._tessellator is None:
            self._points[:], self._normals[:] = points, normals
        else:
            self._points[:], self._normals[:] = self._tessellator.tessellate(points, normals)
        self._vtk_points.Modified()
        self._vtk_normals.Modified()
        self._point_set.Modified()
        for mesh in self._meshes:
            mesh.Modified()
        self._window.Render()
        self._image_filter.Modified()
        self._image_filter.Update()
        image = self._image_filter.GetOutput()
        columns, rows, _ = image.GetDimensions()
        pixels = self._numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
        pixels = pixels.reshape(rows, columns, 3)[::-1]
        if self._scale == 1:
            return pixels.copy()
        means = pixels.reshape(rows // self._scale, self._scale, columns // self._scale, self._scale, 3).mean(
            (1, 3)
        )
        return means.round().astype(np.uint8)

    def close(self) -> None:
        """Release the window."""
        self._window.Finalize()
