# SPDX-License-Identifier: Apache-2.0
"""Chart of one clip: rendered faces, waveform, phones, lip opening and width.

`TIME_AXIS_SPAN` locates the time axis in the figure, for a playhead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.evaluation import metrics
from streamingtalker_ros.evaluation.inference import inter_ocular_distance
from streamingtalker_ros.evaluation.motion_curves import MotionCurves
from streamingtalker_ros.evaluation.report.charts.style import (
    FIGURE_WIDTH,
    GENERATED_COLOUR,
    GRID_COLOUR,
    MUTED_COLOUR,
    REFERENCE_COLOUR,
    TEXT_COLOUR,
    WAVEFORM_COLOUR,
    hide_frame,
    new_figure,
)
from streamingtalker_ros.evaluation.results import REFERENCE, EvaluationResults
from streamingtalker_ros.evaluation.test_set import TestSet
from streamingtalker_ros.face.rendering.contact_sheet import select_key_frames
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.phonetics.phones import Phone

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TIME_AXIS_SPAN: Final = (0.062, 0.99)
"""Start and end of the time axis, in fractions of the figure's width."""

MAX_SECONDS: Final = 9.0
"""Seconds of a clip that are shown."""


class FaceView(NamedTuple):
    """How faces are drawn in a row: their number, size in pixels, height in inches, and the camera."""

    count: int
    width: int
    height: int
    row_height: float
    zoom: float
    center: tuple[float, float, float] | None = None


MOUTH_VIEW = FaceView(9, 150, 132, 0.95, 2.6, (0.05, 0.0, -0.05))
HEAD_VIEW = FaceView(5, 300, 264, 1.75, 1.2)

FilmReader = Callable[[npt.NDArray[np.float64]], Sequence[npt.NDArray[np.uint8]]]
"""Seconds (n,) from the start of a clip -> n images (H, W, 3) of its film."""

FILM: Final = "film"
"""Label of the images of the film."""

GENERATED: Final = "model"
"""Label of the faces and curves of the evaluated system."""


def clip_chart(
    results: EvaluationResults, test_set: TestSet, i: int, read_film: FilmReader | None = None
) -> Figure:
    """Plot the first `MAX_SECONDS` of a clip; lips in millimetres on the default face.

    Args:
        results: the evaluation.
        test_set: one of its test sets.
        i: index of the clip.
        read_film: returns images of the clip's film; with it faces are drawn in `HEAD_VIEW` below the film,
            without it in `MOUTH_VIEW`.

    Returns:
        The figure.
    """
    clip, curves = test_set.clips[i], results.curves[test_set.name]
    generated, reference = curves[results.system][i], curves[REFERENCE][i] if REFERENCE in curves else None
    frames = min(len(generated.opening), int(MAX_SECONDS * FRAME_RATE))
    scale = 1e3 * inter_ocular_distance(results.rig)
    view = HEAD_VIEW if read_film else MOUTH_VIEW
    rendered = select_key_frames(generated.opening[:frames], view.count)
    seconds = frames / FRAME_RATE
    image_rows: list[tuple[str, Sequence[np.ndarray]]] = [
        (name, _render_faces(results.rig, weights, head, rendered, view))
        for name, weights, head in _face_rows(generated, reference, test_set)
    ]
    if read_film:
        image_rows.insert(0, (FILM, read_film((np.array(rendered) + 0.5) / FRAME_RATE)))
    heights = [*[view.row_height] * len(image_rows), 0.62, 0.26, 1.65, 0.62]
    with new_figure(FIGURE_WIDTH, 0.62 + sum(heights)) as figure:
        grid = figure.add_gridspec(
            len(heights),
            1,
            height_ratios=heights,
            left=TIME_AXIS_SPAN[0],
            right=TIME_AXIS_SPAN[1],
            hspace=0.10,
            top=0.985,
            bottom=0.36 / (0.62 + sum(heights)),
        )
        for row, (name, images) in enumerate(image_rows):
            _plot_images(figure.add_subplot(grid[row]), name, images, rendered, seconds, view)
        waveform, phones, opening, width = (figure.add_subplot(grid[len(image_rows) + k]) for k in range(4))
        _plot_waveform(waveform, clip.pcm[: int(seconds * SAMPLE_RATE)], seconds)
        _plot_phones(phones, test_set.phones[i], seconds)
        _plot_curves(
            opening,
            generated.opening[:frames],
            None if reference is None else reference.opening[:frames],
            scale,
        )
        opening.set_ylim(bottom=-0.4)
        opening.set_ylabel("lip opening, mm")
        _plot_curves(
            width,
            _subtract_median(generated.width[:frames]),
            None if reference is None else _subtract_median(reference.width[:frames]),
            scale,
        )
        width.set_ylabel("width, mm")
        for axes in (phones, opening):
            _mark_closures(axes, test_set.phones[i], seconds)
        for axes in (waveform, phones, opening, width):
            axes.set_xlim(0.0, seconds)
            axes.set_xticks(np.arange(0.0, seconds + 1e-6, 0.5 if seconds <= 5 else 1.0))
            axes.tick_params(labelbottom=axes is width)
            axes.yaxis.set_label_coords(-0.042, 0.5)
        width.set_xlabel("seconds", labelpad=1)
        for frame in rendered:
            opening.axvline((frame + 0.5) / FRAME_RATE, color=GRID_COLOUR, lw=1.0, zorder=0)
    return figure


