# SPDX-License-Identifier: Apache-2.0
"""An output appears whole or not at all, the old file stays otherwise, and every failure is one sentence."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.numpy import save_file

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.output_files import (
    atomic_folder,
    atomic_output,
    check_output_file,
    check_output_folder,
    write_bytes,
    write_text,
)

OLD = "the user's old file"
KB = 1024
NOISE = np.random.default_rng(0).standard_normal((64, 4096)).astype(np.float32)
NOBODY = 65534


def write_npz(path: Path) -> None:
    np.savez_compressed(path, noise=NOISE)


def write_png(path: Path) -> None:
    pixels = (np.abs(NOISE[:, :1536]) * 40).astype(np.uint8)
    Image.fromarray(pixels.reshape(128, 256, 3)).save(path, optimize=True)


def write_flac(path: Path) -> None:
    soundfile.write(str(path), NOISE.reshape(-1) * 0.2, 16000, subtype="PCM_16", format="FLAC")


def write_video(path: Path) -> None:
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for index in range(20):
            image = np.abs(np.roll(NOISE[:3], 7 * index, 1) * 50).astype(np.uint8).reshape(64, 64, 3)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


WRITERS: dict[str, Callable[[Path], object]] = {
    ".csv": lambda path: path.write_text("0.5," * 50_000),
    ".npz": write_npz,
    ".png": write_png,
    ".flac": write_flac,
    ".mp4": write_video,
    ".safetensors": lambda path: save_file({"noise": NOISE}, str(path)),
    ".pt": lambda path: torch.save({"noise": torch.from_numpy(NOISE)}, path),
}


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 20 kB: writing fails then as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 * KB, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def assert_one_sentence(error: BaseException) -> None:
    text = str(error)
    assert "\n" not in text and 20 < len(text) < 400, text


# -- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", WRITERS)
def test_a_finished_output_has_its_name_and_content(ending: str, tmp_path: Path) -> None:
    out, direct = tmp_path / f"out{ending}", tmp_path / f"direct{ending}"
    out.write_text(OLD)
    with atomic_output(out) as path:
        assert path.suffix == ending and path.parent == tmp_path and not path.exists()
        WRITERS[ending](path)
        assert out.read_text() == OLD
    WRITERS[ending](direct)
    assert out.stat().st_size == pytest.approx(direct.stat().st_size, rel=0.01)
    assert names(tmp_path) == sorted([out.name, direct.name])


@pytest.mark.parametrize("old", [OLD, None], ids=["old file", "no file"])
@pytest.mark.parametrize("ending", WRITERS)
def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(
    ending: str, old: str | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out = tmp_path / f"out{ending}"
    if old:
        out.write_text(old)
    request.getfixturevalue("small_files")
    with pytest.raises(TalkerError, match="cannot write") as caught, atomic_output(out) as path:
        WRITERS[ending](path)
    assert_one_sentence(caught.value)
    assert (out.read_text() if out.exists() else None) == old
    assert names(tmp_path) == ([out.name] if old else [])


class UnexpectedError(Exception):
    pass


@pytest.mark.parametrize("error", [UnexpectedError, KeyboardInterrupt, SystemExit, TalkerError])
def test_an_exception_of_the_work_passes_and_leaves_the_old_file(
    error: type[BaseException], tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    out.write_text(OLD)
    with pytest.raises(error), atomic_output(out) as path:
        path.write_text("half")
        raise error("x")
    assert out.read_text() == OLD and names(tmp_path) == ["out.csv"]


def test_a_missing_input_is_not_taken_for_a_failure_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_output(tmp_path / "out.csv"):
        (tmp_path / "input.csv").read_text()


KILLED = (
    "import os, signal, sys\nfrom pathlib import Path\nfrom streamingtalker_ros.output_files import *\n"
    "with {call}(sys.argv[1]) as path:\n"
    "    file = path if '{call}' == 'atomic_output' else path / 'a.txt'\n"
    "    file.write_text('half')\n"
    "    os.kill(os.getpid(), signal.SIGKILL)\n"
)


@pytest.mark.parametrize("call", ["atomic_output", "atomic_folder"])
@pytest.mark.parametrize("old", [OLD, None], ids=["old file", "no file"])
def test_a_killed_process_leaves_no_half_file_under_the_name(
    call: str, old: str | None, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    file = out if call == "atomic_output" else out / "a.txt"
    if old:
        file.parent.mkdir(exist_ok=True)
        file.write_text(old)
    done = subprocess.run([sys.executable, "-c", KILLED.format(call=call), str(out)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert (file.read_text() if file.exists() else None) == old
    assert out.exists() == bool(old)


STALE = """
import os, signal, sys
from streamingtalker_ros.output_files import *
out, call = sys.argv[1:]
(check_output_file if call == "atomic_output" else check_output_folder)(out)
with globals()[call](out) as partial:
    if call == "atomic_folder":
        (partial / "below").mkdir()
        partial = partial / "below" / "a.txt"
    partial.write_text("half")
    print(flush=True)
    sys.stdin.read(1)
