# SPDX-License-Identifier: Apache-2.0
"""Damaged samples on every topic and packets at the ports of running nodes: they work on, quietly.

The short form; `make soak` runs it for minutes (test/soak/test_soak_fuzzing.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.fuzz_wire import FuzzedNodes


def test_nodes_survive_damaged_samples_and_packets(tmp_path: Path) -> None:
    with FuzzedNodes(tmp_path) as nodes:
        nodes.attack(np.random.default_rng(20261129), 1500)
        nodes.check_bounds()