def _face_rows(
    generated: MotionCurves, reference: MotionCurves | None, test_set: TestSet
) -> list[tuple[str, np.ndarray, np.ndarray | None]]:
    """(label, weights, head) of each row: the reference, where its full face is known, and the model."""
    if generated.weights is None:
        return []
    rows: list[tuple[str, np.ndarray, np.ndarray | None]] = [(GENERATED, generated.weights, generated.head)]
    if reference is not None and reference.weights is not None and np.any(reference.weights):
        rows.insert(0, (_reference_kind(test_set), reference.weights, None))
    return rows


def _reference_kind(test_set: TestSet) -> str:
    """Origin of the reference in one word."""
    return "tracked" if test_set.is_tracked else "rules" if test_set.is_rule_based else "captured"


def _render_faces(
    rig: Rig, weights: np.ndarray, head: np.ndarray | None, frames: Sequence[int], view: FaceView
) -> list[np.ndarray]:
    """Images (H, W, 3) of some frames."""
    from streamingtalker_ros.face.rendering.software_renderer import SoftwareRenderer

    renderer = SoftwareRenderer(
        rig, view.width, view.height, zoom=view.zoom, center=view.center, background=(1.0, 1.0, 1.0)
    )
    return [
        renderer.render(weights[min(frame, len(weights) - 1)], None if head is None else head[frame])
        for frame in frames
    ]


def _plot_images(
    axes: Axes,
    name: str,
    images: Sequence[np.ndarray],
    frames: Sequence[int],
    seconds: float,
    view: FaceView,
) -> None:
    width = (
        view.width / view.height * view.row_height / (FIGURE_WIDTH * (TIME_AXIS_SPAN[1] - TIME_AXIS_SPAN[0]))
    )  # of the width of the axes
    centres = _avoid_overlap([(frame + 0.5) / FRAME_RATE / seconds for frame in frames], width * 1.04)
    hide_frame(axes)
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), xticks=[], yticks=[])
    for image, centre in zip(images, centres, strict=True):
        axes.imshow(
            image,
            extent=(centre - width / 2, centre + width / 2, 0.0, 1.0),
            aspect="auto",
            interpolation="none",
            zorder=2,
        )
    axes.set_xlim(0.0, 1.0)
    axes.text(
        -0.012,
        0.5,
        name,
        ha="right",
        va="center",
        fontsize=8,
        color=GENERATED_COLOUR if name == GENERATED else REFERENCE_COLOUR,
        weight="bold",
        transform=axes.transAxes,
    )


