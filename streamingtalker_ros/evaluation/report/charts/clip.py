# SPDX-License-Identifier: Apache-2.0
"""One clip to look at: faces at its moments, its voice with the phones, lip opening and width made and true.

`clip_chart(study, section, i)` gives a Figure; `SPAN` says where time lies in it, for a playhead.
"""

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.evaluation import metrics
from streamingtalker_ros.evaluation.inference import inter_ocular
from streamingtalker_ros.evaluation.report.charts.style import (
    FAINT,
    GRID,
    INK,
    MADE,
    TRUE,
    VOICE,
    WIDTH,
    bare,
    drawing,
)
from streamingtalker_ros.evaluation.results import REFERENCE
from streamingtalker_ros.face.rendering.contact_sheet import select_key_frames

SPAN = (0.062, 0.99)  # of the figure's width: where the axes of time begin and end
MOST = 9.0  # seconds of a clip that are shown
MOMENTS = 9
FACE = (150, 132)


def clip_chart(study, section, i, faces=True):
    """Figure of clip i of a section (its first MOST seconds). Lips of both faces in millimetres of the default face."""
    clip, made = section.clips[i], study.takes[section.name][study.model][i]
    true = study.takes[section.name][REFERENCE][i] if REFERENCE in study.takes[section.name] else None
    rate, frames = 25.0, min(len(made.opening), int(MOST * 25.0))
    scale = 1e3 * inter_ocular(study.rig)
    shown = _rows(made, true, section, faces)
    heights = [0.95] * len(shown) + [0.62, 0.26, 1.65, 0.62]
    with drawing(WIDTH, 0.62 + sum(heights)) as figure:
        grid = figure.add_gridspec(
            len(heights),
            1,
            height_ratios=heights,
            left=SPAN[0],
            right=SPAN[1],
            hspace=0.10,
            top=0.985,
            bottom=0.36 / (0.62 + sum(heights)),
        )
        seconds = frames / rate
        chosen = select_key_frames(made.opening[:frames], MOMENTS)
        for row, (name, weights, head) in enumerate(shown):
            _faces(figure.add_subplot(grid[row]), study.rig, name, weights, head, chosen, seconds, rate)
        voice, said, opening, width = (figure.add_subplot(grid[len(shown) + k]) for k in range(4))
        _voice(voice, clip.pcm[: int(seconds * SAMPLE_RATE)], seconds)
        _phones(said, section.phones[i], seconds)
        _curves(opening, made.opening[:frames], None if true is None else true.opening[:frames], scale, rate)
        opening.set_ylim(bottom=-0.4)
        opening.set_ylabel("lip opening, mm")
        _curves(
            width,
            _centred(made.width[:frames]),
            None if true is None else _centred(true.width[:frames]),
            scale,
            rate,
        )
        width.set_ylabel("width, mm")
        for axes in (said, opening):
            _mark_closures(axes, section.phones[i], seconds)
        for axes in (voice, said, opening, width):
            axes.set_xlim(0.0, seconds)
            axes.set_xticks(np.arange(0.0, seconds + 1e-6, 0.5 if seconds <= 5 else 1.0))
            axes.tick_params(labelbottom=axes is width)
            axes.yaxis.set_label_coords(-0.042, 0.5)
        width.set_xlabel("seconds", labelpad=1)
        for frame in chosen:
            opening.axvline((frame + 0.5) / rate, color=GRID, lw=1.0, zorder=0)
    return figure


def _rows(made, true, section, faces):
    """(label, weights, head) of each row of faces: the reference's where its whole face is known, and the model's."""
    if not faces or made.weights is None:
        return []
    rows = [("made", made.weights, made.head)]
    if true is not None and true.weights is not None and np.any(true.weights):
        rows.insert(0, (_source(section), true.weights, None))
    return rows


def _source(section) -> str:
    """What to call the reference in a word."""
    return "seen" if section.tracked else "taught" if section.rule_made else "acted"


