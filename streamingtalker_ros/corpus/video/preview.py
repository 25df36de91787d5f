# SPDX-License-Identifier: Apache-2.0
"""One image per clip for visual inspection: video frames, tracked lips, and the lips of the solved rig.

`draw_preview(…)` returns a Pillow image: moments of the video with the tracked lips, the rig's lips at the
same moments, and below them voice, lip opening and lip width over time, tracked and solved.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.corpus.storage import Clip
from streamingtalker_ros.corpus.video import tracking
from streamingtalker_ros.corpus.video.clips import Span
from streamingtalker_ros.corpus.video.landmark_matching import LandmarkBasis
from streamingtalker_ros.corpus.video.landmarks import (
    INNER_LOWER,
    INNER_UPPER,
    MOUTH_CORNERS,
    OUTER_LOWER,
    OUTER_UPPER,
    LandmarkTrack,
)
from streamingtalker_ros.corpus.video.neutral_pose import NeutralPose
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.rendering.contact_sheet import select_key_frames

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Color = tuple[int, int, int]

# pixels
NUM_TILES: Final = 6
TILE_SIZE: Final = 150
TILE_SPACING: Final = 4
STRIP_HEIGHT: Final = 74
STRIP_SPACING: Final = 26
MARGIN: Final = 12

BACKGROUND: Final[Color] = (250, 250, 252)
INK: Final[Color] = (40, 44, 52)
GRID: Final[Color] = (208, 211, 217)
VOICE: Final[Color] = (92, 124, 168)
TRACKED: Final[Color] = (40, 44, 52)
SOLVED: Final[Color] = (214, 84, 60)
LIP: Final[Color] = (206, 118, 110)
MOUTH_INSIDE: Final[Color] = (70, 30, 34)
SKIN: Final[Color] = (238, 205, 185)
NO_VIDEO: Final[Color] = (120, 124, 130)

VIEW_HALF_WIDTH: Final = 0.95
"""Half of the side of a tile, in widths of the mouth."""

WAVEFORM_STEP: Final = 80
"""Samples per line of the waveform, 5 ms."""


class _TimeAxis(NamedTuple):
    """Horizontal axis of a strip: position and width in pixels, duration and times of the grid lines in s."""

    left: float
    width: float
    duration: float
    grid_times: np.ndarray

    def x(self, time: float) -> float:
        """Pixel of a time in s."""
        return self.left + self.width * time / self.duration


def draw_preview(
    clip: Clip,
    track: LandmarkTrack,
    span: Span,
    video: str | os.PathLike[str],
    basis: LandmarkBasis,
    neutral: NeutralPose,
) -> Image:
    """Draw the preview of a clip.

    Args:
        clip: solved clip with lip measurements.
        track: track of the whole video.
        span: motion frames of the clip.
        video: the video; landmarks are drawn on an empty background if it cannot be read.
        basis: basis of the solver.
        neutral: neutral pose of the speaker.

    Returns:
        The image.

    Raises:
        ValueError: if the clip has no lip measurements.
    """
    if clip.lip_opening is None or clip.lip_width is None:
        raise ValueError(f"the clip {clip.name} has no lip measurements")
    image_module = require("PIL.Image", "pictures of clips", "video")
    draw_module = require("PIL.ImageDraw", "pictures of clips", "video")
    selected = select_key_frames(clip.lip_opening, NUM_TILES)
    width = NUM_TILES * (TILE_SIZE + TILE_SPACING) + 2 * MARGIN
    height = 2 * TILE_SIZE + 3 * (STRIP_HEIGHT + STRIP_SPACING) + 58
    sheet = image_module.new("RGB", (width, height), BACKGROUND)
    pen = draw_module.Draw(sheet)
    pen.font = require("PIL.ImageFont", "pictures of clips", "video").load_default(11)
    pen.text((MARGIN, 5), f"{clip.name}   {clip.split}   {len(clip.pcm) / SAMPLE_RATE:.2f} s", fill=INK)
    rows = [np.argmin(np.abs(track.times - (span[0] + k + 0.5) / FRAME_RATE)) for k in selected]
    images: Sequence[np.ndarray | None] = [None] * len(rows)
    with contextlib.suppress(TalkerError):
        images = tracking.read_images(video, track.times[rows])
    for column, (k, row) in enumerate(zip(selected, rows, strict=True)):
        left = MARGIN + column * (TILE_SIZE + TILE_SPACING)
        sheet.paste(_draw_camera_tile(images[column], track.points[row]), (left, 24))
        sheet.paste(_draw_rig_tile(basis, clip.weights[k]), (left, 28 + TILE_SIZE))
        pen.text((left + 3, 26 + TILE_SIZE - 14), f"{k / FRAME_RATE:.2f} s", fill=(255, 255, 255))
    solved_gap = np.array(basis.rig.lip_gap(clip.weights)) / basis.interocular
    solved_width = np.array(basis.rig.lip_width(clip.weights)) / basis.lip_width
    axis = _TimeAxis(
        MARGIN, width - 2 * MARGIN, len(clip.weights) / FRAME_RATE, np.array(selected) / FRAME_RATE
    )
    top = 2 * TILE_SIZE + 44
    _draw_axes(pen, axis, top, "voice")
    _draw_waveform(pen, axis, top, clip.pcm)
    _draw_phone_names(pen, axis, top, clip)
    top += STRIP_HEIGHT + STRIP_SPACING
    peak = max(0.1, float(clip.lip_opening.max()), float(solved_gap.max()))
    _draw_axes(
        pen, axis, top, f"lip opening, 0 to {peak:.2f} of the inter-ocular distance: tracked, the rig's"
    )
    _draw_curve(pen, axis, top, clip.lip_opening / peak, TRACKED, 3)
    _draw_curve(pen, axis, top, solved_gap / peak, SOLVED, 1)
    top += STRIP_HEIGHT + STRIP_SPACING
    _draw_axes(pen, axis, top, "lip width, 0.7 to 1.2 of the neutral's: tracked, the rig's")
    _draw_curve(pen, axis, top, (clip.lip_width / neutral.lip_width - 0.7) / 0.5, TRACKED, 3)
    _draw_curve(pen, axis, top, (solved_width - 0.7) / 0.5, SOLVED, 1)
    return sheet


def _draw_camera_tile(frame: np.ndarray | None, points: np.ndarray) -> Image:
    """The lower face in a video frame, with the landmarks of the lips (478, 3)."""
    image_module = require("PIL.Image", "pictures of clips", "video")
    draw_module = require("PIL.ImageDraw", "pictures of clips", "video")
    left, right = MOUTH_CORNERS
    corners = points[[right, left], :2]
    half = VIEW_HALF_WIDTH * np.linalg.norm(corners[1] - corners[0])
    low = corners.mean(axis=0) - half
    tile = image_module.new("RGB", (TILE_SIZE, TILE_SIZE), NO_VIDEO)
    if frame is not None:
        x0, y0, x1, y1 = (float(edge) for edge in (*low, *(low + 2 * half)))
        tile = image_module.fromarray(frame).resize(
            (TILE_SIZE, TILE_SIZE),
            image_module.Resampling.BICUBIC,
            box=_fit_box((x0, y0, x1, y1), frame),
        )
    pen = draw_module.Draw(tile)
    lines: Sequence[tuple[Sequence[int], Color]] = (
        (OUTER_UPPER, (120, 220, 255)),
        (OUTER_LOWER, (120, 220, 255)),
        (INNER_UPPER, (255, 230, 90)),
        (INNER_LOWER, (255, 150, 60)),
    )
    for line, color in lines:
        for x, y in (points[list(line), :2] - low) * TILE_SIZE / (2 * half):
            pen.point([(x, y), (x + 1, y)], fill=color)
    return tile


def _fit_box(box: tuple[float, float, float, float], frame: np.ndarray) -> tuple[float, float, float, float]:
    """Move a square box into a frame; the whole frame if the box is larger."""
    height, width = frame.shape[:2]
    side = box[2] - box[0]
    if side > min(height, width):
        return 0, 0, width, height
    left, top = min(max(box[0], 0), width - side), min(max(box[1], 0), height - side)
    return left, top, left + side, top + side


def _draw_rig_tile(basis: LandmarkBasis, weights: np.ndarray) -> Image:
    """The rig's lips from the front, at the scale of the camera tile."""
    image_module = require("PIL.Image", "pictures of clips", "video")
    draw_module = require("PIL.ImageDraw", "pictures of clips", "video")
    rig = basis.rig
    corners = rig.landmark("mouth_corners")
    half = VIEW_HALF_WIDTH * basis.lip_width
    middle = rig.vertices[corners].mean(axis=0)
    posed = rig.pose(weights)

    def project(name: str) -> np.ndarray:
        line = rig.landmark(name)
        line = np.concatenate([corners[1:], line[np.argsort(rig.vertices[line, 1])], corners[:1]])
        return (posed[line] - middle)[:, 1:] * (1, -1) * TILE_SIZE / (2 * half) + TILE_SIZE / 2

    tile = image_module.new("RGB", (TILE_SIZE, TILE_SIZE), SKIN)
    pen = draw_module.Draw(tile)
    for upper, lower, color in (
        ("outer_lip_upper", "outer_lip_lower", LIP),
        ("inner_lip_upper", "inner_lip_lower", MOUTH_INSIDE),
    ):
        top, bottom = project(upper), project(lower)
        if "inner" in upper:  # overlapping lips show no inside of the mouth
            bottom = np.maximum(bottom, top * (0, 1) + bottom * (1, 0))
        pen.polygon([tuple(point) for point in np.concatenate([top, bottom[::-1]])], fill=color)
    pen.line([tuple(point) for point in project("inner_lip_upper")], fill=MOUTH_INSIDE)
    return tile


