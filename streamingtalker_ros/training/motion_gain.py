# SPDX-License-Identifier: Apache-2.0
"""Last touch: samples move less than what they learned from, so what the network says is scaled, group by group.

`scale_motion(network, gains)` changes the codec's motion scale in place, and what the ears for the lips' opening and width
tell. Training is done with the true ones: a network that was livened must not be trained with.
"""

import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES

GROUPS = {
    "mouth": ("jaw", "mouth"),
    "brows": ("brow",),
    "lids": ("eyeBlink",),  # beginnings of the shapes' names
    "width": (),
}  # of what the ear for the mouth's width tells alone


def check(gains) -> None:
    """Raises TalkerError on a group that is unknown, or a gain that is no positive number."""
    for group, gain in gains.items():
        if group not in GROUPS:
            raise TalkerError(f"gains of {group!r} are unknown: there are {', '.join(GROUPS)}")
        if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not 0.0 < gain <= 2.0:
            raise TalkerError(f"the gain of {group} is {gain!r}: give a number above 0, at most 2")


@torch.no_grad()
def scale_motion(network, gains) -> None:
    """Multiply motion, group by group. network: TalkerNetwork; gains: {group of GROUPS: factor}, 1 for the groups left
    out. Raises TalkerError as `check`."""
    check(gains)
    codec, encoder = network.codec, network.encoder
    for told, ear, group in (
        (encoder.has_lip_aperture_head, "lip_aperture_head", "mouth"),
        (encoder.has_lip_width_head, "lip_width_head.2", "width"),
    ):
        for parameter in encoder.get_submodule(ear).parameters() if told else ():
            parameter *= gains.get(group, 1.0)
    for group, gain in gains.items():
        rows = [row for row, name in enumerate(ARKIT_NAMES) if name.startswith(GROUPS[group])]
        codec.motion_scale[rows] *= gain
        codec.motion_mean[rows] *= gain
