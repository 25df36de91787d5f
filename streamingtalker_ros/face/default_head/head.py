# SPDX-License-Identifier: Apache-2.0
"""Surface of the head: a loft through front, side and back profiles, and the features of a face raised on it.

Millimetres.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.mesh import gaussian, smooth_max, smoothstep

# One row per station, crown to neck: front (x, z), side (x, y, z), back (x, z). The numbers are drawn by eye.
_STATIONS = np.array(
    [
        (-6, 105, -6, 0, 105, -6, 105),
        (29, 100, -8, 33, 99, -41, 99.5),
        (58, 85, -8, 55, 83, -70, 84),
        (77.5, 65, -8, 67.5, 59, -90, 58),
        (86, 43, -8, 74, 33, -99, 28),
        (90, 20, -6, 74.5, 8, -101, -2),
        (88, 0, -4, 73, -14, -97, -28),
        (88, -22, -4, 70.5, -34, -88, -49),
        (89, -44, -6, 66, -52, -77, -66),
        (88.5, -63, -9, 61.5, -67, -67, -78),
        (86, -80, -12, 55, -80, -60, -84),
        (82, -95, -16, 48, -91, -58, -95),
        (67, -105, -19, 42, -101, -57, -106),
        (43, -106.5, -21, 38, -111, -57, -117),
        (24, -115, -21, 37.5, -122, -57, -128),
        (18, -131, -21, 38, -138, -58, -140),
        (18, -152, -22, 39.5, -154, -60, -155),
    ],
    np.float64,
)
LAST_STATION = len(_STATIONS) - 1.0
EYE_CENTER = np.array([58.2, 32.5, 0.0])  # of the left eyeball
EYE_RADIUS = 19.0
_EYELID_THICKNESS, _EYELID_BLEND_RADIUS = 2.0, 9.0
MOUTH_HEIGHT = -63.0  # z of the line between the lips in the middle


def _station_tangents() -> npt.NDArray[np.float64]:
    t = np.gradient(_STATIONS, axis=0)
    t[0] = (34, 0, 0, 35, 0, -34, 0)  # horizontal at the crown
    t[-1] = _STATIONS[-1] - _STATIONS[-2]
    return t


_TANGENTS = _station_tangents()


def _interpolate_stations(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Stations (n, 7) at v (n,), interpolated with cubic Hermite splines."""
    v = np.clip(v, 0.0, LAST_STATION)
    i = np.minimum(v.astype(int), int(LAST_STATION) - 1)
    t = (v - i)[:, None]
    a, b, ta, tb = _STATIONS[i], _STATIONS[i + 1], _TANGENTS[i], _TANGENTS[i + 1]
    return (
        a * (1 + 2 * t) * (1 - t) ** 2
        + ta * t * (1 - t) ** 2
        + b * t * t * (3 - 2 * t)
        + tb * t * t * (t - 1)
    )


