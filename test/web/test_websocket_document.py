# SPDX-License-Identifier: Apache-2.0
"""docs/websocket.md, web/protocol.py and frontend/src/protocol.js describe the same messages."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.model.control_ranges import NUMBER_CONTROLS, SEED_RANGE
from streamingtalker_ros.web import protocol
from streamingtalker_ros.web.controls import MAX_STEPS, describe_controls
from streamingtalker_ros.web.message_fields import (
    Field,
    NumberField,
    PointField,
    SessionField,
    TextField,
)
from support.scheduler_harness import small_talker
from support.web_client import WebClient, running_server

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "websocket.md").read_text()
STRUCT_CODES = {"uint8": "B", "uint32": "I", "float32": "f", "float64": "d", "int16": "h"}


def rows(heading: str, number: int = 0) -> list[list[str]]:
    """Cells of the rows of a table below a heading, without its head."""
    section = re.split(r"^## ", DOCUMENT.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.M)[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, flags=re.M)
    return [
        [cell.strip() for cell in line.strip("|\n").split("|")] for line in tables[number].splitlines()[2:]
    ]


def fields_of(table: list[list[str]]) -> dict[str, dict[str, str]]:
    """{message: {field: value}} of a table whose first column names the message once."""
    messages: dict[str, dict[str, str]] = {}
    kind = ""
    for first, names, value, *_ in table:
        kind = first.strip("`") or kind
        fields = messages.setdefault(kind, {})
        fields |= dict.fromkeys(re.findall(r"`(\w+)`", names), value)
    return messages


def layout(table: list[list[str]]) -> tuple[struct.Struct, list[str]]:
    """The struct of rows of [offset, bytes, type, field], each of one value, and the names of its fields."""
    code, end, names = "<", 0, []
    for offset, size, kind, field in table:
        assert int(offset) == end
        code += f"{size}x" if not kind else STRUCT_CODES[kind]
        names += [field.partition(",")[0]] if kind else []
        end += int(size)
    return struct.Struct(code), names


def test_the_messages_of_the_client_have_the_documented_fields_and_ranges() -> None:
    documented = fields_of(rows("From the client"))
    assert documented.keys() == protocol.CLIENT_MESSAGES.keys()
    for kind, fields in protocol.CLIENT_MESSAGES.items():
        assert documented[kind].keys() == fields.keys()
        for name, spec in fields.items():
            assert documented[kind][name] == spec.description, (kind, name)


def values_of(field: Field) -> tuple[list[Any], list[Any]]:
    """Values of a field that are accepted, those at its limits among them, and values that are not."""
    match field:
        case NumberField(low=low, high=high, kind=kind):
            outside = [low - 1, high + 1, 0.5] if kind is int else [low - 1e-6, high + 1e-6]
            return [low, high], [*outside, "1", True, [], {}, 10**400]
        case TextField(max_chars=limit):
            return ["", "x" * limit], ["x" * (limit + 1), 1, [], True]
        case SessionField():
            return ["a", "a-_." * 16], ["", "a b", "a" * 65, 1, []]
        case PointField(limit=limit):
            return [[limit, -limit, 0], None], [[1, 2], [1, 2, 2 * limit], [1, 2, True], [1, 2, None], 1, {}]
    raise AssertionError(f"the test knows no values of {field}")


@pytest.mark.parametrize("kind", protocol.MESSAGE_TYPES)
def test_the_documented_values_are_those_that_are_accepted(kind: str) -> None:
    fields = protocol.CLIENT_MESSAGES[kind]
    message = {"type": kind, **{name: values_of(field)[0][0] for name, field in fields.items()}}
    for name, field in fields.items():
        accepted, rejected = values_of(field)
        for value in [*accepted, *([] if field.required else [None])]:
            changed = {**message, name: value}
            assert protocol.parse_text(json.dumps(changed)) == changed
        for wrong in rejected:
            with pytest.raises(TalkerError, match="send"):
                protocol.parse_text(json.dumps({**message, name: wrong}))
        del message[name]
        if field.required:
            with pytest.raises(TalkerError, match=name):
                protocol.parse_text(json.dumps(message))
            message[name] = accepted[0]
        assert protocol.parse_text(json.dumps(message)) == message


def test_the_documented_controls_are_those_of_the_model() -> None:
    table = rows("From the client", 1)
    documented = {name.strip("`"): value for name, value in table}
    assert documented.keys() == describe_controls(small_talker(), ["default"]).keys()
    assert documented["seed"].startswith(f"{SEED_RANGE[0]} to {SEED_RANGE[1]},")
    assert documented["steps"].startswith(f"1 to {MAX_STEPS} ")
    for name, ((low, high), _) in NUMBER_CONTROLS.items():
        assert documented[name] == f"{low:g} to {high:g}"


def test_the_messages_of_the_server_have_the_documented_fields() -> None:
    documented = fields_of(rows("From the server: texts")) | fields_of(
        rows("From the server: frames and audio", 2)
    )
    assert {kind: tuple(fields) for kind, fields in documented.items()} == protocol.SERVER_MESSAGES


def test_a_session_sends_the_documented_texts() -> None:
    with running_server(small_talker()) as server, WebClient(server) as client:
        client.send(type="watch", epoch=1, session="nobody")
        client.send(type="nothing")
        for kind in ("hello", "watching", "error", "state"):
            assert tuple(client.wait_for_text(kind)) == ("type", *protocol.SERVER_MESSAGES[kind])
        assert client.wait_for_text("hello")["protocol"] == protocol.PROTOCOL_VERSION
        assert f"This is version {protocol.PROTOCOL_VERSION}." in DOCUMENT


def test_the_documented_layout_decodes_the_binary_messages() -> None:
    header, names = layout(rows("From the server: frames and audio"))
    assert header.size == protocol.HEADER.size
    weights, head = np.linspace(0, 1, 52, dtype=np.float32), np.array([0.1, 0.2, 0.3, 0.9], np.float32)
    frame = protocol.encode_blendshapes(7, 41, 1.64, weights, head, True, False, 3.5, 2.25, 9)
    values = dict(zip(names, header.unpack_from(frame), strict=True))
    assert list(values.values()) == [1, 7, 1, 41, 1.64, 3.5, 2.25, 9]
    bodies = {
        (cells[0].partition(" ")[0] or None, int(cells[1])): cells[2]
        for cells in rows("From the server: frames and audio", 1)
    }
    assert list(bodies) == [("1", 32), (None, 240), ("2", 32), (None, 36), ("3", 32)]
    assert len(frame) == 240 + 16 and int(bodies["1", 32]) == 208
    np.testing.assert_array_equal(np.frombuffer(frame, "<f4", 52, 32), weights)
    np.testing.assert_array_equal(np.frombuffer(frame, "<f4", 4, 240), head)
    offsets = np.array([[0.01, -0.02, 0.03], [0.0, 0.001, -0.03]])
    vertices = protocol.encode_vertices(7, 41, 1.64, offsets)
    (scale,) = struct.unpack_from("<f", vertices, 32)
    np.testing.assert_allclose(scale * np.frombuffer(vertices, "<i2", offset=36), offsets.ravel(), atol=1e-6)
    audio = protocol.encode_audio(7, 1.5, np.array([1, -2], np.int16))
    assert np.frombuffer(audio, "<i2", offset=32).tolist() == [1, -2]
    pcm, _ = layout(rows("From the client", 2)[:3])
    for kind in (protocol.PCM, protocol.PARTNER):
        *header, samples = protocol.parse_audio(pcm.pack(kind, 5) + b"\x01\x00\xfe\xff")
        assert header == [kind, 5] and samples.tolist() == [1, -2]


def test_json_messages_hold_what_the_binary_ones_hold() -> None:
    weights, head = np.linspace(0, 1, 52, dtype=np.float32), np.array([0.1, 0.2, 0.3, 0.9], np.float32)
    messages = {
        "frame": protocol.encode_blendshapes(7, 41, 1.64, weights, head, True, False, 3.5, 2.25, 9),
        "vertices": protocol.encode_vertices(7, 41, 1.64, np.array([[0.01, -0.02, 0.03]])),
        "audio": protocol.encode_audio(7, 1.5, np.array([1, -2], np.int16)),
    }
    for kind, message in messages.items():
        fields = json.loads(protocol.to_json(message))
        assert tuple(fields) == ("type", *protocol.SERVER_MESSAGES[kind]) and fields["type"] == kind
    fields = json.loads(protocol.to_json(messages["frame"]))
    np.testing.assert_allclose(fields["weights"], weights, atol=1e-6)
    assert fields["speaking"] is True and fields["idle"] is False and fields["dropped"] == 9


def test_the_documented_close_codes_are_those_of_the_server() -> None:
    assert {
        int(code): reason for code, reason, _ in rows("Close codes")
    }.keys() == protocol.CLOSE_CODES.keys()


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_the_browser_decodes_what_the_server_encodes_and_the_reverse() -> None:
    weights = np.linspace(0, 1, 52, dtype=np.float32)
    messages = [
        protocol.encode_blendshapes(7, 41, 1.64, weights, [0, 0, 0, 1], True, True, 3.5, 2.25, 9),
        protocol.encode_vertices(8, 42, 1.68, np.array([[0.01, -0.02, 0.03]]), False, 1.5, 0.5, 2),
        protocol.encode_audio(9, 1.5, np.array([1, -2], np.int16)),
    ]
    source = (ROOT / "frontend" / "src" / "protocol.js").as_uri()
    script = f"""
        import * as protocol from {json.dumps(source)};
        const decoded = {json.dumps([message.hex() for message in messages])}.map((hex) =>
          protocol.decodeMessage(Uint8Array.from(Buffer.from(hex, 'hex')).buffer));
        const plain = (value) => ArrayBuffer.isView(value) ? [...value] : value;
        const messages = decoded.map((message) =>
          Object.fromEntries(Object.entries(message).map(([name, value]) => [name, plain(value)])));
        const pcm = [protocol.PCM, protocol.PARTNER].map((kind) =>
          Buffer.from(protocol.encodePcm(5, Int16Array.of(1, -2), kind)).toString('hex'));
        const isNumber = ([, value]) => typeof value === 'number';
        const constants = Object.fromEntries(Object.entries(protocol).filter(isNumber));
        console.log(JSON.stringify({{ messages, pcm, constants }}));
    """
    run = subprocess.run(
        ["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(run.stdout)
    assert result["constants"] == {
        "PROTOCOL_VERSION": protocol.PROTOCOL_VERSION,
        "PCM": protocol.PCM,
        "PARTNER": protocol.PARTNER,
        "FACE": protocol.FACE,
        "VERTICES": protocol.VERTICES,
        "AUDIO": protocol.AUDIO,
        "HEADER_BYTES": protocol.HEADER.size,
        "WEIGHT_COUNT": len(ARKIT_NAMES),
        "FLAG_SPEAKING": protocol.SPEAKING,
        "FLAG_IDLE": protocol.IDLE,
    }
    frame, vertices, audio = result["messages"]
    common = {"kind": 1, "epoch": 7, "speaking": True, "idle": True, "index": 41, "time": 1.64}
    assert frame.items() >= {**common, "modelMs": 3.5, "waitMs": 2.25, "dropped": 9}.items()
    np.testing.assert_array_equal(np.float32(frame["weights"]), weights)
    assert frame["head"] == [0, 0, 0, 1]
    expected = np.array([0.01, -0.02, 0.03])
    np.testing.assert_allclose(vertices["scale"] * np.array(vertices["offsets"]), expected, atol=1e-6)
    assert (audio["kind"], audio["epoch"], audio["time"], audio["samples"]) == (3, 9, 1.5, [1, -2])
    for kind, data in zip((protocol.PCM, protocol.PARTNER), result["pcm"], strict=True):
        *header, samples = protocol.parse_audio(bytes.fromhex(data))
        assert header == [kind, 5] and samples.tolist() == [1, -2]
