# SPDX-License-Identifier: Apache-2.0
"""A small load balancer: each connection goes to the ready server that has the fewest."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from types import TracebackType

CHECK_INTERVAL_S = 0.1
START_TIMEOUT_S = 10.0


class LoadBalancer:
    """Listens on a port of this machine, in a thread; a context manager.

    It asks each server's /readyz, and appends the address of its peer to the header X-Forwarded-For.

    Args:
        ports: of the servers, on 127.0.0.1.

    Attributes:
        origin: scheme, host and port of the page.
        ready: ports of the servers that were ready when they were asked last.
        open_counts: connections by port of the server.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self.origin = ""
        self.ready: set[int] = set()
        self.open_counts = dict.fromkeys(ports, 0)
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="load balancer", daemon=True)

    def __enter__(self) -> LoadBalancer:
        self._thread.start()
        assert self._started.wait(START_TIMEOUT_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0, backlog=512)
        self.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        checks = [asyncio.create_task(self._check(port)) for port in self.open_counts]
        self._started.set()
        await self._stop.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *checks, return_exceptions=True)

    async def _check(self, port: int) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                is_ready = (await reader.readline()).split()[1:2] == [b"200"]
                await reader.read()
                writer.close()
            except OSError:
                is_ready = False
            (self.ready.add if is_ready else self.ready.discard)(port)
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            address = writer.get_extra_info("peername")[0].encode()
            forwarded = head[:-2] + b"X-Forwarded-For: " + address + b"\r\n\r\n"
            for port in sorted(self.ready, key=lambda port: self.open_counts[port]):
                self.open_counts[port] += 1
                try:
                    try:
                        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
                    except OSError:
                        continue  # it has just ended
                    server_writer.write(forwarded)
                    ways = [_copy(reader, server_writer), _copy(server_reader, writer)]
                    tasks = [asyncio.create_task(way) for way in ways]
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                    server_writer.close()
                    break
                finally:
                    self.open_counts[port] -= 1
            else:
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of the stream."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
