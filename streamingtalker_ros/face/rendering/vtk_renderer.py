# SPDX-License-Identifier: Apache-2.0
"""Off-screen pictures of a rig through VTK: no display needed, one core is enough.

`FaceRenderer(rig, width, height, view).frame(weights, head)` gives an (H, W,
3) uint8 RGB image. The mesh is handed to VTK once; each frame moves the
points and their normals in place. Views: front, three_quarter, profile.
"""

import numpy as np

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.geometry.normals import smooth_normals, vertex_corners
from streamingtalker_ros.face.geometry.phong_tessellation import Refiner

VIEWS = {
    "front": (0.0, 2.0),
    "three_quarter": (38.0, 4.0),
    "profile": (90.0, 2.0),
}  # degrees: azimuth, elevation
_GLOSS = {
    "eye": (0.6, 60.0),
    "glint": (1.0, 1.0),
    "teeth": (0.5, 40.0),
    "tongue": (0.4, 25.0),
    "brow": (0.05, 10.0),
    "hair": (0.25, 14.0),
}
_LIGHTS = (  # a studio that stands still: position in head heights, colour, strength
    ((2.6, -1.4, 1.7), (1.0, 0.96, 0.91), 0.74),  # key, from above at the person's right
    ((2.6, 2.0, 0.5), (0.90, 0.94, 1.0), 0.42),  # fill
    ((-1.6, 1.8, 1.6), (0.95, 0.97, 1.0), 0.42),  # rims
    ((-1.4, -2.2, 0.8), (1.0, 0.95, 0.92), 0.30),
    ((1.4, 0.0, -2.0), (1.0, 0.87, 0.80), 0.20),  # bounce from below
)


