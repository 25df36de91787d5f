# SPDX-License-Identifier: Apache-2.0
"""Errors of the parser: the nearest name is suggested, options are never abbreviated."""

from __future__ import annotations

import pytest

from streamingtalker_ros.cli.main import main


@pytest.mark.parametrize(
    "arguments, suggestion",
    [
        (["anmate", "a.wav"], "there is no command 'anmate': did you mean animate?"),
        (["xyzzy"], "choose one of talk, play, say, animate"),
        (["corpus", "spech"], "did you mean speech?"),
        (["train", "code"], "did you mean codec?"),
        (["face", "xport"], "did you mean export?"),
        (["animate", "a.wav", "--ou", "a.csv"], "there is no option --ou: did you mean --out?"),
        (["animate", "a.wav", "--out", "a.csv", "--stlye=calm"], "did you mean --style?"),
        (["corpus", "speech", "dir", "--out", "a", "--minuts", "3"], "did you mean --minutes?"),
    ],
)
def test_an_unknown_name_exits_with_2_and_suggests_the_closest(
    arguments: list[str], suggestion: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert suggestion in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["animate", "a.wav", "--ou", "a.csv"], ["--vers"]])
def test_a_prefix_of_an_option_is_not_the_option(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2


def test_words_after_a_double_dash_are_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["animate", "--out", "a.csv", "--", "--no-such-file.wav"]) == 2
    assert "no file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["talk", "play a.wav", "markers", "head", "web"])
@pytest.mark.parametrize("name", ["a b", "a//b", "1a", "é", "a\nb", "x" * 300])
def test_a_namespace_that_ros_does_not_accept_is_refused_at_once(
    command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--namespace", name]) == 2
    error = capsys.readouterr().err
    assert "--namespace must be words of letters" in error and error.count("\n") == 1 and len(error) < 300


@pytest.mark.parametrize("topic", ["", "a b", "/", "a-b", "audio/"])
def test_a_topic_that_ros_does_not_accept_is_refused_at_once(
    topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["play", "a.wav", "--topic", topic]) == 2
    assert "--topic must be words of letters" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--frame", "--face-frame"])
@pytest.mark.parametrize("name", ["a\udcff", "a\0b", "a\nb"])
def test_a_frame_that_no_message_can_hold_is_refused(
    option: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["markers", option, name]) == 2
    error = capsys.readouterr().err
    assert f"{option} must be of printable characters" in error and error.count("\n") == 1
