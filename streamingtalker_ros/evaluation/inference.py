# SPDX-License-Identifier: Apache-2.0
"""Batched inference over clips, and measurements of the mouth of ARKit weights on a rig."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.process import progress_bar

if TYPE_CHECKING:
    from streamingtalker_ros.streaming import Stream, Talker

Motion = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]
"""Weights (T, 52), head quaternions (T, 4) xyzw and voice activity (T,)."""

MOUTH_SHAPES: Final = np.array([name.startswith(("jaw", "mouth")) for name in ARKIT_NAMES])
"""(52,) bool mask of the shapes that move the mouth."""

BATCH_SIZE: Final = 16
"""Clips that are stepped as one batch."""


def synthesize(talker: Talker, pcm: npt.ArrayLike, seed: int = 0, **options: Any) -> Motion:
    """Generate the motion of one clip.

    Args:
        talker: a blendshape talker.
        pcm: (n,) audio at 16 kHz, -1..1.
        seed: seed of the stream's noise.
        options: further arguments of `Talker.open_stream`.

    Returns:
        Weights, head rotation and voice activity of every frame.
    """
    return synthesize_batch(talker, [pcm], [seed], **options)[0]


def synthesize_batch(
    talker: Talker,
    audio: Sequence[npt.ArrayLike],
    seeds: Sequence[int] | None = None,
    progress: bool | str = False,
    **options: Any,
) -> list[Motion]:
    """Generate the motion of many clips, `BATCH_SIZE` at a time.

    Batches contain clips of similar length, so that few streams wait for longer ones.

    Args:
        talker: a blendshape talker.
        audio: for each clip (n,) audio at 16 kHz, -1..1.
        seeds: a seed for each clip; None: 0 for all.
        progress: whether to show a progress bar, or its name.
        options: further arguments of `Talker.open_stream`.

    Returns:
        For each clip its motion, in the order of `audio`.
    """
    clips = [np.asarray(pcm, np.float32) for pcm in audio]
    seeds = [0] * len(clips) if seeds is None else seeds
    order = sorted(range(len(clips)), key=lambda i: len(clips[i]))
    results: dict[int, Motion] = {}
    label = progress if isinstance(progress, str) else "inference"
    with progress_bar()(
        total=len(clips), desc=label, unit="clip", leave=False, disable=None if progress else True
    ) as bar:
        for batch in (order[first : first + BATCH_SIZE] for first in range(0, len(order), BATCH_SIZE)):
            streams: list[Stream] = [talker.open_stream(seed=seeds[i], **options) for i in batch]
            completed = talker.accept(streams, [clips[i] for i in batch])
            for i, stream, first_frames in zip(batch, streams, completed, strict=True):
                frames = [*first_frames, *stream.finish()]
                results[i] = (
                    np.stack([frame.weights for frame in frames]),
                    np.stack([frame.head for frame in frames]),
                    np.array([frame.speaking for frame in frames]),
                )
            bar.update(len(batch))
    return [results[i] for i in range(len(clips))]


def lip_aperture(rig: Rig, weights: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Measure the lip aperture, 0 where the lips touch or overlap.

    Args:
        rig: the face.
        weights: (T, 52).

    Returns:
        (T,) metres.
    """
    return np.maximum(rig.lip_gap(weights), 0.0)


def inter_ocular_distance(rig: Rig) -> float:
    """Distance between the centres of the eyes, each the midpoint of its two corners.

    Lip aperture and lip width in this unit are comparable between faces of different size.

    Args:
        rig: The face; needs the landmarks eyelid_left and eyelid_right.

    Returns:
        Metres.
    """
    centres = []
    for side in ("left", "right"):
        eyelid = rig.vertices[np.asarray(rig.landmarks[f"eyelid_{side}"])].astype(np.float64)
        centres.append(0.5 * (eyelid[eyelid[:, 1].argmin()] + eyelid[eyelid[:, 1].argmax()]))
    return float(np.linalg.norm(centres[0] - centres[1]))


def lip_vertices(rig: Rig) -> npt.NDArray[np.intp]:
    """Indices of the vertices over which LVE is computed: the inner lip rings and the mouth's corners.

    Args:
        rig: The face; needs the landmarks inner_lip_upper, inner_lip_lower and mouth_corners.

    Returns:
        (L,) indices into `rig.vertices`, ascending and unique.
    """
    return np.unique(
        np.concatenate(
            [
                np.asarray(rig.landmarks[name]).ravel()
                for name in ("inner_lip_upper", "inner_lip_lower", "mouth_corners")
            ]
        )
    )