"""


def start_writer(call: str, out: Path) -> subprocess.Popen[bytes]:
    """Start a process that has half written an output, and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", STALE, str(out), call], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline()
    return process


def stop_writer(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate(timeout=60)


@pytest.mark.parametrize(
    "call, exists", [("atomic_output", True), ("atomic_folder", True), ("atomic_folder", False)]
)
def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_else(
    call: str, exists: bool, tmp_path: Path
) -> None:
    out, other = tmp_path / "results", tmp_path / "other.txt"
    if exists and call == "atomic_folder":
        out.mkdir()
    foreign = tmp_path / ".results-000000000000-1-00000000.partial"
    foreign.write_text("of another machine")
    killed, killed_other = start_writer(call, out), start_writer("atomic_output", other)
    stop_writer(killed)
    stop_writer(killed_other)
    living = start_writer(call, out)
    left = {path for path in tmp_path.rglob("*") if ".partial" in path.name}
    assert len(left) == 3, "of the living writer, of the other output, and the foreign one"
    next_one = start_writer(call, out)
    assert left < set(tmp_path.rglob("*"))
    next_one.communicate(b"x", timeout=60)
    assert next_one.returncode == 0 and left < set(tmp_path.rglob("*"))
    stop_writer(living)
    write_text(other, "whole")
    remaining = {path for path in tmp_path.rglob("*") if ".partial" in path.name}
    assert foreign in remaining and len(remaining) == 2 and remaining < left


# -- permissions and links -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_a_new_file_has_the_permissions_that_the_umask_gives(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "a")
        with atomic_folder(tmp_path / "folder") as folder:
            save_file({"noise": NOISE}, str(folder / "b.safetensors"))  # which is for the owner alone
    finally:
        os.umask(before)
    for path in (tmp_path / "a.txt", tmp_path / "folder" / "b.safetensors"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_a_replaced_file_keeps_its_permissions(mode: int, tmp_path: Path) -> None:
    for path in (tmp_path / "a.txt", tmp_path / "folder" / "a.txt"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(OLD)
        path.chmod(mode)
    write_text(tmp_path / "a.txt", "new")
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "a.txt").write_text("new")
    for path in (tmp_path / "a.txt", tmp_path / "folder" / "a.txt"):
        assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("exists", [True, False], ids=["file", "dangling"])
def test_a_symbolic_link_stays_and_its_file_is_replaced(exists: bool, tmp_path: Path) -> None:
    target = tmp_path / "data" / "real.csv"
    target.parent.mkdir()
    if exists:
        target.write_text(OLD)
    (tmp_path / "first.csv").symlink_to("data/real.csv")
    (tmp_path / "second.csv").symlink_to(tmp_path / "first.csv")
    check_output_file(tmp_path / "second.csv")
    write_text(tmp_path / "second.csv", "new")
    assert (tmp_path / "first.csv").is_symlink() and (tmp_path / "second.csv").is_symlink()
    assert target.read_text() == "new" and not target.is_symlink()
    assert names(target.parent) == ["real.csv"]


def test_links_in_a_ring_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for action in (lambda: check_output_file(tmp_path / "a"), lambda: write_text(tmp_path / "a", "x")):
        with pytest.raises(TalkerError) as caught:
            action()
        assert_one_sentence(caught.value)


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    for name in ("ü" * 125 + ".csv", "a" * 255):
        check_output_file(tmp_path / name)
        write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


# -- streams -------------------------------------------------------------------------------------------------


def test_a_pipe_receives_the_whole_output(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe.npz").read_bytes()))
    reader.start()
    check_output_file(tmp_path / "pipe.npz", endings=(".npz",))
    with atomic_output(tmp_path / "pipe.npz") as path:
        write_npz(path)
    reader.join(30)
    assert len(received[0]) > 100 * KB and received[0][:2] == b"PK"
    assert stat.S_ISFIFO((tmp_path / "pipe.npz").stat().st_mode)


def test_devices_stay_devices() -> None:
    check_output_file("/dev/null")
    write_text("/dev/null", "x" * 100_000)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(TalkerError, match="No space left") as caught:
        write_text("/dev/full", "x" * 100_000)
    assert_one_sentence(caught.value)


def test_a_stream_of_any_name_is_accepted_where_its_kind_is_known(tmp_path: Path) -> None:
    check_output_file("/dev/null", endings=(".csv",), streams_any_name=True)
    with pytest.raises(TalkerError, match=r"/dev/null ends in none of \.csv: choose"):
        check_output_file("/dev/null", endings=(".csv",))
    with pytest.raises(TalkerError, match=r"ends in none of \.csv"):
        check_output_file(tmp_path / "file", endings=(".csv",), streams_any_name=True)


STDOUT = (
    "import sys\nfrom streamingtalker_ros.output_files import *\n"
    "print('before')\ncheck_output_file(sys.argv[1])\n"
    "try:\n    write_text(sys.argv[1], 'content ' * 20000)\n"
    "except Exception as error:\n    sys.exit(str(error))\n"
    "print('after')\n"
)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_appended_to_whatever_it_is(name: str, tmp_path: Path) -> None:
    expected = "before\n" + "content " * 20000 + "after\n"
    done = subprocess.run([sys.executable, "-c", STDOUT, name], capture_output=True, text=True, timeout=60)
    assert done.stdout == expected, done.stderr
    with open(tmp_path / "file", "w") as file:
        assert subprocess.run([sys.executable, "-c", STDOUT, name], stdout=file, timeout=60).returncode == 0
    assert (tmp_path / "file").read_text() == expected and names(tmp_path) == ["file"]


def test_a_closed_pipe_is_one_sentence() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", STDOUT.replace("print('before')\n", ""), "/dev/stdout"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(write)
    assert done.returncode == 1 and "its reader has ended" in done.stderr
    assert done.stderr.count("\n") == 1


# -- folders -------------------------------------------------------------------------------------------------


def test_a_new_folder_appears_with_all_its_files(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "new" / "folder") as folder:
        assert folder.name == "folder"
        (folder / "a.txt").write_text("a")
        (folder / "below").mkdir()
        (folder / "below" / "b.txt").write_text("b")
        assert not (tmp_path / "new" / "folder").exists()
    assert names(tmp_path / "new") == ["folder", "folder/a.txt", "folder/below", "folder/below/b.txt"]


def test_files_of_an_existing_folder_are_replaced_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a.txt", "mine.txt", "below/b.txt"):
        (tmp_path / name).write_text(OLD)
    with atomic_folder(tmp_path) as folder:
        (folder / "below").mkdir()
        for name in ("a.txt", "below/b.txt"):
            (folder / name).write_text("new")
        assert (tmp_path / "a.txt").read_text() == OLD
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "below" / "b.txt").read_text() == "new"
    assert (tmp_path / "mine.txt").read_text() == OLD
    assert names(tmp_path) == ["a.txt", "below", "below/b.txt", "mine.txt"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_full_disk_leaves_a_folder_as_it_was(exists: bool, tmp_path: Path, small_files: None) -> None:
    out = tmp_path / "folder"
    if exists:
        out.mkdir()
        (out / "a.json").write_text(OLD)
    before = names(tmp_path)
    with pytest.raises(TalkerError, match="cannot write") as caught, atomic_folder(out) as folder:
        (folder / "a.json").write_text("new")
        save_file({"noise": NOISE}, str(folder / "weights.safetensors"))
    assert_one_sentence(caught.value)
    assert names(tmp_path) == before
    assert not exists or (out / "a.json").read_text() == OLD


def test_a_folder_that_must_be_new_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    with pytest.raises(TalkerError, match="exists already"):
        check_output_folder(tmp_path / "bag", must_be_new=True)
    with (
        pytest.raises(TalkerError, match="exists already"),
        atomic_folder(tmp_path / "bag", must_be_new=True),
    ):
        pytest.fail("it must not begin")


# -- checks before the work ----------------------------------------------------------------------------------


def test_checks_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text(OLD)
    before = (tmp_path / "old.csv").stat()
    check_output_file(tmp_path / "old.csv", endings=(".csv",), inputs=[tmp_path / "in.wav", None])
    check_output_file(tmp_path / "new.CSV", endings=(".csv",))
    check_output_folder(tmp_path)
    check_output_folder(tmp_path / "to" / "be" / "made", must_be_new=True)
    assert names(tmp_path) == ["old.csv"] and (tmp_path / "old.csv").stat().st_mtime_ns == before.st_mtime_ns


def test_what_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text(OLD)
    (tmp_path / "input.csv").write_text(OLD)
    os.link(tmp_path / "input.csv", tmp_path / "hard.csv")
    (tmp_path / "soft.csv").symlink_to("input.csv")
    source = [tmp_path / "input.csv"]
    cases: dict[str, tuple[Callable[[], None], str]] = {
        "ending": (lambda: check_output_file(tmp_path / "a.doc", endings=(".csv", ".npz")), "choose one of"),
        "no folder": (lambda: check_output_file(tmp_path / "no" / "a.csv"), "there is no folder"),
        "below a file": (lambda: check_output_file(tmp_path / "file" / "a.csv"), "Not a directory|no folder"),
        "a folder": (lambda: check_output_file(tmp_path / "folder.csv"), "is a folder"),
        "an input": (lambda: check_output_file(tmp_path / "input.csv", inputs=source), "is an input"),
        "a hard link": (lambda: check_output_file(tmp_path / "hard.csv", inputs=source), "is an input"),
        "a soft link": (lambda: check_output_file(tmp_path / "soft.csv", inputs=source), "is an input"),
        "no name": (lambda: check_output_file(""), "no name"),
        "too long": (lambda: check_output_file(tmp_path / ("a" * 256)), "name too long"),
        "path too long": (lambda: check_output_file(tmp_path / ("a/" * 3000 + "b")), "too long|no folder"),
        "folder is a file": (lambda: check_output_folder(tmp_path / "file"), "is a file"),
        "folder below a file": (lambda: check_output_folder(tmp_path / "file" / "x"), "no folder|Not a dir"),
        "folder is an input": (lambda: check_output_folder(tmp_path, inputs=[tmp_path]), "is an input"),
    }
    for name, (action, message) in cases.items():
        with pytest.raises(TalkerError, match=f"(?i){message}") as caught:
            action()
        assert_one_sentence(caught.value)
        assert name
    assert (tmp_path / "input.csv").read_text() == OLD


def test_a_full_disk_is_found_before_the_work(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        for check in (check_output_file, check_output_folder):
            with pytest.raises(TalkerError) as caught:
                check(tmp_path / "a.csv")
            assert_one_sentence(caught.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not names(tmp_path)


UNPRIVILEGED = (
    "import json, os, sys\n"
    "from streamingtalker_ros.output_files import *\nfrom streamingtalker_ros.errors import TalkerError\n"
    f"if os.getuid() == 0:\n    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
    "messages = []\n"
    "for path in sys.argv[1:]:\n"
    "    for check in (check_output_file, check_output_folder):\n"
    "        try:\n            check(path); messages.append('accepted')\n"
    "        except TalkerError as error:\n            messages.append(str(error))\n"
    "print(json.dumps(messages))\n"
)


def test_missing_permissions_are_found_before_the_work(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / "old.csv").write_text(OLD)
    protected = tmp_path / "protected.csv"
    protected.write_text(OLD)
    protected.chmod(0o444)
    if os.getuid() == 0:  # the child gives up its rights; it needs a way to the package and the folder
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == 0 and folder != Path("/") and not folder.stat().st_mode & 0o001:
                folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o777)
    locked.chmod(0o555)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            UNPRIVILEGED,
            str(locked / "new.csv"),
            str(locked / "old.csv"),
            str(protected),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    locked.chmod(0o755)
    assert done.returncode == 0, done.stderr
    messages = json.loads(done.stdout)
    assert len(messages) == 6 and "accepted" not in messages, messages
    assert all("\n" not in message for message in messages)
    assert (locked / "old.csv").read_text() == protected.read_text() == OLD


def test_bytes_are_written_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.glb", b"glTF" * 100)
    assert (tmp_path / "a.glb").read_bytes() == b"glTF" * 100
