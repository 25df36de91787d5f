# SPDX-License-Identifier: Apache-2.0
"""Reads config/sros2_policy.xml: the topics and services that each node may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

POLICY: Final = Path(__file__).parents[2] / "config" / "sros2_policy.xml"


@dataclass
class AllowedNames:
    """Full names that the profile of a node allows.

    Attributes:
        publish: Topics.
        subscribe: Topics.
        reply: Services.
        execute: Actions.
    """

    publish: set[str] = field(default_factory=set)
    subscribe: set[str] = field(default_factory=set)
    reply: set[str] = field(default_factory=set)
    execute: set[str] = field(default_factory=set)


def read_policy() -> dict[str, AllowedNames]:
    """Return what the policy allows, by node."""
    nodes: dict[str, AllowedNames] = {}
    for enclave in ElementTree.parse(POLICY).getroot().findall("enclaves/enclave"):
        for profile in enclave.findall("profiles/profile"):
            node = profile.attrib["node"]
            assert enclave.attrib["path"] == f"/{node}" and profile.attrib["ns"] == "/"
            allowed = nodes.setdefault(node, AllowedNames())
            for group in profile:
                for use, qualifier in group.attrib.items():
                    assert qualifier == "ALLOW"
                    getattr(allowed, use).update(_full_name(entry.text or "", node) for entry in group)
    return nodes


def _full_name(name: str, node: str) -> str:
    if name.startswith("~"):
        return f"/{node}{name[1:]}"
    return name if name.startswith("/") else f"/{name}"
