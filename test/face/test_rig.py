# SPDX-License-Identifier: Apache-2.0
"""The laws of the default face: names, units, mirror, closure of
the lips, lids over the balls, nothing through the skin."""

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX, MIRROR
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.face.rotation import rotation_matrix

FLIP = np.array([1.0, -1.0, 1.0], np.float32)


def weights(**named):
    out = np.zeros(52, np.float32)
    for name, value in named.items():
        for side in ("",) if name in INDEX else ("Left", "Right"):
            out[INDEX[name + side]] = value
    return out


def mirror_of_vertices(rig):
    """(V,): each vertex's partner across y = 0, found within its part or the part of the other side; the
    motion under jawOpen tells upper from lower where the closed lips lie on each other."""
    partner = np.full(len(rig.vertices), -1)
    place = np.concatenate([rig.vertices, rig.deltas[INDEX["jawOpen"]]], axis=1)
    flip = np.concatenate([FLIP, FLIP])
    for part, (first, last) in rig.parts.items():
        if part == "hair" or part.startswith(
            "glint"
        ):  # a parting, the light's reflection: no shape moves them
            assert not rig.deltas[:, first:last].any()
            partner[first:last] = np.arange(first, last)
            continue
        other = part.replace("left", "#").replace("right", "left").replace("#", "right")
        there = place[slice(*rig.parts[other])]
        distance = np.abs(place[first:last, None] * flip - there[None]).max(axis=-1)
        assert distance.min(axis=1).max() < 1e-7
        partner[first:last] = rig.parts[other][0] + distance.argmin(axis=1)
    return partner


def test_the_rig_has_the_52_shapes_in_apples_order_and_a_few_thousand_vertices() -> None:
    rig = default_rig()
    assert rig.shape_names == ARKIT_NAMES and default_rig() is rig
    assert 2000 <= len(rig.vertices) <= 4000
    assert rig.deltas.shape == (52, len(rig.vertices), 3) and rig.deltas.dtype == np.float32
    assert rig.colors.shape == rig.vertices.shape and rig.colors.min() >= 0 and rig.colors.max() <= 1
    largest = np.linalg.norm(rig.deltas, axis=-1).max(axis=1)
    assert (largest > 1e-3).all() and largest.max() < 0.06, (
        "each shape moves something by a visible, human amount"
    )


def test_metres_and_axes() -> None:
    rig = default_rig()
    size = np.ptp(rig.vertices, axis=0)
    assert 0.2 < size[2] < 0.32 and 0.13 < size[1] < 0.22 and 0.15 < size[0] < 0.25
    middle = {part: rig.vertices[slice(*run)].mean(axis=0) for part, run in rig.parts.items()}
    assert middle["eye_left"][1] > 0.02 > -0.02 > middle["eye_right"][1], "y points to the person's left"
    assert middle["eye_left"][2] > middle["teeth_upper"][2] > middle["teeth_lower"][2], "z points up"
    assert middle["eye_left"][0] > rig.vertices[slice(*rig.parts["skin"])][:, 0].min() + 0.1, (
        "x points out of the face"
    )


def test_left_and_right_mirror() -> None:
    rig = default_rig()
    partner = mirror_of_vertices(rig)
    assert np.abs(rig.deltas[MIRROR][:, partner] * FLIP - rig.deltas).max() < 1e-7


def test_equal_jaw_open_and_mouth_close_bring_the_lips_together() -> None:
    rig = default_rig()
    bias, row = rig.lip_gap_map()
    assert abs(bias) < 1e-7
    assert 0.025 <= rig.lip_gap(weights(jawOpen=1.0)) <= 0.035
    upper, lower = rig.landmarks["inner_lip_upper"], rig.landmarks["inner_lip_lower"]
    for w in np.linspace(0.0, 1.0, 21):
        closed = weights(jawOpen=w, mouthClose=w)
        posed = rig.pose(closed)
        assert np.abs(posed[upper] - posed[lower]).max() < 1e-7
        assert abs(rig.lip_gap(closed)) < 1e-7
    random = np.random.default_rng(0).random((7, 52)).astype(np.float32)
    posed = rig.pose(random)
    assert np.allclose(rig.lip_gap(random), bias + random @ row)
    assert (
        np.corrcoef(rig.lip_gap(random), (posed[:, upper, 2] - posed[:, lower, 2]).mean(axis=1))[0, 1] > 0.99
    )


def test_shapes_that_leave_closed_lips_closed() -> None:
    rig = default_rig()
    bias, row = rig.lip_gap_map()
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


def test_round_and_wide_mouths_have_another_width() -> None:
    rig = default_rig()
    rest = rig.lip_width(weights())
    assert 0.045 < rest < 0.06
    for name in ("mouthPucker", "mouthFunnel"):
        assert rig.lip_width(weights(**{name: 1.0})) < 0.75 * rest
        lips = rig.landmarks["outer_lip_upper"][6:13]
        assert rig.deltas[INDEX[name], lips, 0].min() > 0.005, "and stand out"
    for name in ("mouthSmile", "mouthStretch", "mouthDimple"):
        assert rig.lip_width(weights(**{name: 1.0})) > 1.15 * rest


def test_pose_takes_batches_and_turns_the_head() -> None:
    rig = default_rig()
    batch = np.random.default_rng(1).random((2, 3, 52)).astype(np.float32)
    assert np.allclose(rig.pose(batch)[1, 2], rig.pose(batch[1, 2]), atol=1e-7)
    half = np.sin(np.pi / 8)
    yaw = np.array([0.0, 0.0, half, np.cos(np.pi / 8)], np.float32)  # 45 degrees about z
    turned = rig.pose(weights(), yaw)
    nose = rig.vertices[:, 0].argmax()
    expected = rotation_matrix(yaw) @ (rig.vertices[nose] - rig.pivot) + rig.pivot
    assert np.allclose(turned[nose], expected, atol=1e-6) and turned[nose, 1] > 0.05
    foot = rig.vertices[:, 2].argmin()
    assert np.allclose(turned[foot], rig.vertices[foot], atol=1e-6), "the neck stands still at its foot"


def test_wrong_weights_are_an_error_in_a_sentence() -> None:
    with pytest.raises(TalkerError, match="52 weights"):
        default_rig().pose(np.zeros(51))
