# SPDX-License-Identifier: Apache-2.0
"""Recognizes the face's own voice in the partner's microphone, by the envelopes of both in frequency bands.

An echo has the envelope of the face's own voice some time before; a partner who speaks into it has not. It is
a guard against self-interruption, no echo canceller: a microphone's own canceller does better.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.conversation.prosody import SILENCE_DB

MAX_ECHO_DELAY_S: Final = 0.8
"""s by which an echo may follow the face's newest audio: loudspeaker, room, microphone and buffers."""

MIN_CORRELATION: Final = 0.7
"""Of the envelopes in dB, from which on the partner's audio is an echo."""

HOLD_S: Final = 0.5
"""s after an echo in which the partner's audio counts as one."""

BAND_EDGES_HZ: Final = (100.0, 400.0, 1000.0, 2000.0, 3500.0, 8000.0)
"""Hz, edges of the bands."""

BLOCK_S: Final = 0.02
"""s, duration of one point of an envelope."""

BLOCK_SAMPLES: Final = round(BLOCK_S * SAMPLE_RATE)

_WINDOW: Final = round(0.6 / BLOCK_S)  # blocks that are compared
_LAGS: Final = round(MAX_ECHO_DELAY_S / BLOCK_S)
_RANGE_DB: Final = 30.0  # below its peak an envelope is noise
_MIN_DEVIATION_DB: Final = 3.0  # of an envelope; a steadier one tells nothing
_BANDS: Final = len(BAND_EDGES_HZ) - 1
_MEMORY_S: Final = (_WINDOW + _LAGS) * BLOCK_S
_BINS: Final = np.array([round(edge * BLOCK_SAMPLES / SAMPLE_RATE) for edge in BAND_EDGES_HZ])
_MIN_POWER: Final = 10.0 ** (0.1 * SILENCE_DB)


class EchoGuard:
    """Compares the envelopes of a partner's audio with those of the face's own voice."""

    def __init__(self) -> None:
        self._own = np.full((_WINDOW + _LAGS - 1, _BANDS), SILENCE_DB)
        self._partner = np.full((_WINDOW, _BANDS), SILENCE_DB)
        self._since_echo_s = HOLD_S
        self._silent_s = _MEMORY_S

    def reset(self) -> None:
        """Forget both voices."""
        self._own[:] = SILENCE_DB
        self._partner[:] = SILENCE_DB
        self._since_echo_s = HOLD_S
        self._silent_s = _MEMORY_S

    def update(self, own: npt.NDArray[np.float32], partner: npt.NDArray[np.float32], is_voice: bool) -> bool:
        """Process one frame.

        Args:
            own: (n,) float32 newest samples at 16 kHz of the face's own voice.
            partner: (m,) float32 newest samples at 16 kHz of the partner's audio, as a rule as many.
            is_voice: Whether there is a voice in the partner's audio.

        Returns:
            Whether that voice is an echo of the face's own.
        """
        self._silent_s = self._silent_s + len(own) / SAMPLE_RATE if not own.any() else 0.0
        if self._silent_s > _MEMORY_S:  # no echo is possible: nothing is computed
            self._partner[:] = SILENCE_DB
            return False
        own_blocks, partner_blocks = _to_blocks(own), _to_blocks(partner)
        envelopes = _band_envelopes(np.concatenate((own_blocks, partner_blocks)))
        _shift(self._own, envelopes[: len(own_blocks)])
        _shift(self._partner, envelopes[len(own_blocks) :])
        self._since_echo_s += len(own) / SAMPLE_RATE
        if is_voice and self._correlation() >= MIN_CORRELATION:
            self._since_echo_s = 0.0
        return self._since_echo_s < HOLD_S

    def _correlation(self) -> float:
        """Return the greatest correlation coefficient of the envelopes at any delay."""
        own = np.maximum(self._own, self._own.max(axis=0) - _RANGE_DB)
        partner = np.maximum(self._partner, self._partner.max(axis=0) - _RANGE_DB)
        partner -= np.add.reduce(partner, axis=0) / _WINDOW
        products = np.correlate(own.ravel(), partner.ravel(), "valid")[::_BANDS]  # at each delay
        sums, squares = _window_sums(own), _window_sums(own * own)
        own_powers = np.add.reduce(squares - sums * sums / _WINDOW, axis=1)
        least = _MIN_DEVIATION_DB**2 * partner.size
        partner_power = max(float(np.vdot(partner, partner)), least)
        return float((products / np.sqrt(np.maximum(own_powers, least) * partner_power)).max())


def _window_sums(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (lags, bands) sums of `_WINDOW` consecutive rows."""
    totals = np.zeros((len(values) + 1, _BANDS))
    np.cumsum(values, axis=0, out=totals[1:])
    return totals[_WINDOW:] - totals[:-_WINDOW]


def _to_blocks(pcm: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the whole blocks (n, BLOCK_SAMPLES) of audio."""
    return pcm[: len(pcm) // BLOCK_SAMPLES * BLOCK_SAMPLES].reshape(-1, BLOCK_SAMPLES)


def _band_envelopes(blocks: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return (blocks, bands) dB of full scale: power of each block in each band."""
    spectrum = np.fft.rfft(blocks, axis=1)
    power = np.add.reduceat(spectrum.real**2 + spectrum.imag**2, _BINS[:-1], axis=1)
    return 10.0 * np.log10(power.astype(np.float64) / BLOCK_SAMPLES**2 + _MIN_POWER)


def _shift(values: npt.NDArray[np.float64], new: npt.NDArray[np.float64]) -> None:
    """Append rows at the end of an array, in place."""
    count = min(len(new), len(values))
    if count:
        values[:-count] = values[count:]
        values[-count:] = new[-count:]
