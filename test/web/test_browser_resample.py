# SPDX-License-Identifier: Apache-2.0
"""The page's resampler, run by Node: the microphone's audio at 16 kHz."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soxr

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")

MODULE = Path(__file__).absolute().parents[2] / "frontend" / "src" / "resample.js"
SCRIPT = """
import {{ Resampler }} from '{module}';
import {{ readFileSync }} from 'node:fs';
const {{ rate, pcm, cuts }} = JSON.parse(readFileSync(0)), resampler = new Resampler(rate, 16000), out = [];
let start = 0;
for (const end of [...cuts, pcm.length]) {{
  out.push(...resampler.accept(Float32Array.from(pcm.slice(start, end))));
  start = end;
}}
console.log(JSON.stringify({{ out, delay: Resampler.delay(rate, 16000) }}));
"""


def resample(
    pcm: npt.NDArray[np.float32], rate: int, cuts: Sequence[int] | npt.NDArray[np.int64] = ()
) -> tuple[npt.NDArray[np.float64], float]:
    """Audio of `rate` Hz at 16 kHz, cut into chunks at `cuts`; and the delay of the filter in seconds."""
    result = subprocess.run(
        ["node", "--input-type=module", "-e", SCRIPT.format(module=MODULE.as_uri())],
        text=True,
        input=json.dumps({"rate": rate, "pcm": pcm.tolist(), "cuts": [int(cut) for cut in cuts]}),
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr
    output = json.loads(result.stdout)
    return np.array(output["out"]), output["delay"]


@pytest.mark.parametrize("rate", [48000, 44100, 96000, 8000])
def test_speech_is_resampled_as_soxr_does_with_little_delay(
    rate: int, speech: npt.NDArray[np.float32]
) -> None:
    """Up to 7 kHz, where both filters are flat."""
    wide = np.interp(np.arange(rate) / rate, np.arange(len(speech)) / 16000, speech).astype(np.float32)
    output, delay = resample(wide, rate)
    reference = soxr.resample(wide, rate, 16000, quality="VHQ")  # of linear phase, too
    assert delay < 0.0045 and len(output) >= 16000 - 16000 * delay - 2
    count = len(output) // 2 * 2
    window = np.hanning(count)
    spectrum, expected = (np.fft.rfft(window * values[:count]) for values in (output, reference))
    band = np.fft.rfftfreq(count, 1 / 16000) < 7000
    error = np.abs(spectrum - expected)[band]
    assert np.sum(error**2) < 3e-5 * np.sum(np.abs(expected[band]) ** 2)


def test_any_split_into_chunks_gives_the_same_samples(speech: npt.NDArray[np.float32]) -> None:
    pcm = speech[:6000]
    cuts = np.sort(np.random.default_rng(0).integers(0, 6000, 40))
    np.testing.assert_allclose(resample(pcm, 44100, cuts)[0], resample(pcm, 44100)[0], atol=1e-7)


@pytest.mark.parametrize(
    ("frequency", "low", "high"),
    [(3000, 0.999, 1.001), (7000, 0.97, 1.01), (8600, 0.0, 1e-3), (12000, 0.0, 3e-4)],
)
def test_the_pass_band_is_flat_and_aliases_are_suppressed(frequency: int, low: float, high: float) -> None:
    time = np.arange(48000) / 48000
    tone = np.sin(2 * np.pi * frequency * time).astype(np.float32)
    output = resample(tone, 48000)[0][1000:15000]
    assert low <= np.sqrt(2 * np.mean(output**2)) <= high