class FaceRenderer:
    """Draws one rig from one view. Call close() when done; frames are valid arrays of their own."""

    def __new__(cls, *args, **options):
        """Where VTK finds no OpenGL driver at all, a `software.SoftwareRenderer` instead."""
        from streamingtalker_ros.face.rendering.software_renderer import (  # late: it borrows this file's studio
            SoftwareRenderer,
            opengl_works,
        )

        require("vtk", "rendering")
        return super().__new__(cls) if opengl_works() else SoftwareRenderer(*args, **options)

    def __init__(
        self, rig, width=480, height=640, view="front", background=(0.95, 0.94, 0.93), zoom=1.0, center=None
    ) -> None:
        """background: RGB 0..1 of the backdrop's foot (its top is a little darker); zoom: above 1 comes
        nearer; center: (3,) metres, the point in the picture's middle, by default the head's.

        Raises TalkerError for an unknown view or where vtk is not installed.
        """
        if view not in VIEWS:
            raise TalkerError(f"view {view!r} is unknown: choose one of {', '.join(VIEWS)}")
        vtk = require("vtk", "rendering")
        self._to_numpy = require("vtk.util.numpy_support", "rendering").vtk_to_numpy
        from_numpy = require("vtk.util.numpy_support", "rendering").numpy_to_vtk
        to_ids = require("vtk.util.numpy_support", "rendering").numpy_to_vtkIdTypeArray
        self.rig = rig
        self._vtk = vtk
        self._faces = rig.triangles.astype(np.int64)
        self._corners = vertex_corners(self._faces)
        self._refiner = Refiner(self._faces, len(rig.vertices))
        self._points = self._refiner.mix(rig.vertices).astype(np.float32)
        self._normals = np.zeros_like(self._points)
        colors = self._refiner.mix(np.clip(rig.colors, 0, 1))
        self._colors = np.ascontiguousarray((colors * 255).round().astype(np.uint8))
        self._vtk_points, self._vtk_normals = from_numpy(self._points), from_numpy(self._normals)
        self._vtk_colors = from_numpy(self._colors)
        points = vtk.vtkPoints()
        points.SetData(self._vtk_points)
        self._points_object = points
        self._renderer = vtk.vtkRenderer()
        self._meshes = []
        for faces, gloss in _materials(rig, self._faces, self._refiner.triangles):
            self._renderer.AddActor(self._actor(points, to_ids, faces, gloss))
        self._light()
        self._look(view, zoom, width / height, center)
        self._renderer.GradientBackgroundOn()
        self._renderer.SetBackground(*background)
        self._renderer.SetBackground2(*(np.asarray(background) * (0.78, 0.84, 0.88)))
        verbosity = vtk.vtkLogger.GetCurrentVerbosityCutoff()
        vtk.vtkLogger.SetStderrVerbosity(
            vtk.vtkLogger.VERBOSITY_ERROR
        )  # no word about an X server that is not needed
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(4)
        self._window.SetSize(int(width), int(height))
        self._window.AddRenderer(self._renderer)
        self._window.Render()
        vtk.vtkLogger.SetStderrVerbosity(verbosity)
        self._grab = vtk.vtkWindowToImageFilter()
        self._grab.SetInput(self._window)
        self._grab.ReadFrontBufferOff()
        self._grab.ShouldRerenderOff()
        self._grab.SetInputBufferTypeToRGB()

    def _actor(self, points, to_ids, faces, gloss):
        vtk = self._vtk
        cells = vtk.vtkCellArray()
        cells.SetData(to_ids(3 * np.arange(len(faces) + 1), deep=True), to_ids(faces.ravel(), deep=True))
        mesh = vtk.vtkPolyData()
        mesh.SetPoints(points)
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
        surface.SetAmbient(0.27)
        surface.SetDiffuse(0.84)
        surface.SetSpecular(gloss[0])
        surface.SetSpecularPower(gloss[1])
        self._meshes.append(mesh)
        return actor

    def _light(self) -> None:
        size = np.ptp(self.rig.vertices[:, 2])
        middle = self._middle()
        self._renderer.AutomaticLightCreationOff()
        self._renderer.RemoveAllLights()
        for position, color, strength in _LIGHTS:
            light = self._vtk.vtkLight()
            light.SetLightTypeToSceneLight()
            light.SetPosition(*(middle + size * np.array(position)))
            light.SetFocalPoint(*middle)
            light.SetColor(*color)
            light.SetIntensity(strength)
            self._renderer.AddLight(light)

    def _middle(self):
        return (self.rig.vertices.max(axis=0) + self.rig.vertices.min(axis=0)) / 2.0

    def _look(self, view, zoom, aspect, center) -> None:
        azimuth, elevation = np.radians(VIEWS[view])
        low, high = self.rig.vertices.min(axis=0), self.rig.vertices.max(axis=0)
        middle, size = (low + high) / 2.0 if center is None else np.asarray(center, float), high - low
        toward = np.array(
            [np.cos(azimuth) * np.cos(elevation), -np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        tall = (
            0.54 * max(size[2], max(size[0], size[1]) / max(aspect, 1e-3) * 0.98) / zoom
        )  # half the picture's height
        camera = self._renderer.GetActiveCamera()
        camera.SetViewAngle(18.0)
        distance = tall / np.tan(np.radians(9.0)) + size[0] / 2.0
        camera.SetFocalPoint(*middle)
        camera.SetPosition(*(middle + distance * toward))
        camera.SetViewUp(0.0, 0.0, 1.0)
        camera.SetClippingRange(0.2 * distance, distance + 2.0 * size.max())

    def frame(self, weights, head=None):
        """weights (S,), head (4,) xyzw or None -> (height, width, 3) uint8, RGB, top row first."""
        points = self.rig.pose(weights, head)
        normals = smooth_normals(points, self._faces, self._corners)
        self._points[:], self._normals[:] = self._refiner.refine(points, normals)
        self._vtk_points.Modified()
        self._vtk_normals.Modified()
        self._points_object.Modified()
        for mesh in self._meshes:
            mesh.Modified()
        self._window.Render()
        self._grab.Modified()
        self._grab.Update()
        image = self._grab.GetOutput()
        columns, rows, _ = image.GetDimensions()
        pixels = self._to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 3)
        return pixels[::-1].copy()

    def close(self) -> None:
        """Give the window back."""
        self._window.Finalize()


def _materials(rig, faces, finer):
    """Finer triangles by shine: the part of the coarse triangle's first vertex decides for its four."""
    kind = np.zeros(len(rig.vertices), np.int64)
    glosses = [(0.14, 12.0), *_GLOSS.values()]
    for part, (first, last) in rig.parts.items():
        for k, key in enumerate(_GLOSS):
            if part.startswith(key):
                kind[first:last] = k + 1
    for k, gloss in enumerate(glosses):
        chosen = finer[np.repeat(kind[faces[:, 0]] == k, 4)]
        if len(chosen):
            yield chosen, gloss
