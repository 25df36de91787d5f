# SPDX-License-Identifier: Apache-2.0
"""Rotations: quaternions, rotation vectors, Euler angles, matrices, changes of axes.

Quaternions have the order x, y, z, w. Axes are right-handed: x out of the face, y to the person's left, z up.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

_Float = TypeVar("_Float", bound=np.floating)


def rotation_vector_to_quaternion(rotation: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Convert a rotation vector to a unit quaternion: axis · sin(angle / 2), cos(angle / 2).

    Args:
        rotation: (3,) axis times angle, in radians.

    Returns:
        (4,) float32, xyzw.
    """
    half = 0.5 * float(np.sqrt(rotation.dot(rotation)))
    quaternion = np.empty(4, np.float32)
    quaternion[:3] = rotation * (0.5 * math.sin(half) / half if half > 0.0 else 0.5)
    quaternion[3] = math.cos(half)
    return quaternion


def quaternion_multiply(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Hamilton product of two quaternions: the rotation `second`, followed by the rotation `first`.

    Args:
        first: (4,) xyzw.
        second: (4,) xyzw.

    Returns:
        (4,) xyzw, in the wider of the two floating-point types.
    """
    ax, ay, az, aw = first
    bx, by, bz, bw = second
    return np.array(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ]
    )


def nlerp_from_identity(quaternion: npt.NDArray[np.floating], fraction: float) -> npt.NDArray[np.floating]:
    """Normalised linear interpolation between no rotation and a rotation, along the shorter arc.

    Args:
        quaternion: (4,) unit quaternion, xyzw.
        fraction: 0 gives no rotation, 1 the whole rotation.

    Returns:
        (4,) unit quaternion, xyzw.
    """
    quaternion = quaternion if quaternion[3] >= 0 else -quaternion
    mixed = fraction * quaternion + (1 - fraction) * np.array([0.0, 0.0, 0.0, 1.0])
    return mixed / np.linalg.norm(mixed)


@overload
def rotation_matrix(quaternion: npt.ArrayLike) -> npt.NDArray[np.float32]: ...
@overload
def rotation_matrix(quaternion: npt.ArrayLike, dtype: type[_Float]) -> npt.NDArray[_Float]: ...
def rotation_matrix(quaternion: npt.ArrayLike, dtype: type[Any] = np.float32) -> npt.NDArray[Any]:
    """Convert quaternions to rotation matrices.

    Args:
        quaternion: (…, 4) xyzw, of any length but zero.
        dtype: Floating-point type of the result; float64 is computed with in any case.

    Returns:
        (…, 3, 3).
    """
    q = np.asarray(quaternion, np.float64)
    x, y, z, w = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows, dtype), (0, 1), (-2, -1))


def matrix_to_quaternion(matrix: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert rotation matrices to unit quaternions.

    Each component is found by its magnitude and sign from the greatest one, as in K. Shoemake, Animating
    Rotation with Quaternion Curves, SIGGRAPH 1985.

    Args:
        matrix: (…, 3, 3).

    Returns:
        (…, 4) xyzw with w ≥ 0.
    """
    m = np.asarray(matrix, np.float64)
    trace = np.trace(m, axis1=-2, axis2=-1)
    diagonal = np.diagonal(m, axis1=-2, axis2=-1)
    # four times the outer product of the quaternion with itself, xyzw
    products = np.empty((*m.shape[:-2], 4, 4))
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        products[..., i, i] = 1 + 2 * diagonal[..., i] - trace
        products[..., i, j] = products[..., j, i] = m[..., i, j] + m[..., j, i]
        products[..., i, 3] = products[..., 3, i] = m[..., k, j] - m[..., j, k]
    products[..., 3, 3] = 1 + trace
    best = np.diagonal(products, axis1=-2, axis2=-1).argmax(axis=-1)
    q = np.take_along_axis(products, best[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(q[..., 3:] < 0, -q, q)


def quaternion_to_euler(quaternion: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert quaternions to yaw, pitch and roll: intrinsic rotations about z, then y, then x.

    Yaw > 0 turns to the person's left, pitch > 0 looks down, roll > 0 tilts to the person's right shoulder.

    Args:
        quaternion: (…, 4) xyzw, of any length but zero.

    Returns:
        (…, 3) yaw, pitch and roll in radians; pitch lies in ±π/2.
    """
    q = np.asarray(quaternion, np.float64)
    x, y, z, w = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    pitch = np.arcsin(np.clip(2 * (w * y - z * x), -1, 1))
    roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    return np.stack([yaw, pitch, roll], axis=-1)


def euler_to_quaternion(euler: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert yaw, pitch and roll, as `quaternion_to_euler` returns them, to unit quaternions.

    Args:
        euler: (…, 3) yaw, pitch and roll in radians.

    Returns:
        (…, 4) xyzw with w ≥ 0.
    """
    yaw, pitch, roll = np.moveaxis(np.asarray(euler, np.float64) / 2, -1, 0)
    cy, cp, cr = np.cos(yaw), np.cos(pitch), np.cos(roll)
    sy, sp, sr = np.sin(yaw), np.sin(pitch), np.sin(roll)
    q = np.stack(
        [
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
            cr * cp * cy + sr * sp * sy,
        ],
        axis=-1,
    )
    return np.where(q[..., 3:] < 0, -q, q)


def y_up_to_ros(points: npt.ArrayLike) -> npt.NDArray[Any]:
    """Turn vectors from the axes of face files into those of this package (REP-103).

    Args:
        points: (…, 3) x to the person's left, y up, z out of the face, as in glTF, ICT-FaceKit and VOCASET.

    Returns:
        (…, 3) x out of the face, y to the person's left, z up.
    """
    return np.ascontiguousarray(np.asarray(points)[..., [2, 0, 1]])


def ros_to_y_up(points: npt.ArrayLike) -> npt.NDArray[Any]:
    """Inverse of `y_up_to_ros`, (…, 3) -> (…, 3).

    Args:
        points: (…, 3) x out of the face, y to the person's left, z up.

    Returns:
        (…, 3) x to the person's left, y up, z out of the face.
    """
    return np.ascontiguousarray(np.asarray(points)[..., [1, 2, 0]])
