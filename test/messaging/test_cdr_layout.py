# SPDX-License-Identifier: Apache-2.0
"""Whole messages pass the check of their layout; damaged ones are named at once, and nothing is allocated."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.audio_common import AUDIO_TYPES, INFO_TYPE, Variant
from streamingtalker_ros.messaging.cdr_layout import CdrLayout
from streamingtalker_ros.messaging.face_messages import MODEL_TYPE, MOTION_TYPE, VERTICES_TYPE
from support.fuzz_messages import cdr_seeds, mutate_cdr

TYPES = (*AUDIO_TYPES, INFO_TYPE, MOTION_TYPE, MODEL_TYPE, VERTICES_TYPE, "sensor_msgs/msg/JointState")
NAMES = {"bool": "boolean", "byte": "octet", "char": "uint8", "float32": "float", "float64": "double"}


def type_text(description: Any) -> str:
    """Return a field's type as rclpy's classes state it."""
    kind, details = int(description[0]), description[1]
    if kind == 1:
        name, bound = details
        return f"{name}<{bound}>" if bound else NAMES.get(name, str(name))
    if kind == 2:
        return details.replace("/msg/", "/")
    inner, count = details
    if kind == 3:
        return f"{type_text(inner)}[{count}]"
    return f"sequence<{type_text(inner)}, {count}>" if count else f"sequence<{type_text(inner)}>"


def layout_of(type_name: str) -> CdrLayout:
    variant: Variant = AUDIO_TYPES.get(type_name, "ros-drivers")
    definitions = message_types.typestore(variant).fielddefs

    def fields(name: str) -> Mapping[str, str]:
        package, short = name.split("/")
        return {field: type_text(each) for field, each in definitions[f"{package}/msg/{short}"][1]}

    return CdrLayout(fields(type_name.replace("/msg/", "/")), fields)


@pytest.mark.parametrize("type_name", TYPES)
def test_whole_messages_pass_and_every_shorter_one_is_rejected(type_name: str) -> None:
    layout, source = layout_of(type_name), random.Random(1)
    for message in cdr_seeds(type_name):
        layout.check(message)
        layout.check(message + bytes(4))
        for _ in range(20):
            with pytest.raises(TalkerError, match="ends before its data"):
                layout.check(message[: source.randrange(4, len(message))])


@pytest.mark.parametrize("type_name", TYPES)
def test_a_damaged_message_costs_neither_time_nor_memory(type_name: str) -> None:
    layout, source, rejected = layout_of(type_name), np.random.default_rng(2), 0
    seeds = cdr_seeds(type_name)
    tracemalloc.start()
    start = time.process_time()
    for _ in range(300):
        try:
            layout.check(mutate_cdr(seeds[int(source.integers(len(seeds)))], seeds, source))
        except TalkerError:
            rejected += 1
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rejected > 20 and seconds < 5 and peak < 2_000_000


def test_messages_of_the_other_byte_order_are_read_and_unknown_encodings_named() -> None:
    layout = CdrLayout({"text": "string", "numbers": "sequence<int16>"}, lambda name: {})
    layout.check(b"\x00\x00\x00\x00" + b"\x00\x00\x00\x02a\x00\x00\x00" + b"\x00\x00\x00\x01" + b"\x00\x07")
    with pytest.raises(TalkerError, match="0003 is not plain CDR"):
        layout.check(b"\x00\x03\x00\x00" + bytes(12))
    with pytest.raises(TalkerError, match="a text in it does not end"):
        layout.check(b"\x00\x01\x00\x00" + b"\x02\x00\x00\x00ab" + bytes(20))
