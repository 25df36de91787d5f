# SPDX-License-Identifier: Apache-2.0
"""One picture per clip to check by eye: what the camera saw, what the landmarks say, what the rig makes of it.

`draw(…)` gives a Pillow image: moments of the video with the tracked lips on them, the rig's lips at the same
moments, and below them voice, lip opening and lip width over time, tracked and solved.
"""

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.corpus.video import tracking
from streamingtalker_ros.corpus.video.landmarks import INNER_LOWER, INNER_UPPER, OUTER_LOWER, OUTER_UPPER
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.rendering.contact_sheet import select_key_frames

COLUMNS, TILE, STRIP, MARGIN = 6, 150, 74, 12
PAPER, INK, FAINT, VOICE = (250, 250, 252), (40, 44, 52), (208, 211, 217), (92, 124, 168)
TRACKED, SOLVED, LIP, HOLE = (40, 44, 52), (214, 84, 60), (206, 118, 110), (70, 30, 34)


def draw(clip, face, track, span, video, basis, neutral):
    """clip: solved Clip; face: its steady Face; track: of the whole video; span: its motion frames; video: path.

    Returns a PIL.Image. Where the video cannot be read any more, landmarks are drawn on an empty ground.
    """
    image, drawing = require("PIL.Image", "pictures of clips"), require("PIL.ImageDraw", "pictures of clips")
    font = require("PIL.ImageFont", "pictures of clips").load_default(11)
    chosen = select_key_frames(clip.lip_opening, COLUMNS)
    width = COLUMNS * (TILE + 4) + 2 * MARGIN
    sheet = image.new("RGB", (width, 2 * TILE + 3 * (STRIP + 26) + 58), PAPER)
    pen = drawing.Draw(sheet)
    pen.font = font
    pen.text((MARGIN, 5), f"{clip.name}   {clip.split}   {len(clip.pcm) / SAMPLE_RATE:.2f} s", fill=INK)
    rows = [np.argmin(np.abs(track.times - (span[0] + k + 0.5) / FRAME_RATE)) for k in chosen]
    seen = _frames(video, track.times[rows])
    for column, (k, row) in enumerate(zip(chosen, rows)):
        left = MARGIN + column * (TILE + 4)
        sheet.paste(_camera(image, drawing, seen.get(column), track.points[row]), (left, 24))
        sheet.paste(_lips(image, drawing, basis, clip.weights[k]), (left, 28 + TILE))
        pen.text((left + 3, 26 + TILE - 14), f"{k / FRAME_RATE:.2f} s", fill=(255, 255, 255))
    solved_gap = np.array(basis.rig.lip_gap(clip.weights)) / basis.eyes
    solved_width = np.array(basis.rig.lip_width(clip.weights)) / basis.width
    top = 2 * TILE + 44
    area = (MARGIN, width - 2 * MARGIN, len(clip.weights) / FRAME_RATE, np.array(chosen) / FRAME_RATE)
    _axes(pen, area, top, "voice")
    _wave(pen, area, top, clip)
    taken = 0.0
    for phone in clip.phones:
        at = _x(area, (phone.start + phone.end) / 2) - 4
        if phone.name != "pau" and at > taken:  # names that would run into each other are left out
            pen.text((at, top + STRIP - 1), phone.name, fill=INK)
            taken = at + 7 * len(phone.name)
    top += STRIP + 26
    peak = max(0.1, float(clip.lip_opening.max()), float(solved_gap.max()))
    _axes(pen, area, top, f"lip opening, 0 to {peak:.2f} of the inter-ocular distance: tracked, the rig's")
    _curve(pen, area, top, clip.lip_opening / peak, TRACKED, 3)
    _curve(pen, area, top, solved_gap / peak, SOLVED, 1)
    top += STRIP + 26
    _axes(pen, area, top, "lip width, 0.7 to 1.2 of the neutral's: tracked, the rig's")
    _curve(pen, area, top, (clip.lip_width / neutral.width - 0.7) / 0.5, TRACKED, 3)
    _curve(pen, area, top, (solved_width - 0.7) / 0.5, SOLVED, 1)
    return sheet


