# SPDX-License-Identifier: Apache-2.0
"""Builds the head of a person: bust, eyes, teeth, tongue, lashes, brows and hair, with the 52 shapes."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.head import EYE_CENTER
from streamingtalker_ros.face.default_head.mesh import smoothstep
from streamingtalker_ros.face.geometry.normals import index_corners, vertex_normals
from streamingtalker_ros.face.human_head.eyes import (
    clear_eyelids,
    eye_material,
    eyeball,
    fit_sphere,
    lid_shadow,
)
from streamingtalker_ros.face.human_head.garment import collar, dress, plinth
from streamingtalker_ros.face.human_head.hair import (
    HAIR_STYLES,
    brows,
    choose_style,
    hair,
    lash_material,
    lashes,
)
from streamingtalker_ros.face.human_head.hair_mesh import MESH_STYLES, FittedHair
from streamingtalker_ros.face.human_head.hair_shells import CURLY_RIM, RIM, SHELL_STYLES, hair_shells
from streamingtalker_ros.face.human_head.makehuman import UNIT_M, MakeHumanData
from streamingtalker_ros.face.human_head.makehuman_hair import install_hint
from streamingtalker_ros.face.human_head.mouth import VERMILION_LOOP, Mouth
from streamingtalker_ros.face.human_head.part import Part, order_grid, smooth, triangulate
from streamingtalker_ros.face.human_head.person import Person
from streamingtalker_ros.face.human_head.skin_colors import (
    above_hairline,
    hair_colors,
    lip_colors,
    mouth_color,
    palette,
    recession,
    skin_colors,
)
from streamingtalker_ros.face.human_head.skin_texture import SkinFields, paint_skin, unwrap
from streamingtalker_ros.face.human_head.subdivision import Subdivision
from streamingtalker_ros.face.human_head.surface import Surface
from streamingtalker_ros.face.human_head.teeth import teeth
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import y_up_to_ros
from streamingtalker_ros.face.surface_material import MaterialRange

_LOGGER = logging.getLogger(__name__)
_LIP_MIDDLE: Final = (5342, 520, 622)  # vertices of the base mesh, see `Mouth`
_CREASE_LOOPS: Final = 3.0  # from the line of contact, within which the lips lie in the shade of each other
_CREASE_SHADE: Final = 0.35
_BUST_MM: Final = (116.0, -120.0, 100.0)
"""Ellipse that bounds the bust on the base mesh, see `Surface`: half width, middle, half height."""
_NECK_MM: Final = (-150.0, -75.0)  # between these heights the neck takes part in the head's rotation
_MOUTH_RADIUS_MM: Final = 70.0
_ROUNDED: Final = ("mouthPucker", "mouthFunnel")
_PROTRUSION: Final = 0.42  # of MakeHuman's lips in rounded shapes, which make a beak
_CREASED: Final = ("mouthSmile", "mouthStretch", "mouthDimple", *_ROUNDED)
"""Shapes whose face units fold cheeks or lips."""
_RAISED_BY_SMILE: Final = {"cheekSquint": 0.15, "eyeSquint": 0.05}
"""Shares of the shapes that a smile takes along: it raises cheeks and lower lids."""
_LOWERED_BY_FROWN: Final = {"mouthPress": 0.3, "mouthSmile": 0.25}
"""Shapes whose face units raise the corners too far, and the share of a frown that lowers them."""
_OPENING_OF_AGE: Final = 0.58  # weight of widened eyes in an old face: MakeHuman's have drooping lids
_OPENING_OF_ASIANS: Final = 0.3  # weight of widened eyes, likewise
_UNIT_GAINS: Final = {"browInnerUp": 1.6, "tongueOut": 1.25}
"""Of MakeHuman's face units: worried brows, which hardly show, and the tongue, which is shorter here."""
_CREASE_STEPS: Final = 12
_LASH_GROUPS: Final = {"upper": 2, "lower": 1}  # numbers of MakeHuman's cards
_LASH_OUT_M: Final = {"upper": 0.0007, "lower": 0.0}
"""By which lashes stand off MakeHuman's lids, which lie deeper than ours."""

