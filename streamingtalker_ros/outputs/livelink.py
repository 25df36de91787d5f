# SPDX-License-Identifier: Apache-2.0
"""Datagrams of the Live Link Face app, version 6, which Unreal Engine's plugin "Apple ARKit Face" receives.

| Field | Type, big-endian |
|---|---|
| version | uint8, 6 |
| device | int32 length, that many bytes of UTF-8 |
| subject | int32 length, that many bytes of UTF-8 |
| frame of the timecode | int32, counted from midnight |
| fraction of the frame | float32 |
| rate | int32 numerator, int32 denominator |
| number of values | uint8, 61 |
| values | 61 × float32 |

The values are the 52 shapes in Apple's order, which is that of the engine's `EARFaceBlendShape` (the app's
CSV files exchange left and right of jaw and mouth; its datagrams do not), then yaw, pitch and roll in radians
of the head, the left eye and the right eye, as `face.formats.livelink` writes them.
"""

from __future__ import annotations

import struct
import uuid
from typing import Final

import numpy as np

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.formats.livelink import ANGLES, eye_angles
from streamingtalker_ros.face.rotation import quaternion_to_euler
from streamingtalker_ros.outputs.address import OutputAddress
from streamingtalker_ros.outputs.timeline import Pose

VERSION: Final = 6
NUM_VALUES: Final = len(ARKIT_NAMES) + len(ANGLES)
_TIME: Final = struct.Struct("!ifiiB")


class LiveLinkEncoder:
    """Encodes poses as datagrams of the Live Link Face app.

    Args:
        address: A `livelink://` address. Without `device`, the device has an identifier derived from the
            subject, as the app has one for each phone.
    """

    def __init__(self, address: OutputAddress) -> None:
        self._rate = address.rate
        subject = address.text("subject")
        device = address.text("device") or str(uuid.uuid5(uuid.NAMESPACE_DNS, subject)).upper()
        self._start = struct.pack("!B", VERSION) + b"".join(
            struct.pack("!i", len(data)) + data for data in (device.encode(), subject.encode())
        )

    def encode(self, pose: Pose) -> bytes:
        """Return the datagram of a pose.

        Args:
            pose: The pose; its number is the frame of the timecode.
        """
        values = np.empty(NUM_VALUES, ">f4")
        values[: len(ARKIT_NAMES)] = pose.weights
        values[len(ARKIT_NAMES) : -6] = quaternion_to_euler(pose.head)
        values[-6:] = eye_angles(pose.weights[None])[0]
        return self._start + _TIME.pack(pose.number, 0.0, self._rate, 1, NUM_VALUES) + values.tobytes()
