# SPDX-License-Identifier: Apache-2.0
"""Cyclone DDS settings of a node that receives audio, with rclpy and without."""

from __future__ import annotations

import os
from typing import Final

# A packet of megabytes arrives in thousands of fragments. With Linux' default buffer some are lost, and by
# default they are requested again only after 100 ms, while all later audio waits.
RECEIVE_BUFFER_XML: Final = (
    '<Internal><SocketReceiveBufferSize min="default" max="20MB"/><NackDelay>5 ms</NackDelay></Internal>'
)


def to_cyclonedds_uri(domain_xml: str) -> str:
    """Return a value for CYCLONEDDS_URI: our settings first, then the user's, which override them.

    Args:
        domain_xml: the content of the `<Domain>` element.
    """
    settings = f"<CycloneDDS><Domain>{domain_xml}</Domain></CycloneDDS>"
    return ",".join(filter(None, [settings, os.environ.get("CYCLONEDDS_URI")]))


def set_receive_buffer() -> None:
    """Enlarge the receive buffer of rmw_cyclonedds by setting CYCLONEDDS_URI, once.

    Call it before the process creates its first node, which is when rmw_cyclonedds reads the variable. Other
    middlewares ignore it.
    """
    if RECEIVE_BUFFER_XML not in os.environ.get("CYCLONEDDS_URI", ""):
        os.environ["CYCLONEDDS_URI"] = to_cyclonedds_uri(RECEIVE_BUFFER_XML)
