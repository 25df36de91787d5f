# SPDX-License-Identifier: Apache-2.0
"""Plays audio that arrives in pieces, without ever blocking its sender: `AudioPlayback`."""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError, require

PREFILL_S: Final = 0.06
"""Audio that waits at least before a sound begins: two frames of 40 ms, of which the second may be late."""

_MAX_WAITING_S: Final = 0.5  # beyond it the oldest audio is dropped


class JitterBuffer:
    """Audio between a sender that is not punctual and a sound card that is; for two threads.

    Args:
        rate: Hz.
        prefill: s of audio that wait before a sound begins.
    """

    def __init__(self, rate: int, prefill: float = PREFILL_S) -> None:
        self._prefill = round(prefill * rate)
        self._max_samples = round(_MAX_WAITING_S * rate)
        self._samples: npt.NDArray[np.int16] = np.zeros(0, np.int16)
        self._is_playing = False
        self._lock = threading.Lock()

    def write(self, samples: npt.NDArray[np.int16]) -> None:
        """Append audio.

        Args:
            samples: (n,) int16.
        """
        with self._lock:
            self._samples = np.concatenate([self._samples, samples])[-self._max_samples :]

    def end(self) -> None:
        """Play what waits even if it is short: nothing follows for now."""
        with self._lock:
            self._is_playing = self._is_playing or bool(len(self._samples))

    def read(self, count: int) -> npt.NDArray[np.int16]:
        """Return the next audio, silence where there is none.

        Args:
            count: Number of samples.

        Returns:
            (count,) int16.
        """
        with self._lock:
            if not self._is_playing and len(self._samples) < max(self._prefill, 1):
                return np.zeros(count, np.int16)
            taken, self._samples = self._samples[:count], self._samples[count:]
            self._is_playing = len(taken) == count
        return (
            taken if len(taken) == count else np.concatenate([taken, np.zeros(count - len(taken), np.int16)])
        )

    def clear(self) -> None:
        """Drop what waits."""
        with self._lock:
            self._samples, self._is_playing = self._samples[:0], False


class AudioPlayback:
    """The default loudspeaker.

    Args:
        rate: Hz.

    Raises:
        TalkerError: If `sounddevice` is not installed, or there is no loudspeaker.
    """

    def __init__(self, rate: int) -> None:
        sounddevice = require("sounddevice", "playing audio")
        self._buffer = JitterBuffer(rate)
        try:
            self._stream = sounddevice.RawOutputStream(
                samplerate=rate, channels=1, dtype="int16", latency="low", callback=self._on_block
            )
            self._stream.start()
        except Exception as error:  # PortAudio's, and ValueError where there is no device
            raise TalkerError(
                f"the loudspeaker cannot be opened ({error}): connect one, or subscribe to "
                "audio_synced elsewhere"
            ) from None

    @property
    def latency(self) -> float:
        """Seconds from `play` to the sound: what waits, and the sound card's own buffer."""
        return PREFILL_S + float(self._stream.latency)

    def play(self, samples: npt.NDArray[np.int16]) -> None:
        """Play audio behind what was given before; returns at once.

        Args:
            samples: (n,) int16.
        """
        self._buffer.write(samples)

    def end(self) -> None:
        """Play the last audio even if it is short: nothing follows for now."""
        self._buffer.end()

    def clear(self) -> None:
        """Stop the sound at once."""
        self._buffer.clear()

    def close(self) -> None:
        """Release the loudspeaker."""
        self._stream.close()

    def _on_block(self, out: Any, count: int, *_: object) -> None:
        out[:] = self._buffer.read(count).tobytes()
