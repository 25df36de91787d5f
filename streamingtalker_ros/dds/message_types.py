# SPDX-License-Identifier: Apache-2.0
"""ROS 2 message classes for Cyclone DDS, derived at run time from the message definitions.

For a type name such as "streamingtalker_ros/msg/FaceMotion" it returns a dataclass with the same
representation on the wire (type name, field widths, plain CDR of a final type) as rmw_cyclonedds uses. The
definitions come from `msg/*.msg`, from rosbags' ROS 2 Jazzy typestore, and from `message_definitions` for
what that lacks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeAlias

from streamingtalker_ros import resources
from streamingtalker_ros.dds import audio_cdr, message_definitions, motion_cdr
from streamingtalker_ros.errors import require
from streamingtalker_ros.messaging.audio_common import Variant

MessageClass: TypeAlias = Callable[..., Any]
"""A class of messages: its fields are keyword arguments with ROS's zero defaults."""

_Field: TypeAlias = tuple[str, Any, Any]  # name, IDL annotation, default or factory

_DEFAULTS: Final = {"bool": False, "string": "", "float32": 0.0, "float64": 0.0}
_BASE, _MESSAGE, _ARRAY = 1, 2, 3  # kinds of rosbags' field descriptions; 4 is a sequence


@cache
def typestore(variant: Variant = "ros-drivers") -> Any:
    """Return rosbags' Jazzy typestore of this package's messages, std_srvs/Trigger and audio_common_msgs.

    Args:
        variant: Variant of audio_common_msgs; each call with the same one returns the same store.
    """
    return _create_store("ROS2_JAZZY", variant)


@cache
def _node_store(variant: Variant) -> Any:
    """Return a store of the types that every node uses, a tenth of a second faster than `typestore`."""
    return _create_store("EMPTY", variant)


def _store_of(type_name: str, variant: Variant) -> Any:
    store = _node_store(variant)
    return store if type_name in store.fielddefs else typestore(variant)


def _create_store(name: str, variant: Variant) -> Any:
    """Return a typestore of rosbags, extended by this package's definitions."""
    typesys = require("rosbags.typesys", "reading message definitions", "dds")
    store = typesys.get_typestore(typesys.Stores[name])
    files = {name: resources.find("msg", f"{name}.msg") for name in message_definitions.PACKAGE_MESSAGES}
    texts = {
        f"streamingtalker_ros/msg/{name}": file.read_text(encoding="utf-8") for name, file in files.items()
    }
    definitions = {
        **message_definitions.NODES,
        **texts,
        **message_definitions.COMMON,
        **message_definitions.VARIANTS[variant],
    }
    types: dict[str, Any] = {}
    for type_name, text in definitions.items():
        if type_name in store.fielddefs and type_name in message_definitions.NODES:
            continue
        # the parser supports messages only and places a service's halves under srv/msg/
        parsed = typesys.get_types_from_msg(text, type_name)
        types.update({found.replace("/srv/msg/", "/srv/"): fields for found, fields in parsed.items()})
    store.register(types)
    nodetype = require("rosbags.interfaces", "reading message definitions", "dds").Nodetype
    gid = "rmw_dds_common/msg/Gid"  # ROS hashes its char as uint8
    store.fielddefs[gid] = ([], [("data", (nodetype.ARRAY, ((nodetype.BASE, ("uint8", 0)), 16)))])
    return store


def type_hash(type_name: str, variant: Variant = "ros-drivers") -> str:
    """Return the RIHS01 hash of a type: "RIHS01_" and 64 hexadecimal digits.

    Args:
        type_name: Name of the type, such as "std_msgs/msg/Header".
        variant: Variant of audio_common_msgs whose definitions are used, "ros-drivers" or "mgonzs13".
    """
    return _store_of(type_name, variant).hash_rihs01(type_name)


