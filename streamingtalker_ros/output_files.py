# SPDX-License-Identifier: Apache-2.0
"""Output files and folders: checked before the work, written beside their place, renamed when they are whole.

A process that is killed, a full disk or an error leaves the old file as it was, and never half a file under
its name. Every failure is a `TalkerError` of one sentence. The pattern of a command:

    check_output_file(args.out, inputs=[args.audio])      # before the work
    ...
    with atomic_output(args.out) as path:                 # after it
        write(path)                                       # any writer that takes a path

What a killed process has left is removed by the next one that writes the same output (`partial_files`).
Pipes, terminals and devices such as /dev/stdout and /dev/null receive the bytes when all are there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.partial_files import remove_stale, suffix_of, temporary_name

PathLike: TypeAlias = str | os.PathLike[str]

_PROBE_BYTES: Final = 4096
_NAME: Final = "name"  # what an error message advises to change, where no option is known
_MAX_SHOWN_CHARS: Final = 160  # of a path in an error message
_MAX_LINKS: Final = 40  # symbolic links in a row, as in Linux
_DESCRIPTOR_FOLDER: Final = re.compile(r"/proc/(\d+)(/task/\d+)?/fd")
_NEW_FILE_MODE: Final = 0o666  # less the umask, as for any file that a program creates
_NEW_FOLDER_MODE: Final = 0o777
_CANNOT_SYNC: Final = (errno.EINVAL, errno.ENOTSUP, errno.EROFS, errno.EBADF, errno.EACCES)


class _Target(NamedTuple):
    """Where an output goes, with symbolic links followed.

    Attributes:
        path: The file itself.
        descriptor: Number of the open file of this process that the path names, as /dev/stdout does.
        status: Of an existing file; None if there is none.
    """

    path: str
    descriptor: int | None
    status: os.stat_result | None

    @property
    def is_stream(self) -> bool:
        """Whether it receives bytes in order and cannot be replaced: a pipe, terminal or device."""
        return self.descriptor is not None or (
            self.status is not None and not stat.S_ISREG(self.status.st_mode)
        )


def check_output_file(
    path: PathLike,
    *,
    option: str = "--out",
    endings: Sequence[str] = (),
    inputs: Iterable[PathLike | None] = (),
    streams_any_name: bool = False,
) -> None:
    """Check that a file can be written, before the work that produces it.

    Nothing is changed, but for what a killed process has left of the same output, which is removed.

    Args:
        path: The file; it may exist, and may be a pipe or a device.
        option: Option of the command line that names it, for the error message.
        endings: Allowed endings of the name, such as (".csv", ".npz"); any if empty.
        inputs: Files that the command reads, which must not be overwritten; None is skipped.
        streams_any_name: Whether a pipe or device may have another ending, as /dev/stdout has none.

    Raises:
        TalkerError: If the ending is another, the folder is missing, the file is an input or a folder, or
            nothing can be written there.
    """
    name = _name(path, option)
    target = _resolve(name, option)
    has_ending = not endings or name.lower().endswith(tuple(endings))
    if not has_ending and not (streams_any_name and target.is_stream):
        raise TalkerError(f"{option} {_shown(name)} ends in none of {', '.join(endings)}: choose one of them")
    for source in inputs:
        if source is not None and _is_same(target, source):
            raise TalkerError(
                f"{option} {_shown(name)} is an input of the command: give the output another name"
            )
    if target.status is not None and stat.S_ISDIR(target.status.st_mode):
        raise TalkerError(f"{option} {_shown(name)} is a folder: give the name of a file")
    if target.is_stream:
        if target.descriptor is None and not os.access(target.path, os.W_OK):
            raise _error(name, option, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        return
    folder = os.path.dirname(target.path)
    if not os.path.isdir(folder):
        raise TalkerError(
            f"{option} {_shown(name)} cannot be written, there is no folder {_shown(folder)}: "
            f"make it first, or choose another {option}"
        )
    if target.status is not None and not os.access(target.path, os.W_OK):
        raise _error(name, option, PermissionError(errno.EACCES, "the file is write-protected"))
    remove_stale(os.path.join(folder, os.path.basename(name)))  # whose space may be needed
    remove_stale(target.path)
    _probe(folder, name, option)


def check_output_folder(
    path: PathLike,
    *,
    option: str = "--out",
    inputs: Iterable[PathLike | None] = (),
    must_be_new: bool = False,
) -> None:
    """Check that files can be written into a folder, before the work that produces them.

    Nothing is changed, but for what a killed process has left of the same output, which is removed.

    Args:
        path: The folder; where it does not exist, its nearest existing parent is checked.
        option: Option of the command line that names it, for the error message.
        inputs: Files and folders that the command reads; the folder may be none of them.
        must_be_new: Whether the folder must not exist yet.

    Raises:
        TalkerError: If it is an input or no folder, exists although it must be new, or nothing can be written
            there.
    """
    name = _name(path, option)
    target = _resolve(name, option)
    for source in inputs:
        if source is not None and _is_same(target, source):
            raise TalkerError(
                f"{option} {_shown(name)} is an input of the command: give the output another name"
            )
    if target.status is not None and (must_be_new or not stat.S_ISDIR(target.status.st_mode)):
        if stat.S_ISDIR(target.status.st_mode):
            raise TalkerError(
                f"{option} {_shown(name)} exists already: remove it, or choose another {option}"
            )
        raise TalkerError(f"{option} {_shown(name)} is a file: give the name of a folder")
    folder = target.path
    while not os.path.isdir(folder):
        if os.path.lexists(folder):
            raise TalkerError(
                f"{option} {_shown(name)} cannot be written, {_shown(folder)} is no folder: "
                f"choose another {option}"
            )
        folder = os.path.dirname(folder)
    remove_stale(_folder_marker(target))
    remove_stale(os.path.join(folder, os.path.basename(name)))  # of a probe
    _probe(folder, name, option)


@contextlib.contextmanager
def atomic_output(path: PathLike, *, sync: bool = True) -> Iterator[Path]:
    """Write a file beside its place, and rename it when the block ends without an exception.

    An existing file keeps its permissions; a symbolic link stays, and the file that it names is replaced.

    Args:
        path: The file.
        sync: Whether to wait until the disk has the file, so that a power cut leaves it whole; False for the
            many small files of a corpus, which an interrupted build writes again.

    Yields:
        The path to write instead, in the same folder, with the same ending; nothing is there yet.

    Raises:
        TalkerError: If the file cannot be written; the old one is whole then, and the temporary one removed.
    """
    name = _name(path, _NAME)
    target = _resolve(name, _NAME)
    if target.is_stream:
        with tempfile.TemporaryDirectory(prefix="streamingtalker-") as scratch:
            partial = Path(scratch) / f"output{suffix_of(target.path)}"
            with _translating(name, partial, target):
                yield partial
                _copy_to_stream(partial, target)
        return
    remove_stale(target.path)
    partial = Path(temporary_name(target.path))
    try:
        with _translating(name, partial, target):
            yield partial
            _finish_file(partial, target, sync)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


@contextlib.contextmanager
def atomic_folder(path: PathLike, *, must_be_new: bool = False, sync: bool = True) -> Iterator[Path]:
    """Write the files of a folder beside their places, and rename them when the block ends.

    A folder that does not exist appears with all its files at once. In an existing folder each file replaces
    its namesake, in the order of the names, and other files stay.

    Args:
        path: The folder; its parents are created.
        must_be_new: Whether the folder must not exist yet.
        sync: As for `atomic_output`.

    Yields:
        The folder to write into instead, which has the same name.

    Raises:
        TalkerError: If it cannot be written; an existing folder is unchanged then.
    """
    name = _name(path, _NAME)
    target = _resolve(name, _NAME)
    if target.status is not None and (must_be_new or not stat.S_ISDIR(target.status.st_mode)):
        raise TalkerError(f"{_shown(name)} exists already: remove it, or choose another {_NAME}")
    exists = target.status is not None
    remove_stale(_folder_marker(target))
    scratch = Path(temporary_name(_folder_marker(target)))
    partial = scratch / os.path.basename(target.path)  # some writers name their files after the folder
    try:
        with _translating(name, scratch, target):
            scratch.mkdir(parents=True)
            partial.mkdir()
            yield partial
            for file in sorted(partial.rglob("*")):
                place = Path(target.path) / file.relative_to(partial)
                _copy_permissions(file, place.stat() if place.exists() else None)
                if sync:
                    _sync(file)
            if exists:
                _move_files(partial, Path(target.path))
            else:
                partial.rename(target.path)
            if sync:
                _sync(Path(target.path))
                _sync(Path(target.path).parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: PathLike, text: str, *, sync: bool = True) -> None:
    """Write a text in UTF-8 as `atomic_output` does.

    Args:
        path: The file.
        text: Its content.
        sync: As for `atomic_output`.

    Raises:
        TalkerError: If the file cannot be written.
    """
    with atomic_output(path, sync=sync) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: PathLike, content: bytes, *, sync: bool = True) -> None:
    """Write bytes as `atomic_output` does.

    Args:
        path: The file.
        content: Its content.
        sync: As for `atomic_output`.

    Raises:
        TalkerError: If the file cannot be written.
    """
    with atomic_output(path, sync=sync) as partial:
        partial.write_bytes(content)


def is_stream(path: PathLike) -> bool:
    """Return whether a path names a pipe, terminal or device, or an open file as /dev/stdout does."""
    return _resolve(_name(path, _NAME), _NAME).is_stream


def is_standard_output(path: PathLike) -> bool:
    """Return whether a path names this process's standard output, as /dev/stdout does."""
    return _resolve(os.fspath(path), _NAME).descriptor == 1


