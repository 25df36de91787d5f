# SPDX-License-Identifier: Apache-2.0
"""Counters of the web server, and their text in the format of Prometheus.

The event loop's thread writes all counters and reads them, so that a scrape sees consistent values. Frames
count when they are sent: the sums over all visitors equal what those received.
"""

from __future__ import annotations

import bisect
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from streamingtalker_ros import __version__
from streamingtalker_ros.errors import require
from streamingtalker_ros.web import protocol

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

    from streamingtalker_ros.web.app import WebContext

LATENCY_BOUNDS_S: Final = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
"""Upper bounds of the histogram's buckets."""

LATE_FRAME_S: Final = 0.1
"""Latency above which a frame counts as late; one of `LATENCY_BOUNDS_S`."""

REFUSAL_REASONS: Final = (
    "full",
    "address_share",
    "draining",
    "session_rate",
    "request_rate",
    "connection_rate",
    "evicted",
    "host",
    "token",
    "origin",
)
"""Values of the label `reason` of refused connections."""

SESSION_STATES: Final = ("connected", "watching", "waiting", "speaking", "closing", "interrupted", "idle")
"""Values of the label `state` of sessions: those of `StreamState`, of a session without a stream, and of one
that watches a talker."""

_PREFIX: Final = "streamingtalker_"


