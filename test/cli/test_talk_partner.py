# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker talk --partner`: the face listens to a file; an unreadable source ends the command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from streamingtalker_ros.conversation.turn_taking import DialogueState
from streamingtalker_ros.dds.node import DdsNode
from streamingtalker_ros.messaging.dialogue_messages import DIALOGUE_TOPIC, DIALOGUE_TYPE
from support.command_line import run_command
from support.dds_domain import own_domain
from support.processes import ProcessGroup
from support.waiting import wait_for


def test_the_face_listens_to_a_file(voice_path: Path) -> None:
    domain = own_domain()
    states: list[Any] = []
    peer = DdsNode("peer", "robot", domain)
    subscription = peer.create_subscription(
        DIALOGUE_TOPIC, DIALOGUE_TYPE, states.append, peer.qos(depth=100, latched=True)
    )
    peer.start()
    talk = (
        sys.executable,
        "-m",
        "streamingtalker_ros",
        "talk",
        "--domain",
        str(domain),
        "--namespace",
        "robot",
    )
    try:
        with ProcessGroup() as processes:
            processes.start(*talk, "--partner", str(voice_path))
            assert wait_for(lambda: any(each.state == DialogueState.LISTENING for each in states), 60)
    finally:
        del subscription
        peer.close()


def test_a_source_that_cannot_be_read_is_named_before_the_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("talk", "--partner", tmp_path / "nobody.wav") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "nobody.wav" in lines[0]