def _shown(path: str) -> str:
    """Return a path for an error message: on one line, a long one without its middle."""
    path = "".join(char if char.isprintable() else "?" for char in path)
    half = _MAX_SHOWN_CHARS // 2
    return path if len(path) <= _MAX_SHOWN_CHARS else f"{path[:half]}…{path[-half:]}"


def _name(path: PathLike, option: str) -> str:
    name = os.fspath(path)
    if not name or "\0" in name:
        raise TalkerError(f"{option} {_shown(name)!r} is no name of a file: give another")
    return name


def _resolve(name: str, option: str) -> _Target:
    """Follow symbolic links; a link to nothing gives the file that it names."""
    path = os.path.abspath(name)
    try:
        for _ in range(_MAX_LINKS):
            folder = os.path.realpath(os.path.dirname(path))
            found = _DESCRIPTOR_FOLDER.fullmatch(folder)
            if found and os.path.basename(path).isdigit():
                own = int(found[1]) == os.getpid()
                return _Target(path, int(os.path.basename(path)) if own else None, os.stat(path))
            path = os.path.join(folder, os.path.basename(path))
            if not os.path.islink(path):
                break
            path = os.path.join(folder, os.readlink(path))
        try:
            status = os.stat(path)
        except FileNotFoundError:
            status = None
    except OSError as error:
        raise _error(name, option, error) from None
    return _Target(path, None, status)


