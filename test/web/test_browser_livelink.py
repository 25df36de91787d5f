# SPDX-License-Identifier: Apache-2.0
"""The page's Live Link Face CSV, written by Node: equal to the package's, each row at its frame's time."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.formats.livelink import write_livelink_csv
from streamingtalker_ros.face.formats.livelink_reader import read_livelink_csv

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")

MODULE = Path(__file__).absolute().parents[2] / "frontend" / "src" / "livelink.js"
SCRIPT = """
import {{ encodeLiveLinkCsv }} from '{module}';
import {{ readFileSync }} from 'node:fs';
const {{ frames, names }} = JSON.parse(readFileSync(0));
process.stdout.write(encodeLiveLinkCsv(frames, names));
"""


def encode(times: npt.NDArray[np.float64], weights: npt.NDArray[np.float32]) -> str:
    frames = [
        {"time": time, "weights": row, "head": [0, 0, 0, 1]}
        for time, row in zip(times.tolist(), weights.tolist(), strict=True)
    ]
    result = subprocess.run(
        ["node", "--input-type=module", "-e", SCRIPT.format(module=MODULE.as_uri())],
        text=True,
        input=json.dumps({"frames": frames, "names": list(ARKIT_NAMES)}),
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("rate", [25, 30])
def test_the_page_and_the_package_write_the_same_file(tmp_path: Path, rate: int) -> None:
    weights = np.random.default_rng(0).uniform(0, 1, (130, 52)).astype(np.float32)
    write_livelink_csv(tmp_path / "a.csv", weights, np.tile([0.0, 0, 0, 1], (130, 1)), rate)
    (tmp_path / "b.csv").write_text(encode(7.5 + np.arange(130) / rate, weights))
    package, page = (read_livelink_csv(tmp_path / name) for name in ("a.csv", "b.csv"))
    np.testing.assert_allclose(page.times, package.times, atol=2e-5)
    np.testing.assert_allclose(page.weights, package.weights, atol=1e-6)
    assert page.frame_rate == package.frame_rate == rate


def test_dropped_frames_leave_a_gap_and_do_not_shift_the_rest(tmp_path: Path) -> None:
    times = np.arange(200) / 25
    times = times[np.random.default_rng(3).uniform(size=200) < 0.7]
    (tmp_path / "a.csv").write_text(encode(times, np.zeros((len(times), 52), np.float32)))
    np.testing.assert_allclose(read_livelink_csv(tmp_path / "a.csv").times, times - times[0], atol=2e-5)
