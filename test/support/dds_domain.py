# SPDX-License-Identifier: Apache-2.0
"""A ROS domain for each test, so that neither tests nor concurrent runs receive each other's messages."""

from __future__ import annotations

import itertools
import os
from typing import Any

_numbers = itertools.count(13 * os.getpid())


def own_domain() -> Any:
    """A number of 1 to 100: above, a domain's ports collide with those that the system hands out."""
    return 1 + next(_numbers) % 100