def _draw_axes(pen: ImageDraw, axis: _TimeAxis, top: int, label: str) -> None:
    """Draw the grid lines, the label and the base line of a strip."""
    for time in axis.grid_times:
        pen.line([axis.x(time), top, axis.x(time), top + STRIP_HEIGHT], fill=GRID)
    pen.text((axis.left, top - 14), label, fill=INK)
    bottom = top + STRIP_HEIGHT
    pen.line([axis.left, bottom, axis.left + axis.width, bottom], fill=INK)


def _draw_waveform(pen: ImageDraw, axis: _TimeAxis, top: int, pcm: np.ndarray) -> None:
    """Draw the peaks of audio."""
    num_samples = len(pcm) // WAVEFORM_STEP * WAVEFORM_STEP
    peaks = np.abs(pcm[:num_samples].reshape(-1, WAVEFORM_STEP)).max(axis=1)
    peaks = peaks / max(0.02, peaks.max()) * STRIP_HEIGHT / 2
    for n, peak in enumerate(peaks):
        x = axis.x(n * WAVEFORM_STEP / SAMPLE_RATE)
        pen.line([x, top + STRIP_HEIGHT / 2 - peak, x, top + STRIP_HEIGHT / 2 + peak], fill=VOICE)


def _draw_phone_names(pen: ImageDraw, axis: _TimeAxis, top: int, clip: Clip) -> None:
    """Write the names of phones below a strip; names that would overlap are left out."""
    next_free = 0.0
    for phone in clip.phones:
        x = axis.x((phone.start + phone.end) / 2) - 4
        if phone.name != "pau" and x > next_free:
            pen.text((x, top + STRIP_HEIGHT - 1), phone.name, fill=INK)
            next_free = x + 7 * len(phone.name)


def _draw_curve(
    pen: ImageDraw, axis: _TimeAxis, top: int, level: np.ndarray, color: Color, width: int
) -> None:
    """Draw a curve of frames, 0 to 1 over the height of a strip."""
    points: list[Any] = [
        (
            axis.x((n + 0.5) / FRAME_RATE),
            top + STRIP_HEIGHT * (1 - float(np.clip(value, -0.1, 1.1))),
        )
        for n, value in enumerate(level)
    ]
    pen.line(points, fill=color, width=width)
