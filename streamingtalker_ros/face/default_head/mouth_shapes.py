# SPDX-License-Identifier: Apache-2.0
"""The mouth's and jaw's blendshapes: `mouth_shapes(canvas)` -> {name: (V, 3)
mm}, left sides only (the mirror makes the right ones). Shapes that keep closed
lips closed give both lips one motion along the line where they touch.
"""

import numpy as np

from streamingtalker_ros.face.default_head.head import MOUTH
from streamingtalker_ros.face.default_head.mesh import smooth
from streamingtalker_ros.face.default_head.shape_builder import HINGE
from streamingtalker_ros.face.default_head.skin import HALF_WIDTH, mouth_line

OPEN_DEGREES = 21.0
_ROLL = {
    "outer1": (-0.5, 0.5),
    "outer2": (-1.0, 1.5),
    "outer3": (-1.2, 2.4),
    "border": (-2.0, 3.4),
    "lip0": (-3.8, 3.2),
    "lip1": (-6.2, 2.2),
    "lip2": (-6.9, 0.8),
    "lip3": (-5.0, 0.2),
    "contact": (-3.0, 0.0),
    "lining0": (-1.4, -0.3),
    "lining1": (-0.3, -0.4),
}
_PRESS = {
    "outer2": (0.3, 0.5),
    "outer3": (0.3, 1.0),
    "border": (-0.4, 2.3),
    "lip0": (-1.2, 2.4),
    "lip1": (-2.2, 1.7),
    "lip2": (-2.2, 0.8),
    "lip3": (-1.6, 0.2),
    "contact": (-1.2, 0.0),
    "lining0": (-1.0, 0.0),
}


def mouth_shapes(c):
    """c: Canvas. Returns the shapes of jaw, lips, cheeks beside the mouth, and tongue."""
    shapes = _jaw(c)
    shapes.update(_whole_mouth(c))
    shapes.update(_corners(c))
    shapes.update(_single_lips(c))
    shapes["tongueOut"] = _tongue(c)
    return shapes


def _swing(c, degrees):
    """(V, 3): what a rotation of the jaw by that angle does to every vertex, if it were all jaw."""
    a = np.radians(degrees)
    dx, dz = c.x - HINGE[0], c.z - HINGE[2]
    return np.column_stack(
        [np.cos(a) * dx + np.sin(a) * dz - dx, np.zeros_like(dx), np.cos(a) * dz - np.sin(a) * dx - dz]
    )


def _jaw(c):
    swing = _swing(c, OPEN_DEGREES)
    slide = c.jaw * smooth((c.x + 5.0) / 65.0)  # fades towards the ears
    for part in ("teeth_lower", "tongue"):
        slide[slice(*c.parts[part])] = 1.0
    shapes = {
        "jawOpen": c.jaw[:, None] * swing,
        "mouthClose": (c.seal - c.jaw)[:, None] * swing,
        "jawForward": c.move(slide, dx=6.5),
        "jawLeft": c.seal_lips(c.move(slide, dy=7.5, dx=-0.6)),
    }
    shapes["jawOpen"] -= np.column_stack([np.zeros_like(c.y), 0.055 * c.y * c.lip, np.zeros_like(c.y)])
    return shapes


def _whole_mouth(c):
    mid = c.open
    up = 2.0 * c.upper - 1.0
    inner = np.zeros(len(c.points))
    for name, share in (
        ("border", 0.5),
        ("lip0", 0.7),
        ("lip1", 0.9),
        ("lip2", 1.0),
        ("lip3", 1.0),
        ("contact", 1.0),
        ("lining0", 1.0),
        ("lining1", 0.5),
        ("outer3", 0.35),
        ("outer2", 0.15),
    ):
        inner[c.rings.mouth[name]] = share
    bow = c.lip * (
        mouth_line(np.minimum(c.a, HALF_WIDTH)) - MOUTH
    )  # round mouths lose the smile of their line
    funnel = c.move(c.lip, dx=1.0) * (2.0 + 7.0 * mid)[:, None]
    funnel[:, 1] -= 0.36 * c.y * c.lip
    funnel[:, 2] += up * inner * mid * np.where(up > 0, 4.0, 4.6)
    funnel += c.move(inner * mid * np.abs(up), dx=1.5)
    funnel[:, 2] -= 0.8 * bow
    pucker = c.move(c.lip, dx=1.0) * (1.0 + 9.0 * mid)[:, None]
    pucker[:, 1] -= 0.46 * c.y * c.lip
    border = np.zeros(len(c.points))
    for name, share in (("outer3", 0.3), ("border", 0.6), ("lip0", 1.0), ("lip1", 0.7), ("lip2", 0.3)):
        border[c.rings.mouth[name]] = share
    pucker[:, 2] += up * border * (1.3 * mid + 0.3)
    pucker[:, 2] -= 0.85 * bow
    pucker -= c.move(c.region(42, -58, 10, 14), dx=2.5) + c.move(c.region(-42, -58, 10, 14), dx=2.5)
    for part in (
        "teeth_upper",
        "teeth_lower",
    ):  # lips drawn together slide round the arch: its hidden sides give way
        ids = slice(*c.parts[part])
        way = np.column_stack([-3.0 * (c.y[ids] / 23.5) ** 2, -0.2 * c.y[ids], np.zeros_like(c.y[ids])])
        pucker[ids] += way
        funnel[ids] += way
    left = c.move(c.lip, dy=9.0)
    left[:, 2] += 0.05 * c.y * c.lip
    left[:, 0] -= 0.0035 * (c.y + 9.0) ** 2 * c.lip * 0.5
    shrug_upper = c.move(c.lip * c.upper * (0.4 + 0.6 * mid), dx=2.6, dz=3.0)
    chin = c.region(0, -90, 17, 11)
    shrug_lower = c.move(c.lip * (1 - c.upper) * (0.4 + 0.6 * mid), dx=2.6, dz=4.2) + c.move(
        chin, dx=1.5, dz=4.0
    )
    shrug_lower += c.move(c.lip * c.upper * (0.3 + 0.7 * mid), dx=0.8, dz=1.4)
    roll_lower, roll_upper = (_ringed(c, _ROLL, upper) for upper in (False, True))
    puff = np.zeros((len(c.points), 3))
    for sign in (1, -1):
        puff += c.move(c.region(sign * 44, -54, 14, 16), dx=8.0, dy=sign * 8.0)
    puff += c.move(c.lip * (0.5 + 0.5 * mid), dx=1.2)
    return {
        "mouthFunnel": funnel,
        "mouthPucker": c.seal_lips(pucker),
        "mouthLeft": c.seal_lips(left),
        "mouthShrugUpper": c.seal_lips(shrug_upper),
        "mouthShrugLower": c.seal_lips(shrug_lower),
        "mouthRollLower": roll_lower,
        "mouthRollUpper": roll_upper,
        "cheekPuff": c.seal_lips(puff),
    }


