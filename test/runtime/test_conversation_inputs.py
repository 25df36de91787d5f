# SPDX-License-Identifier: Apache-2.0
"""Stamped commands: each takes effect at the first frame that is not earlier, once, in order, bounded."""

from __future__ import annotations

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.conversation.commands import Express, LookAt
from streamingtalker_ros.runtime.conversation_inputs import MAX_AHEAD_S, MAX_COMMANDS, ConversationInputs

MS = 1_000_000
START = 1_700_000_000 * NS_PER_S


def make() -> tuple[ConversationInputs, list[str]]:
    warnings: list[str] = []
    return ConversationInputs(lambda kind, message: warnings.append(message)), warnings


def test_a_command_takes_effect_at_the_first_frame_that_is_not_earlier() -> None:
    inputs, warnings = make()
    commands = [LookAt((1.0, y, 0.0)) for y in (0.1, 0.2, 0.3, 0.4)]
    for offset, command in zip((41, 40, 0, 1), commands, strict=True):  # out of order
        inputs.push(command, START + offset * MS)
    assert inputs.take_due(START) == [commands[2]]
    assert inputs.take_due(START + 40 * MS) == [commands[3], commands[1]]
    assert inputs.take_due(START + 80 * MS) == [commands[0]]
    assert inputs.take_due(START + 120 * MS) == [] and warnings == []


def test_late_and_unstamped_commands_take_effect_at_the_next_frame() -> None:
    inputs, _ = make()
    late, unstamped = LookAt((1.0, 0.0, 0.0)), Express("happy")
    inputs.push(late, START - 10 * NS_PER_S)
    inputs.push(unstamped)
    assert inputs.take_due(START) == [unstamped, late]


def test_a_stamp_of_another_clock_takes_effect_at_once_with_one_message() -> None:
    inputs, warnings = make()
    in_time, of_another_clock = LookAt((1.0, 0.0, 0.0)), LookAt((2.0, 0.0, 0.0))
    inputs.push(in_time, START + 100 * NS_PER_S)
    inputs.push(of_another_clock, START + round((MAX_AHEAD_S + 1.0) * NS_PER_S))
    assert inputs.take_due(START) == [of_another_clock]
    assert len(warnings) == 1 and "same clock" in warnings[0]
    assert inputs.take_due(START + 100 * NS_PER_S) == [in_time]


def test_a_flood_is_bounded_and_the_newest_target_is_retained() -> None:
    inputs, warnings = make()
    for n in range(10 * MAX_COMMANDS):
        inputs.push(LookAt((1.0 + n, 0.0, 0.0)), START + n)
        inputs.push(Express("happy"), START + n)
    due = inputs.take_due(START + NS_PER_S)
    targets = [command for command in due if isinstance(command, LookAt)]
    assert len(targets) == MAX_COMMANDS and targets[-1].point == (10 * MAX_COMMANDS, 0.0, 0.0)
    assert len(due) == 2 * MAX_COMMANDS and set(warnings) == {warnings[0]}
