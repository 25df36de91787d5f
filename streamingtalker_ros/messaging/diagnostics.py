# SPDX-License-Identifier: Apache-2.0
"""The talker's health as a diagnostic_msgs/DiagnosticArray: a level, its reason, and the numbers behind both.

The level tells of the last ten seconds, the numbers of all since the start. OK: every frame in time. WARN: the face
is not all that it could be: frames skipped, packets refused or late, holes in the audio. ERROR: frames failed, more
were skipped than made, or there is no model.
"""

import time
from collections import deque

_ARRAY, _STATUS, _VALUE = (
    f"diagnostic_msgs/msg/{name}" for name in ("DiagnosticArray", "DiagnosticStatus", "KeyValue")
)
OK, WARN, ERROR = 0, 1, 2
WINDOW = 10.0  # s that the level tells of


def verdict(recent):
    """What was counted of late, {name of `Statistics`: number} -> (level, text)."""
    of = f"in the last {WINDOW:g} s"
    if recent["errors"]:
        return ERROR, f"{recent['errors']} frames failed {of}"
    if recent["dropped"] > recent["frames"]:
        return ERROR, (
            f"{recent['dropped']} frames were skipped and {recent['frames']} made {of}: the model is too "
            "slow for this machine, set fewer steps or another device"
        )
    if recent["dropped"]:
        return WARN, f"{recent['dropped']} frames were skipped {of}: the machine was too slow for a while"
    if recent["rejected"]:
        return WARN, f"{recent['rejected']} packets were refused {of}: see the log for the reason"
    if recent["late"] or recent["gaps"] or recent["discontinuities"]:
        return WARN, (
            f"{recent['late']} packets came late {of}, {recent['gaps'] + recent['discontinuities']} holes were in the "
            "audio: its sender or the network stutters"
        )
    return OK, "in time"


class Diagnosis:
    """core: TalkerWorker; message_class: called with a type name, gives the class (rclpy's or that of `messages`);
    name: of the node."""

    def __init__(self, core, message_class, name="talker") -> None:
        self._core, self._class, self._name = core, message_class, name
        self._past = deque([(time.monotonic(), core.statistics())])  # one a second, the oldest WINDOW old

    def array(self, now_ns=None):
        """The DiagnosticArray of this moment. now_ns: of its stamp, default the system's time."""
        core, numbers = self._core, self._core.statistics()
        moment = time.monotonic()
        self._past.append((moment, numbers))
        while self._past[0][0] < moment - WINDOW:
            self._past.popleft()
        before = self._past[0][1]
        level, text = verdict(
            {
                name: numbers[name] - before[name]
                for name in ("frames", "dropped", "errors", "rejected", "late", "gaps", "discontinuities")
            }
        )
        frames = numbers["frames"] + numbers["idle_frames"]
        real_time = numbers["model_seconds"] * core.talker.frame_rate / frames if frames else 0.0
        values = {
            "model": core.talker.name,
            "device": core.talker.device,
            "state": core.state,
            "real_time_factor": round(real_time, 3),
            **numbers,
        }
        return status_array(
            self._class, now_ns, self._name, level, f"{core.state}, {text}", values, core.talker.device
        )


def status_array(message_class, now_ns, name, level, text, values=None, hardware_id=""):
    """A DiagnosticArray of one status. level: OK, WARN or ERROR; values: dict; now_ns: default the system's time."""
    status = message_class(_STATUS)()
    status.level = bytes([level]) if isinstance(status.level, bytes) else level  # rclpy's byte is bytes
    status.name, status.message, status.hardware_id = name, text, hardware_id
    status.values = [
        message_class(_VALUE)(key=key, value=str(value)) for key, value in (values or {}).items()
    ]
    message = message_class(_ARRAY)(status=[status])
    now = time.time_ns() if now_ns is None else now_ns
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 1_000_000_000)
    return message
