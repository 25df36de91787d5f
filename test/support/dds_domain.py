# SPDX-License-Identifier: Apache-2.0
"""A ROS domain for each test, so that neither tests nor concurrent runs receive each other's messages."""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from collections import deque
from pathlib import Path
from typing import Any, Final

# above 100, a domain's ports collide with those that the system hands out
_DOMAINS: Final = range(1, 61)
_CONFIGURED_DOMAINS: Final = range(61, 101)  # where the environment configures DDS
_MAX_HELD: Final = 15  # by one process: what a test took long ago is free again
_SETTINGS: Final = ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "CYCLONEDDS_URI")
_settings: dict[int, list[str | None]] = {}  # by domain: a process configures each domain once
_numbers = itertools.count(13 * os.getpid())
_held: deque[int] = deque()  # file descriptors of locks, which the system releases at the end of the process


def own_domain() -> Any:
    """A number of 1 to 100 that no other process of tests uses at present.

    Set the variables of the environment that configure DDS before the call.
    """
    settings = [os.environ.get(name) for name in _SETTINGS]
    domains = _CONFIGURED_DOMAINS if any(settings) else _DOMAINS
    for number in itertools.islice(_numbers, 10 * len(domains)):
        domain = domains[number % len(domains)]
        if _settings.setdefault(domain, settings) != settings:
            continue
        path = Path(tempfile.gettempdir()) / f"streamingtalker-test-domain-{domain}.lock"
        lock = os.open(path, os.O_CREAT | os.O_WRONLY, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        _held.append(lock)
        if len(_held) > _MAX_HELD:
            os.close(_held.popleft())
        return domain
    raise RuntimeError("other processes of tests use all domains")
