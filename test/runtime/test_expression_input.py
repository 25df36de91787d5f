# SPDX-License-Identifier: Apache-2.0
"""Messages of emotions and gestures become stamped commands; what is invalid costs one sentence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from streamingtalker_ros.conversation.commands import ConversationCommand, Express, Gesture
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.runtime.expression_input import (
    EXPRESSION_TYPE,
    HRI_EXPRESSION_TYPE,
    ExpressionInput,
    to_express,
    to_gesture,
)
from streamingtalker_ros.runtime.parameters import TalkerParameters

NAN = float("nan")


def header(stamp_s: int = 0) -> Any:
    return SimpleNamespace(stamp=SimpleNamespace(sec=stamp_s, nanosec=0), frame_id="")


def expression(name: str = "", strength: float = 1.0, stamp_s: int = 0, **fields: float) -> Any:
    values = {"valence": 0.0, "arousal": 0.0, "decay": 0.0, **fields}
    return SimpleNamespace(header=header(stamp_s), name=name, strength=strength, **values)


class Sink:
    """Receives commands."""

    parameters = TalkerParameters()

    def __init__(self) -> None:
        self.commands: list[tuple[ConversationCommand, int]] = []

    def command(self, command: ConversationCommand, stamp: int = 0) -> None:
        self.commands.append((command, stamp))


@pytest.mark.parametrize(
    ("message", "command"),
    [
        (expression("happy"), Express("happy")),
        (expression("happy", 0.5, decay=2.0), Express("happy", 0.5, None, None, 2.0)),
        (expression("happy", valence=1.0), Express("happy", 1.0, 1.0, 0.0)),
        (expression("happy", valence=NAN, arousal=NAN, decay=NAN), Express("happy")),
        (expression(valence=0.5, arousal=0.2), Express("", 1.0, 0.5, 0.2)),
        (expression(), Express("")),
    ],
)
def test_a_message_is_the_command_that_its_fields_say(message: Any, command: Express) -> None:
    assert to_express(message) == command


def test_the_message_of_ros4hri_has_its_confidence_as_strength() -> None:
    fields: dict[str, Any] = {"header": header(), "expression": "scared", "valence": 0.0, "arousal": 0.0}
    certain = SimpleNamespace(**fields, confidence=0.0)
    assert to_express(certain, HRI_EXPRESSION_TYPE) == Express("scared")
    doubtful = SimpleNamespace(**fields, confidence=0.4)
    assert to_express(doubtful, HRI_EXPRESSION_TYPE) == Express("scared", 0.4)
    fields["expression"] = "asleep"
    with pytest.raises(TalkerError, match="unknown emotion"):
        to_express(SimpleNamespace(**fields, confidence=1.0), HRI_EXPRESSION_TYPE)


def test_gestures_without_amplitude_and_count_are_the_usual_ones() -> None:
    assert to_gesture(SimpleNamespace(name="nod", amplitude=0.0, count=0)) == Gesture("nod")
    assert to_gesture(SimpleNamespace(name="tilt", amplitude=-8.0, count=2)) == Gesture("tilt", -8.0, 2)


def test_stamps_pass_and_unset_ones_are_the_time_of_arrival() -> None:
    sink, warnings = Sink(), list[str]()
    expressions = ExpressionInput(sink, lambda kind, text: warnings.append(text))
    expressions.on_expression(expression("sad", stamp_s=7), EXPRESSION_TYPE, 5)
    expressions.on_expression(expression("sad"), EXPRESSION_TYPE, 5)
    gesture = SimpleNamespace(header=header(), name="nod", amplitude=0.0, count=0)
    expressions.on_gesture(gesture, 6)
    assert [stamp for _, stamp in sink.commands] == [7_000_000_000, 5, 6] and warnings == []


@pytest.mark.parametrize("name", ["hapy", "", "\x00", "z" * 100_000])
def test_an_invalid_message_is_one_short_sentence(name: str) -> None:
    sink, warnings = Sink(), list[str]()
    expressions = ExpressionInput(sink, lambda kind, text: warnings.append(text))
    expressions.on_expression(expression(name, valence=2.0), EXPRESSION_TYPE, 5)
    gesture = SimpleNamespace(header=header(), name=name, amplitude=NAN, count=0)
    expressions.on_gesture(gesture, 6)
    assert sink.commands == [] and len(warnings) == 2
    assert all(len(text) < 400 and "\n" not in text for text in warnings)