def _frames(video, times):
    """{position in times: image} of the video's frames at those times (on the sound's clock); {} without a video."""
    try:
        began = tracking.sound_began(video)
        return {
            int(np.argmin(np.abs(times - time + began))): picture
            for time, picture in tracking.frames(video)
            if np.abs(times - time + began).min() < 1e-3
        }
    except TalkerError:
        return {}


def _camera(image, drawing, picture, points):
    """The lower face in a frame, landmarks of the lips in it."""
    corners = points[[61, 291], :2]
    half = 0.95 * np.linalg.norm(corners[1] - corners[0])
    low = corners.mean(axis=0) - half
    tile = image.new("RGB", (TILE, TILE), (120, 124, 130))
    if picture is not None:
        box = tuple(float(edge) for edge in (*low, *(low + 2 * half)))
        tile = image.fromarray(picture).resize(
            (TILE, TILE), image.Resampling.BICUBIC, box=_inside(box, picture)
        )
    pen = drawing.Draw(tile)
    for line, color in (
        (OUTER_UPPER, (120, 220, 255)),
        (OUTER_LOWER, (120, 220, 255)),
        (INNER_UPPER, (255, 230, 90)),
        (INNER_LOWER, (255, 150, 60)),
    ):
        for x, y in (points[list(line), :2] - low) * TILE / (2 * half):
            pen.point([(x, y), (x + 1, y)], fill=color)
    return tile


def _inside(box, picture):
    """The box moved into the picture, or the whole picture where it is larger."""
    tall, wide = picture.shape[:2]
    side = box[2] - box[0]
    if side > min(tall, wide):
        return 0, 0, wide, tall
    left, top = min(max(box[0], 0), wide - side), min(max(box[1], 0), tall - side)
    return left, top, left + side, top + side


def _lips(image, drawing, basis, weights):
    """The rig's lips from the front, with the chin's edge of the tile as far as the camera's."""
    rig = basis.rig
    corners = rig.landmark("mouth_corners")
    half = 0.95 * basis.width
    middle = rig.vertices[corners].mean(axis=0)
    posed = rig.pose(weights)

    def line(name):
        row = rig.landmark(name)
        row = np.concatenate([corners[1:], row[np.argsort(rig.vertices[row, 1])], corners[:1]])
        return (posed[row] - middle)[:, 1:] * (1, -1) * TILE / (2 * half) + TILE / 2

    tile = image.new("RGB", (TILE, TILE), (238, 205, 185))
    pen = drawing.Draw(tile)
    for upper, lower, color in (
        ("outer_lip_upper", "outer_lip_lower", LIP),
        ("inner_lip_upper", "inner_lip_lower", HOLE),
    ):
        top, bottom = line(upper), line(lower)
        if "inner" in upper:  # lips that overlap show no hole
            bottom = np.maximum(bottom, top * (0, 1) + bottom * (1, 0))
        pen.polygon([tuple(point) for point in np.concatenate([top, bottom[::-1]])], fill=color)
    pen.line([tuple(point) for point in line("inner_lip_upper")], fill=HOLE)
    return tile


def _x(area, time):
    return area[0] + area[1] * time / area[2]


def _axes(pen, area, top, label) -> None:
    for time in area[3]:
        pen.line([_x(area, time), top, _x(area, time), top + STRIP], fill=FAINT)
    pen.text((area[0], top - 14), label, fill=INK)
    pen.line([area[0], top + STRIP, area[0] + area[1], top + STRIP], fill=INK)


def _wave(pen, area, top, clip) -> None:
    peaks = np.abs(clip.pcm[: len(clip.pcm) // 80 * 80].reshape(-1, 80)).max(axis=1)
    peaks = peaks / max(0.02, peaks.max()) * STRIP / 2
    for n, peak in enumerate(peaks):
        x = _x(area, n * 0.005)
        pen.line([x, top + STRIP / 2 - peak, x, top + STRIP / 2 + peak], fill=VOICE)


def _curve(pen, area, top, level, color, width) -> None:
    points = [
        (_x(area, (n + 0.5) / FRAME_RATE), top + STRIP * (1 - float(np.clip(value, -0.1, 1.1))))
        for n, value in enumerate(level)
    ]
    pen.line(points, fill=color, width=width)
