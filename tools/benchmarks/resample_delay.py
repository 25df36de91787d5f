# SPDX-License-Identifier: Apache-2.0
"""Delay and pass band of each soxr engine in packets of 20 ms, as a Markdown table.

    python tools/benchmarks/resample_delay.py

Delay: duration of the audio sent minus duration of the audio received, after each packet; minimum and
maximum.
"""

from typing import Any

import numpy as np
import soxr

from streamingtalker_ros.audio.constants import SAMPLE_RATE

RATES = (8000, 22050, 24000, 44100, 48000, 96000, 192000)
ENGINES = (("QQ", False), ("LQ", False), ("MQ", False), ("HQ", False), ("VHQ", False), ("HQ", True))


def open_resampler(rate: int, quality: str, variable: bool) -> Any:
    """Return a soxr stream from `rate` Hz to the model's rate."""
    return soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality=quality, vr=variable)


def measure_delay(rate: int, quality: str, variable: bool) -> tuple[float, float]:
    """Return minimum and maximum delay in ms, after the first second."""
    stream, block, received = open_resampler(rate, quality, variable), rate // 50, 0
    delays: list[float] = []
    for k in range(1, 301):
        received += len(stream.resample_chunk(np.zeros(block, np.float32)))
        delays.append(1000 * (k * block / rate - received / SAMPLE_RATE))
    return min(delays[50:]), max(delays[50:])


def measure_level(rate: int, frequency: float, quality: str, variable: bool) -> float:
    """Return the output level in dB of a full-scale tone."""
    wave = np.sin(2 * np.pi * frequency * np.arange(rate) / rate).astype(np.float32)
    inner = open_resampler(rate, quality, variable).resample_chunk(wave, last=True)[2000:14000]
    return max(-120.0, 20 * np.log10(np.sqrt(2 * np.mean(inner**2)) + 1e-9))


def main() -> None:
    """Print the table."""
    rates = " | ".join(f"{rate / 1000:g} kHz" for rate in RATES)
    print(f"| engine | {rates} | 7.5 kHz kept | 9 kHz alias |")
    print("|---" * (len(RATES) + 3) + "|")
    for quality, variable in ENGINES:
        cells = ["{:.1f}–{:.1f}".format(*measure_delay(rate, quality, variable)) for rate in RATES]
        cells += [
            f"{measure_level(48000, frequency, quality, variable):.1f} dB" for frequency in (7500, 9000)
        ]
        print(f"| {'variable rate' if variable else quality} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
