# SPDX-License-Identifier: Apache-2.0
"""`Dockerfile.web`, as far as it can be checked without a container engine: its steps fit the repository."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streamingtalker_ros.cli.main import create_parser
from streamingtalker_ros.errors import EXTRAS
from streamingtalker_ros.web.server import DRAIN_S
from support.scheduler_harness import small_talker
from support.web_client import running_server

ROOT = Path(__file__).absolute().parents[1]
DOCKER_STOP_S = 10.0  # until a container engine kills what it has asked to end
Instruction = tuple[str, str]
pytestmark = pytest.mark.skipif(
    not (ROOT / "Dockerfile.web").is_file(), reason="the files of the repository are not installed"
)


def stages() -> list[list[Instruction]]:
    """The stages of the file: (instruction, arguments) each, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile.web").read_text(encoding="utf-8"))
    result: list[list[Instruction]] = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, arguments = line.partition(" ")
            if name == "FROM":
                result.append([])
            if result:
                result[-1].append((name, arguments.strip()))
    return result


def final(name: str) -> list[str]:
    """Arguments of an instruction of the last stage, which is the image."""
    return [arguments for instruction, arguments in stages()[-1] if instruction == name]


def test_every_file_that_a_step_copies_is_in_the_repository_and_reaches_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    files = tracked.stdout.splitlines() if tracked.returncode == 0 else None
    names = {arguments.split()[-1] for stage in stages() for name, arguments in stage[:1]}
    copied = 0
    for stage in stages():
        for name, arguments in stage:
            if name != "COPY":
                continue
            *sources, _ = arguments.split()
            if sources[0].startswith("--from="):
                assert sources[0].removeprefix("--from=") in names
                continue
            for source in sources:
                copied += 1
                assert (ROOT / source).exists(), source
                assert not any(fnmatch.fnmatch(source, pattern) for pattern in ignored), source
                if files is not None:
                    assert any(path == source or path.startswith(source + "/") for path in files), source
    assert copied >= 8


def test_the_wheel_is_built_of_all_that_the_build_reads() -> None:
    """`setup.py` and pyproject.toml name folders and files; each is copied into the stage of the wheel."""
    wheel = next(stage for stage in stages() if stage[0][1].endswith("AS wheel"))
    copied = " ".join(arguments for name, arguments in wheel if name == "COPY").split()
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "msg", "config"} < set(copied)
    assert "/source/streamingtalker_ros/web/static" in copied


def test_the_page_is_built_by_scripts_that_exist() -> None:
    scripts = json.loads((ROOT / "frontend" / "package.json").read_text(encoding="utf-8"))["scripts"]
    text = (ROOT / "Dockerfile.web").read_text(encoding="utf-8")
    assert set(re.findall(r"npm run (\w+)", text)) == {"build"} <= scripts.keys()
    assert (ROOT / "frontend" / "package-lock.json").is_file()  # of `npm ci`


def test_the_image_has_neither_ros_nor_torch_and_runs_as_no_root() -> None:
    instructions = " ".join(f"{name} {arguments}" for stage in stages() for name, arguments in stage)
    assert not re.search(r"\b(ros|torch|apt-get)\b", instructions.replace("streamingtalker_ros", ""))
    extras = re.findall(r"\.whl\)\[([\w,]+)\]", instructions)
    assert extras == ["web"] and "web" in EXTRAS.values()
    user, created = final("USER"), re.findall(r"useradd .*--uid (\d+)", " ".join(final("RUN")))
    assert user == created and int(user[-1]) > 0


def test_the_image_starts_the_server_so_that_other_machines_reach_it() -> None:
    command = json.loads(final("ENTRYPOINT")[0])
    assert command[0] == "streamingtalker"
    args = create_parser().parse_args([*command[1:], "--token", "x"])
    assert args.host == "0.0.0.0" and final("EXPOSE") == [str(args.port)]
    assert final("STOPSIGNAL") == ["SIGTERM"] and DRAIN_S < DOCKER_STOP_S - 2


def test_the_health_check_succeeds_while_the_server_answers_and_fails_otherwise() -> None:
    options = final("HEALTHCHECK")[0]
    command = json.loads(options.partition("CMD ")[2])
    assert command[0] == "python" and "/healthz" in command[-1] and ":8080/" in command[-1]

    def check(port: int) -> int:
        code = command[-1].replace(":8080/", f":{port}/")
        return subprocess.run([sys.executable, *command[1:-1], code], capture_output=True).returncode

    with running_server(small_talker(), "0.0.0.0") as server:  # which requires a token
        assert check(server.port) == 0
        server.context.worker.busy_since = 0.0  # the model never returns
        assert check(server.port) != 0
    assert check(server.port) != 0