def _ringed(c, table, upper, half=None):
    """A lip's motion told ring by ring: table name -> (dx, dz
    towards the line between the lips), mm in the middle."""
    out = c.zeros()
    chosen = c.ring_up == (1.0 if upper else 0.0)
    fall = (1.0 - c.ring_t**2.2) * chosen
    for name, (dx, dz) in table.items():
        ids = c.rings.mouth[name]
        out[ids, 0] += fall * dx
        out[ids, 2] += fall * (-dz if upper else dz)
    return out


def _corners(c):
    """Shapes of the mouth's left corner: weights rise over the
    lips from the middle to the corner and fade on the cheek."""
    along = smooth((c.y + 6.0) / 30.0)
    pull = c.wide * along
    cheek = c.region(43, -33, 12, 11)
    curl = np.clip(c.y / HALF_WIDTH, 0.0, 1.15) ** 1.7  # a bow, not a V
    smile = (
        c.move(pull, dx=-5.5, dy=7.5)
        + c.move(c.wide * curl, dz=6.6)
        + c.move(c.left() * c.lip, dx=-1.0, dz=1.2)
    )
    smile += c.move(cheek, dx=4.5, dy=1.5, dz=5.5) + c.move(c.region(36, -13, 12, 5), dx=1.0, dz=1.6)
    frown = c.move(pull, dx=-1.5, dy=2.5, dz=-9.0) + c.move(c.region(26, -84, 12, 9), dx=0.8, dz=-3.0)
    frown += c.move(c.region(12, -90, 11, 9), dx=1.0, dz=1.5)
    dimple = c.move(pull, dx=-5.5, dy=6.5, dz=1.2) - c.move(c.region(36, -61, 5, 6), dx=3.5)
    stretch = c.move(pull, dx=-5.0, dy=9.5, dz=-3.0) + c.move(c.region(34, -80, 14, 14), dy=2.0, dz=-2.0)
    press = (_ringed(c, _PRESS, True) + _ringed(c, _PRESS, False)) * c.left()[:, None]
    press += c.move(pull, dx=-2.0, dy=1.0) + c.move(c.region(28, -63, 5, 7), dx=0.8)
    return {
        "mouthSmileLeft": c.seal_lips(smile),
        "mouthFrownLeft": c.seal_lips(frown),
        "mouthDimpleLeft": c.seal_lips(dimple),
        "mouthStretchLeft": c.seal_lips(stretch),
        "mouthPressLeft": c.seal_lips(press),
    }


def _single_lips(c):
    side = c.left()
    middle = (0.25 + 0.75 * np.exp(-0.5 * ((c.a - 9.0) / 9.0) ** 2)) * smooth((27.0 - c.a) / 9.0)
    up = c.lip * c.upper * side * middle
    down = c.lip * (1.0 - c.upper) * side * middle
    upper_up = c.move(up, dx=1.0, dz=7.5) + c.move(c.region(24, -46, 9, 8), dx=1.5, dz=3.0)
    lower_down = c.move(down, dx=0.6, dz=-8.0) + c.move(c.region(14, -82, 10, 8), dz=-2.5)
    return {"mouthUpperUpLeft": upper_up, "mouthLowerDownLeft": lower_down}


def _tongue(c):
    first, last = c.parts["tongue"]
    out = c.zeros()
    s = smooth((c.x[first:last] - 42.0) / 30.0)
    out[first:last] = np.column_stack([34.0 * s, -0.18 * c.y[first:last] * s, 6.0 * s - 3.0 * s**4])
    return out
