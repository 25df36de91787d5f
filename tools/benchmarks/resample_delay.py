# SPDX-License-Identifier: Apache-2.0
"""How long each soxr engine holds audio back in packets of 20 ms, and what it lets through: a Markdown table.

    python tools/benchmarks/resample_delay.py

Hold-back: time of the audio sent minus time of the audio received, after each packet; least and most.
"""

import numpy as np
import soxr

RATES = (8000, 22050, 24000, 44100, 48000, 96000, 192000)
ENGINES = (("QQ", False), ("LQ", False), ("MQ", False), ("HQ", False), ("VHQ", False), ("HQ", True))


def engine(rate, quality, variable):
    return soxr.ResampleStream(rate, 16000, 1, dtype="float32", quality=quality, vr=variable)


def hold_back(rate, quality, variable):
    """(least, most) in ms, after the first second."""
    stream, block, given, lags = engine(rate, quality, variable), rate // 50, 0, []
    for k in range(1, 301):
        given += len(stream.resample_chunk(np.zeros(block, np.float32)))
        lags.append(1000 * (k * block / rate - given / 16000))
    return min(lags[50:]), max(lags[50:])


def level(rate, frequency, quality, variable):
    """Level in dB of a full-scale tone at the output."""
    wave = np.sin(2 * np.pi * frequency * np.arange(rate) / rate).astype(np.float32)
    inner = engine(rate, quality, variable).resample_chunk(wave, last=True)[2000:14000]
    return max(-120.0, 20 * np.log10(np.sqrt(2 * np.mean(inner**2)) + 1e-9))


def main() -> None:
    rates = " | ".join(f"{rate / 1000:g} kHz" for rate in RATES)
    print(f"| engine | {rates} | 7.5 kHz kept | 9 kHz alias |")
    print("|---" * (len(RATES) + 3) + "|")
    for quality, variable in ENGINES:
        cells = ["{:.1f}–{:.1f}".format(*hold_back(rate, quality, variable)) for rate in RATES]
        cells += [f"{level(48000, frequency, quality, variable):.1f} dB" for frequency in (7500, 9000)]
        print(f"| {'variable rate' if variable else quality} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
