# SPDX-License-Identifier: Apache-2.0
"""Speaking styles that viewers can tell apart, which are those that the page offers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.model.protocol import BlendshapeFrame
from streamingtalker_ros.resources import DEMO_AUDIO

if TYPE_CHECKING:
    from streamingtalker_ros.model.protocol import TalkerProtocol

MIN_DIFFERENCE_M = 0.002
"""Mean over the frames of the largest distance of a vertex in two styles; another seed moves them as far."""
_PROBE_S = 2.0  # of the demo's voice


@functools.lru_cache(maxsize=4)
def distinct_styles(talker: TalkerProtocol) -> tuple[str, ...]:
    """The default style of a blendshape model, and those that move the face otherwise than the ones before.

    The model speaks a short text in each style. Further servers of this process share the result.

    Args:
        talker: The model; all styles of a model of vertices are returned.
    """
    if talker.family != "blendshape" or len(talker.styles) < 2:
        return talker.styles
    rig = default_rig()
    pcm = to_16k(*read_audio(DEMO_AUDIO))[: round(_PROBE_S * SAMPLE_RATE)]
    streams = [talker.open_stream(seed=0, style=style) for style in talker.styles]
    frames = talker.accept(streams, [pcm] * len(streams))
    offered: dict[str, np.ndarray] = {}
    for style, motion in zip(talker.styles, frames, strict=True):
        poses = [frame for frame in motion if isinstance(frame, BlendshapeFrame)]
        vertices = np.stack([rig.pose(frame.weights, frame.head) for frame in poses])  # (T, V, 3)
        distances = [
            np.linalg.norm(vertices - other, axis=2).max(axis=1).mean() for other in offered.values()
        ]
        if min(distances, default=np.inf) >= MIN_DIFFERENCE_M:
            offered[style] = vertices
    return tuple(offered)
