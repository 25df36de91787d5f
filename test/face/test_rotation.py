# SPDX-License-Identifier: Apache-2.0
"""Rotations have the documented signs, and their representations convert into each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.face.rotation import (
    euler_to_quaternion,
    nlerp_from_identity,
    quaternion_multiply,
    quaternion_to_euler,
    ros_to_y_up,
    rotation_matrix,
    rotation_vector_to_quaternion,
    y_up_to_ros,
)

X, Y, Z = np.eye(3)
IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])


def rotate(
    quaternion: npt.NDArray[np.floating], vector: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Rotate a vector by q v q*, without a matrix."""
    axis, w = quaternion[:3], quaternion[3]
    return vector + 2 * np.cross(axis, np.cross(axis, vector) + w * vector)


def random_quaternions(count: int) -> npt.NDArray[np.float64]:
    q = np.random.default_rng(2).normal(size=(count, 4))
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def test_yaw_turns_left_pitch_looks_down_roll_tilts_to_the_right_shoulder() -> None:
    assert rotate(euler_to_quaternion([0.3, 0, 0]), X)[1] > 0.2
    assert rotate(euler_to_quaternion([0, 0.3, 0]), X)[2] < -0.2
    assert rotate(euler_to_quaternion([0, 0, 0.3]), Z)[1] < -0.2
    yaw_then_pitch = rotate(euler_to_quaternion([np.pi / 2, 0.3, 0]), X)
    np.testing.assert_allclose(yaw_then_pitch, [0, np.cos(0.3), -np.sin(0.3)], atol=1e-9)


def test_euler_angles_survive_the_round_trip() -> None:
    euler = np.random.default_rng(2).uniform([-3, -1.5, -3], [3, 1.5, 3], (500, 3))
    np.testing.assert_allclose(quaternion_to_euler(euler_to_quaternion(euler)), euler, atol=1e-9)


def test_a_rotation_matrix_rotates_as_its_quaternion_of_any_length() -> None:
    for q in random_quaternions(20):
        matrix = rotation_matrix(3.0 * q, np.float64)
        np.testing.assert_allclose(matrix @ X, rotate(q, X), atol=1e-12)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)


def test_a_product_of_quaternions_applies_the_second_first() -> None:
    first, second = random_quaternions(2)
    np.testing.assert_allclose(
        rotate(quaternion_multiply(first, second), Y), rotate(first, rotate(second, Y)), atol=1e-12
    )


def test_a_rotation_vector_is_axis_times_angle() -> None:
    q = rotation_vector_to_quaternion(np.array([0.0, 0.0, np.pi / 2], np.float32))
    np.testing.assert_allclose(rotate(q, X), Y, atol=1e-6)
    np.testing.assert_array_equal(rotation_vector_to_quaternion(np.zeros(3, np.float32)), IDENTITY)


@pytest.mark.parametrize("sign", [1, -1])
def test_interpolation_from_no_rotation_takes_the_shorter_arc(sign: int) -> None:
    q = sign * euler_to_quaternion([0.8, 0.0, 0.0])
    np.testing.assert_allclose(nlerp_from_identity(q, 0.0), IDENTITY, atol=1e-12)
    np.testing.assert_allclose(quaternion_to_euler(nlerp_from_identity(q, 1.0)), [0.8, 0, 0], atol=1e-12)
    np.testing.assert_allclose(quaternion_to_euler(nlerp_from_identity(q, 0.5)), [0.4, 0, 0], atol=1e-12)


def test_axes_of_files_become_those_of_ros_and_back() -> None:
    # files: x to the person's left, y up, z out of the face
    np.testing.assert_array_equal(y_up_to_ros([X, Y, Z]), [Y, Z, X])
    points = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(ros_to_y_up(y_up_to_ros(points)), points)
    assert y_up_to_ros(points).flags.c_contiguous and y_up_to_ros(points).dtype == np.float32
