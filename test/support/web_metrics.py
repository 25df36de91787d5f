# SPDX-License-Identifier: Apache-2.0
"""Metrics of web servers as Prometheus reads them, and servers in processes of their own."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from support.processes import ProcessGroup

_ROOT = Path(__file__).parents[2]


def get(origin: str, path: str, source: str = "127.0.0.1", **headers: str) -> tuple[int, str]:
    """Status and body of a GET request.

    Args:
        origin: scheme, host and port.
        path: of the URL.
        source: address of this machine to connect from.
        headers: of the request; underscores stand for hyphens.
    """
    url = urlsplit(origin)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, 20, (source, 0))
    try:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=fields)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def scrape(origin: str, **headers: str) -> Counter[str]:
    """The samples of /metrics, without `streamingtalker_`: `name`, or `name{value of the label}`."""
    status, text = get(origin, "/metrics", **headers)
    assert status == 200, text
    samples: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(sample.labels.values())
            name = sample.name.removeprefix("streamingtalker_")
            samples[f"{name}{{{labels}}}" if labels else name] = sample.value  # pyright: ignore[reportArgumentType], a float
    return samples


def start_web(processes: ProcessGroup, *arguments: str) -> tuple[subprocess.Popen[Any], str]:
    """Start `streamingtalker web` on a free port; the process and its origin, once it is ready.

    Args:
        processes: ends it.
        arguments: further ones of the command line.
    """
    command = (
        sys.executable,
        "-m",
        "streamingtalker_ros",
        "web",
        "--port",
        "0",
        "--device",
        "cpu",
        *arguments,
    )
    path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    process = processes.start(
        *command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("open "):
            url = urlsplit(line.split()[1])
            return process, f"http://127.0.0.1:{url.port}"
    raise AssertionError(f"the server ended with exit code {process.wait()}")
