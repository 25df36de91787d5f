# SPDX-License-Identifier: Apache-2.0
"""The default rig: names, units, symmetry, closure of the lips, rotation of the head."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX, MIRROR
from streamingtalker_ros.face.default_head.assemble import build_default_rig
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.lip_shape import LipShape
from streamingtalker_ros.face.mouth_measures import MouthMeasures
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import rotation_matrix
from support.face_shapes import shape_weights

MIRROR_Y = np.array([1.0, -1.0, 1.0], np.float32)


def mirror_images(rig: Rig) -> npt.NDArray[np.int64]:
    """The mirror image (V,) of each vertex across y = 0, within its part or that of the other side.

    Where the closed lips lie on each other, the motion by jawOpen separates upper from lower.
    """
    partner = np.full(len(rig.vertices), -1)
    position = np.concatenate([rig.vertices, rig.deltas[INDEX["jawOpen"]]], axis=1)
    mirror = np.concatenate([MIRROR_Y, MIRROR_Y])
    for part, (first, last) in rig.parts.items():
        if part.startswith("glint"):  # not symmetric; no shape moves them
            assert not rig.deltas[:, first:last].any()
            partner[first:last] = np.arange(first, last)
            continue
        opposite = part.replace("left", "#").replace("right", "left").replace("#", "right")
        candidates = position[slice(*rig.parts[opposite])]
        distance = np.abs(position[first:last, None] * mirror - candidates[None]).max(axis=-1)
        assert distance.min(axis=1).max() < 1e-7
        partner[first:last] = rig.parts[opposite][0] + distance.argmin(axis=1)
    return partner


def test_the_rig_has_the_52_shapes_in_apples_order_and_2000_to_4000_vertices() -> None:
    rig = default_rig()
    assert rig.shape_names == ARKIT_NAMES and default_rig() is rig
    assert 2000 <= len(rig.vertices) <= 4000
    assert rig.deltas.shape == (52, len(rig.vertices), 3) and rig.deltas.dtype == np.float32
    assert rig.colors.shape == rig.vertices.shape and rig.colors.min() >= 0 and rig.colors.max() <= 1
    largest = np.linalg.norm(rig.deltas, axis=-1).max(axis=1)
    assert (largest > 1e-3).all() and largest.max() < 0.06, (
        "each shape moves something by a visible, human amount"
    )


def test_the_file_of_the_rig_holds_what_its_code_models() -> None:
    """If this fails after a change of the code: `python tools/default_head.py`."""
    stored, built = default_rig(), build_default_rig()
    assert (stored.name, stored.shape_names) == (built.name, built.shape_names)
    for name in ("vertices", "triangles", "deltas", "colors", "pivot", "follow"):
        actual, expected = getattr(stored, name), getattr(built, name)
        assert actual.dtype == expected.dtype, name
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6, err_msg=name)
    assert list(stored.parts.items()) == list(built.parts.items())
    assert list(stored.landmarks) == list(built.landmarks)
    for name, vertices in built.landmarks.items():
        np.testing.assert_array_equal(stored.landmarks[name], vertices)


def test_the_rig_is_in_metres_with_x_forward_y_left_z_up() -> None:
    rig = default_rig()
    size = np.ptp(rig.vertices, axis=0)
    assert 0.2 < size[2] < 0.32 and 0.13 < size[1] < 0.22 and 0.15 < size[0] < 0.25
    center = {part: rig.vertices[slice(*ids)].mean(axis=0) for part, ids in rig.parts.items()}
    assert center["eye_left"][1] > 0.02 > -0.02 > center["eye_right"][1], "y points to the person's left"
    assert center["eye_left"][2] > center["teeth_upper"][2] > center["teeth_lower"][2], "z points up"
    assert center["eye_left"][0] > rig.vertices[slice(*rig.parts["skin"])][:, 0].min() + 0.1, (
        "x points out of the face"
    )


def test_left_and_right_shapes_are_mirror_images() -> None:
    rig = default_rig()
    partner = mirror_images(rig)
    assert np.abs(rig.deltas[MIRROR][:, partner] * MIRROR_Y - rig.deltas).max() < 1e-7


def test_jaw_open_and_mouth_close_at_equal_weight_keep_the_lips_together() -> None:
    rig = default_rig()
    bias, row = rig.lip_gap_map()
    assert abs(bias) < 1e-7
    assert 0.025 <= rig.lip_gap(shape_weights(jawOpen=1.0)) <= 0.035
    upper, lower = rig.landmarks["inner_lip_upper"], rig.landmarks["inner_lip_lower"]
    for w in np.linspace(0.0, 1.0, 21):
        closed = shape_weights(jawOpen=w, mouthClose=w)
        posed = rig.pose(closed)
        assert np.abs(posed[upper] - posed[lower]).max() < 1e-7
        assert abs(rig.lip_gap(closed)) < 1e-7
    random = np.random.default_rng(0).random((7, 52)).astype(np.float32)
    posed = rig.pose(random)
    assert np.allclose(rig.lip_gap(random), bias + random @ row)
    assert (
        np.corrcoef(rig.lip_gap(random), (posed[:, upper, 2] - posed[:, lower, 2]).mean(axis=1))[0, 1] > 0.99
    )


def test_shapes_that_keep_closed_lips_closed_do_not_change_the_lip_gap() -> None:
    rig = default_rig()
    _, row = rig.lip_gap_map()
    sealed = [
        name
        for name in ARKIT_NAMES
        if name.startswith(
            (
                "mouthSmile",
                "mouthFrown",
                "mouthDimple",
                "mouthStretch",
                "mouthPress",
                "mouthPucker",
                "mouthShrug",
                "mouthRoll",
                "mouthLeft",
                "mouthRight",
                "jawLeft",
                "jawRight",
                "jawForward",
                "cheek",
                "brow",
                "eye",
                "nose",
                "tongue",
            )
        )
    ]
    assert np.abs(row[[INDEX[name] for name in sealed]]).max() < 1e-7
    opening = [
        "jawOpen",
        "mouthFunnel",
        "mouthLowerDownLeft",
        "mouthLowerDownRight",
        "mouthUpperUpLeft",
        "mouthUpperUpRight",
    ]
    assert row[[INDEX[name] for name in opening]].min() > 0.002
    assert set(sealed) | set(opening) | {"mouthClose"} == set(ARKIT_NAMES)


def test_rounded_mouths_are_narrower_and_stretched_mouths_wider() -> None:
    rig = default_rig()
    rest = rig.lip_width(shape_weights())
    assert 0.045 < rest < 0.06
    for name in ("mouthPucker", "mouthFunnel"):
        assert rig.lip_width(shape_weights(**{name: 1.0})) < 0.75 * rest
        lips = rig.landmarks["outer_lip_upper"][6:13]
        assert rig.deltas[INDEX[name], lips, 0].min() > 0.005, "rounded lips protrude"
    for name in ("mouthSmile", "mouthStretch", "mouthDimple"):
        assert rig.lip_width(shape_weights(**{name: 1.0})) > 1.15 * rest


def test_pose_takes_batches_and_rotates_the_head_about_the_neck() -> None:
    rig = default_rig()
    batch = np.random.default_rng(1).random((2, 3, 52)).astype(np.float32)
    assert np.allclose(rig.pose(batch)[1, 2], rig.pose(batch[1, 2]), atol=1e-7)
    half = np.sin(np.pi / 8)
    yaw = np.array([0.0, 0.0, half, np.cos(np.pi / 8)], np.float32)  # 45 degrees about z
    rotated = rig.pose(shape_weights(), yaw)
    nose = rig.vertices[:, 0].argmax()
    expected = rotation_matrix(yaw) @ (rig.vertices[nose] - rig.pivot) + rig.pivot
    assert np.allclose(rotated[nose], expected, atol=1e-6) and rotated[nose, 1] > 0.05
    foot = rig.vertices[:, 2].argmin()
    assert np.allclose(rotated[foot], rig.vertices[foot], atol=1e-6), "the foot of the neck stands still"


def test_a_wrong_number_of_weights_is_rejected() -> None:
    with pytest.raises(TalkerError, match="52 weights"):
        default_rig().pose(np.zeros(51))


def test_a_rig_of_a_plain_mesh_has_no_shapes() -> None:
    original = default_rig()
    rig = Rig.from_mesh("plain", original.vertices, original.triangles)
    np.testing.assert_array_equal(rig.pose(np.zeros(0)), original.vertices)
    with pytest.raises(TalkerError, match="no landmark"):
        rig.lip_gap(np.zeros(0))


def test_lip_shape_measures_the_lips_of_the_rig_in_torch() -> None:
    rig = default_rig()
    lips = LipShape(rig)
    motion = torch.from_numpy(np.random.default_rng(0).random((7, 55)).astype(np.float32))
    weights = motion[:, :52].numpy()
    full_gap = rig.lip_gap_map()[1][INDEX["jawOpen"]]
    np.testing.assert_allclose(lips.gap(motion).numpy() * full_gap, rig.lip_gap(weights), atol=1e-6)
    np.testing.assert_allclose(lips.measures(motion).numpy(), MouthMeasures(rig)(weights), atol=1e-5)
