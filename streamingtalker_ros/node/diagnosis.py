"""The talker's state as a diagnostic_msgs/DiagnosticArray: OK, or WARN with the reason, and the numbers
behind it."""
import time

_ARRAY, _STATUS, _VALUE = (
    f"diagnostic_msgs/msg/{name}" for name in ("DiagnosticArray", "DiagnosticStatus", "KeyValue"))
OK, WARN = 0, 1


def verdict(numbers):
    """dict of `TalkerCore.statistics` -> (level, text)."""
    if numbers["errors"]:
        return WARN, f"{numbers['errors']} frames failed"
    if numbers["dropped"]:
        return WARN, f"{numbers['dropped']} frames were skipped: the model is too slow for this machine"
    if numbers["refused"]:
        return WARN, f"{numbers['refused']} packets were refused"
    return OK, "in time"


def diagnose(core, message_class, now_ns=None, name="talker"):
    """core: TalkerCore; message_class: called with a type name, gives the class (rclpy's or that of
    `messages`)."""
    numbers = core.statistics()
    level, text = verdict(numbers)
    status = message_class(_STATUS)()
    status.level = bytes([level]) if isinstance(status.level, bytes) else level   # rclpy's byte is bytes
    status.name, status.message, status.hardware_id = name, f"{core.state}, {text}", core.talker.device
    frames = numbers["frames"] + numbers["idle_frames"]
    real_time = numbers["busy"] * core.talker.frame_rate / frames if frames else 0.0
    numbers = {"model": core.talker.name, "device": core.talker.device, "state": core.state,
               "real_time_factor": round(real_time, 3), **numbers}
    status.values = [message_class(_VALUE)(key=key, value=str(value)) for key, value in numbers.items()]
    message = message_class(_ARRAY)(status=[status])
    now = time.time_ns() if now_ns is None else now_ns
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 1_000_000_000)
    return message
