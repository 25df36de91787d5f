# SPDX-License-Identifier: Apache-2.0
"""The renderer without OpenGL: it draws what VTK draws, and stands in where VTK cannot."""

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.face.rendering import renderer as renderer_module
from streamingtalker_ros.face.rendering.renderer import has_opengl
from streamingtalker_ros.face.rendering.software_renderer import SoftwareRenderer, rasterize


def open_mouth():
    weights = np.zeros(52, np.float32)
    weights[[INDEX["jawOpen"], INDEX["mouthSmileLeft"]]] = 0.5
    return weights


@pytest.mark.parametrize("view", ["front", "three_quarter", "profile"])
def test_it_draws_the_face_that_vtk_draws(view) -> None:
    pytest.importorskip("vtk", reason="vtk is not installed")
    if not has_opengl():
        pytest.skip("no OpenGL driver is on this machine, so there is nothing to compare with")
    from streamingtalker_ros.face.rendering.renderer import create_renderer

    head = np.float32([0, 0.05, 0.1, 1]) / np.linalg.norm([0, 0.05, 0.1, 1])
    reference = create_renderer(default_rig(), 240, 320, view)
    theirs = reference.render(open_mouth(), head).astype(int)
    reference.close()
    ours = SoftwareRenderer(default_rig(), 240, 320, view).render(open_mouth(), head).astype(int)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean() < 3
    assert (np.abs(ours - theirs).max(axis=2) > 48).mean() < 0.02  # edges, not places


def test_the_mouth_opens_in_the_picture() -> None:
    renderer = SoftwareRenderer(default_rig(), 120, 160)
    closed = renderer.render(np.zeros(52, np.float32)).astype(int)
    moved = np.abs(renderer.render(open_mouth()).astype(int) - closed).sum(axis=2)
    assert moved[90:130].sum() > 5 * moved[:80].sum() + 1000  # the lower half of the face, not the brow


def test_the_nearest_triangle_wins() -> None:
    near = [[2, 2, 0.5], [2, 30, 0.5], [30, 2, 0.5]]
    far = [[0, 0, 0.25], [0, 64, 0.25], [64, 0, 0.25]]
    pixel, face, corner = rasterize(np.array([far, near], float), 32, 32)
    drawn = np.full(32 * 32, -1)
    drawn[pixel] = face
    drawn = drawn.reshape(32, 32)
    assert drawn[5, 5] == 1 and drawn[0, 0] == 0 and drawn[31, 31] == 0
    assert len(np.unique(pixel)) == len(pixel)
    np.testing.assert_allclose(corner.sum(axis=1), 1, atol=1e-9)


def test_it_stands_in_where_there_is_no_driver(monkeypatch) -> None:
    pytest.importorskip("vtk", reason="vtk is not installed")
    from streamingtalker_ros.face.rendering.renderer import create_renderer

    monkeypatch.setattr(renderer_module, "has_opengl", lambda: False)
    renderer = create_renderer(default_rig(), width=60, height=80, view="profile")
    assert isinstance(renderer, SoftwareRenderer)
    assert renderer.render(open_mouth()).shape == (80, 60, 3)
    with pytest.raises(TalkerError, match="choose"):
        create_renderer(default_rig(), view="back")