def _is_same(target: _Target, source: PathLike) -> bool:
    try:
        status = os.stat(source)
    except (OSError, ValueError):
        return False
    if target.status is None or not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return False
    return os.path.samestat(status, target.status)


def _probe(folder: str, name: str, option: str) -> None:
    """Write a small file, which finds a read-only or full disk, a missing permission and a name too long."""
    path = temporary_name(os.path.join(folder, os.path.basename(name)))
    try:
        if len(os.fsencode(os.path.basename(name))) > os.pathconf(folder, "PC_NAME_MAX"):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        try:
            with open(path, "xb") as file:
                file.write(bytes(_PROBE_BYTES))
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
    except (OSError, ValueError) as error:
        raise _error(name, option, error) from None


@contextlib.contextmanager
def _translating(name: str, partial: Path, target: _Target) -> Iterator[None]:
    """Turn a failure to write into one sentence; other exceptions of the block pass.

    Libraries report a full disk in many ways. If they raise anything else than OSError, their text, or a
    further write, tells whether the disk is the cause.

    Args:
        name: The output as the user names it.
        partial: Temporary file or folder.
        target: What it will replace.
    """
    try:
        yield
    except TalkerError:
        raise
    except OSError as error:
        if error.filename is not None and not _concerns(error.filename, partial, target):
            raise
        raise _error(name, _NAME, error) from None
    except Exception as error:
        failure = _named_disk_error(error) or _find_write_failure(partial)
        if failure is None:
            raise
        raise _error(name, _NAME, failure) from error.__cause__


