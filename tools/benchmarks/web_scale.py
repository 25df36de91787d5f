# SPDX-License-Identifier: Apache-2.0
"""100 scripted visitors of two web servers behind a load balancer: frames, latency, and what /metrics says.

PYTHONPATH=.:test python tools/benchmarks/web_scale.py [--visitors 100] [--seconds 4] [--backend onnx]
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter

import numpy as np
from websockets.asyncio.client import connect

from streamingtalker_ros.web import protocol
from support.load_balancer import LoadBalancer
from support.processes import ProcessGroup
from support.waiting import wait_for
from support.web_metrics import scrape, start_web

PACKET_S = 0.02
TAIL_S = 3.0  # until the last frames have arrived


async def visit(origin: str, number: int, seconds: float, latencies: list[float]) -> int:
    """Speak in real time as one visitor; return the number of frames of speech received."""
    frames = 0
    url = origin.replace("http", "ws") + "/socket"
    async with connect(
        url, origin=origin, compression=None, local_addr=(f"127.0.3.{number + 1}", 0)
    ) as socket:  # pyright: ignore[reportArgumentType], a NewType

        async def receive() -> None:
            nonlocal frames
            async for message in socket:
                if isinstance(message, bytes):
                    _, _, _, _, _, model_ms, wait_ms, _ = protocol.HEADER.unpack_from(message)
                    frames += 1
                    latencies.append(model_ms + wait_ms)
                    if frames % 10 == 0:
                        await socket.send(json.dumps({"type": "seen", "count": frames}))

        task = asyncio.create_task(receive())
        await socket.send(json.dumps({"type": "start", "epoch": 1, "rate": 16000, "seed": number}))
        samples = (3000 * np.random.default_rng(number).standard_normal(round(PACKET_S * 16000))).astype(
            "<i2"
        )
        begin = asyncio.get_running_loop().time()
        for k in range(round(seconds / PACKET_S)):
            await socket.send(bytes([protocol.PCM, 1, 0, 0]) + samples.tobytes())
            await asyncio.sleep(max(0.0, begin + (k + 1) * PACKET_S - asyncio.get_running_loop().time()))
        await socket.send(json.dumps({"type": "pause"}))
        await asyncio.sleep(TAIL_S)
        task.cancel()
    return frames


async def visit_all(origin: str, visitors: int, seconds: float) -> tuple[list[int], list[float]]:
    """All visitors at once: frames received by each, and the latency of each frame in ms."""
    latencies: list[float] = []
    counts = await asyncio.gather(*(visit(origin, k, seconds, latencies) for k in range(visitors)))
    return list(counts), latencies


def main() -> None:
    """Run and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--backend", default="auto")
    args = parser.parse_args()
    with ProcessGroup() as processes:
        options = (
            "--trusted-proxy",
            "127.0.0.1",
            "--visitors",
            str(args.visitors),
            "--backend",
            args.backend,
        )
        origins = [start_web(processes, *options)[1] for _ in range(2)]
        with LoadBalancer([int(origin.rpartition(":")[2]) for origin in origins]) as balancer:
            assert wait_for(lambda: len(balancer.ready) == 2)
            counts, latencies = asyncio.run(visit_all(balancer.origin, args.visitors, args.seconds))
        total: Counter[str] = Counter()
        for origin in origins:
            total += scrape(origin)
    p50, p99 = np.percentile(latencies, [50, 99])
    print(f"visitors {len(counts)}, frames of each {min(counts)} to {max(counts)}, received {sum(counts)}")
    sent = total["frames_sent_total{speech}"]
    overload = total["frames_dropped_total{overload}"]
    print(f"/metrics: sent {sent:.0f}, dropped under overload {overload:.0f}")
    print(f"latency of a frame: median {p50:.0f} ms, 99 % {p99:.0f} ms")


if __name__ == "__main__":
    main()
