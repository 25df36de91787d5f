# SPDX-License-Identifier: Apache-2.0
"""A saccade lies on the main sequence; asserted on its continuous trajectory, sampled every 0.1 ms.

At 25 frames a second a saccade of 5° lasts less than a frame: frames cannot show its peak velocity. They are
samples of this trajectory, which test_gaze.py asserts.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamingtalker_ros.conversation.saccade import Saccade, saccade_duration

SAMPLE_S = 1e-4


def trajectory(amplitude_deg: float) -> np.ndarray:
    """(N, 2) directions in degrees of a slanted saccade, sampled."""
    end = (math.radians(0.8 * amplitude_deg), math.radians(-0.6 * amplitude_deg))
    saccade = Saccade((0.0, 0.0), end, math.radians(amplitude_deg))
    times = np.arange(0.0, saccade.duration + SAMPLE_S, SAMPLE_S)
    return np.degrees([saccade.position(time) for time in times])


@pytest.mark.parametrize("amplitude", [2.0, 5.0, 10.0, 15.0, 20.0, 30.0])
def test_the_peak_velocity_lies_in_the_band_of_the_main_sequence(amplitude: float) -> None:
    velocity = np.linalg.norm(np.diff(trajectory(amplitude), axis=0), axis=1) / SAMPLE_S
    # Bahill, Clark & Stark 1975 and Baloh et al. 1975 fit V = Vmax (1 - exp(-A / c)) with Vmax of 500 to 700
    # degrees a second and c of 7 to 14 degrees; the band holds both and a tenth on either side
    low = 0.9 * 551.0 * (1.0 - math.exp(-amplitude / 14.0))
    high = 1.1 * 700.0 * (1.0 - math.exp(-amplitude / 10.0))
    assert low <= velocity.max() <= max(high, 1.1 * 500.0 * (1.0 - math.exp(-amplitude / 7.0)))
    assert velocity.max() / (amplitude / saccade_duration(amplitude)) == pytest.approx(1.65, abs=0.02)


@pytest.mark.parametrize("amplitude", [2.0, 10.0, 30.0])
def test_it_begins_and_ends_at_rest_and_never_turns_back(amplitude: float) -> None:
    path = trajectory(amplitude)
    np.testing.assert_allclose(path[0], 0.0, atol=1e-9)
    np.testing.assert_allclose(path[-1], [0.8 * amplitude, -0.6 * amplitude], atol=1e-9)
    assert (np.diff(path[:, 0]) >= -1e-12).all()
    velocity = np.linalg.norm(np.diff(path, axis=0), axis=1) / SAMPLE_S
    assert velocity[0] < 0.02 * velocity.max() and velocity[-1] < 0.02 * velocity.max()


@pytest.mark.parametrize(("amplitude", "duration"), [(5.0, 0.032), (10.0, 0.043), (20.0, 0.065)])
def test_the_duration_grows_by_2_2_ms_per_degree(amplitude: float, duration: float) -> None:
    saccade = Saccade((0.0, 0.0), (math.radians(amplitude), 0.0), math.radians(amplitude))
    assert saccade.duration == pytest.approx(duration, abs=1e-6)
    rates = [saccade.velocity(t) for t in np.linspace(0.0, duration, 2001)]
    assert np.mean(rates) * duration == pytest.approx(saccade.amplitude, rel=2e-3)
