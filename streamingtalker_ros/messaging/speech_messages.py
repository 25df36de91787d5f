# SPDX-License-Identifier: Apache-2.0
"""Messages of speech: what the face says, and the sound in step with its lips.

`audio_synced` carries the audio of each frame, published with the frame: a loudspeaker that plays it as it
arrives is in step with the face, whatever the audio's source and its delay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.pcm import to_int16
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.audio_common import Variant
from streamingtalker_ros.messaging.header import MessageClassLookup, set_header

SAY_TOPIC: Final = "say"
SAY_STATE_TOPIC: Final = "say_state"
AUDIO_SYNCED_TOPIC: Final = "audio_synced"
AUDIO_SYNCED_INFO_TOPIC: Final = "audio_synced_info"
TEXT_TYPE: Final = "std_msgs/msg/String"
STATUS_TYPE: Final = "streamingtalker_ros/msg/SpeechStatus"
SAY_ACTION: Final = "streamingtalker_ros/action/Say"

SYNCED_FORMAT: Final = AudioFormat(SAMPLE_RATE, 1, "s16")
"""Format of `audio_synced`."""


@dataclass(frozen=True)
class SpeechAction:
    """An action that says something; a status is a `speech_synthesis.speaker.SpeechStatus`.

    Attributes:
        type_name: Its type.
        content: Returns the text and the bytes of the sound file of a goal.
        feedback: Returns the fields of the feedback that reports a status, none if there is none to publish.
        result: Returns the fields of the result of a last status.
    """

    type_name: str
    content: Callable[[Any], tuple[str, bytes]]
    feedback: Callable[[Any], dict[str, Any]]
    result: Callable[[Any], dict[str, Any]]


SAY: Final = SpeechAction(
    SAY_ACTION,
    lambda goal: (goal.text, bytes(goal.audio)),
    lambda status: {
        "state": status.state.value,
        "time": float(status.seconds),
        "duration": float(status.duration),
    },
    lambda status: {
        "outcome": status.state.value,
        "message": status.message,
        "duration": float(status.duration),
    },
)

ROS4HRI_TTS: Final = SpeechAction(
    "tts_msgs/action/TTS",
    lambda goal: (goal.input, b""),
    lambda status: {},  # the word that is said, which a text-to-speech command does not tell
    lambda status: {
        "error_msg": "" if status.state.value == "finished" else status.message or status.state.value
    },
)


def to_speech_status(message: Any, status: Any, stamp: int, frame_id: str) -> Any:
    """Write the status of an utterance into a SpeechStatus message, and return the message.

    Args:
        message: An empty message, which is modified.
        status: `speech_synthesis.speaker.SpeechStatus`.
        stamp: ns, the present time.
        frame_id: tf frame of the head.
    """
    set_header(message.header, stamp, frame_id)
    message.id, message.text, message.state = status.identifier, status.text, status.state.value
    message.time, message.duration = float(status.seconds), float(status.duration)
    message.message = status.message
    return message


class SyncedAudioBuilder:
    """Builds the messages of `audio_synced`.

    Args:
        message_class: Returns the class of a message type.
        variant: Variant of audio_common_msgs.
        frame_id: tf frame of the head.
    """

    def __init__(self, message_class: MessageClassLookup, variant: Variant, frame_id: str) -> None:
        self.type_name = audio_common.PUBLISHED_TYPES[variant]
        """Type of the messages."""
        self.has_info = variant == "ros-drivers"
        """Whether the format is published besides, on `AUDIO_SYNCED_INFO_TOPIC`."""
        self._message_class = message_class
        self._frame_id = frame_id

    def build(self, audio: npt.NDArray[np.float32], stamp: int) -> Any:
        """Return the message of a frame's audio.

        Args:
            audio: (n,) float32 at 16 kHz.
            stamp: ns, that of the frame.
        """
        message = self._message_class(self.type_name)()
        return audio_common.to_audio_message(
            message, self.type_name, to_int16(audio), SYNCED_FORMAT, stamp, self._frame_id
        )

    def build_info(self) -> Any:
        """Return the AudioInfo of ros-drivers that describes the messages."""
        return audio_common.to_audio_info(self._message_class(audio_common.INFO_TYPE)(), SYNCED_FORMAT)
