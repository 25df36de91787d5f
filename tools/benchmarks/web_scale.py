# SPDX-License-Identifier: Apache-2.0
"""100 people in conversations on two web servers behind a load balancer, one of which is killed in the end.

    PYTHONPATH=.:test python tools/benchmarks/web_scale.py [--visitors 100] [--seconds 60] [--speaking 0.2]

Every visitor stays connected and says phrases of 2 to 4 s with pauses between, so that a fraction of the time
is speech, `--speaking`; 1 is a crowd that speaks without a pause. The process exits with 1 if a frame was
dropped, if the servers' /metrics differ from what the visitors received, or if killing one cost a
visitor of the other anything.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import soundfile
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streamingtalker_ros.resources import DEMO_AUDIO
from streamingtalker_ros.web import protocol
from support.load_balancer import LoadBalancer
from support.processes import ProcessGroup
from support.waiting import wait_for
from support.web_metrics import scrape, start_web

SAMPLE_RATE = 16_000
PACKET_S = 0.04
PACKET_SAMPLES = round(PACKET_S * SAMPLE_RATE)
PHRASE_S = (2.0, 4.0)
TAIL_S = 3.0  # until the last frames have arrived
KILLED_AFTER_S = 10.0  # of the second part, in which a server is killed


@dataclass
class Visit:
    """What one visitor saw.

    Attributes:
        speech, idle: frames received, by kind.
        latencies: of each frame of speech, in ms: from the end of its audio's arrival until it was sent.
        was_lost: the connection ended before the visitor left.
    """

    speech: int = 0
    idle: int = 0
    latencies: list[float] = field(default_factory=list)
    was_lost: bool = False


async def receive(socket: ClientConnection, visit: Visit) -> None:
    """Count the frames until the connection ends."""
    with contextlib.suppress(ConnectionClosed):
        async for message in socket:
            if isinstance(message, bytes):
                *_, model_ms, wait_ms, _ = protocol.HEADER.unpack_from(message)
                if message[2] & protocol.IDLE:
                    visit.idle += 1
                else:
                    visit.speech += 1
                    visit.latencies.append(model_ms + wait_ms)


async def acknowledge(socket: ClientConnection, visit: Visit) -> None:
    """Say each second how many frames have arrived, as a page does, until the connection ends."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await socket.send(json.dumps({"type": "seen", "count": visit.speech + visit.idle}))
            await asyncio.sleep(1.0)


async def converse(
    origin: str, number: int, seconds: float, speaking: float, voice: npt.NDArray[np.int16]
) -> Visit:
    """Stay for some seconds as one visitor who speaks a fraction of the time."""
    visit, rng = Visit(), np.random.default_rng(number)
    clock = asyncio.get_running_loop().time
    try:
        async with connect(
            origin.replace("http", "ws") + "/socket",
            origin=origin,  # pyright: ignore[reportArgumentType], a NewType
            compression=None,
            local_addr=(f"127.0.3.{number + 1}", 0),
        ) as socket:
            tasks = [asyncio.create_task(work(socket, visit)) for work in (receive, acknowledge)]
            end = clock() + seconds
            await asyncio.sleep(rng.uniform(0.0, (1.0 - speaking) * sum(PHRASE_S) / 2.0 / speaking))
            epoch = 0
            while clock() < end:
                phrase = rng.uniform(*PHRASE_S)
                epoch += 1
                await socket.send(json.dumps({"type": "start", "epoch": epoch, "rate": SAMPLE_RATE}))
                header = bytes([protocol.PCM, epoch, 0, 0])
                first, begin = int(rng.integers(len(voice))), clock()
                for k in range(round(phrase / PACKET_S)):
                    packet = np.take(
                        voice, first + k * PACKET_SAMPLES + np.arange(PACKET_SAMPLES), mode="wrap"
                    )
                    await socket.send(header + packet.tobytes())
                    await asyncio.sleep(max(0.0, begin + (k + 1) * PACKET_S - clock()))
                await socket.send(json.dumps({"type": "pause"}))
                await asyncio.sleep(max(phrase * (1.0 - speaking) / speaking * rng.uniform(0.5, 1.5), 0.0))
            await asyncio.sleep(TAIL_S)
            for task in tasks:
                task.cancel()
    except ConnectionClosed:
        visit.was_lost = True
    return visit


async def converse_all(
    origin: str, visitors: int, seconds: float, speaking: float, voice: npt.NDArray[np.int16]
) -> list[Visit]:
    """All visitors at once."""
    return await asyncio.gather(
        *(converse(origin, number, seconds, speaking, voice) for number in range(visitors))
    )


def report(visits: list[Visit], metrics: Counter[str]) -> bool:
    """Print what visitors saw and servers say; return whether they agree and no frame is missing."""
    speech, idle = sum(visit.speech for visit in visits), sum(visit.idle for visit in visits)
    sent = metrics["frames_sent_total{speech}"], metrics["frames_sent_total{idle}"]
    dropped = sum(value for name, value in metrics.items() if name.startswith("frames_dropped_total"))
    p50, p99 = np.percentile(np.concatenate([visit.latencies for visit in visits]), [50, 99])
    print(f"received {speech} frames of speech, {idle} idle; /metrics: sent {sent[0]:.0f}, {sent[1]:.0f}")
    print(f"dropped {dropped:.0f}; latency of a frame: median {p50:.0f} ms, 99 % {p99:.0f} ms", flush=True)
    return (speech, idle) == sent and not dropped


def main() -> int:
    """Run, print the results, and return the exit status."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("--visitors", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--speaking", type=float, default=0.2, help="fraction of the time, above 0 to 1")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto")
    args = parser.parse_args()
    voice = soundfile.read(DEMO_AUDIO, dtype="int16")[0].astype(np.int16)
    options = ("--trusted-proxy", "127.0.0.1", "--visitors", str(args.visitors))
    options += ("--backend", args.backend, "--precision", args.precision)
    crowd = args.visitors, args.seconds, args.speaking, voice
    with ProcessGroup() as processes:
        servers = [start_web(processes, *options) for _ in range(2)]
        origins = [origin for _, origin in servers]
        with LoadBalancer([int(origin.rpartition(":")[2]) for origin in origins]) as balancer:
            assert wait_for(lambda: len(balancer.ready) == 2)
            visits = asyncio.run(converse_all(balancer.origin, *crowd))
            metrics = sum((scrape(origin) for origin in origins), Counter[str]())
            print(f"{len(visits)} visitors, {sum(visit.was_lost for visit in visits)} lost")
            is_right = report(visits, metrics) and not any(visit.was_lost for visit in visits)

            before, killed = scrape(origins[1]), 0

            async def converse_and_kill() -> list[Visit]:
                nonlocal killed
                task = asyncio.create_task(converse_all(balancer.origin, *crowd))
                await asyncio.sleep(KILLED_AFTER_S)
                killed = balancer.open_counts[int(origins[0].rpartition(":")[2])]
                servers[0][0].send_signal(signal.SIGKILL)
                return await task

            visits = asyncio.run(converse_and_kill())
            after = scrape(origins[1])
        lost = sum(visit.was_lost for visit in visits)
        print(f"one of two servers killed: {killed} visitors were on it, {lost} were lost")
        after.subtract(before)
        kept = [visit for visit in visits if not visit.was_lost]
        return 0 if report(kept, after) and lost == killed and is_right else 1


if __name__ == "__main__":
    sys.exit(main())
