# SPDX-License-Identifier: Apache-2.0
"""Every output of every command: checked before the work, whole or absent after it, one sentence on failure.

The outputs are found in the parser, so that a new one without a case here fails.
"""

from __future__ import annotations

import csv
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.cli.command_parser import CommandParser
from streamingtalker_ros.cli.main import COMMANDS, create_parser
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.resources import DEMO_AUDIO
from support import vertex_reference as reference
from support.bag_harness import network, to_packets, write_bag
from support.command_line import run_command
from support.evaluation_corpus import synthetic_clip, write_corpus
from support.few_pictures import limit_tiles
from support.scheduler_harness import voice
from support.waiting import wait_for

SECONDS, NUM_FRAMES = 0.8, 20  # of the voice
OLD = "the user's old file"
OUTPUT_OPTIONS = {"--out", "--out-dir", "--report", "--json", "--picture", "--stats"}
PRINTS_JSON = {("bench", "--json")}  # on stdout


class Case(NamedTuple):
    """An output: words of the command line before its option, and whether it is a file or a folder."""

    command: str
    kind: str  # ending of a file, or "folder" or "new folder"
    limit: int | None = None  # bytes of a file at which the disk is full; None: never run to its end here


TRAINING = {
    f"train {stage} --out": Case(f"train {stage} --corpus corpus", "folder")
    for stage in ("codec", "encoder", "generator", "articulation-heads", "all")
}
CORPORA = {
    f"corpus {words.split()[0]} --out": Case(f"corpus {words}", "folder")
    for words in (
        "synthetic",
        "speech sounds",
        "espeak",
        "quiet sounds",
        "from-video film.mp4",
        "revoice corpus",
    )
}
CASES: dict[str, Case] = {
    **TRAINING,
    **CORPORA,
    "corpus from-animation --out": Case("corpus from-animation pairs/voice.wav", "folder", 5_000),
    "talk --stats": Case("talk --param device=cpu", ".json"),
    "animate --out": Case("animate voice.wav --device cpu", ".csv", 5_000),
    "animate --out (npz)": Case("animate voice.wav --device cpu", ".npz", 2_000),
    "animate --out (mp4)": Case("animate voice.wav --device cpu --size 96x128", ".mp4", 2_000),
    "animate --out (png)": Case("animate voice.wav --device cpu", ".png", 20_000),
    "face build --out": Case("face build maya", ".glb"),
    "face export --out": Case("face export", ".glb", 100_000),
    "pictures --out": Case("pictures", "folder", 5_000),
    "demo --out-dir": Case("demo", "folder"),
    "markers --picture": Case("markers", ".png", 5_000),
    "replay --out": Case("replay bag --model model --device cpu", "new folder", 20_000),
    "replay --report": Case("replay bag --model model --device cpu --out NEW", ".html"),
    "evaluate --report": Case("evaluate --generated pairs", ".html", 20_000),
    "evaluate --json": Case("evaluate --generated pairs", ".json", 500),
    "train curves --picture": Case("train curves codec=run", ".png", 5_000),
    "train coarticulation-fit --out": Case("train coarticulation-fit corpus --steps 1", ".json", 500),
    "train coarticulation-residual --out": Case(
        "train coarticulation-residual corpus --steps 1", ".npz", 5_000
    ),
    "convert --out": Case(
        "convert published/checkpoint.ckpt --config published/config.yaml "
        "--hubert-config published/hubert_config.json",
        "folder",
        20_000,
    ),
}
WRITTEN = [name for name, case in CASES.items() if case.limit is not None]


def walk(parser: CommandParser, path: tuple[str, ...] = ()) -> Iterator[tuple[str, CommandParser]]:
    for name, subparser in parser.subcommands.items():
        yield " ".join((*path, name)), subparser
        yield from walk(subparser, (*path, name))


