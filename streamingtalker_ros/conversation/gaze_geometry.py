# SPDX-License-Identifier: Apache-2.0
"""Where a face looks: geometry of head, eyes and eye-look weights.

Axes: x out of the face, y to the person's left, z up, metres; the origin lies between the eyes in the neutral
pose of the head. The head rotates about `PIVOT_M`; an eye turns by yaw (to the person's left), then pitch
(up), 30° at weight 1 (`face.eye_look`). `gaze_rays` composes a frame's head and weights to lines of sight.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.eye_look import EYE_LOOK_INDICES, MAX_EYE_ANGLE_RAD
from streamingtalker_ros.face.rotation import rotation_matrix

Vector: TypeAlias = tuple[float, float, float]
Quaternion: TypeAlias = tuple[float, float, float, float]
"""x, y, z, w. Tuples of floats, since numpy costs more than the arithmetic of so few numbers."""
Matrix: TypeAlias = tuple[Vector, Vector, Vector]

EYE_SEPARATION_M: Final = 0.065
"""m between the centres of the eyes, those of the default face."""

PIVOT_M: Final[Vector] = (-0.0802, 0.0, -0.098)
"""Point about which the head rotates, that of the default face, from the point between the eyes."""

EYES_M: Final[tuple[Vector, Vector]] = (
    (0.0, EYE_SEPARATION_M / 2, 0.0),
    (0.0, -EYE_SEPARATION_M / 2, 0.0),
)
"""Centres of the left and the right eye."""


def gaze_rays(
    weights: npt.NDArray[np.floating], head: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compose the lines of sight of a frame.

    Args:
        weights: (52,) of the frame.
        head: (4,) quaternion xyzw of the frame.

    Returns:
        (2, 3) centres of the left and right eye in metres, and (2, 3) unit vectors of their directions.
    """
    rotation = rotation_matrix(head, np.float64)
    pivot = np.array(PIVOT_M)
    origins = pivot + (np.array(EYES_M) - pivot) @ rotation.T
    directions = [rotation @ np.array(unit_vector(*angles)) for angles in eye_angles(weights)]
    return origins, np.stack(directions)


def eye_angles(weights: npt.NDArray[np.floating]) -> list[tuple[float, float]]:
    """Return (yaw to the person's left, pitch up) in rad of the left and the right eye.

    Args:
        weights: (52,) in 0..1.
    """
    return [
        (
            MAX_EYE_ANGLE_RAD * float(weights[left] - weights[right]),
            MAX_EYE_ANGLE_RAD * float(weights[up] - weights[down]),
        )
        for left, right, up, down in EYE_LOOK_INDICES
    ]


def set_eye_angles(weights: npt.NDArray[np.float32], eye: int, yaw: float, pitch: float) -> None:
    """Set the eye-look weights of one eye; angles beyond 30° are limited.

    Args:
        weights: (52,), changed in place.
        eye: 0 for the left, 1 for the right.
        yaw: rad to the person's left.
        pitch: rad up.
    """
    left, right, up, down = EYE_LOOK_INDICES[eye]
    for positive, negative, angle in ((left, right, yaw), (up, down, pitch)):
        weight = min(max(angle / MAX_EYE_ANGLE_RAD, -1.0), 1.0)
        weights[positive] = max(weight, 0.0)
        weights[negative] = max(-weight, 0.0)


def unit_vector(yaw: float, pitch: float) -> Vector:
    """Return the direction of (yaw to the left, pitch up) in rad."""
    cosine = math.cos(pitch)
    return cosine * math.cos(yaw), cosine * math.sin(yaw), math.sin(pitch)


def direction_angles(vector: Vector) -> tuple[float, float]:
    """Return (yaw to the left, pitch up) in rad of a vector that is not 0."""
    x, y, z = vector
    return math.atan2(y, x), math.atan2(z, math.hypot(x, y))


def angle_between(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Return the angle in rad between two directions, each (yaw, pitch) in rad.

    Args:
        first: A direction.
        second: Another one.
    """
    (x, y, z), (a, b, c) = unit_vector(*first), unit_vector(*second)
    cross = math.hypot(y * c - z * b, z * a - x * c, x * b - y * a)
    return math.atan2(cross, x * a + y * b + z * c)  # exact for small angles, unlike the arc cosine


def quaternion_of(rotation: npt.NDArray[np.floating]) -> Quaternion:
    """Return the unit quaternion of a rotation vector (3,) in rad."""
    x, y, z = (float(value) for value in rotation)
    angle = math.sqrt(x * x + y * y + z * z)
    scale = math.sin(0.5 * angle) / angle if angle > 0.0 else 0.5
    return x * scale, y * scale, z * scale, math.cos(0.5 * angle)


def rotation_vector_of(quaternion: Quaternion) -> Vector:
    """Return the rotation vector in rad of a unit quaternion, of the shorter arc."""
    x, y, z, w = quaternion
    size = math.sqrt(x * x + y * y + z * z)
    if size == 0.0:
        return 0.0, 0.0, 0.0
    scale = 2.0 * math.atan2(math.copysign(size, w), abs(w)) / size
    return x * scale, y * scale, z * scale


def quaternion_product(first: Quaternion, second: Quaternion) -> Quaternion:
    """Return the rotation `second`, followed by the rotation `first`."""
    ax, ay, az, aw = first
    bx, by, bz, bw = second
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def quaternion_of_euler(yaw: float, pitch: float, roll: float) -> Quaternion:
    """Return the unit quaternion of intrinsic rotations about z, y, x (`face.rotation.euler_to_quaternion`).

    Args:
        yaw: rad to the person's left.
        pitch: rad down.
        roll: rad to the right shoulder.
    """
    cy, sy = math.cos(0.5 * yaw), math.sin(0.5 * yaw)
    cp, sp = math.cos(0.5 * pitch), math.sin(0.5 * pitch)
    cr, sr = math.cos(0.5 * roll), math.sin(0.5 * roll)
    return (
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )


def euler_of(quaternion: Quaternion) -> Vector:
    """Return yaw, pitch and roll in rad of a unit quaternion, as `face.rotation.quaternion_to_euler`."""
    x, y, z, w = quaternion
    return (
        math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
        math.asin(min(max(2 * (w * y - z * x), -1.0), 1.0)),
        math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)),
    )


def quaternion_matrix(quaternion: Quaternion) -> Matrix:
    """Return the rotation matrix of a unit quaternion."""
    x, y, z, w = quaternion
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )


def rotate(matrix: Matrix, vector: Vector) -> Vector:
    """Return matrix · vector."""
    x, y, z = vector
    (a, b, c), (d, e, f), (g, h, i) = matrix
    return a * x + b * y + c * z, d * x + e * y + f * z, g * x + h * y + i * z


def rotate_back(matrix: Matrix, vector: Vector) -> Vector:
    """Return the transposed matrix · vector."""
    x, y, z = vector
    (a, b, c), (d, e, f), (g, h, i) = matrix
    return a * x + d * y + g * z, b * x + e * y + h * z, c * x + f * y + i * z


def eye_position(matrix: Matrix, eye: Vector) -> Vector:
    """Return where a point of the head lies when the head has turned.

    Args:
        matrix: Rotation of the head.
        eye: The point in the neutral pose.
    """
    px, py, pz = PIVOT_M
    x, y, z = rotate(matrix, (eye[0] - px, eye[1] - py, eye[2] - pz))
    return x + px, y + py, z + pz
