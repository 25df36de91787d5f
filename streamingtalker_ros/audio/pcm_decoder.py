# SPDX-License-Identifier: Apache-2.0
"""Decodes payloads of interleaved little-endian PCM to mono float32 at the payload's own rate."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.downmix import Downmixer
from streamingtalker_ros.audio.packet import AudioFormat

_LENGTH_HISTORY: Final = 8  # packets whose lengths make a truncated packet conspicuous
_MAX_COMPARED_BYTES: Final = 8192  # of a packet, to decide about its alignment
_MIN_COMPARED_SAMPLES: Final = 8
_MIN_EXPONENT: Final = 127 - 40  # biased, of a float32: 2^-40
_MAX_EXPONENT: Final = 127 + 4
_HISTORY_WEIGHT: Final = 0.8  # of the past in the smoothed byte profile
_MAX_UNMEASURED: Final = 64  # packets that are not in it yet; those before would count by 1e-6
_DECISIVE_RATIO: Final = 4.0  # between the roughness of two alignments
_DECISIVE_PROFILE_RATIO: Final = 2.0  # between the distances of two alignments from the stream's byte profile
_MIN_PROFILE_DISTANCE: Final = 0.3  # of the 0 to 2 between two byte profiles


class PcmDecoder:
    """Decodes the consecutive packets of one audio stream.

    A packet may end within a sample, or within the samples of several channels. The incomplete rest is
    carried over to the next packet, so that audio may be cut at any byte. The exception: a packet may have
    been truncated by its sender; then the next one begins with a complete sample, and carrying the rest over
    would shift all later samples. Truncation is considered if a packet is shorter than its neighbours and
    does not end with a complete sample. Both alignments are compared, since samples that are read one byte
    off are noise. While they cannot be distinguished (silence, white noise), the rest is carried over and
    the comparison is repeated with the next packet.

    Args:
        audio_format: layout of the payloads.

    Attributes:
        format: layout of the payloads.
        nonfinite: NaN and infinite samples that were replaced by silence so far.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self.format = audio_format
        self.nonfinite = 0
        self._downmixer = Downmixer(audio_format.channels, audio_format.sample_rate)
        self._profile: npt.NDArray[np.float64] | None = None  # of the stream, see `_measure_profile`
        # measured when an alignment is in doubt, which most streams never are
        self._unmeasured: deque[bytes] = deque(maxlen=_MAX_UNMEASURED)
        self._lengths: deque[int] = deque(maxlen=_LENGTH_HISTORY)  # bytes of the latest packets
        self.reset()

    def reset(self) -> None:
        """Discard the rest of the last packet: after a loss it does not continue in the next one."""
        self._tail = b""  # the last bytes received, up to one sample of every channel
        self._carried = 0  # bytes of the tail that belong before the next packet
        self._alternative: int | None = (
            None  # the same if a packet was truncated; None if that is not in doubt
        )

    def sample_count(self, payload: bytes) -> int:
        """Return the number of samples that `decode(payload)` would return now."""
        carried, _ = self._align(payload)
        return (carried + len(payload)) // self.format.frame_bytes

    def decode(self, payload: bytes) -> npt.NDArray[np.float32]:
        """Decode one packet.

        Integers are divided by 2**(bits - 1), so that -1 ≤ x < 1. Floats beyond ±1 are clipped; NaN and
        infinities become silence and are counted.

        Args:
            payload: the packet's bytes, any number of them.

        Returns:
            (n,) float32, the channels mixed by `Downmixer`.
        """
        payload = bytes(payload)
        frame_bytes = self.format.frame_bytes
        carried, alternative = self._align(payload)
        data = self._tail[len(self._tail) - carried :] + payload
        complete = len(data) - len(data) % frame_bytes
        self._unmeasured.append(data[: min(complete, _MAX_COMPARED_BYTES)])
        self._lengths.append(len(payload))
        self._tail = (self._tail + payload[-frame_bytes:])[-frame_bytes:]
        self._carried = len(data) - complete
        self._alternative = None if alternative is None else (alternative + len(payload)) % frame_bytes
        samples = self._to_float(data[:complete]).reshape(-1, self.format.channels)
        return self._downmixer.mix(samples)

    def _align(self, payload: bytes) -> tuple[int, int | None]:
        """Return how many bytes of the tail belong before `payload`.

        Returns:
            The bytes, and their number if a packet was truncated before, None if that is not in doubt.
        """
        carried, alternative = self._carried, self._alternative
        if carried and self._last_was_short(len(payload)):
            alternative = 0
        if alternative is None or alternative == carried:
            return carried, None
        head = payload[:_MAX_COMPARED_BYTES]
        as_carried, as_alternative = (
            self._tail[len(self._tail) - count :] + head for count in (carried, alternative)
        )
        rough, rough_alternative = self._roughness(as_carried), self._roughness(as_alternative)
        fits = self._compare_profiles(as_carried, as_alternative)
        if rough is None or rough_alternative is None:
            return carried, alternative
        if rough > _DECISIVE_RATIO * rough_alternative and fits <= 0:
            return alternative, None
        if rough_alternative > _DECISIVE_RATIO * rough and fits >= 0:
            return carried, None
        return carried, alternative

    def _last_was_short(self, length: int) -> bool:
        """Return whether the last packet is shorter than most, and most are whole samples, as this one."""
        if length % self.format.frame_bytes or not self._lengths:
            return False
        typical, count = Counter(self._lengths).most_common(1)[0]
        return count > 1 and typical % self.format.frame_bytes == 0 and self._lengths[-1] < typical

    def _roughness(self, data: bytes) -> float | None:
        """Return how unlike audio the samples are.

        Returns:
            The mean change of integers from one sample to the next; the fraction of floats that are neither 0
            nor of a magnitude that occurs in audio. None if the data are too short.
        """
        count = len(data) // self.format.frame_bytes
        if count < _MIN_COMPARED_SAMPLES:
            return None
        data = data[: count * self.format.frame_bytes]
        if self.format.encoding == "f32":
            magnitudes = np.frombuffer(data, "<u4") & 0x7FFFFFFF
            exponents = magnitudes >> 23
            plausible = (magnitudes == 0) | ((exponents >= _MIN_EXPONENT) & (exponents <= _MAX_EXPONENT))
            return 1.0 - float(plausible.mean())
        return float(np.abs(np.diff(self._to_float(data).reshape(count, -1), axis=0)).mean())

    def _compare_profiles(self, first: bytes, second: bytes) -> int:
        """Return 1 if the first fits the stream's byte profile better, -1 if the second, 0 if neither."""
        self._update_profile()
        profiles = self._measure_profile(first), self._measure_profile(second)
        if self._profile is None or profiles[0] is None or profiles[1] is None:
            return 0
        distances = [
            float(np.abs(profile - self._profile).sum()) for profile in profiles if profile is not None
        ]
        if max(distances) < _MIN_PROFILE_DISTANCE:
            return 0
        if distances[1] > _DECISIVE_PROFILE_RATIO * distances[0]:
            return 1
        return -1 if distances[0] > _DECISIVE_PROFILE_RATIO * distances[1] else 0

    def _update_profile(self) -> None:
        while self._unmeasured:
            profile = self._measure_profile(self._unmeasured.popleft())
            if profile is not None and self._profile is not None:
                profile = _HISTORY_WEIGHT * self._profile + (1 - _HISTORY_WEIGHT) * profile
            self._profile = self._profile if profile is None else profile

    def _measure_profile(self, data: bytes) -> npt.NDArray[np.float64] | None:
        """Return how much each byte of an integer changes: the low one at random, the high one hardly.

        Returns:
            (bytes per sample,) mean change from one sample to the next, their sum 1; None for floats, and if
            the data are too short or do not change.
        """
        frame_bytes, sample_bytes = self.format.frame_bytes, self.format.bytes_per_sample
        count = min(len(data), _MAX_COMPARED_BYTES) // frame_bytes
        if self.format.encoding == "f32" or sample_bytes == 1 or count < _MIN_COMPARED_SAMPLES:
            return None
        rows = np.frombuffer(data, np.uint8, count * frame_bytes).reshape(count, frame_bytes)
        changes = np.abs(np.diff(rows, axis=0).view(np.int8).astype(np.int16))
        profile = changes.reshape(-1, sample_bytes).mean(axis=0, dtype=np.float64)
        total = float(profile.sum())
        return profile / total if total > 0 else None

    def _to_float(self, data: bytes) -> npt.NDArray[np.float32]:
        """Convert bytes of whole samples to (n,) float32 in -1..1."""
        samples = bytes_to_float32(data, self.format.encoding)
        if self.format.encoding != "f32":
            return samples
        nonfinite = ~np.isfinite(samples)
        if nonfinite.any():
            self.nonfinite += int(nonfinite.sum())
            samples[nonfinite] = 0
        return np.clip(samples, -1, 1)


def bytes_to_float32(data: bytes, encoding: str) -> npt.NDArray[np.float32]:
    """Convert bytes of whole samples to (n,) float32.

    Args:
        data: little-endian samples.
        encoding: an encoding of `AudioFormat`.

    Returns:
        Integers divided by 2**(bits - 1); floats unchanged, in an array of their own.
    """
    if encoding == "u8":
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) * _full_scale(8)
    if encoding == "s8":
        return np.frombuffer(data, np.int8).astype(np.float32) * _full_scale(8)
    if encoding == "s16":
        return np.frombuffer(data, "<i2").astype(np.float32) * _full_scale(16)
    if encoding == "s24":  # into the upper three bytes of a 32-bit integer, which extends the sign
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return padded.view("<i4")[:, 0].astype(np.float32) * _full_scale(32)
    if encoding == "s32":
        return np.frombuffer(data, "<i4").astype(np.float32) * _full_scale(32)
    return np.frombuffer(data, "<f4").astype(np.float32)


def _full_scale(bits: int) -> np.float32:
    return np.float32(2.0 ** (1 - bits))  # typed: numpy 1 would widen the array for a large Python integer
