# SPDX-License-Identifier: Apache-2.0
"""A live parameter file: whatever it holds, the parameters in use stay until it holds valid ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.runtime import parameters
from streamingtalker_ros.runtime.parameters import ParameterFile, TalkerParameters
from support.dds_domain import own_domain
from support.waiting import wait_for

HEAD = "talker:\n  ros__parameters:\n    device: cpu\n"
BASE = f"{HEAD}    seed: 3\n".encode()


def value(text: str) -> bytes:
    return f"{HEAD}    {text}\n".encode()


ALIAS_BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{k}: &a{k}\n  k{k}: 1\n  <<: [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 30)
)

INVALID: dict[str, bytes] = {
    "Latin-1": value("seed: 4 # grün").decode().encode("latin-1"),
    "UTF-16 without its mark": value("seed: 4").decode().encode("utf-16-le"),
    "UTF-16 cut": value("seed: 4").decode().encode("utf-16")[:-1],
    "zero bytes": value("seed: 4") + bytes(100),
    "control characters": value("seed: 4") + b"\x01\x02\x1b[2J",
    "random bytes": bytes(range(256)) * 8,
    "no date": value("seed: 2001-99-99"),
    "a date": value("seed: 2001-01-01"),
    "a time": value("seed: 2001-01-01T25:61:61"),
    "5,000 digits": value("seed: 1" + "0" * 5000),
    "400 digits for a float": value("guidance: 1" + "0" * 400),
    "400 digits for an integer": value("seed: -1" + "0" * 400),
    "sixtieths beyond floats": value("guidance: " + ":".join(["59"] * 400) + ".0"),
    "nan": value("guidance: .nan"),
    "infinity": value("idle_after: -.inf"),
    "brackets": b"[" * 5000,
    "braces": b"{" * 5000,
    "deep mapping": "".join(f"{' ' * k}a:\n" for k in range(440)).encode() + b"talker: [",
    "aliases": ALIAS_BOMB.encode() + value("seed: *i"),
    "merge keys": MERGE_BOMB.encode() + value("seed: *a29"),
    "alias of itself": value("expression: &a [*a]"),
    "mapping of itself": b"talker: &a {ros__parameters: *a}\n",
    "unknown alias": value("seed: *nobody"),
    "python tag": value('seed: !!python/object/apply:os.system ["false"]'),
    "unknown tag": value("seed: !mine 3"),
    "binary": value("seed: !!binary aGVsbG8="),
    "a set": value("seed: !!set {1, 2}"),
    "a list as key": b"? [a, b]\n: 1\ntalker: 3\n",
    "a mapping as key": b"{{a: b}: c}: d\n",
    "large": BASE + b"# " + b"x" * 200_000,
    "huge": BASE + b"# " + b"x" * 30_000_000,
    "a list": b"- 1\n- 2\n",
    "a number": b"3\n",
    "a word": b"hello\n",
    "no parameters": b"talker: 3\n",
    "a list of parameters": b"talker: {ros__parameters: [seed, 3]}\n",
    "unknown name": value("sed: 3"),
    "a number as name": value("3: 3"),
    "a list for a number": value("seed: [1]"),
    "a text for a number": value("guidance: loud"),
    "a number for a flag": value("idle: 1"),
    "beyond the range": value("guidance: 1000"),
    "unknown choice": value("pacing: fast"),
    "unknown shape": value('expression: ["mouthSmil:0.4"]'),
    "text for a weight": value('expression: ["mouthSmileLeft:a lot"]'),
    "half a line": BASE + b"    idle_aft",
    "half a bracket": BASE + b"    expression: [",
    "a tab": b"talker:\n\tros__parameters:\n\t\tseed: 4\n",
    "two documents": BASE + b"---\n" + BASE,
    "half a mark": b"\xef\xbb",
}


def replace(path: Path, content: bytes) -> None:
    """Put another file in its place, as editors do."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.rename(path)


def overwrite(path: Path, content: bytes) -> None:
    """Write in place."""
    path.write_bytes(content)


def reload_all(file: ParameterFile, current: TalkerParameters) -> list[str]:
    """Poll some times and return the warnings."""
    warnings: list[str] = []
    for _ in range(5):
        try:
            changes = file.reload_if_changed(current)
            assert changes is None, "taken over"
        except TalkerError as error:
            warnings.append(str(error))
    return warnings