def _concerns(filename: object, partial: Path, target: _Target) -> bool:
    """Return whether the file that an OSError names is the output, belongs to it, or is a folder above it."""
    if not isinstance(filename, str | bytes | os.PathLike):  # a file descriptor
        return True
    path = os.path.abspath(os.fsdecode(filename))
    return path.startswith(os.path.abspath(partial)) or target.path.startswith(path)


def _named_disk_error(error: Exception) -> OSError | None:
    """Return the error of the disk that the text of a library's exception names."""
    text = str(error).lower()
    if "disk is full" in text:  # of SQLite
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    numbers = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EIO)
    return next((OSError(n, os.strerror(n)) for n in numbers if os.strerror(n).lower() in text), None)


def _find_write_failure(partial: Path) -> OSError | None:
    """Try to write more where a writer has failed; return what prevents it."""
    path = partial
    try:
        if partial.is_dir():
            files = [file for file in partial.rglob("*") if file.is_file()]
            path = max(files, key=lambda file: file.stat().st_size, default=partial / "probe")
        with open(path, "ab") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def _finish_file(partial: Path, target: _Target, sync: bool) -> None:
    if not partial.exists():
        raise OSError(errno.ENOENT, "the writer has not written it")
    _copy_permissions(partial, target.status)
    if sync:
        _sync(partial)
    os.replace(partial, target.path)
    if sync:
        _sync(Path(target.path).parent)


def _copy_permissions(path: Path, replaced: os.stat_result | None) -> None:
    """Give a new file the owner and permissions of the file that it replaces, or those of any new file."""
    if replaced is None:
        os.chmod(path, (_NEW_FOLDER_MODE if path.is_dir() else _NEW_FILE_MODE) & ~_umask())
        return
    with contextlib.suppress(OSError):  # only root may give files away
        os.chown(path, replaced.st_uid, replaced.st_gid)
    os.chmod(path, stat.S_IMODE(replaced.st_mode))


def _umask() -> int:
    """Return the process's umask, which Linux tells without a change to it (other threads create files)."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Wait until the disk has a file or a folder; file systems that cannot are taken as they are."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        if error.errno in _CANNOT_SYNC:
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def _move_files(source: Path, destination: Path) -> None:
    """Move all files below a folder into another, over files of the same name."""
    for path in sorted(source.rglob("*")):
        place = destination / path.relative_to(source)
        if path.is_dir():
            place.mkdir(exist_ok=True)
            continue
        os.replace(path, os.path.realpath(place))


def _folder_marker(target: _Target) -> str:
    """Return the path from which the temporary name of a folder's files is derived."""
    return target.path if target.status is None else os.path.join(target.path, "files")


def _copy_to_stream(partial: Path, target: _Target) -> None:
    """Write a finished file to a pipe or device."""
    if target.descriptor is not None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()  # what was printed before stays before
    descriptor = os.open(target.path, os.O_WRONLY) if target.descriptor is None else os.dup(target.descriptor)
    with open(partial, "rb") as source, open(descriptor, "wb") as sink:
        shutil.copyfileobj(source, sink)


def _error(name: str, option: str, error: Exception) -> TalkerError:
    number = error.errno if isinstance(error, OSError) else None
    reason = {
        errno.EFBIG: "the file would be larger than the system allows",
        errno.EPIPE: "its reader has ended",
    }.get(number or 0, str(getattr(error, "strerror", None) or error) or type(error).__name__)
    advice = {
        errno.ENOSPC: f"free some space, or choose another {option}",
        errno.EDQUOT: f"free some space, or choose another {option}",
        errno.EPIPE: "run it again with a reader that stays",
    }.get(number or 0, f"choose another {option}")
    return TalkerError(f"cannot write {_shown(name)} ({reason}): {advice}")
