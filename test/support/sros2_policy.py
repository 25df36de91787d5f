# SPDX-License-Identifier: Apache-2.0
"""Reads config/sros2_policy.xml: the topics and services that each node may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

POLICY: Final = Path(__file__).parents[2] / "config" / "sros2_policy.xml"
_ACTION_TOPICS: Final = ("feedback", "status")
_ACTION_SERVICES: Final = ("send_goal", "get_result", "cancel_goal")


@dataclass
class AllowedNames:
    """Full names that the profile of a node allows.

    Attributes:
        publish: Topics, with those of actions.
        subscribe: Topics.
        reply: Services, with those of actions.
    """

    publish: set[str] = field(default_factory=set)
    subscribe: set[str] = field(default_factory=set)
    reply: set[str] = field(default_factory=set)


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
                    names = {_full_name(entry.text or "", node) for entry in group}
                    if use == "execute":
                        allowed.publish |= action_names(names, _ACTION_TOPICS)
                        allowed.reply |= action_names(names, _ACTION_SERVICES)
                    else:
                        getattr(allowed, use).update(names)
    return nodes


def action_names(
    actions: set[str], parts: tuple[str, ...] = (*_ACTION_TOPICS, *_ACTION_SERVICES)
) -> set[str]:
    """Return the names of the topics and services of actions."""
    return {f"{action}/_action/{part}" for action in actions for part in parts}


def _full_name(name: str, node: str) -> str:
    if name.startswith("~"):
        return f"/{node}{name[1:]}"
    return name if name.startswith("/") else f"/{name}"