@pytest.mark.parametrize("write", [replace, overwrite])
@pytest.mark.parametrize("case", INVALID)
def test_invalid_content_is_warned_of_once_and_the_next_valid_one_applies(
    case: str, write: Callable[[Path, bytes], None], tmp_path: Path
) -> None:
    path = tmp_path / "live.yaml"
    path.write_bytes(BASE)
    file = ParameterFile(path)
    current = file.read()
    began = time.process_time()
    write(path, INVALID[case])
    warnings = reload_all(file, current)
    assert len(warnings) == 1, warnings
    assert "\n" not in warnings[0] and len(warnings[0]) < 500, warnings[0]
    os.utime(path)  # the same content at another time
    assert not reload_all(file, current)
    assert time.process_time() - began < 5.0
    write(path, value("seed: 5"))
    changes = file.reload_if_changed(current)
    assert changes is not None and changes[0].seed == 5


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_encodings_are_read(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "live.yaml"
    path.write_bytes(value("seed: 4 # grün").decode().encode(encoding))
    assert parameters.load(path)["seed"] == 4


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_terminal(path: Path) -> None:
    path.symlink_to("/dev/tty")


@pytest.mark.parametrize("make", [make_folder, make_pipe, make_device, make_terminal])
def test_what_is_no_file_never_blocks(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "live.yaml"
    path.write_bytes(BASE)
    file = ParameterFile(path)
    current = file.read()
    path.unlink()
    make(path)
    outcome: list[list[str]] = []
    thread = threading.Thread(target=lambda: outcome.append(reload_all(file, current)), daemon=True)
    thread.start()
    thread.join(30)
    assert outcome and len(outcome[0]) == 1, outcome
    path.rmdir() if path.is_dir() else path.unlink()
    path.write_bytes(value("seed: 5"))
    changes = file.reload_if_changed(current)
    assert changes is not None and changes[0].seed == 5


@pytest.mark.parametrize("remove", [os.unlink, lambda path: open(path, "wb").close()], ids=["gone", "empty"])
def test_a_file_that_stays_away_is_warned_of_once(remove: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "live.yaml"
    path.write_bytes(BASE)
    file = ParameterFile(path)
    current = file.read()
    remove(path)
    assert not reload_all(file, current)  # an editor may be about to write it
    warnings: list[str] = []
    assert wait_for(lambda: warnings.extend(reload_all(file, current)) or warnings)
    warnings += reload_all(file, current)
    assert len(warnings) == 1
    path.write_bytes(BASE)  # what is in use already
    changes = file.reload_if_changed(current)
    assert changes is None or changes == (current, [])
    path.write_bytes(value("seed: 5"))
    changes = file.reload_if_changed(current)
    assert changes is not None and changes[0].seed == 5


def test_parameters_may_come_from_a_pipe_which_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(value("seed: 4")))
    writer.start()
    file = ParameterFile(path)
    assert file.read().seed == 4
    writer.join()
    assert file.reload_if_changed(file_values := TalkerParameters()) is None and file_values.seed == 0


def test_the_node_without_ros_survives_every_content(tmp_path: Path) -> None:
    path, log = tmp_path / "live.yaml", tmp_path / "log"
    path.write_bytes(BASE)
    command = [sys.executable, "-m", "streamingtalker_ros", "talk", "--params", str(path)]
    environment = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    with open(log, "w") as output:
        node = subprocess.Popen(
            [*command, "--domain", str(own_domain())], stdout=output, stderr=output, env=environment
        )
    try:
        assert wait_for(lambda: "talker ready" in log.read_text() or node.poll() is not None, 120)
        for number, (case, content) in enumerate(INVALID.items()):
            before = log.read_text().count("warning")
            replace(path, content)
            assert wait_for(lambda before=before: log.read_text().count("warning") > before), case
            replace(path, value(f"guidance: {1 + number / 100:.2f}"))
            expected = number + 1
            assert wait_for(lambda n=expected: log.read_text().count("was read again") == n), case
            assert node.poll() is None, case
        node.send_signal(signal.SIGTERM)
        assert node.wait(60) == 0
    finally:
        node.kill()
        node.wait()
    text = log.read_text()
    assert text.count("warning") == len(INVALID) and "Traceback" not in text