_LASH_ROOTS: Final = 8  # points of a line of lashes, between two vertices
_MIN_DELTA_M: Final = 2e-5
_MESH_HAIRLINE_MM: Final = 4.0  # from the hairline, within which no scalp under MakeHuman's hair is coloured
_RIM_MM: Final = 7.0  # from MakeHuman's hair, within which fine hair softens its border
_RIM_BEYOND_MM: Final = 8.0  # beyond the hairline, up to where it grows
_RIM_DEPTH_MM: Final = 20.0  # within the hairline, where MakeHuman's hair covers the scalp
_SHELL_HAIRLINE: Final = 0.4  # likewise under shells, as a fraction of their edge
_GROWN_UP_YEARS: Final = 13.0
_CHILD_SETBACK_M: Final = 0.0022  # of the teeth, behind the thin lips of children
_UPPER_EDGE_M: Final = 0.0026  # of the front teeth, below MakeHuman's upper row
_GROWN_UP_EDGE_M: Final = 0.0014  # by which those of grown-ups lie lower
_LOWER_EDGE_M: Final = 0.0060
_TONGUE_FIT: Final = (0.70, 0.93, 1.0)
"""Of MakeHuman's length, width and height: between thicker teeth, and behind them also at a th."""
_TONGUE: Final = np.array([0.74, 0.36, 0.35])
_PUCKER_RETREAT_M: Final = {
    "helper-upper-teeth": (-0.006, 0.0, 0.005),
    "helper-lower-teeth": (-0.006, 0.0, -0.004),
    "helper-tongue": (-0.006, 0.0, -0.004),
}
"""How far teeth and tongue draw back from lips that protrude in front of them."""
_CAVITY_M: Final = 0.055  # behind the lips, where little light comes
_CAVITY_SHADE: Final = 0.62


def build_head(person: Person, data: MakeHumanData, name: str, textures: bool = True) -> Rig:
    """Build a head.

    Args:
        person: Whose head it is.
        data: MakeHuman's mesh and targets.
        name: Name of the rig.
        textures: False leaves out the textures of skin and eyes, which take most of the time.

    Returns:
        A rig with the 52 ARKit shapes and landmarks of the lips; the middle between the eyes is where the
        default face has it.

    Raises:
        TalkerError: If the data are damaged or the hair style is unknown.
    """
    return _HeadBuilder(person, data, textures).build(name)


