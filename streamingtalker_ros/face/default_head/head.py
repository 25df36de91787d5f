# SPDX-License-Identifier: Apache-2.0
"""The head's surface: a loft through front, side and back
profiles, with the features of a face raised on it.

`loft(psi, v)` gives the bare egg with jaw and neck; `relief(points)` raises
nose, cheeks, brow and chin, sinks the eye sockets; `front(y, z)` finds the
point of the bare surface with those frontal coordinates. Millimetres.
"""

import numpy as np

from streamingtalker_ros.face.default_head.mesh import bump, smooth, soft_max

# One row per station, crown to neck: front (x, z), side (x, y, z), back (x, z). The numbers are drawn by eye.
_STATIONS = np.array(
    [
        (-8, 106, -8, 0, 106, -8, 106),
        (25, 101, -8, 33, 100.5, -41, 101),
        (54, 86, -8, 56, 84, -70, 86),
        (75, 66, -8, 69, 60, -90, 60),
        (86, 43, -8, 74, 33, -99, 30),
        (90, 20, -6, 74.5, 8, -98, 2),
        (88, 0, -4, 73, -14, -90, -22),
        (88, -22, -4, 70.5, -34, -79, -42),
        (89, -44, -6, 66, -52, -70, -58),
        (88.5, -63, -9, 61.5, -67, -64, -72),
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
LAST = len(_STATIONS) - 1.0
EYE = np.array([58.2, 32.5, 0.0])  # centre of the left ball
BALL = 19.0  # its radius
MOUTH = -63.0  # height of the line between the lips at the middle


def _tangents():
    t = np.gradient(_STATIONS, axis=0)
    t[0] = (34, 0, 0, 35, 0, -34, 0)  # horizontal at the crown
    t[-1] = _STATIONS[-1] - _STATIONS[-2]
    return t


_TANGENTS = _tangents()


def _profiles(v):
    """(n, 7) stations interpolated at v with cubic Hermite splines."""
    v = np.clip(v, 0.0, LAST)
    i = np.minimum(v.astype(int), int(LAST) - 1)
    t = (v - i)[:, None]
    a, b, ta, tb = _STATIONS[i], _STATIONS[i + 1], _TANGENTS[i], _TANGENTS[i + 1]
    return (
        a * (1 + 2 * t) * (1 - t) ** 2
        + ta * t * (1 - t) ** 2
        + b * t * t * (3 - 2 * t)
        + tb * t * t * (t - 1)
    )


def loft(psi, v):
    """psi (n,) radians from the front towards the person's left, v
    (n,) stations from the crown -> (n, 3)."""
    psi, v = np.asarray(psi, float), np.asarray(v, float)
    fx, fz, lx, ly, lz, bx, bz = _profiles(v).T
    c, s = np.cos(psi), np.sin(psi)
    ahead = c >= 0
    cc = np.abs(c)
    x = lx + np.where(ahead, fx - lx, bx - lx) * np.where(ahead, cc, c * -1)
    blend = cc**1.5
    z = lz + np.where(ahead, fz - lz, bz - lz) * blend
    return np.stack([x, ly * s, z], axis=-1)


def front(y, z):
    """The bare surface over frontal coordinates: y, z (n,) within the face -> (n, 3). Newton's method."""
    y, z = np.asarray(y, float), np.asarray(z, float)
    psi, v = np.arcsin(np.clip(y / 75.0, -0.9, 0.9)), np.interp(-z, -_STATIONS[:13, 1], np.arange(13.0))
    for _ in range(12):
        here = loft(psi, v)
        along = (loft(psi + 1e-4, v) - here) / 1e-4
        down = (loft(psi, v + 1e-4) - here) / 1e-4
        ey, ez = y - here[:, 1], z - here[:, 2]
        det = along[:, 1] * down[:, 2] - along[:, 2] * down[:, 1]
        psi = psi + np.clip((ey * down[:, 2] - ez * down[:, 1]) / det, -0.3, 0.3)
        v = v + np.clip((ez * along[:, 1] - ey * along[:, 2]) / det, -0.7, 0.7)
    return loft(psi, v)


def relief(points):
    """Raise the face's features on bare points (n, 3) -> (n, 3)."""
    x, y, z = points.T
    a = np.abs(y)
    facing = smooth((x - 5.0) / 45.0)
    out = points.copy()
    dx = 2.5 * bump(a, z, (24, 22), (16, 9))  # brow
    dx -= 6.0 * bump(a, z, (28, 3), (15, 9))  # socket
    dx -= 3.5 * bump(a, z, (14, -1), (5, 10))  # the nose's side beside the eye
    dx -= 3.0 * bump(a, z, (0, 3), (9, 9))  # root of the nose
    dx += 4.0 * bump(a, z, (42, -30), (15, 13))  # cheek
    dx += 3.0 * bump(a, z, (31, -17), (14, 8))  # below the eye
    dx += 2.5 * bump(a, z, (47, -11), (7, 8))
    dx -= 2.5 * bump(a, z, (45, -62), (12, 14))  # hollow beside the mouth
    dx += 2.5 * bump(a, z, (0, -62), (20, 12))  # the teeth's arch behind the lips
    dx -= 2.6 * bump(a, z, (0, -79.5), (17, 5.5))  # under the lower lip
    dx += 3.2 * bump(a, z, (0, -93), (17, 10))  # chin
    dx -= 1.2 * bump(a, z, (0, -52), (2.5, 4.0))  # philtrum
    dx += 0.6 * bump(a, z, (5.0, -52), (2.0, 4.5))
    # The nose: a ridge that grows to the tip and ends in a soft underside, with its wings.
    down = np.clip((8.0 - z) / 46.0, 0.0, 1.0)
    ridge = (
        (1.0 + 12.5 * smooth(down) * (0.3 + 0.7 * down))
        * smooth((z + 47.5) / 11.0)
        * smooth((22.0 - z) / 26.0)
    )
    width = 5.2 + 2.2 * smooth((0.0 - z) / 36.0)
    dx += ridge * np.exp(-0.5 * (a / width) ** 2)
    dx += 5.0 * bump(a, z, (0, -35.5), (6.0, 5.5))  # tip
    dx += 7.0 * bump(a, z, (11.0, -38.0), (3.6, 4.2))  # wings
    out[:, 0] += dx * facing
    out[:, 2] -= facing * (2.2 * bump(a, z, (0, -41), (7.0, 4.0)))
    return out


def over_ball(points, offset=2.0, radius=9.0, center=EYE):
    """Let the skin (n, 3) of the face's left half swell over the eyeball: lids."""
    dy, dz = points[:, 1] - center[1], points[:, 2] - center[2]
    shell = BALL + offset
    inside = np.sqrt(np.maximum(shell**2 - dy**2 - dz**2, 0.0))
    out = points.copy()
    near = smooth((32.0 - np.hypot(dy, dz * 1.2)) / 11.0) * (points[:, 0] > center[0] - 25.0)
    swollen = soft_max(
        points[:, 0], center[0] + inside - 0.15 * (np.hypot(dy, dz) / shell) ** 8 * shell, radius
    )
    out[:, 0] += near * (swollen - points[:, 0])
    return out