def loft(psi: npt.NDArray[np.float64], v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points of the bare surface: a head without features, with jaw and neck.

    Args:
        psi: (n,) radians from the front towards the person's left.
        v: (n,) stations from the crown on, 0..`LAST_STATION`.

    Returns:
        (n, 3).
    """
    fx, fz, lx, ly, lz, bx, bz = _interpolate_stations(v).T
    cosine, sine = np.cos(psi), np.sin(psi)
    is_front = cosine >= 0
    blend = np.abs(cosine)
    x = lx + np.where(is_front, fx - lx, bx - lx) * blend
    z = lz + np.where(is_front, fz - lz, bz - lz) * blend**1.5
    return np.stack([x, ly * sine, z], axis=-1)


def bare_surface(y: npt.NDArray[np.float64], z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points (n, 3) of the bare surface at frontal coordinates y, z (n,), by Newton's method."""
    psi, v = np.arcsin(np.clip(y / 75.0, -0.9, 0.9)), np.interp(-z, -_STATIONS[:13, 1], np.arange(13.0))
    for _ in range(12):
        point = loft(psi, v)
        d_psi = (loft(psi + 1e-4, v) - point) / 1e-4
        d_v = (loft(psi, v + 1e-4) - point) / 1e-4
        error_y, error_z = y - point[:, 1], z - point[:, 2]
        determinant = d_psi[:, 1] * d_v[:, 2] - d_psi[:, 2] * d_v[:, 1]
        psi = psi + np.clip((error_y * d_v[:, 2] - error_z * d_v[:, 1]) / determinant, -0.3, 0.3)
        v = v + np.clip((error_z * d_psi[:, 1] - error_y * d_psi[:, 2]) / determinant, -0.7, 0.7)
    return loft(psi, v)


def face_relief(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Raise nose, cheeks, brow and chin and sink the eye sockets on points (n, 3) of the bare surface."""
    x, y, z = points.T
    a = np.abs(y)
    facing = smoothstep((x - 5.0) / 45.0)
    raised = points.copy()
    dx = 2.5 * gaussian(a, z, (24, 22), (16, 9))  # brow
    dx -= 6.0 * gaussian(a, z, (28, 3), (15, 9))  # socket
    dx -= 3.5 * gaussian(a, z, (14, -1), (5, 10))  # the nose's side beside the eye
    dx -= 3.0 * gaussian(a, z, (0, 3), (9, 9))  # root of the nose
    dx += 4.0 * gaussian(a, z, (42, -30), (15, 13))  # cheek
    dx += 3.0 * gaussian(a, z, (31, -17), (14, 8))  # below the eye
    dx += 2.5 * gaussian(a, z, (47, -11), (7, 8))
    dx -= 2.5 * gaussian(a, z, (45, -62), (12, 14))  # hollow beside the mouth
    dx += 2.5 * gaussian(a, z, (0, -62), (20, 12))  # the teeth's arch behind the lips
    dx -= 2.6 * gaussian(a, z, (0, -79.5), (17, 5.5))  # under the lower lip
    dx += 3.2 * gaussian(a, z, (0, -93), (17, 10))  # chin
    dx -= 1.2 * gaussian(a, z, (0, -52), (2.5, 4.0))  # philtrum
    dx += 0.6 * gaussian(a, z, (5.0, -52), (2.0, 4.5))
    # The nose: a ridge that grows to the tip and ends in a soft underside, with its wings.
    down = np.clip((8.0 - z) / 46.0, 0.0, 1.0)
    ridge = (
        (1.0 + 12.5 * smoothstep(down) * (0.3 + 0.7 * down))
        * smoothstep((z + 47.5) / 11.0)
        * smoothstep((22.0 - z) / 26.0)
    )
    width = 5.2 + 2.2 * smoothstep((0.0 - z) / 36.0)
    dx += ridge * np.exp(-0.5 * (a / width) ** 2)
    dx += 5.0 * gaussian(a, z, (0, -35.5), (6.0, 5.5))  # tip
    dx += 7.0 * gaussian(a, z, (11.0, -38.0), (3.6, 4.2))  # wings
    raised[:, 0] += dx * facing
    raised[:, 2] -= facing * (2.2 * gaussian(a, z, (0, -41), (7.0, 4.0)))
    return raised


def cover_eyeball(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Raise the skin (n, 3) of the face's left half over the eyeball, as eyelids.

    Args:
        points: (n, 3) points of the skin in mm; x out of the face, y to the person's left, z up.

    Returns:
        (n, 3) points in mm, a copy in which x alone differs.
    """
    center = EYE_CENTER
    dy, dz = points[:, 1] - center[1], points[:, 2] - center[2]
    shell = EYE_RADIUS + _EYELID_THICKNESS
    inside = np.sqrt(np.maximum(shell**2 - dy**2 - dz**2, 0.0))
    covered = points.copy()
    weight = smoothstep((32.0 - np.hypot(dy, dz * 1.2)) / 11.0) * (points[:, 0] > center[0] - 25.0)
    raised = smooth_max(
        points[:, 0],
        center[0] + inside - 0.15 * (np.hypot(dy, dz) / shell) ** 8 * shell,
        _EYELID_BLEND_RADIUS,
    )
    covered[:, 0] += weight * (raised - points[:, 0])
    return covered