class WebMetrics:
    """Counters since the start of the server.

    Attributes:
        sessions_opened: sessions that began.
        frames_sent: frames that were sent, by kind: "speech", "idle" or "watched".
        late_frames: sent frames of speech whose latency exceeded `LATE_FRAME_S`.
        frames_dropped: frames that were not sent, by reason: "overload" (the audio was skipped) or
            "slow_client", of sessions that have ended.
        audio_seconds: duration of the audio that sessions sent.
        refused: connections, WebSockets and requests that were refused, by reason.
    """

    def __init__(self) -> None:
        self.sessions_opened = 0
        self.frames_sent: Counter[str] = Counter()
        self.late_frames = 0
        self.frames_dropped: Counter[str] = Counter()
        self.audio_seconds = 0.0
        self.refused: Counter[str] = Counter()
        self._latency_counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self._latency_sum = 0.0
        self._start = time.monotonic()

    @property
    def uptime_seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._start

    def count_frame(self, message: bytes, watched: bool) -> None:
        """Count a binary message that was sent; audio is not counted.

        Args:
            message: as `protocol` encodes it.
            watched: whether it is of a watched talker, whose latency the server does not know.
        """
        kind, _, flags, _, _, model_ms, wait_ms, _ = protocol.HEADER.unpack_from(message)
        if kind == protocol.AUDIO:
            return
        if watched:
            self.frames_sent["watched"] += 1
        elif flags & protocol.IDLE:
            self.frames_sent["idle"] += 1
        else:
            self.frames_sent["speech"] += 1
            seconds = (model_ms + wait_ms) / 1000
            self._latency_counts[bisect.bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
            self._latency_sum += seconds
            self.late_frames += seconds > LATE_FRAME_S

    def latency_buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Return the cumulative buckets of the latency, [(upper bound in s, count)], and the sum in s."""
        buckets: list[tuple[str, float]] = []
        total = 0
        bounds = (*(f"{bound:g}" for bound in LATENCY_BOUNDS_S), "+Inf")
        for bound, count in zip(bounds, self._latency_counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets, self._latency_sum


class MetricsPage:
    """Text of all metrics of a server.

    Args:
        context: state of the server.

    Raises:
        TalkerError: if prometheus_client is not installed.
    """

    def __init__(self, context: WebContext) -> None:
        self._client: Any = require("prometheus_client", "the page /metrics")
        core: Any = require("prometheus_client.core", "the page /metrics")
        self._counter: type[CounterMetricFamily] = core.CounterMetricFamily
        self._gauge: type[GaugeMetricFamily] = core.GaugeMetricFamily
        self._histogram: Any = core.HistogramMetricFamily
        self._context = context
        self._registry: Any = self._client.CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._client.ProcessCollector(registry=self._registry)  # CPU seconds, memory, file descriptors

    @property
    def media_type(self) -> str:
        """Of the text, with its version."""
        return self._client.CONTENT_TYPE_LATEST

    def render(self) -> bytes:
        """Return the present values in Prometheus's text format."""
        return self._client.generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the present values; `prometheus_client` calls this for each text."""
        context = self._context
        metrics, worker, guard = context.metrics, context.worker, context.guard
        info = {"version": __version__, "model": context.talker.name, "device": str(context.talker.device)}
        yield self._labelled_gauge("info", "Version and model; always 1.", {tuple(info.items()): 1})
        yield self._plain_gauge("uptime_seconds", "Time since the start.", metrics.uptime_seconds)
        yield self._plain_gauge(
            "ready", "1 if a further visitor would be accepted.", float(not context.unready_reason)
        )
        yield self._plain_gauge("visitors", "Open sessions.", context.session_count)
        yield self._plain_gauge("visitors_limit", "Sessions that may be open.", context.limits.max_sessions)
        yield self._plain_gauge("connections", "Open TCP connections.", guard.connection_count)
        states = Counter(session.state for session in context.sessions)
        yield self._labelled_gauge(
            "sessions",
            "Open sessions by state.",
            {(("state", name),): states[name] for name in SESSION_STATES},
        )
        yield self._plain_counter("sessions_opened", "Sessions since the start.", metrics.sessions_opened)
        yield self._by_label(
            "frames_sent",
            "Frames sent to visitors.",
            "kind",
            metrics.frames_sent,
            ("speech", "idle", "watched"),
        )
        dropped = metrics.frames_dropped.copy()
        for session in context.sessions:
            dropped.update(session.dropped_frames())
        yield self._by_label(
            "frames_dropped",
            "Frames not sent: their audio was skipped under overload, or the visitor reads too slowly.",
            "reason",
            dropped,
            ("overload", "slow_client"),
        )
        yield self._plain_counter(
            "frames_late",
            f"Sent frames of speech with a latency above {LATE_FRAME_S:g} s.",
            metrics.late_frames,
        )
        buckets, total = metrics.latency_buckets()
        yield self._histogram(
            f"{_PREFIX}frame_latency_seconds",
            "From the arrival of a frame's last audio to the frame, of sent frames of speech.",
            buckets=buckets,
            sum_value=total,
        )
        yield self._plain_counter(
            "audio_received_seconds", "Duration of the audio that visitors sent.", metrics.audio_seconds
        )
        yield self._plain_counter(
            "batch_steps", "Steps of the model, for all sessions at once.", worker.steps
        )
        yield self._plain_counter("model_seconds", "Time that these steps took.", worker.model_seconds)
        if context.output is not None:
            yield self._outputs(context.output.statistics())
        refused = metrics.refused.copy()
        refused.update({"connection_rate": guard.rejected_count, "evicted": guard.evicted_count})
        yield self._by_label(
            "refused", "Connections, WebSockets and requests refused.", "reason", refused, REFUSAL_REASONS
        )

    def _outputs(self, statistics: list[dict[str, Any]]) -> CounterMetricFamily:
        family = self._counter(
            f"{_PREFIX}output_poses",
            "Poses of the live outputs, by what became of them.",
            labels=["output", "result"],
        )
        for values in statistics:
            for result in ("sent", "dropped"):
                family.add_metric([values["address"], result], values[result])
        return family

    def _plain_gauge(self, name: str, description: str, value: float) -> GaugeMetricFamily:
        return self._gauge(_PREFIX + name, description, value=value)

    def _plain_counter(self, name: str, description: str, value: float) -> CounterMetricFamily:
        return self._counter(_PREFIX + name, description, value=value)

    def _labelled_gauge(
        self, name: str, description: str, values: dict[tuple[tuple[str, str], ...], float]
    ) -> GaugeMetricFamily:
        labels = [label for label, _ in next(iter(values))]
        family = self._gauge(_PREFIX + name, description, labels=labels)
        for pairs, value in values.items():
            family.add_metric([text for _, text in pairs], value)
        return family

    def _by_label(
        self, name: str, description: str, label: str, values: Counter[str], labels: Iterable[str]
    ) -> CounterMetricFamily:
        family = self._counter(_PREFIX + name, description, labels=[label])
        for text in labels:
            family.add_metric([text], values[text])
        return family
