# SPDX-License-Identifier: Apache-2.0
"""Scales the motion of a finished network: samples move less than the motion they were learned from.

`scale_motion(network, gains)` changes the codec's motion scale in place. Training needs the unscaled
network: a scaled one must not be trained further.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from streamingtalker_ros.config_files import check_keys
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.model.blendshape.network import TalkerNetwork

MAX_GAIN = 2.0
GROUP_PREFIXES: dict[str, tuple[str, ...]] = {  # prefixes of the shapes' names
    "mouth": ("jaw", "mouth"),
    "brows": ("brow",),
    "eyelids": ("eyeBlink",),
}


def validate_gains(gains: Mapping[str, float]) -> None:
    """Check a recipe's gains.

    Raises:
        TalkerError: if a group is unknown or a gain is not a number in (0, 2].
    """
    check_keys(gains, GROUP_PREFIXES, "the recipe's section motion_gain")
    for group, gain in gains.items():
        if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not 0.0 < gain <= MAX_GAIN:
            raise TalkerError(f"the gain of {group} is {gain!r}: give a number above 0, at most {MAX_GAIN:g}")


@torch.no_grad()
def scale_motion(network: TalkerNetwork, gains: Mapping[str, float]) -> None:
    """Multiply the motion that a network generates, group by group, in place.

    Args:
        network: the network.
        gains: group of `GROUP_PREFIXES` -> factor; 1 for the groups left out.

    Raises:
        TalkerError: as `validate_gains`.
    """
    validate_gains(gains)
    codec = network.codec
    for group, gain in gains.items():
        rows = [row for row, name in enumerate(ARKIT_NAMES) if name.startswith(GROUP_PREFIXES[group])]
        codec.motion_scale[rows] *= gain
        codec.motion_mean[rows] *= gain
