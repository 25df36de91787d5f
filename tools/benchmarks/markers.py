# SPDX-License-Identifier: Apache-2.0
"""Cost of RViz markers: milliseconds per frame to build and to send the face, as a Markdown table.

    python tools/benchmarks/markers.py [--frames 300]

It measures the default head and a rig of 5,000 vertices and 9,800 triangles that all move; the column
"message objects" fills a message with Point and Color objects and serialises it, for comparison.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from streamingtalker_ros.face.rig import Rig


def measure_ms(work: Callable[[int], object], count: int, warmup: int = 10) -> npt.NDArray[np.float64]:
    """Return p50 and p99 in milliseconds of `count` calls of `work(number)`."""
    durations = []
    for number in range(warmup + count):
        start = time.perf_counter()
        work(number)
        durations.append(1000 * (time.perf_counter() - start))
    return np.percentile(durations[warmup:], [50, 99])


def sphere_rig(rows: int = 50, columns: int = 100) -> Rig:
    """Return a rig of rows x columns vertices, each of which every shape moves."""
    from streamingtalker_ros.face.arkit import ARKIT_NAMES
    from streamingtalker_ros.face.rig import Rig

    v, u = np.meshgrid(
        np.linspace(0.05, np.pi - 0.05, rows), np.linspace(0, 2 * np.pi, columns, False), indexing="ij"
    )
    points = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], -1).reshape(-1, 3)
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1], np.roll(index, -1, axis=1)[:-1]
    c, d = index[1:], np.roll(index, -1, axis=1)[1:]
    triangles = np.stack([a, c, d, a, d, b], -1).reshape(-1, 3)
    deltas = np.random.default_rng(0).normal(0, 1e-3, (52, len(points), 3))
    return Rig(
        "5,000 vertices, all moving",
        points.astype(np.float32),
        triangles.astype(np.uint32),
        ARKIT_NAMES,
        deltas.astype(np.float32),
        {},
        {},
        np.full((len(points), 3), 0.8, np.float32),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=300)
    args = parser.parse_args()

    from streamingtalker_ros.dds import message_types
    from streamingtalker_ros.dds.node import DdsNode
    from streamingtalker_ros.face.default_head.stored import default_rig
    from streamingtalker_ros.rviz.marker_cdr import COLOR_TYPE, MARKER_TYPE, POINT_TYPE
    from streamingtalker_ros.rviz.markers import MarkerBuilder

    def serialize(message: Any) -> bytes:
        return message.serialize()

    domain = int(os.environ.get("ROS_DOMAIN_ID", 93))
    sender, listener = DdsNode("sender", "", domain), DdsNode("listener", "", domain)
    received: list[Any] = []
    listener.create_subscription("face_markers", MARKER_TYPE, received.append, listener.qos(depth=1))
    writer = sender.create_publisher("face_markers", MARKER_TYPE, sender.qos(depth=2))
    while not writer.get_matched_subscriptions():  # a reader that takes nothing: what DDS itself costs
        time.sleep(0.05)
    serialized, point, color = (
        message_types.serialized_class(MARKER_TYPE),
        *map(message_types.message_class, (POINT_TYPE, COLOR_TYPE)),
    )
    weights = np.random.default_rng(0).random((64, 52)).astype(np.float32)
    head = np.array([0.0, 0.0, 0.1, 0.995])
    print(
        "| face | triangles sent | bytes | build p50, ms | build p99, ms | send p50, ms "
        "| message objects, ms |\n"
        "|---|---|---|---|---|---|---|"
    )
    for rig in (default_rig(), sphere_rig()):
        builder = MarkerBuilder(rig, message_types.message_class, serialize)
        blob = builder.dynamic(weights[0], head, 0)
        build = measure_ms(lambda n, builder=builder: builder.dynamic(weights[n % 64], head, n), args.frames)
        send = measure_ms(lambda n, blob=blob: writer.write(serialized(blob)), args.frames)
        message = message_types.message_class(MARKER_TYPE)()
        corners = rig.pose(weights[0])[rig.triangles].reshape(-1, 3).tolist()

        def fill_objects(_: int, message: Any = message, corners: list[list[float]] = corners) -> None:
            message.points = [point(x=x, y=y, z=z) for x, y, z in corners]
            message.colors = [color(r=0.8, g=0.7, b=0.6, a=1.0) for _ in corners]
            message.serialize()

        objects = measure_ms(fill_objects, 5, warmup=1)
        triangles = builder.dynamic_triangles
        print(
            f"| {rig.name} | {triangles:,} of {len(rig.triangles):,} | {len(blob):,} | {build[0]:.2f} "
            f"| {build[1]:.2f} | {send[0]:.2f} | {objects[0]:.0f} |",
            flush=True,
        )
    sender.close()
    listener.close()


if __name__ == "__main__":
    main()
