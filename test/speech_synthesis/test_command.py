# SPDX-License-Identifier: Apache-2.0
"""Any command that writes audio is a voice: its output arrives as written, a fault is one sentence."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.speech_synthesis.command import DEFAULT_TTS_COMMAND, TtsCommand, check_text
from support.tts_command import command
from support.waiting import wait_for


@pytest.fixture
def pcm(tmp_path: Path) -> Path:
    path = tmp_path / "voice.pcm"
    path.write_bytes(np.random.default_rng(0).integers(-3000, 3000, 40_001).astype("<i2").tobytes())
    return path


def is_alive(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("mode", ["pcm", "odd"])
def test_the_output_arrives_whole(mode: str, pcm: Path) -> None:
    with TtsCommand.parse(command(mode, pcm)).start("Hello") as run:
        assert b"".join(run) == pcm.read_bytes()


def test_the_output_arrives_before_the_command_has_ended(pcm: Path) -> None:
    with TtsCommand.parse(command("endless", pcm)).start("Hello") as run:
        pieces = iter(run)
        assert b"".join(next(pieces) for _ in range(10)) == pcm.read_bytes()[: 10 * 4096]


@pytest.mark.parametrize(
    "mode, reason",
    [
        ("crash", r"failed \(exit code 1\): voice.onnx: no such voice \[0m$"),
        ("late-crash", r"failed \(exit code 3\): out of memory$"),
        ("killed", r"failed \(killed by signal 9\): try it in a terminal$"),
        ("silent", "has written no audio to its standard output"),
    ],
)
def test_a_command_that_fails_is_one_sentence_with_its_own_reason(mode: str, reason: str, pcm: Path) -> None:
    line = command(mode, pcm) if mode == "late-crash" else command(mode)
    with pytest.raises(TalkerError, match=reason) as caught, TtsCommand.parse(line).start("Hello") as run:
        list(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line, cure",
    [
        (
            "espeak-nng --stdin",
            "is not installed: " + ("did you mean espeak-ng" if shutil.which("espeak-ng") else ""),
        ),
        ("/no/such/voice --stdin", "is not installed"),
    ],
)
def test_a_program_that_is_not_there_is_reported_with_the_cure(line: str, cure: str) -> None:
    with pytest.raises(TalkerError, match=cure):
        TtsCommand.parse(line).check_installed()
    with pytest.raises(TalkerError, match=cure):
        TtsCommand.parse(line).start("Hello")


@pytest.mark.parametrize(
    "line, reason",
    [
        ("", "is empty"),
        ("piper 'voice", "correct its quotes"),
        ("{text}", "name a program first"),
        ("x" * 2000, "too long"),
        ("piper\x00", "not printable"),
    ],
)
def test_a_line_that_is_no_command_is_one_sentence(line: str, reason: str) -> None:
    with pytest.raises(TalkerError, match=reason):
        TtsCommand.parse(line)


@pytest.mark.parametrize(
    "line",
    [
        "sh -c 'espeak-ng --stdout {text}'",
        "/bin/bash -c 'espeak-ng --stdout \"{text}\"'",
        "env LANG=C sh -c 'espeak-ng {text}'",
        "ssh robot espeak-ng --stdout {text}",
        "python3 -c 'say(\"{text}\")'",
        "python3.11 -c 'say(\"{text}\")'",
        "perl -e 'print `say {text}`'",
        "awk 'BEGIN { system(\"say {text}\") }'",
    ],
)
def test_no_shell_and_no_interpreter_reads_a_text(line: str) -> None:
    with pytest.raises(TalkerError, match="could run programs"):
        TtsCommand.parse(line)
    TtsCommand.parse(line.replace("{text}", ""))  # the operator's own command, text on its standard input


HOSTILE = "$(touch owned); `touch owned` | touch owned && \"quoted' {text} %s -rf /"


@pytest.mark.parametrize("has_place", [True, False])
def test_a_text_reaches_the_command_as_it_is(has_place: bool, tmp_path: Path) -> None:
    note, line = tmp_path / "note", command("note", tmp_path / "note")
    text = check_text(HOSTILE)
    with (
        pytest.raises(TalkerError, match="no audio"),
        TtsCommand.parse(line + " {text}" * has_place).start(text) as run,
    ):
        list(run)
    expected = (f"{[text]!r} ''",) if has_place else (f"[] {text + chr(10)!r}",)
    assert note.read_text() in expected
    assert not (tmp_path / "owned").exists() and not Path("owned").exists()


def test_a_text_that_begins_like_an_option_is_none(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with (
        pytest.raises(TalkerError, match="no audio"),
        TtsCommand.parse(command("note", note) + " {text}").start("-f/etc/passwd") as run,
    ):
        list(run)
    assert note.read_text() == "[' -f/etc/passwd'] ''"


@pytest.mark.parametrize(
    "text, reason", [("", "nothing to say"), (" \n\0", "nothing to say"), ("a" * 20_000, "too long")]
)
def test_a_text_that_cannot_be_said_is_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(TalkerError, match=reason):
        check_text(text)


def test_control_characters_and_halves_of_characters_are_not_spoken() -> None:
    assert check_text("one\r\ntwo\0three\x1b[0m \ud800") == "one two three [0m"


def test_neither_the_command_nor_what_it_has_started_outlives_its_end(tmp_path: Path) -> None:
    note = tmp_path / "numbers"
    run = TtsCommand.parse(command("hang", note)).start("Hello")
    with run:
        wait_for(lambda: note.exists() and len(note.read_text().split()) == 2)
        numbers = [int(word) for word in note.read_text().split()]
        assert all(map(is_alive, numbers))
        assert list(run.read(lambda: True)) == []
    assert wait_for(lambda: not any(map(is_alive, numbers)))


def test_neither_the_command_nor_what_it_has_started_outlives_a_node_that_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "numbers"
    program = textwrap.dedent(
        f"""
        from streamingtalker_ros.speech_synthesis.command import TtsCommand
        with TtsCommand.parse({command("hang", note)!r}).start("Hello") as run:
            list(run)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    wait_for(lambda: note.exists() and len(note.read_text().split()) == 2)
    numbers = [int(word) for word in note.read_text().split()]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert wait_for(lambda: not any(map(is_alive, numbers)))


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
@pytest.mark.parametrize("line", [DEFAULT_TTS_COMMAND, "espeak-ng --stdout {text}", "espeak-ng --stdout"])
def test_espeak_writes_a_wav_file_as_it_speaks(line: str) -> None:
    with TtsCommand.parse(line).start("Hello, my friend") as run:
        start = time.monotonic()
        data = b"".join(run)
    assert data[:4] == b"RIFF" and len(data) > 20_000 and time.monotonic() - start < 60
