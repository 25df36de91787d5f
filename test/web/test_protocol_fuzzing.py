# SPDX-License-Identifier: Apache-2.0
"""Hostile clients disturb nobody, leave nothing behind, cause no traceback; `make soak` has more of them."""

from __future__ import annotations

import pytest

from support.fuzz_web import run
from support.scheduler_harness import small_talker

SEED = 1
SECONDS = 5.0


@pytest.mark.timeout(180)
def test_random_clients_disturb_nobody_and_leave_nothing_behind() -> None:
    report = run(small_talker(), SEED, 10_000, seconds=SECONDS)
    assert not report.findings, "\n".join(report.findings)
    assert report.clients > 20