def dds_typename(type_name: str) -> str:
    """Convert "std_msgs/msg/Header" to "std_msgs::msg::dds_::Header_".

    Args:
        type_name: ROS name of the type in three parts, "package/kind/Name".

    Returns:
        The name that rmw_cyclonedds gives to the type in DDS.
    """
    package, kind, short = type_name.split("/")
    return f"{package}::{kind}::dds_::{short}_"


def message_class(type_name: str, variant: Variant = "ros-drivers") -> MessageClass:
    """Return the Cyclone DDS class of a ROS 2 message type.

    Args:
        type_name: "package/msg/Name", or "package/srv/Name_Request" and "_Response".
        variant: Variant of audio_common_msgs.

    Raises:
        KeyError: If the type is unknown.
    """
    return _create_class(type_name, variant if type_name.startswith("audio_common_msgs/") else "ros-drivers")


@cache
def serialized_class(type_name: str) -> MessageClass:
    """Return a class for messages that are serialized already.

    A writer of type `type_name` accepts `serialized_class(type_name)(data)` and sends the bytes unchanged.
    """
    base: Any = message_class(type_name)

    class Serialized(base):
        def __init__(self, data: bytes) -> None:
            self.data = data

        def serialize(self, *_: Any, **__: Any) -> bytes:
            return self.data

    return Serialized


@cache
def service_class(type_name: str) -> MessageClass:
    """Return one half of a service with the header of rmw_cyclonedds.

    The header is the client's guid and the sequence number of the request; the fields follow.

    Args:
        type_name: "std_srvs/srv/Trigger_Request" or "_Response"; it is the type name on the wire, too.
    """
    types = require("cyclonedds.idl.types", "DDS")
    header: list[_Field] = [("guid", types.uint64, 0), ("seq", types.int64, 0)]
    return _create_struct(type_name, header + _fields(type_name, "ros-drivers"))


@cache
def _create_class(type_name: str, variant: Variant) -> MessageClass:
    created = _create_struct(type_name, _fields(type_name, variant))
    audio_cdr.install_fast_reader(type_name, created)
    motion_cdr.install_fast_writer(type_name, created)
    return created


def _fields(type_name: str, variant: Variant) -> list[_Field]:
    return [
        (field, *_annotation(description, variant))
        for field, description in _store_of(type_name, variant).fielddefs[type_name][1]
    ]


def _annotation(description: Any, variant: Variant) -> tuple[Any, Any]:
    """Convert rosbags' description of a field to (IDL type, default value or factory)."""
    types = require("cyclonedds.idl.types", "DDS")
    kind, details = int(description[0]), description[1]
    if kind == _BASE:  # name, and the bound of a string or 0
        base, bound = details
        if base == "string":
            return (types.bounded_str[bound] if bound else str), ""
        if base == "bool":
            return bool, False
        # ROS's char and byte are unsigned bytes
        idl_name: str = "uint8" if base in ("char", "byte") else base
        return getattr(types, idl_name), _DEFAULTS.get(base, 0)
    if kind == _MESSAGE:
        nested = message_class(details, variant)
        return nested, nested
    inner, count = details
    element, default = _annotation(inner, variant)
    if kind == _ARRAY:
        return types.array[element, count], lambda: [default() if callable(default) else default] * count
    return (types.sequence[element, count] if count else types.sequence[element]), list


def _create_struct(type_name: str, fields: list[_Field]) -> Any:
    """Return an IdlStruct dataclass with these fields, final and without keys."""
    idl = require("cyclonedds.idl", "DDS")
    short = type_name.rsplit("/", 1)[1]
    bases = (idl.IdlStruct,)
    body = idl.IdlMeta.__prepare__(short, bases, typename=dds_typename(type_name))
    for field, annotation, default in fields:
        body["__annotations__"][field] = annotation
        body[field] = (
            dataclasses.field(default_factory=default)
            if callable(default)
            else dataclasses.field(default=default)
        )
    return dataclasses.dataclass(idl.IdlMeta(short, bases, body))
