# SPDX-License-Identifier: Apache-2.0
"""Face motion as JSON for web avatars, and visemes as WebVTT.

The JSON object is an animation clip of three.js, which `THREE.AnimationClip.parse` takes as it is: tracks
`.morphTargetInfluences[jawOpen]` for a mesh with ARKit shapes, such as a Ready Player Me avatar, and
`Head.quaternion` in the axes of glTF. Beside it stand `visemes`, `vtimes` and `vdurations` (ms), which
TalkingHead's `speakAudio` takes, and `viseme_set`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.viseme_timing import VisemeSpan

_DECIMALS = 6


def encode_json(
    weights: npt.NDArray[np.floating],
    head: npt.NDArray[np.floating],
    times: npt.NDArray[np.floating],
    frame_rate: float,
    visemes: Sequence[VisemeSpan],
    viseme_set: str,
    name: str,
) -> str:
    """Encode a clip.

    Args:
        weights: (T, 52) in the order of `ARKIT_NAMES`.
        head: (T, 4) quaternions xyzw.
        times: (T,) s.
        frame_rate: Frames per second.
        visemes: Visemes of the clip.
        viseme_set: Name of their set.
        name: Name of the clip.

    Returns:
        The text of the file.
    """
    seconds = _numbers(times)
    tracks: list[dict[str, Any]] = [
        {
            "name": f".morphTargetInfluences[{shape}]",
            "type": "number",
            "times": seconds,
            "values": _numbers(weights[:, index]),
        }
        for index, shape in enumerate(ARKIT_NAMES)
    ]
    rotation = np.asarray(head)[:, [1, 2, 0, 3]]  # a rotation of the axes turns the vector part alone
    tracks.append(
        {"name": "Head.quaternion", "type": "quaternion", "times": seconds, "values": _numbers(rotation)}
    )
    clip = {
        "name": name,
        "duration": round(float(times[-1]) + 1.0 / frame_rate, _DECIMALS),
        "frame_rate": frame_rate,
        "tracks": tracks,
        "viseme_set": viseme_set,
        "visemes": [span.name for span in visemes],
        "vtimes": [round(1000 * span.start, 3) for span in visemes],
        "vdurations": [round(1000 * (span.end - span.start), 3) for span in visemes],
    }
    return json.dumps(clip, separators=(",", ":"), allow_nan=False) + "\n"


def encode_webvtt(visemes: Sequence[VisemeSpan]) -> str:
    """Encode visemes as WebVTT, one cue for each.

    Args:
        visemes: Visemes in order.

    Returns:
        The text of the file.
    """
    cues = [f"{_vtt_time(span.start)} --> {_vtt_time(span.end)}\n{span.name}\n" for span in visemes]
    return "\n".join(["WEBVTT\n", *cues])


def _numbers(values: npt.ArrayLike) -> list[float]:
    return np.round(np.asarray(values, np.float64).ravel(), _DECIMALS).tolist()


def _vtt_time(seconds: float) -> str:
    total = round(1000 * seconds)
    return f"{total // 3_600_000:02d}:{total // 60_000 % 60:02d}:{total // 1000 % 60:02d}.{total % 1000:03d}"
