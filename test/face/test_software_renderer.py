# SPDX-License-Identifier: Apache-2.0
"""The renderer without OpenGL draws what VTK draws, and is used where VTK has no driver."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rendering import renderer as renderer_module
from streamingtalker_ros.face.rendering.renderer import create_renderer, has_opengl
from streamingtalker_ros.face.rendering.software_renderer import SoftwareRenderer, rasterize
from support.face_shapes import shape_weights

REST = shape_weights()
OPEN_MOUTH = shape_weights(jawOpen=0.5, mouthSmileLeft=0.5)


@pytest.mark.parametrize("view", ["front", "three_quarter", "profile"])
def test_it_draws_the_image_of_vtk(view: str) -> None:
    if not has_opengl():
        pytest.skip("no OpenGL driver is on this machine, so there is nothing to compare with")
    from streamingtalker_ros.face.rendering.vtk_renderer import VtkRenderer

    head = np.array([0, 0.05, 0.1, 1]) / np.linalg.norm([0, 0.05, 0.1, 1])
    vtk_renderer = VtkRenderer(default_rig(), 240, 320, view)
    expected = vtk_renderer.render(OPEN_MOUTH, head).astype(int)
    vtk_renderer.close()
    image = SoftwareRenderer(default_rig(), 240, 320, view).render(OPEN_MOUTH, head).astype(int)
    assert image.shape == expected.shape
    assert np.abs(image - expected).mean() < 3
    assert (np.abs(image - expected).max(axis=2) > 48).mean() < 0.02  # edges only


def test_opening_the_mouth_changes_the_lower_half_of_the_image() -> None:
    renderer = SoftwareRenderer(default_rig(), 120, 160)
    difference = renderer.render(OPEN_MOUTH).astype(int) - renderer.render(REST).astype(int)
    changed = np.abs(difference).sum(axis=2)
    assert changed[90:130].sum() > 5 * changed[:80].sum() + 1000


def test_vertices_are_drawn_as_the_pose_that_has_them() -> None:
    renderer = SoftwareRenderer(default_rig(), 120, 160)
    points = default_rig().pose(OPEN_MOUTH)
    np.testing.assert_array_equal(renderer.render_vertices(points), renderer.render(OPEN_MOUTH))


def test_the_nearest_triangle_covers_those_behind() -> None:
    near = [[2, 2, 0.5], [2, 30, 0.5], [30, 2, 0.5]]
    far = [[0, 0, 0.25], [0, 64, 0.25], [64, 0, 0.25]]
    pixel, triangle, barycentric = rasterize(np.array([far, near], float), 32, 32)
    image = np.full(32 * 32, -1)
    image[pixel] = triangle
    image = image.reshape(32, 32)
    assert image[5, 5] == 1 and image[0, 0] == 0 and image[31, 31] == 0
    assert len(np.unique(pixel)) == len(pixel)
    np.testing.assert_allclose(barycentric.sum(axis=1), 1, atol=1e-9)


def test_it_replaces_vtk_where_there_is_no_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer_module, "has_opengl", lambda: False)
    renderer = create_renderer(default_rig(), width=60, height=80, view="profile")
    assert isinstance(renderer, SoftwareRenderer)
    assert renderer.render(OPEN_MOUTH).shape == (80, 60, 3)
    with pytest.raises(TalkerError, match="choose"):
        create_renderer(default_rig(), view="back")
