# SPDX-License-Identifier: Apache-2.0
"""The talker's health as a diagnostic_msgs/DiagnosticArray: a level, its reason and the counters.

The level covers the last ten seconds, the counters everything since the start. OK: every frame was on time.
WARN: frames were skipped, the sender of the audio makes a mistake (for 30 s after it), packets were rejected
or late, the audio had gaps, or a live output lost poses. ERROR: frames failed, more frames were skipped than
generated, or there is no model.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from streamingtalker_ros.messaging.header import MessageClassLookup, set_stamp

_ARRAY_TYPE: Final = "diagnostic_msgs/msg/DiagnosticArray"
_STATUS_TYPE: Final = "diagnostic_msgs/msg/DiagnosticStatus"
_KEY_VALUE_TYPE: Final = "diagnostic_msgs/msg/KeyValue"
OK, WARN, ERROR = 0, 1, 2
WINDOW_S: Final = 10.0  # what the level covers

_ASSESSED: Final = ("frames", "dropped", "errors", "rejected", "late", "gaps", "discontinuities")


class _Talker(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def family(self) -> str: ...

    @property
    def frame_rate(self) -> float: ...


class Worker(Protocol):
    """What the report reads of `runtime.worker`."""

    @property
    def talker(self) -> _Talker:
        """The model in use."""
        ...

    @property
    def state(self) -> Any:
        """The state of the voice session, printable."""
        ...

    def statistics(self) -> dict[str, Any]:
        """Return all counters, {name of `Statistics`: number}."""
        ...

    def sender_faults(self) -> list[str]:
        """Return what is wrong with the audio's sender at present."""
        ...


def assess(
    recent: Mapping[str, int], sender_faults: Sequence[str] = (), lost_poses: Mapping[str, int] | None = None
) -> tuple[int, str]:
    """Derive the level from recent counts.

    Args:
        recent: {name of `Statistics`: count within the window}.
        sender_faults: What is wrong with the sender of the audio.
        lost_poses: Poses lost within the window, by the address of the live output.

    Returns:
        OK, WARN or ERROR, and the reason.
    """
    period = f"in the last {WINDOW_S:g} s"
    if recent["errors"]:
        return ERROR, f"{recent['errors']} frames failed {period}"
    if recent["dropped"] > recent["frames"]:
        return ERROR, (
            f"{recent['dropped']} frames were skipped and {recent['frames']} generated {period}: the model "
            "is too slow for this machine, set fewer steps or another device"
        )
    if recent["dropped"]:
        return WARN, f"{recent['dropped']} frames were skipped {period}: the machine was too slow for a while"
    if sender_faults:
        return WARN, "; ".join(sender_faults)
    if recent["rejected"]:
        return WARN, f"{recent['rejected']} packets were rejected {period}: see the log for the reason"
    if recent["late"] or recent["gaps"] or recent["discontinuities"]:
        gaps = recent["gaps"] + recent["discontinuities"]
        return WARN, (
            f"{recent['late']} packets were late {period}, the audio had {gaps} gaps: its sender or the "
            "network stutters"
        )
    for address, lost in (lost_poses or {}).items():
        if lost:
            return WARN, (
                f"the output {address} lost {lost} poses {period}: start its receiver, or correct its address"
            )
    return OK, "in time"


class DiagnosticsReporter:
    """Builds the diagnostics of one worker.

    Args:
        worker: the source of the counters.
        message_class: returns the class of a message type.
        name: name of the node.
        clock: time in seconds, monotonic.
        outputs: returns the address and the statistics of each live output, as
            `outputs.OutputGroup.statistics` does.
        extra: returns further values.
    """

    def __init__(
        self,
        worker: Worker,
        message_class: MessageClassLookup,
        name: str = "talker",
        clock: Callable[[], float] = time.monotonic,
        outputs: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
        extra: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._worker, self._message_class, self._name, self._clock = worker, message_class, name, clock
        self._outputs, self._extra = outputs, extra
        # one entry per call, the oldest WINDOW_S old
        self._history = deque([(clock(), worker.statistics(), self._lost_poses(outputs()))])

    def build(self, now_ns: int | None = None) -> Any:
        """Return the DiagnosticArray of this moment; call it about once per second.

        Args:
            now_ns: its stamp, default the system's time.
        """
        worker, counters = self._worker, self._worker.statistics()
        outputs = self._outputs()
        now, lost = self._clock(), self._lost_poses(outputs)
        self._history.append((now, counters, lost))
        while self._history[0][0] < now - WINDOW_S:
            self._history.popleft()
        _, oldest, lost_before = self._history[0]
        recent = {name: counters[name] - oldest[name] for name in _ASSESSED}
        recently_lost = {address: count - lost_before.get(address, 0) for address, count in lost.items()}
        level, reason = assess(recent, worker.sender_faults(), recently_lost)
        frames = counters["frames"] + counters["idle_frames"]
        real_time_factor = counters["model_seconds"] * worker.talker.frame_rate / frames if frames else 0.0
        values = {
            "model": worker.talker.name,
            "family": worker.talker.family,
            "device": worker.talker.device,
            "state": worker.state,
            "real_time_factor": round(real_time_factor, 3),
            **counters,
            **self._extra(),
            **{
                f"output {output['address']} {name}": count
                for output in outputs
                for name, count in output.items()
                if name != "address"
            },
        }
        return build_status_array(
            self._message_class,
            now_ns,
            self._name,
            level,
            f"{worker.state}, {reason}",
            values,
            worker.talker.device,
        )

    @staticmethod
    def _lost_poses(outputs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        return {str(output["address"]): int(output["dropped"]) for output in outputs}


def build_status_array(
    message_class: MessageClassLookup,
    now_ns: int | None,
    name: str,
    level: int,
    text: str,
    values: Mapping[str, Any] | None = None,
    hardware_id: str = "",
) -> Any:
    """Return a DiagnosticArray of one status.

    Args:
        message_class: returns the class of a message type.
        now_ns: stamp of the array, default the system's time.
        name: name of the status.
        level: OK, WARN or ERROR.
        text: message of the status.
        values: its key-value pairs.
        hardware_id: its hardware_id.
    """
    status = message_class(_STATUS_TYPE)()
    status.level = bytes([level]) if isinstance(status.level, bytes) else level  # rclpy's byte is bytes
    status.name, status.message, status.hardware_id = name, text, hardware_id
    key_value = message_class(_KEY_VALUE_TYPE)
    status.values = [key_value(key=key, value=str(value)) for key, value in (values or {}).items()]
    message = message_class(_ARRAY_TYPE)(status=[status])
    set_stamp(message.header.stamp, time.time_ns() if now_ns is None else now_ns)
    return message
