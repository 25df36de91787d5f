# SPDX-License-Identifier: Apache-2.0
"""ROS 2 message classes for Cyclone DDS, derived at run time from the definitions themselves.

Takes a type name such as "streamingtalker_ros/msg/FaceMotion", gives a dataclass whose wire form (typename,
field widths, plain CDR of a final type) is the one that rmw_cyclonedds uses. The definitions come from
`msg/*.msg`, from rosbags' ROS 2 Jazzy typestore, and from `definitions` for what it lacks; nothing is written
twice.
"""

import dataclasses
from functools import cache

from streamingtalker_ros import resources
from streamingtalker_ros.dds import audio_cdr, message_definitions
from streamingtalker_ros.errors import require

_DEFAULTS = {"bool": False, "string": "", "float32": 0.0, "float64": 0.0}


@cache
def typestore(lineage="ros-drivers"):
    """rosbags' Jazzy typestore plus our messages, std_srvs/Trigger and one lineage of audio_common_msgs.

    lineage: "ros-drivers" or "mgonzs13"; each call with the same one gives the same store.
    """
    typesys = require("rosbags.typesys", "reading message definitions")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    files = {name: resources.find("msg", f"{name}.msg") for name in message_definitions.OWN}
    texts = {
        f"streamingtalker_ros/msg/{name}": file.read_text(encoding="utf-8") for name, file in files.items()
    }
    types = {}
    for name, text in {
        **texts,
        **message_definitions.COMMON,
        **message_definitions.LINEAGES[lineage],
    }.items():
        # the parser knows messages only and files a service's halves under srv/msg/
        types.update(
            {
                found.replace("/srv/msg/", "/srv/"): fields
                for found, fields in typesys.get_types_from_msg(text, name).items()
            }
        )
    store.register(types)
    nodetype = require("rosbags.interfaces", "reading message definitions").Nodetype
    gid = "rmw_dds_common/msg/Gid"  # ROS hashes its char as the uint8 that it is
    store.fielddefs[gid] = ([], [("data", (nodetype.ARRAY, ((nodetype.BASE, ("uint8", 0)), 16)))])
    return store


def type_hash(name, lineage="ros-drivers"):
    """The type's RIHS01 hash, as ROS 2 peers compare it: "RIHS01_" and 64 hexadecimal digits."""
    return typestore(lineage).hash_rihs01(name)


def dds_typename(name) -> str:
    """ "std_msgs/msg/Header" -> "std_msgs::msg::dds_::Header_"."""
    package, kind, short = name.split("/")
    return f"{package}::{kind}::dds_::{short}_"


def message_class(name, lineage="ros-drivers"):
    """The Cyclone DDS class of a ROS 2 message type; all its fields have ROS's zero defaults.

    name: "package/msg/Name", or "package/srv/Name_Request" and "_Response". Raises KeyError for an unknown
    type.
    """
    return _build(name, lineage if name.startswith("audio_common_msgs/") else "ros-drivers")


@cache
def serialized_class(name):
    """For messages that are serialised already: a writer of type `name` takes `serialized_class(name)(blob)` and
    sends the bytes as they are."""

    class Serialized(message_class(name)):
        def __init__(self, blob) -> None:
            self.blob = blob

        def serialize(self, *_, **__):
            return self.blob

    return Serialized


@cache
def service_class(name):
    """A service's half with rmw_cyclonedds' header: client guid, sequence number, then the fields.

    name: "std_srvs/srv/Trigger_Request" or "_Response". The typename on the wire is that of the half itself.
    """
    types = require("cyclonedds.idl.types", "DDS")
    fields = [("guid", types.uint64, 0), ("seq", types.int64, 0)]
    return _struct(name, fields + _fields(name, "ros-drivers"))


@cache
def _build(name, lineage):
    made = _struct(name, _fields(name, lineage))
    audio_cdr.speed_up(name, made)
    return made


def _fields(name, lineage):
    """[(field name, IDL annotation, default or factory), …] of a type."""
    return [(field, *_annotation(desc, lineage)) for field, desc in typestore(lineage).fielddefs[name][1]]


def _annotation(desc, lineage):
    """rosbags' field description -> (IDL type, default value or a callable that makes it)."""
    types = require("cyclonedds.idl.types", "DDS")
    kind, rest = int(desc[0]), desc[1]
    if kind == 1:  # a base type: (name, bound of a string or 0)
        base, bound = rest
        if base == "string":
            return (types.bounded_str[bound] if bound else str), ""
        if base == "bool":
            return bool, False
        # ROS's char and byte are unsigned bytes
        return getattr(types, {"char": "uint8", "byte": "uint8"}.get(base, base)), _DEFAULTS.get(base, 0)
    if kind == 2:  # another message, by name
        made = message_class(rest, lineage)
        return made, made
    inner, count = rest
    element, default = _annotation(inner, lineage)
    if kind == 3:  # an array of fixed length
        return types.array[element, count], lambda: [default() if callable(default) else default] * count
    return (types.sequence[element, count] if count else types.sequence[element]), list


def _struct(name, fields):
    """An IdlStruct dataclass `name` with these fields, final and without keys."""
    idl = require("cyclonedds.idl", "DDS")
    short = name.rsplit("/", 1)[1]
    bases = (idl.IdlStruct,)
    body = idl.IdlMeta.__prepare__(short, bases, typename=dds_typename(name))
    for field, annotation, default in fields:
        body["__annotations__"][field] = annotation
        factory = default if callable(default) else None
        body[field] = dataclasses.field(default_factory=factory) if factory else default
    return dataclasses.dataclass(idl.IdlMeta(short, bases, body))