class _HeadBuilder:
    def __init__(self, person: Person, data: MakeHumanData, textures: bool) -> None:
        self._person, self._data, self._textures = person, data, textures
        self._palette = palette(person)
        style = choose_style(person)
        self._style = style
        self._sideburn = (SHELL_STYLES.get(style) or HAIR_STYLES[style]).sideburn
        body = person.shape(data)
        self._body = self._place(body, body) + EYE_CENTER * (1e-3, 0.0, 1e-3)
        self._hair = None
        if style in MESH_STYLES and data.hair is None:
            _LOGGER.info("hair is made of cards; for MakeHuman's: %s", install_hint())
        elif style in MESH_STYLES and data.hair is not None:
            self._hair = FittedHair(data.hair, MESH_STYLES[style], self._body)
        self._base = 1e3 * self._place(data.mesh.vertices, data.mesh.vertices)
        self._units = {
            name: y_up_to_ros(data.face_unit(name)).astype(np.float64) * UNIT_M for name in ARKIT_NAMES
        }
        for name, gain in _UNIT_GAINS.items():
            self._units[name] *= gain
        opening = _OPENING_OF_AGE * float(smoothstep((person.age - 35.0) / 30.0))
        opening += _OPENING_OF_ASIANS * person.ancestry_shares()["asian"]
        for side in ("Left", "Right"):
            self._body += opening * self._units[f"eyeWide{side}"]
            self._units[f"eyeBlink{side}"] -= opening * self._units[f"eyeWide{side}"]
            for name, share in _LOWERED_BY_FROWN.items():
                self._units[name + side] += share * self._units[f"mouthFrown{side}"]
            self._units[f"mouthSmile{side}"] += sum(
                share * self._units[name + side] for name, share in _RAISED_BY_SMILE.items()
            )

    def _place(
        self, vertices: npt.NDArray[np.float64], body: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Vertices in metres from the middle between the eyes of a body, in the axes of `Rig`."""
        eyes = (self._data.joint("l-eye", body) + self._data.joint("r-eye", body)) / 2.0
        return np.asarray(y_up_to_ros(vertices - eyes), np.float64) * UNIT_M

    def build(self, name: str) -> Rig:
        skin, surface, quads, landmarks = self._skin()
        seed = self._person.seed
        parts = [
            skin,
            *self._eyes(),
            self._tongue(),
            *self._teeth(),
            *self._lashes(),
            brows(surface, self._palette, self._person.gender, seed),
            *self._grow_hair(surface),
            collar(surface, self._palette.garment),
            plinth(surface, quads, self._palette.garment),
        ]
        return self._join(name, parts, landmarks)

    def _skin(
        self,
    ) -> tuple[Part, Surface, npt.NDArray[np.int64], dict[str, npt.NDArray[np.int64]]]:
        """The skin as a part and as a surface, its quads, and the landmarks of the lips."""
        faces = self._data.mesh.groups["body"]
        base = self._base
        half_width, middle_z, half_height = _BUST_MM
        beyond = np.hypot(base[:, 1] / half_width, np.minimum(base[:, 2] - middle_z, 0.0) / half_height)
        faces = faces[(beyond < 1.0)[faces[:, :, 0]].any(axis=1)]
        quads = faces[:, :, 0]
        used, local = np.unique(quads, return_inverse=True)
        subdivision = Subdivision(local.reshape(quads.shape), len(used))
        number = np.full(len(base), -1)
        number[used] = np.arange(len(used))
        vertices, base = self._body[used], base[used]
        outside = beyond[used] > 1.0
        edge = base[outside] - (1.0 - 1.0 / beyond[used][outside, None]) * (
            base[outside] - [0.0, 0.0, middle_z]
        ).clip(max=[np.inf, np.inf, 0.0])
        for axis in (1, 2):
            slope, offset = np.polyfit(base[outside, axis], vertices[outside, axis], 1)
            vertices[outside, axis] = slope * edge[:, axis] + offset
        vertices, base = subdivision.refine(vertices), subdivision.refine(base)
        shapes = {name: subdivision.refine(unit[used]) for name, unit in self._units.items()}
        for name in _ROUNDED:
            shapes[name][:, 0] *= _PROTRUSION
        middle = (int(number[_LIP_MIDDLE[0]]), int(number[_LIP_MIDDLE[1]]), int(number[_LIP_MIDDLE[2]]))
        near_mouth = (
            np.linalg.norm(base[subdivision.quads].mean(axis=1) - base[middle[1]], axis=1) < _MOUTH_RADIUS_MM
        )
        mouth = Mouth(vertices, subdivision.quads[near_mouth], middle)
        gains = mouth.gains(shapes)
        self._units = {name: gains[name] * unit for name, unit in self._units.items()}
        vertices = mouth.seal(vertices)
        triangles = triangulate(subdivision.quads)
        for name in shapes:
            if name.startswith(_CREASED):
                shapes[name] = smooth(shapes[name], triangles, _CREASE_STEPS)
        shapes = mouth.fit_shapes({name: gains[name] * shape for name, shape in shapes.items()})
        corners = index_corners(triangles)
        normals = vertex_normals(vertices.astype(np.float32), triangles, corners)
        vertices, is_garment = dress(vertices, base, normals)
        deltas = np.stack([shapes[name] for name in ARKIT_NAMES])
        raw = deltas.copy()
        for side in "lr":
            clear_eyelids(vertices, deltas, *fit_sphere(self._group(f"helper-{side}-eye")[0]))
        self._lids = vertices, deltas - raw
        surface = Surface(vertices, base, triangles, deltas)
        colors = skin_colors(base, surface.openness, self._palette, self._person)
        position = np.arange(len(mouth.loops)) - float(VERMILION_LOOP)
        contact = mouth.loops.tolist().index(mouth.contact.tolist()) - VERMILION_LOOP
        position = np.interp(position, [-1.2, -0.1, contact + 1.0, contact + 5.0], [-1.0, 0.0, 0.0, 1.0])
        flat = mouth.loops.ravel()
        position = np.repeat(position, mouth.loops.shape[1])
        crease = np.zeros(len(vertices))
        apart = np.abs(np.arange(len(mouth.loops)) - contact - VERMILION_LOOP)
        crease[flat] = np.repeat(smoothstep(1.0 - apart / _CREASE_LOOPS), mouth.loops.shape[1])
        colors[flat] = lip_colors(colors[flat], position, self._palette)
        colors[flat] *= 1.0 - _CREASE_SHADE * crease[flat, None]
        inside = _inside(subdivision.quads, mouth, len(vertices))
        self._lip_front = float(vertices[mouth.contact, 0].max())
        light = _cavity_light(vertices[inside], self._lip_front)
        colors[inside] = light[:, None] * mouth_color(self._palette)
        colors += (self._palette.garment * (0.35 + 0.65 * surface.openness[:, None]) - colors) * is_garment[
            :, None
        ]
        lip = np.zeros(len(vertices))
        lip[flat] = np.clip(position + 1.0, 0.0, 1.0) * np.clip(1.0 - position, 0.0, 1.0)
        grown = above_hairline(base, self._sideburn)
        if self._hair is not None:
            grown = np.minimum(grown - _MESH_HAIRLINE_MM, self._hair.cover(vertices))
        elif self._style in SHELL_STYLES:
            grown -= recession(base, self._person) + _SHELL_HAIRLINE * SHELL_STYLES[self._style].edge
        unwrapped = unwrap(faces, self._data.mesh.texture_coordinates, subdivision)
        material = None
        if self._textures:
            fields = SkinFields(
                base, colors, lip, crease, inside.astype(np.float64), is_garment, grown, self._lash_roots()
            )
            material = paint_skin(unwrapped, fields, self._palette, self._person)
        source = unwrapped.source
        part = Part(
            "skin",
            vertices[source],
            triangulate(unwrapped.quads),
            hair_colors(colors, base, grown, self._palette, self._person.gender)[source],
            deltas[:, source],
            unwrapped.uv,
            material,
        )
        return part, surface, subdivision.quads, mouth.landmarks()

    def _grow_hair(self, surface: Surface) -> list[Part]:
        seed = self._person.seed
        hairline = above_hairline(surface.base, self._sideburn)
        if self._hair is not None and not MESH_STYLES[self._style].has_rim:
            return [self._hair.part(self._palette, self._textures)]
        if self._hair is not None:
            cover = self._hair.cover(surface.vertices)
            rim = np.minimum(hairline + _RIM_BEYOND_MM, cover + _RIM_MM)
            rim[hairline > _RIM_DEPTH_MM] = np.nan
            return [
                self._hair.part(self._palette, self._textures),
                hair_shells("hair_rim", surface, rim, RIM, self._palette, self._person, self._textures),
            ]
        if self._style in SHELL_STYLES:
            style = SHELL_STYLES[self._style]
            hairline = hairline - recession(surface.base, self._person)
            return [
                hair_shells("hair", surface, hairline, style, self._palette, self._person, self._textures)
            ]
        parts = [hair(surface, HAIR_STYLES[self._style], self._palette, seed)]
        if self._style == "curly":
            rim = np.where(hairline > _RIM_DEPTH_MM, np.nan, hairline)
            parts.append(
                hair_shells("hair_rim", surface, rim, CURLY_RIM, self._palette, self._person, self._textures)
            )
        return parts

    def _group(self, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Vertices (n, 3) and displacements (52, n, 3) of a group of the base mesh."""
        ids = self._data.group_vertices(name)
        deltas = np.stack([self._units[shape][ids] for shape in ARKIT_NAMES])
        deltas[INDEX["mouthPucker"]] += _PUCKER_RETREAT_M.get(name, 0.0)
        return self._body[ids], deltas

    def _eyes(self) -> list[Part]:
        material = eye_material(self._palette.iris, self._person.seed) if self._textures else None
        return [
            eyeball(side, *fit_sphere(self._group(f"helper-{side[0]}-eye")[0]), self._palette.iris, material)
            for side in ("left", "right")
        ]

    def _tongue(self) -> Part:
        quads = self._data.mesh.groups["helper-tongue"][:, :, 0]
        body, moved = self._group("helper-tongue")
        _, local = np.unique(quads, return_inverse=True)
        subdivision = Subdivision(local.reshape(quads.shape), len(body))
        vertices = subdivision.refine(body)
        root = vertices.min(axis=0) * [1.0, 0.0, 0.0]
        vertices = root + (vertices - root) * _TONGUE_FIT
        deltas = np.stack([subdivision.refine(delta) for delta in moved])
        light = _cavity_light(vertices, self._lip_front)
        colors = light[:, None] * _TONGUE * (0.6 + 0.4 * self._palette.skin[0])
        return Part("tongue", vertices, triangulate(subdivision.quads), colors, deltas)

    def _teeth(self) -> list[Part]:
        shade = 1.0 - 0.0012 * max(self._person.age - 25.0, 0.0)
        upper, upper_deltas = self._group("helper-upper-teeth")
        lower, lower_deltas = self._group("helper-lower-teeth")
        childhood = float(smoothstep((_GROWN_UP_YEARS - self._person.age) / 3.0))
        upper = upper - [_CHILD_SETBACK_M * childhood, 0.0, 0.0]
        front = upper[:, 0] > upper[:, 0].max() - 0.006
        edge = float(upper[front, 2].min())
        upper_edge = _UPPER_EDGE_M + (1.0 - childhood) * _GROWN_UP_EDGE_M
        lower = lower + np.array([upper[:, 0].max() - lower[:, 0].max(), 0.0, 0.0])  # an even bite
        return [
            teeth(upper, upper_deltas, True, edge - upper_edge, shade),
            teeth(lower, lower_deltas, False, edge - _LOWER_EDGE_M, shade),
        ]

    def _lashes(self) -> list[Part]:
        """Lashes, and the shadows of the upper lids on the eyes."""
        parts = []
        material = lash_material(self._palette, self._person.seed)
        for side in ("left", "right"):
            center, radius = fit_sphere(self._group(f"helper-{side[0]}-eye")[0])
            for lid in _LASH_GROUPS:
                grid = self._lash_grid(side, lid)
                deltas = np.stack([self._units[shape][grid] for shape in ARKIT_NAMES])
                deltas += self._lid_shift(self._body[grid[0]])[:, None]
                gender = self._person.gender
                card = self._body[grid] + _LASH_OUT_M[lid] / radius * (self._body[grid[0]] - center)
                parts.append(lashes(f"lash_{lid}_{side}", lid, card, deltas, gender, material))
                parts.append(
                    lid_shadow(f"shadow_{lid}_{side}", lid, self._body[grid[0]], deltas[:, 0], center, radius)
                )
        return parts

    def _lid_shift(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """By how much more (52, n, 3) than MakeHuman's the lids at points (n, 3) move, off the eyeball."""
        vertices, shift = self._lids
        nearest = np.linalg.norm(vertices[:, None] - points, axis=-1).argmin(axis=0)
        return shift[:, nearest]

    def _lash_roots(self) -> npt.NDArray[np.float64]:
        """Places (N, 3) along the edges of the upper lids, see `Surface.base`."""
        lines = [self._base[self._lash_grid(side, "upper")[0]] for side in ("left", "right")]
        ends = np.linspace(0.0, 1.0, _LASH_ROOTS)[:, None, None]
        return np.concatenate([(line[:-1] + ends * np.diff(line, axis=0)).reshape(-1, 3) for line in lines])

    def _lash_grid(self, side: str, lid: str) -> npt.NDArray[np.int64]:
        """Vertices (rows, columns) of MakeHuman's card of lashes; the first row lies on the lid."""
        grid = order_grid(self._data.mesh.groups[f"helper-{side[0]}-eyelashes-{_LASH_GROUPS[lid]}"][:, :, 0])
        center, _ = fit_sphere(self._group(f"helper-{side[0]}-eye")[0])
        distance = np.linalg.norm(self._body[grid] - center, axis=-1).mean(axis=1)
        return grid if distance[0] < distance[-1] else grid[::-1]

    def _join(self, name: str, parts: list[Part], landmarks: dict[str, npt.NDArray[np.int64]]) -> Rig:
        counts = np.cumsum([0, *(len(part.vertices) for part in parts)])
        vertices = np.concatenate([part.vertices for part in parts])
        deltas = np.concatenate([part.all_deltas() for part in parts], axis=1)
        deltas[np.abs(deltas) < _MIN_DELTA_M] = 0.0
        height = 1e3 * (vertices[:, 2] - EYE_CENTER[2] / 1e3)
        head, foot = (
            self._place(self._data.joint(joint, self._data.mesh.vertices)[None], self._data.mesh.vertices)
            for joint in ("head", "neck")
        )
        pivot = (0.6 * head + 0.4 * foot)[0] + EYE_CENTER * (1e-3, 0.0, 1e-3)
        return Rig(
            name=name,
            vertices=vertices.astype(np.float32),
            triangles=np.concatenate(
                [part.triangles + first for part, first in zip(parts, counts, strict=False)]
            ).astype(np.uint32),
            shape_names=ARKIT_NAMES,
            deltas=deltas.astype(np.float32),
            parts={
                part.name: (int(first), int(first) + len(part.vertices))
                for part, first in zip(parts, counts, strict=False)
            },
            landmarks=landmarks,
            colors=np.concatenate([part.colors for part in parts]).clip(0.0, 1.0).astype(np.float32),
            pivot=pivot.astype(np.float32),
            follow=smoothstep((height - _NECK_MM[0]) / (_NECK_MM[1] - _NECK_MM[0])).astype(np.float32),
            normals=np.concatenate([part.all_normals() for part in parts]).astype(np.float32),
            uv=np.concatenate([part.all_uv() for part in parts]).astype(np.float32),
            materials=tuple(
                MaterialRange(int(first), int(first) + len(part.vertices), part.material)
                for part, first in zip(parts, counts, strict=False)
                if part.material is not None
            ),
        )


def _cavity_light(vertices: npt.NDArray[np.float64], lip_front: float) -> npt.NDArray[np.float64]:
    """Fraction (V,) of the light that reaches vertices (V, 3) in the mouth, behind the front of the lips."""
    return 1.0 - _CAVITY_SHADE * smoothstep((lip_front - vertices[:, 0]) / _CAVITY_M)


def _inside(quads: npt.NDArray[np.int64], mouth: Mouth, num_vertices: int) -> npt.NDArray[np.bool_]:
    """(V,) whether a vertex lies in the mouth, behind the innermost loop of the lips."""
    inside, border = np.zeros(num_vertices, bool), np.zeros(num_vertices, bool)
    border[mouth.loops.ravel()] = True
    inside[mouth.loops[-1]] = True
    while True:
        touched = np.zeros(num_vertices, bool)
        touched[quads[inside[quads].any(axis=1)]] = True
        touched &= ~border | inside
        if (touched == inside).all():
            return inside
        inside = touched
