# SPDX-License-Identifier: Apache-2.0
"""What a node that hears sound asks of Cyclone DDS beside its defaults; with rclpy as without it."""

import os

# A packet of megabytes comes in thousands of fragments: with Linux' usual buffer some are lost, and by default asked for
# again only after 100 ms, while the voice behind them waits.
RECEIVING = (
    '<Internal><SocketReceiveBufferSize min="default" max="20MB"/><NackDelay>5 ms</NackDelay></Internal>'
)


def configuration(domain):
    """The value of CYCLONEDDS_URI with `domain`, what stands in <Domain>, before it: what the user says there wins."""
    ours = f"<CycloneDDS><Domain>{domain}</Domain></CycloneDDS>"
    return ",".join(filter(None, [ours, os.environ.get("CYCLONEDDS_URI")]))


def prefer_receiving() -> None:
    """Have rmw_cyclonedds, which reads CYCLONEDDS_URI when a process makes its first node, receive so; other
    middlewares do not read it."""
    if RECEIVING not in os.environ.get("CYCLONEDDS_URI", ""):
        os.environ["CYCLONEDDS_URI"] = configuration(RECEIVING)