def _faces(axes, rig, name, weights, head, chosen, seconds, rate) -> None:
    from streamingtalker_ros.face.rendering.software_renderer import SoftwareRenderer

    renderer = SoftwareRenderer(rig, *FACE, zoom=2.6, center=(0.05, 0.0, -0.05), background=(1.0, 1.0, 1.0))
    wide = FACE[0] / FACE[1] * 0.95 / (WIDTH * (SPAN[1] - SPAN[0]))  # of the axes' width, at full height
    places = _spread([(frame + 0.5) / rate / seconds for frame in chosen], wide * 1.04)
    bare(axes)
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), xticks=[], yticks=[])
    for frame, place in zip(chosen, places):
        picture = renderer.render(
            weights[min(frame, len(weights) - 1)], None if head is None else head[frame]
        )
        axes.imshow(
            picture,
            extent=(place - wide / 2, place + wide / 2, 0.0, 1.0),
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
        fontsize=9,
        color=MADE if name == "made" else TRUE,
        weight="bold",
        transform=axes.transAxes,
    )


def _spread(places, wide):
    """Centres near `places` (0..1, ascending) that leave each its width and stay inside."""
    out = np.clip(np.array(places, float), wide / 2, 1 - wide / 2)
    for _ in range(200):
        gaps = np.diff(out)
        for k in np.flatnonzero(gaps < wide):
            push = (wide - gaps[k]) / 2
            out[k] -= push
            out[k + 1] += push
        out = np.clip(out, wide / 2, 1 - wide / 2)
    return out


def _voice(axes, pcm, seconds) -> None:
    """The waveform, as the lowest and highest sample of some 900 pieces."""
    pieces = np.array_split(pcm, min(900, max(len(pcm) // 16, 1)))
    t = (np.arange(len(pieces)) + 0.5) * seconds / len(pieces)
    top = max(float(np.abs(pcm).max()), 1e-3)
    axes.fill_between(
        t, [piece.min() / top for piece in pieces], [piece.max() / top for piece in pieces], color=VOICE, lw=0
    )
    axes.set(ylim=(-1.02, 1.02), yticks=[])
    axes.set_ylabel("voice")
    bare(axes, "left", "bottom")


def _phones(axes, phones, seconds) -> None:
    bare(axes)
    axes.set(ylim=(0.0, 1.0), yticks=[])
    for phone in phones:
        if phone.start >= seconds or phone.name in ("pau", "sil"):
            continue
        closing = phone.name in metrics.BILABIALS
        axes.axvspan(
            phone.start,
            min(phone.end, seconds),
            0.06,
            0.94,
            color=TRUE if closing else "#f0f2f6",
            alpha=0.28 if closing else 1.0,
            lw=0,
            zorder=1,
        )
        axes.axvline(phone.start, 0.06, 0.94, color="white", lw=1.0, zorder=2)
        room = (
            (phone.end - phone.start) / seconds * 72.0 * WIDTH * (SPAN[1] - SPAN[0]) / len(phone.name)
        )  # points
        size = next((size for size in (7.5, 6.0) if room >= 0.62 * size), 6.0 if closing else None)
        if size:
            axes.text(
                0.5 * (phone.start + min(phone.end, seconds)),
                0.48,
                phone.name,
                ha="center",
                va="center",
                fontsize=size,
                color=INK if closing else FAINT,
                clip_on=True,
                zorder=3,
                weight="bold" if closing else "normal",
            )


def _mark_closures(axes, phones, seconds) -> None:
    for phone in phones:
        if phone.name in metrics.BILABIALS and phone.start < seconds:
            axes.axvspan(phone.start, min(phone.end, seconds), color=TRUE, alpha=0.10, lw=0, zorder=0)


def _centred(curve):
    """A curve about its median: how wide a mouth is at rest is the face's own."""
    return curve - np.median(curve)


def _curves(axes, made, true, scale, rate) -> None:
    t = (np.arange(len(made)) + 0.5) / rate
    if true is not None and np.isfinite(true).all() and np.ptp(true) > 0:
        axes.plot(t, scale * true, color=TRUE, lw=2.2, alpha=0.95, label="seen")
    axes.plot(t, scale * made, color=MADE, lw=1.8, label="made")