def test_every_output_of_the_parser_has_a_case() -> None:
    found = {
        f"{command} {option}"
        for command, parser in walk(create_parser())
        for option in OUTPUT_OPTIONS & set(parser.option_names)
        if (command, option) not in PRINTS_JSON
    }
    aliases = {"train listener --out", "train talker --out", "train closure --out"}  # of older versions
    assert found - aliases == {name.partition(" (")[0] for name in CASES}
    assert {name.split()[0] for name in CASES} <= set(COMMANDS)


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_tiles(monkeypatch)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs of all cases."""
    folder = tmp_path_factory.mktemp("inputs")
    pcm, rate = soundfile.read(DEMO_AUDIO, dtype="float32")
    soundfile.write(folder / "voice.wav", pcm[: int(SECONDS * rate)], rate)
    for name in ("pairs", "sounds", "run"):
        (folder / name).mkdir()
    soundfile.write(folder / "pairs" / "voice.wav", pcm[: int(1.4 * rate)], rate)
    assert run_command("animate", folder / "pairs/voice.wav", "--out", folder / "pairs/voice.csv") == 0
    checkpoint.save(folder / "model", network())
    write_bag(folder / "bag", to_packets(voice(2.0)))
    reference.write_checkpoint(folder / "published", reference.VOCASET)
    clips = [synthetic_clip(f"{split}{k}", split, seed=k) for split in ("train", "test") for k in range(2)]
    write_corpus(folder / "corpus", clips)
    rows = [f"{step},{1000 + step},{1 / step}" for step in range(1, 50)]
    (folder / "run" / "log.csv").write_text("\n".join(["step,time,loss", *rows]) + "\n")
    return folder


def words_of(name: str, out: Path, case: Case) -> list[str]:
    option = name.partition(" (")[0].rpartition(" ")[2]
    words = [str(out.parent / "new_bag") if word == "NEW" else word for word in case.command.split()]
    return [*words, option, str(out)]


def listing(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"folder"
        for path in sorted(folder.rglob("*"))
    }


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on stderr that is no log and no progress bar."""
    lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(lines) == 1, lines
    assert 30 < len(lines[0]) < 500
    return lines[0]


# -- before the work -----------------------------------------------------------------------------------------


def below_a_file(out: Path) -> Path:
    (out.parent / "file").write_text(OLD)
    return out.parent / "file" / "x" / out.name


def of_the_other_kind(out: Path) -> Path:
    if out.suffix:
        out.mkdir()
    else:
        out.write_text(OLD)
    return out


def with_a_name_too_long(out: Path) -> Path:
    return out.with_name("n" * 300 + out.name)


def in_a_ring_of_links(out: Path) -> Path:
    out.symlink_to(out.name)
    return out


