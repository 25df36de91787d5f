# SPDX-License-Identifier: Apache-2.0
"""Names of files and folders that are not whole yet, and removal of those that killed processes have left.

A temporary name states its writer: the machine, its boot, the space of process numbers (a container has its
own) and the process. It is removed only where that process certainly has ended.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import threading
from pathlib import Path
from typing import Final, NamedTuple

PARTIAL_MARK: Final = ".partial"
"""Part of the name of every file and folder that is not whole yet."""

_MAX_STEM_CHARS: Final = 32  # of the final name in the temporary one: names have at most 255 bytes
_MAX_SUFFIX_CHARS: Final = 16
_MAX_FOLDERS: Final = 1000  # whose content is remembered
_ID_DIGITS: Final = 4
_NAME: Final = re.compile(
    rf"\.(?P<stem>.*)-(?P<machine>[0-9a-f]{{{_ID_DIGITS}}})(?P<boot>[0-9a-f]{{{_ID_DIGITS}}})"
    rf"(?P<space>[0-9a-f]{{{_ID_DIGITS}}})-(?P<process>[0-9a-f]+)-[0-9a-f]{{8}}{re.escape(PARTIAL_MARK)}"
    r"(?P<suffix>(\..*)?)",
    re.DOTALL,
)


class _Place(NamedTuple):
    """Where process numbers are unique, as hexadecimal digits."""

    machine: str
    boot: str
    space: str


_lock = threading.Lock()
_stale: dict[str, dict[tuple[str, str], list[str]]] = {}  # by folder: stem and suffix -> names


def suffix_of(path: str) -> str:
    """Return the ending of a path's name with its dot; "" for one that is too long to be an ending.

    Args:
        path: The path.
    """
    suffix = os.path.splitext(path)[1]
    return suffix if len(suffix) <= _MAX_SUFFIX_CHARS else ""


def temporary_name(path: str) -> str:
    """Return a hidden name in the same folder with the same ending.

    Args:
        path: The output.
    """
    stem, suffix = _key(path)
    writer = f"{''.join(_place())}-{os.getpid():x}"
    name = f".{stem}-{writer}-{secrets.token_hex(4)}{PARTIAL_MARK}{suffix}"
    return os.path.join(os.path.dirname(path), name)


def remove_stale(path: str) -> None:
    """Remove what processes that have ended have left of an output, as after SIGKILL. Nothing is raised.

    Each folder is listed once per process.

    Args:
        path: The output, as `temporary_name` takes it.
    """
    folder = os.path.dirname(path)
    with _lock:
        if folder not in _stale:
            if len(_stale) >= _MAX_FOLDERS:
                _stale.clear()
            _stale[folder] = _find_stale(folder)
        names = _stale[folder].pop(_key(path), [])
    for name in names:
        partial = Path(folder, name)
        if partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                partial.unlink()


def _key(path: str) -> tuple[str, str]:
    return os.path.splitext(os.path.basename(path))[0][:_MAX_STEM_CHARS], suffix_of(path)


def _find_stale(folder: str) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            match = _NAME.fullmatch(name)
            if match is None:
                continue
            place = _Place(match["machine"], match["boot"], match["space"])
            if _has_ended(place, int(match["process"], 16)):
                found.setdefault((match["stem"], match["suffix"]), []).append(name)
    return found


def _has_ended(place: _Place, process: int) -> bool:
    """Return whether the process of a writer has certainly ended."""
    here = _place()
    if place.machine != here.machine:
        return False
    if place.boot != here.boot:  # of an earlier start, or of a clone of this machine that is running
        return False
    if place.space != here.space:  # of another container
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it runs as another user
        return False
    return False


@functools.cache
def _place() -> _Place:
    machine, boot, space = os.fsencode(socket.gethostname()), b"", b""
    with contextlib.suppress(OSError):
        machine += Path("/etc/machine-id").read_bytes()
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    with contextlib.suppress(OSError):
        space = os.readlink(b"/proc/self/ns/pid")
    return _Place(*(hashlib.sha256(each).hexdigest()[:_ID_DIGITS] for each in (machine, boot, space)))
