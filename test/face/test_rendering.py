# SPDX-License-Identifier: Apache-2.0
"""Images of the face: the same for the same weights, different where the face moves."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from streamingtalker_ros.cli import main
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.geometry.phong_tessellation import PhongTessellator
from streamingtalker_ros.face.rendering.renderer import Renderer, create_renderer
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.surface_material import MaterialRange, SurfaceMaterial
from support.face_shapes import part_triangles, shape_weights
from support.few_pictures import limit_tiles

Image: TypeAlias = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def front() -> Iterator[Renderer]:
    renderer = create_renderer(default_rig(), width=240, height=320)
    yield renderer
    renderer.close()


def visibly_changed(image: Image, other: Image) -> npt.NDArray[np.bool_]:
    """Pixels (H, W) that differ visibly."""
    return np.abs(image.astype(int) - other.astype(int)).max(axis=-1) > 24


def test_an_image_shows_the_whole_head_on_a_backdrop(front: Renderer) -> None:
    image = front.render(shape_weights())
    assert image.shape == (320, 240, 3) and image.dtype == np.uint8
    backdrop = np.tile(image[:, :1], (1, 240, 1))
    fraction = visibly_changed(image, backdrop).mean()
    assert 0.2 < fraction < 0.8, "the head fills a good part of the picture"
    assert visibly_changed(image, backdrop)[:3].sum() == 0, "and does not touch its upper border"


def test_opening_the_jaw_changes_the_image_around_the_mouth_only(front: Renderer) -> None:
    rest, open_ = front.render(shape_weights()), front.render(shape_weights(jawOpen=0.7))
    rows, columns = np.nonzero(visibly_changed(rest, open_))
    assert len(rows) > 200
    assert np.median(rows) > 160 and 90 < np.median(columns) < 150, "below the middle, between left and right"
    assert not visibly_changed(rest, front.render(shape_weights())).any(), (
        "the same weights give the same image again"
    )


def test_an_image_is_not_overwritten_by_the_next(front: Renderer) -> None:
    first = front.render(shape_weights())
    copy = first.copy()
    front.render(shape_weights(jawOpen=1.0))
    assert np.array_equal(first, copy)


def test_a_rotated_head_changes_the_image(front: Renderer) -> None:
    yaw = np.array([0.0, 0.0, np.sin(0.2), np.cos(0.2)])
    assert visibly_changed(front.render(shape_weights()), front.render(shape_weights(), yaw)).sum() > 1500


def test_views_differ_and_an_unknown_view_is_rejected() -> None:
    images = []
    for view in ("front", "three_quarter", "profile"):
        renderer = create_renderer(default_rig(), 120, 160, view)
        images.append(renderer.render(shape_weights()))
        renderer.close()
    assert (
        visibly_changed(images[0], images[1]).sum() > 1000
        and visibly_changed(images[1], images[2]).sum() > 1000
    )
    with pytest.raises(TalkerError, match="front, three_quarter, profile"):
        create_renderer(default_rig(), view="back")


def textured_square(image: bytes) -> Rig:
    """A square of 20 cm that faces the viewer, with a texture whose alpha cuts it."""
    corners = np.array([[0.0, y, z] for z in (0.1, -0.1) for y in (-0.1, 0.1)], np.float32)
    rig = Rig.from_mesh("square", corners, np.array([[0, 2, 3], [0, 3, 1]]))
    uv = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    material = SurfaceMaterial("picture", image, base_factor=(0.9, 0.9, 0.5), alpha="MASK")
    return replace(rig, uv=uv, materials=[MaterialRange(0, 4, material)])


def test_a_texture_is_drawn_where_its_coordinates_say_and_cut_by_its_alpha(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Left red, right blue, nothing below; a damaged image gives a plain surface, and a warning."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :32, 0] = pixels[:, 32:, 2] = 220
    pixels[:32, :, 3] = 255
    content = io.BytesIO()
    PIL.Image.fromarray(pixels).save(content, "PNG")
    renderer = create_renderer(textured_square(content.getvalue()), 120, 120)
    image = renderer.render([]).astype(int)
    renderer.close()
    left, right, below = image[40, 40], image[40, 80], image[80, 60]
    assert left[0] > 100 > 40 > left[2] and right[2] > 100 > 40 > right[0]
    assert below.min() > 150
    renderer = create_renderer(textured_square(content.getvalue()[:60]), 120, 120)
    plain = renderer.render([])[20:100, 20:100].astype(int)
    renderer.close()
    assert (plain[..., 0] - plain[..., 2]).min() > 20  # all of it drawn, in the factor's yellow
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_tessellation_keeps_the_vertices_and_rounds_a_sphere() -> None:
    rig = default_rig()
    first, last = rig.parts["eye_left"]
    triangles = part_triangles(rig, "eye_left") - first
    radius = 0.019
    center = np.array([rig.vertices[first:last, 0].max() - radius, *rig.vertices[first, 1:]], np.float32)
    sphere = (rig.vertices[first:last] - center) / np.float32(radius)
    tessellator = PhongTessellator(triangles, len(sphere))
    points, normals = tessellator.tessellate(sphere, sphere)
    assert np.array_equal(points[: len(sphere)], sphere) and len(tessellator.triangles) == 4 * len(triangles)
    flat = 1.0 - np.linalg.norm(tessellator.interpolate(sphere)[len(sphere) :], axis=1)
    bent = np.abs(1.0 - np.linalg.norm(points[len(sphere) :], axis=1))
    assert bent.max() < 0.5 * flat.max() and np.allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-3)


def test_the_pictures_command_rejects_a_face_without_shapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "still.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
        "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    )
    assert main(["pictures", "--out", str(tmp_path / "out"), "--face", str(tmp_path / "still.ply")]) == 2
    assert "has no expressions to show" in capsys.readouterr().err


def test_the_pictures_command_writes_all_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_tiles(monkeypatch)
    assert main(["pictures", "--out", str(tmp_path)]) == 0
    for name in ("face", "expressions", "visemes", "shapes"):
        with PIL.Image.open(tmp_path / f"{name}.png") as page:
            assert np.asarray(page).std() > 20


def test_the_committed_pictures_are_small() -> None:
    folder = Path(__file__).resolve().parents[2] / "docs" / "pictures"
    if not folder.is_dir():
        pytest.skip("no documentation here")
    pictures_of_faces = list(folder.glob("*.webp"))
    assert {"face", "expressions", "visemes", "shapes"} <= {path.stem for path in pictures_of_faces}
    assert sum(path.stat().st_size for path in pictures_of_faces) < 1_500_000