@pytest.mark.parametrize(
    "fault", [below_a_file, of_the_other_kind, with_a_name_too_long, in_a_ring_of_links, "a full disk"]
)
@pytest.mark.parametrize("name", CASES)
def test_an_output_that_cannot_be_written_is_found_before_the_work(
    name: str,
    fault: Callable[[Path], Path] | str,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = CASES[name]
    out = tmp_path / f"out{case.kind if case.kind.startswith('.') else ''}"
    out = out if isinstance(fault, str) else fault(out)
    if name == "demo --out-dir" and fault is with_a_name_too_long:
        pytest.skip("a folder that is not there is rejected as such")
    monkeypatch.chdir(inputs)
    before = listing(tmp_path)
    size = resource.getrlimit(resource.RLIMIT_FSIZE)
    if isinstance(fault, str):
        out.parent.mkdir(exist_ok=True)
        if name == "demo --out-dir":
            out.mkdir()
            before = listing(tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, size[1]))
    began = time.process_time()
    try:
        code = run_command(*words_of(name, out, case))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, size)
    error = last_error(capsys)
    assert code == 2, error
    assert out.name[:20] in error or out.parent.name in error, error
    assert listing(tmp_path) == before
    assert time.process_time() - began < 10.0  # no model has been loaded, no corpus made


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind.startswith(".")])
def test_a_missing_folder_is_named(
    name: str,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if name == "train curves --picture":
        return  # creates it
    monkeypatch.chdir(inputs)
    case = CASES[name]
    assert run_command(*words_of(name, tmp_path / "no" / f"out{case.kind}", case)) == 2
    assert "there is no folder" in last_error(capsys)


@pytest.mark.parametrize(
    "command",
    [
        "face export --face head.glb --out head.glb",
        "convert published/checkpoint.ckpt --config published/config.yaml "
        "--hubert-config published/config.json --out published",
        "evaluate --corpus corpus --json corpus/index.json",
        "evaluate --corpus corpus:all --model model --json model/config.json",
        "replay bag --out new --report bag/metadata.yaml",
        "train curves codec=run --picture run/log.png",
        "talk --params live.json --stats live.json",
    ],
)
def test_no_input_is_overwritten(
    command: str,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(inputs)
    for file in ("head.glb", "published/config.json", "live.json"):
        if not Path(file).exists():
            Path(file).write_text("{}")
    if not Path("run/log.png").exists():
        Path("run/log.png").symlink_to("log.csv")
    before = listing(inputs)
    assert run_command(*command.split()) == 2
    assert "is an input" in last_error(capsys)
    assert listing(inputs) == before


# -- at the end of the work ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITTEN)
def test_a_disk_that_is_full_at_the_end_leaves_the_old_output_whole(
    name: str,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = CASES[name]
    assert case.limit is not None
    out = tmp_path / f"out{case.kind if case.kind.startswith('.') else ''}"
    if case.kind == "folder":
        out.mkdir()
        for file in ("config.json", "weights.safetensors", "face.png", "mine.txt"):
            (out / file).write_text(OLD)
    elif case.kind != "new folder":
        out.write_text(OLD)
    before = listing(tmp_path)
    monkeypatch.chdir(inputs)
    size = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (case.limit, size[1]))
    try:
        code = run_command(*words_of(name, out, case))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, size)
    error = last_error(capsys)
    assert code == 2 and "cannot write" in error, error
    after = {path: content for path, content in listing(tmp_path).items() if content != b"folder"}
    assert after == {path: content for path, content in before.items() if content != b"folder"}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_written_output_replaces_the_old_one(
    name: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    out = tmp_path / f"out{case.kind if case.kind.startswith('.') else ''}"
    if case.kind.startswith("."):
        out.write_text(OLD)
        out.chmod(0o640)
    monkeypatch.chdir(inputs)
    assert run_command(*words_of(name, out, case)) == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not [path for path in tmp_path.rglob("*") if ".partial" in path.name]
    assert max(path.stat().st_size for path in files) > (case.limit or 0), "the limit is not met"
    if case.kind.startswith("."):
        assert files == [out] and out.stat().st_mode & 0o777 == 0o640


def test_a_command_that_is_stopped_removes_what_it_has_begun(inputs: Path, tmp_path: Path) -> None:
    pcm, rate = soundfile.read(DEMO_AUDIO, dtype="float32")
    soundfile.write(tmp_path / "long.wav", np.resize(pcm, 4 * rate), rate)
    out = tmp_path / "out.mp4"
    out.write_text(OLD)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        command = [sys.executable, "-m", "streamingtalker_ros", "animate", "long.wav", "--out", "out.mp4"]
        command += ["--size", "96x128", "--device", "cpu", "--steps", "1"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        try:
            assert wait_for(lambda: list(tmp_path.glob(".*.mp4")), 240), "it writes no temporary file"
            process.send_signal(number)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 128 + number
        assert error.count("\n") == 1 and signal.Signals(number).name in error
        assert sorted(path.name for path in tmp_path.iterdir()) == ["long.wav", "out.mp4"]
        assert out.read_text() == OLD


# -- standard output -----------------------------------------------------------------------------------------


def start(*command: str, stdout: int, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamingtalker_ros", *command],
        cwd=cwd,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize("reader", ["full disk", "closed pipe"])
def test_results_that_cannot_be_printed_do_not_lose_the_files(
    reader: str, inputs: Path, tmp_path: Path
) -> None:
    read, write = os.pipe()
    if reader == "full disk":
        os.close(write)
        write = os.open("/dev/full", os.O_WRONLY)
    os.close(read)
    try:
        report = ("--json", str(tmp_path / "scores.json"), "--report", str(tmp_path / "report.html"))
        done = start("evaluate", "--generated", "pairs", *report, stdout=write, cwd=inputs)
        listed = start("talk", "--list-params", stdout=write, cwd=inputs)
    finally:
        os.close(write)
    for process in (done, listed):
        assert process.returncode == 2, process.stderr
        assert process.stderr.count("\n") == 1 and "could not be printed" in process.stderr
    assert (tmp_path / "scores.json").read_text().endswith("}\n")
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>")


def test_an_output_may_be_standard_output_or_a_device(inputs: Path, tmp_path: Path) -> None:
    with open(tmp_path / "out", "w") as file:
        done = start(
            "evaluate", "--generated", "pairs", "--json", "/dev/stdout", stdout=file.fileno(), cwd=inputs
        )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out").read_text()
    assert text.rstrip().endswith("}") and "pairs: 1 clips" in text
    nothing = start(
        "evaluate", "--generated", "pairs", "--json", "/dev/null", stdout=subprocess.DEVNULL, cwd=inputs
    )
    assert nothing.returncode == 0, nothing.stderr


@pytest.mark.parametrize("name", ["out.csv", "out"])
def test_a_pipe_receives_the_motion_as_csv(name: str, inputs: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    reader = subprocess.Popen(["cat", tmp_path / name], stdout=subprocess.PIPE, text=True)
    assert run_command("animate", inputs / "voice.wav", "--out", tmp_path / name) == 0
    text, _ = reader.communicate(timeout=60)
    assert len(list(csv.reader(text.splitlines()))) == 1 + NUM_FRAMES


def test_standard_output_receives_the_motion_alone(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command("animate", inputs / "voice.wav", "--out", "/dev/stdout") == 0
    printed = capfd.readouterr()
    assert len(list(csv.reader(printed.out.splitlines()))) == 1 + NUM_FRAMES
    assert printed.err.count("\n") == 1 and f"/dev/stdout: {NUM_FRAMES} frames" in printed.err


def test_help_for_a_reader_that_has_left_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = start("animate", "--help", stdout=write, cwd=Path.cwd())
    os.close(write)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr
