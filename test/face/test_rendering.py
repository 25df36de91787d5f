# SPDX-License-Identifier: Apache-2.0
"""Pictures of the face: drawn off-screen, the same for the same weights, different where the face moves."""

from pathlib import Path

import numpy as np
import pytest
from face.test_rig import weights

from streamingtalker_ros.cli import main
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.face.geometry.phong_tessellation import PhongTessellator

pytest.importorskip("vtk")


@pytest.fixture(scope="module")
def front():
    from streamingtalker_ros.face.rendering.renderer import create_renderer

    renderer = create_renderer(default_rig(), width=240, height=320)
    yield renderer
    renderer.close()


def changed(a, b):
    """(H, W) bool: pixels that differ visibly."""
    return np.abs(a.astype(int) - b.astype(int)).max(axis=-1) > 24


def test_a_frame_is_an_image_of_the_face(front) -> None:
    image = front.render(weights())
    assert image.shape == (320, 240, 3) and image.dtype == np.uint8
    backdrop = np.tile(image[:, :1], (1, 240, 1))
    share = changed(image, backdrop).mean()
    assert 0.2 < share < 0.8, "the head fills a good part of the picture"
    assert changed(image, backdrop)[:3].sum() == 0, "and does not touch its upper border"


def test_the_picture_changes_with_the_jaw_around_the_mouth(front) -> None:
    rest, open_ = front.render(weights()), front.render(weights(jawOpen=0.7))
    rows, columns = np.nonzero(changed(rest, open_))
    assert len(rows) > 200
    assert np.median(rows) > 160 and 90 < np.median(columns) < 150, "below the middle, between left and right"
    assert not changed(rest, front.render(weights())).any(), "the same weights give the same picture again"


def test_frames_are_arrays_of_their_own(front) -> None:
    first = front.render(weights())
    kept = first.copy()
    front.render(weights(jawOpen=1.0))
    assert np.array_equal(first, kept)


def test_head_turns_in_the_picture(front) -> None:
    yaw = np.array([0.0, 0.0, np.sin(0.2), np.cos(0.2)])
    assert changed(front.render(weights()), front.render(weights(), yaw)).sum() > 1500


def test_views_differ_and_unknown_ones_are_told() -> None:
    from streamingtalker_ros.face.rendering.renderer import create_renderer

    images = []
    for view in ("front", "three_quarter", "profile"):
        renderer = create_renderer(default_rig(), 120, 160, view)
        images.append(renderer.render(weights()))
        renderer.close()
    assert changed(images[0], images[1]).sum() > 1000 and changed(images[1], images[2]).sum() > 1000
    with pytest.raises(TalkerError, match="front, three_quarter, profile"):
        create_renderer(default_rig(), view="back")


def test_refining_keeps_vertices_and_rounds_a_sphere() -> None:
    rig = default_rig()
    first, last = rig.parts["eye_left"]
    faces = (
        rig.triangles[(rig.triangles >= first).all(axis=1) & (rig.triangles < last).all(axis=1)].astype(int)
        - first
    )
    center = np.float32([rig.vertices[first:last, 0].max() - 0.019, *rig.vertices[first, 1:]])
    ball = (rig.vertices[first:last] - center) / np.float32(0.019)
    refiner = PhongTessellator(faces, len(ball))
    points, normals = refiner.tessellate(ball, ball)
    assert np.array_equal(points[: len(ball)], ball) and len(refiner.triangles) == 4 * len(faces)
    flat = 1.0 - np.linalg.norm(refiner.interpolate(ball)[len(ball) :], axis=1)
    bent = np.abs(1.0 - np.linalg.norm(points[len(ball) :], axis=1))
    assert bent.max() < 0.5 * flat.max() and np.allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-3)


def test_the_pictures_command_tells_what_a_face_lacks(tmp_path, capsys) -> None:
    (tmp_path / "still.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
        "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    )
    assert main(["pictures", "--out", str(tmp_path / "out"), "--face", str(tmp_path / "still.ply")]) == 2
    assert "has no expressions to show" in capsys.readouterr().err


def test_the_pictures_command_writes_its_sheets(tmp_path, monkeypatch) -> None:
    image = pytest.importorskip("PIL.Image")
    from streamingtalker_ros.cli import pictures

    for cases in ("EXPRESSIONS", "VISEMES", "SHAPES"):  # two tiles of each are enough here
        monkeypatch.setattr(pictures, cases, dict(list(getattr(pictures, cases).items())[:2]))
    assert main(["pictures", "--out", str(tmp_path)]) == 0
    for name in ("face", "expressions", "visemes", "shapes"):
        with image.open(tmp_path / f"{name}.png") as page:
            assert np.asarray(page).std() > 20


def test_the_committed_pictures_are_small() -> None:
    folder = Path(__file__).resolve().parents[2] / "docs" / "pictures"
    if not folder.is_dir():
        pytest.skip("no documentation here")
    assert {"face.png", "expressions.png", "visemes.png", "shapes.png"} <= {
        p.name for p in folder.glob("*.png")
    }
    for name in ("face", "expressions", "visemes", "shapes"):
        assert (folder / f"{name}.png").stat().st_size < 400_000
