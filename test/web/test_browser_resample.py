# SPDX-License-Identifier: Apache-2.0
"""The page's resampler, run by Node: what the microphone's sound becomes on its way to 16 kHz."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soxr

SOURCE = Path(__file__).absolute().parents[2] / "frontend" / "src" / "resample.js"
SCRIPT = """
import {{ Resampler }} from '{source}';
import {{ readFileSync }} from 'node:fs';
const {{ rate, pcm, cuts }} = JSON.parse(readFileSync(0)), resampler = new Resampler(rate, 16000), out = [];
let at = 0;
for (const cut of [...cuts, pcm.length]) {{ out.push(...resampler.accept(Float32Array.from(pcm.slice(at, cut)))); at = cut; }}
console.log(JSON.stringify({{ out, delay: Resampler.delay(rate, 16000) }}));
"""


def resampled(pcm, rate, cuts=()):
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    done = subprocess.run(
        [node, "--input-type=module", "-e", SCRIPT.format(source=SOURCE.as_uri())],
        text=True,
        input=json.dumps({"rate": rate, "pcm": pcm.tolist(), "cuts": [int(cut) for cut in cuts]}),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return np.array(told["out"]), told["delay"]


@pytest.mark.parametrize("rate", [48000, 44100, 96000, 8000])
def test_it_agrees_with_a_whole_clips_and_holds_back_two_milliseconds(rate, speech) -> None:
    """On real speech, up to 7 kHz, where both filters pass everything."""
    wide = np.interp(np.arange(rate) / rate, np.arange(len(speech)) / 16000, speech).astype(np.float32)
    ours, delay = resampled(wide, rate)
    reference = soxr.resample(wide, rate, 16000, quality="VHQ")  # of linear phase, like ours
    assert delay < 0.0045 and len(ours) >= 16000 - 16000 * delay - 2
    count = len(ours) // 2 * 2
    spectra = [np.fft.rfft(np.hanning(count) * values[:count]) for values in (ours, reference)]
    band = np.fft.rfftfreq(count, 1 / 16000) < 7000
    error = np.abs(spectra[0] - spectra[1])[band]
    assert np.sum(error**2) < 3e-5 * np.sum(np.abs(spectra[1][band]) ** 2)


def test_pieces_of_any_length_make_the_same_sound(speech) -> None:
    pcm = speech[:6000]
    cuts = np.sort(np.random.default_rng(0).integers(0, 6000, 40))
    np.testing.assert_allclose(resampled(pcm, 44100, cuts)[0], resampled(pcm, 44100)[0], atol=1e-7)


def test_what_16_khz_cannot_hold_is_gone() -> None:
    time = np.arange(48000) / 48000
    for frequency, low, high in (
        (3000, 0.999, 1.001),
        (7000, 0.97, 1.01),
        (8600, 0.0, 1e-3),
        (12000, 0.0, 3e-4),
    ):
        out = resampled(np.sin(2 * np.pi * frequency * time).astype(np.float32), 48000)[0][1000:15000]
        assert low <= np.sqrt(2 * np.mean(out**2)) <= high, frequency