def _avoid_overlap(positions: Sequence[float], width: float) -> np.ndarray:
    """Move positions (0..1, ascending) apart until images of a width do not overlap and stay inside 0..1."""
    centres = np.clip(np.array(positions, float), width / 2, 1 - width / 2)
    for _ in range(200):
        gaps = np.diff(centres)
        for k in np.flatnonzero(gaps < width):
            shift = (width - gaps[k]) / 2
            centres[k] -= shift
            centres[k + 1] += shift
        centres = np.clip(centres, width / 2, 1 - width / 2)
    return centres


def _plot_waveform(axes: Axes, pcm: np.ndarray, seconds: float) -> None:
    """Plot the envelope of the waveform: minimum and maximum of up to 900 chunks."""
    chunks = np.array_split(pcm, min(900, max(len(pcm) // 16, 1)))
    t = (np.arange(len(chunks)) + 0.5) * seconds / len(chunks)
    peak = max(float(np.abs(pcm).max()), 1e-3)
    axes.fill_between(
        t,
        [chunk.min() / peak for chunk in chunks],
        [chunk.max() / peak for chunk in chunks],
        color=WAVEFORM_COLOUR,
        lw=0,
    )
    axes.set(ylim=(-1.02, 1.02), yticks=[])
    axes.set_ylabel("audio")
    hide_frame(axes, "left", "bottom")


def _plot_phones(axes: Axes, phones: Iterable[Phone], seconds: float) -> None:
    hide_frame(axes)
    axes.set(ylim=(0.0, 1.0), yticks=[])
    for phone in phones:
        if phone.start >= seconds or phone.name in ("pau", "sil"):
            continue
        is_bilabial = phone.name in metrics.BILABIALS
        axes.axvspan(
            phone.start,
            min(phone.end, seconds),
            0.06,
            0.94,
            color=REFERENCE_COLOUR if is_bilabial else "#f0f2f6",
            alpha=0.28 if is_bilabial else 1.0,
            lw=0,
            zorder=1,
        )
        axes.axvline(phone.start, 0.06, 0.94, color="white", lw=1.0, zorder=2)
        points_per_letter = (
            (phone.end - phone.start)
            / seconds
            * 72.0
            * FIGURE_WIDTH
            * (TIME_AXIS_SPAN[1] - TIME_AXIS_SPAN[0])
            / len(phone.name)
        )
        size = next(
            (size for size in (7.5, 6.0) if points_per_letter >= 0.62 * size), 6.0 if is_bilabial else None
        )
        if size:
            axes.text(
                0.5 * (phone.start + min(phone.end, seconds)),
                0.48,
                phone.name,
                ha="center",
                va="center",
                fontsize=size,
                color=TEXT_COLOUR if is_bilabial else MUTED_COLOUR,
                clip_on=True,
                zorder=3,
                weight="bold" if is_bilabial else "normal",
            )


def _mark_closures(axes: Axes, phones: Iterable[Phone], seconds: float) -> None:
    for phone in phones:
        if phone.name in metrics.BILABIALS and phone.start < seconds:
            axes.axvspan(
                phone.start, min(phone.end, seconds), color=REFERENCE_COLOUR, alpha=0.10, lw=0, zorder=0
            )


def _subtract_median(curve: np.ndarray) -> np.ndarray:
    """Subtract the median: the width of the mouth at rest differs between faces."""
    return curve - np.median(curve)


def _plot_curves(axes: Axes, generated: np.ndarray, reference: np.ndarray | None, scale: float) -> None:
    t = (np.arange(len(generated)) + 0.5) / FRAME_RATE
    if reference is not None and np.isfinite(reference).all() and np.ptp(reference) > 0:
        axes.plot(t, scale * reference, color=REFERENCE_COLOUR, lw=2.2, alpha=0.95, label=REFERENCE)
    axes.plot(t, scale * generated, color=GENERATED_COLOUR, lw=1.8, label=GENERATED)
