# SPDX-License-Identifier: Apache-2.0
"""A robot's head follows the face, and no joint ever leaves its limits, whatever comes in."""

from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from streamingtalker_ros import resources
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.rotation import euler_to_quaternion
from streamingtalker_ros.robot_head import HeadDriver, load_head
from streamingtalker_ros.robot_head.config import parse_head
from streamingtalker_ros.robot_head.joint_limits import Limiter

S0, SECOND, MS = 1_700_000_000_123_456_789, 1_000_000_000, 1_000_000
SHIPPED = ("jaw", "animatronic", "pan_tilt", "arkit", "facs")
TICK = 20 * MS


def motion(stamp, names=ARKIT_NAMES, weights=None, head=(0.0, 0.0, 0.0, 1.0), **shapes):
    """A FaceMotion by its fields alone."""
    if weights is None:
        weights = np.zeros(52)
        for name, value in shapes.items():
            weights[INDEX[name]] = value
    seconds, nanoseconds = divmod(int(stamp), SECOND)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=seconds, nanosec=nanoseconds)),
        names=list(names),
        weights=weights,
        head=SimpleNamespace(**dict(zip("xyzw", head))),
        speaking=True,
    )


def head(joints, **values):
    return parse_head(
        {"outputs": [{"type": "JointState", "topic": "out"}], "joints": joints, **values}, "test"
    )


def jaw(**values):
    entry = {
        "from": {"jawOpen": 1.0},
        "min": 0.0,
        "max": 1.0,
        "max_velocity": 50.0,
        "max_acceleration": 5000.0,
    }
    return head({"jaw": {**entry, **values.pop("joint", {})}}, **values)


class Law:
    """Judges a path from outside: positions and times as they were sent, (n, J) and (n,) in seconds.

    A path of bounded acceleration, sampled at any times, moves by mean velocities that differ by no more than
    the acceleration times the time between the middles of their intervals.
    """

    def __init__(self, low, high, velocity, acceleration) -> None:
        self.low, self.high, self.velocity, self.acceleration = low, high, velocity, acceleration

    def judge(self, positions, times):
        """The worst share of each limit that was used: (velocity, acceleration); 1 is the limit."""
        positions, times = np.array(positions), np.array(times)
        assert np.isfinite(positions).all()
        assert (positions >= self.low).all() and (positions <= self.high).all()
        length = np.diff(times)[:, None]
        speed = np.diff(positions, axis=0) / length
        noise = 4e-16 * max(1.0, np.abs(positions).max()) / length.min()  # of the differences themselves
        change = np.abs(np.diff(speed, axis=0)) - 4 * noise
        between = (length[1:] + length[:-1]) / 2
        return ((np.abs(speed) - noise) / self.velocity).max(), (change / between / self.acceleration).max()


@pytest.mark.parametrize("seed", range(40))
def test_no_limit_is_passed_whatever_the_targets_and_the_times_between_them(seed) -> None:
    random, joints = np.random.default_rng(seed), 24
    low = random.uniform(-1, 0, joints)
    high = low + 10 ** random.uniform(-4, 1, joints)
    velocity, acceleration = 10 ** random.uniform(-2, 1.5, joints), 10 ** random.uniform(-1, 3.5, joints)
    limiter = Limiter(low, high, velocity, acceleration, random.uniform(low, high))
    path, times, target = [limiter.position], [0.0], random.uniform(low, high)
    for _ in range(300):
        dt = 0.02 * random.uniform(0.5, 2) if seed % 2 else 10 ** random.uniform(-4, -0.3)
        if random.random() < (0.1, 1.0)[seed % 4 == 3]:
            target = (
                random.choice([-1e9, 1e9, 0.0], joints)
                if random.random() < 0.5
                else random.uniform(low - 0.5, high + 0.5)
            )
        if random.random() < 0.02:
            limiter.brake(dt)
        else:
            limiter.follow(target, dt)
        assert (np.abs(limiter.speed) <= velocity * (1 + 1e-12)).all()
        path.append(limiter.position)
        times.append(times[-1] + dt)
    worst = Law(low, high, velocity, acceleration).judge(path, times)
    assert max(worst) <= 1 + 1e-6
    assert worst[1] > 0.99  # and it does use what it may


@pytest.mark.parametrize("dt", [0.001, 0.02, 0.1])
def test_a_joint_arrives_and_stands_still_without_overshoot(dt) -> None:
    limiter = Limiter([0.0, -1.0], [1.0, 1.0], [2.0, 0.5], [20.0, 5.0], [0.0, 1.0])
    target, path = np.array([0.73, -0.21]), []
    for _ in range(int(6 / dt)):
        limiter.follow(target, dt)
        path.append(limiter.position)
    path = np.array(path)
    assert path[:, 0].max() <= 0.73 + 1e-9 and path[:, 1].min() >= -0.21 - 1e-9
    np.testing.assert_allclose(path[-5:], np.tile(target, (5, 1)), rtol=0, atol=1e-12)
    assert (limiter.speed == 0).all()
    # as fast as the limits allow, but for one step: accelerate, cruise, brake
    soonest = np.array([0.73 / 2 + 2 / 20, 1.21 / 0.5 + 0.5 / 5])
    assert (np.argmax(np.abs(path - target) < 1e-3, axis=0) * dt <= soonest + 2 * dt).all()


def abuse(random, driver, seconds):
    """Drive with everything that can go wrong; returns (positions, times) as sent."""
    now, stamp, pending, path, times = S0 + SECOND, S0, [], [], []
    end, tick = now + seconds * SECOND, SECOND / driver.head.rate
    weights = random.uniform(0, 1, 52)
    while now < end:
        event = random.random()
        if event < 0.5:
            if random.random() < 0.3:
                weights = random.uniform(0, 1, 52)
            values, turn = weights.copy(), random.normal(0, 1, 4)
            kind = random.random()
            if kind < 0.05:
                values[random.integers(52)] = random.choice([np.nan, np.inf, -np.inf])
            elif kind < 0.10:
                values = random.uniform(-1e6, 1e6, 52)
            elif kind < 0.13:
                values = values[: random.integers(52)]
            elif kind < 0.16:
                turn = random.choice([np.nan, 0.0, 1e300, -1e-300], 4)
            message = motion(stamp, weights=values, head=turn)
            if random.random() < 0.05:
                message.names = list(random.permutation(message.names))[: len(message.weights)]
            pending.append((now + int(random.uniform(0, 0.2) * SECOND), message))
            stamp += 40 * MS
        elif event < 0.502:
            stamp += int(random.uniform(-100, 100) * SECOND)
        elif event < 0.504:
            stamp = int(random.choice([0, 1, 2**31 * SECOND - 1]))
        for due, message in [entry for entry in pending if entry[0] <= now]:
            driver.hear(message, now)
        pending = [entry for entry in pending if entry[0] > now]
        command = driver.step(now)
        if command is not None and (not times or now - S0 > times[-1] * SECOND):
            path.append(command.positions)
            times.append((now - S0) / SECOND)
        now += int(tick * random.uniform(0.3, 1.7))
        if random.random() < 0.003:
            now += int(random.uniform(0, 5) * SECOND)  # the machine stands still, the clock is set
    return path, times


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "facs"])
def test_the_shipped_heads_stay_within_their_limits_under_abuse(name) -> None:
    told, robot = [], load_head(name)
    for seed in range(2):
        driver = HeadDriver(robot, told.append)
        path, times = abuse(np.random.default_rng(seed), driver, 30)
        law = Law(*(robot.column(field) for field in ("min", "max", "max_velocity", "max_acceleration")))
        assert max(law.judge(path, times)) <= 1 + 1e-6
        assert driver.refused > 10 and np.ptp(path, axis=0).max() > 0.1 and len(path) > 500
    assert len(told) <= 4 * 2  # one sentence per kind of trouble


def test_a_clock_that_is_set_back_moves_nothing() -> None:
    driver = HeadDriver(jaw())
    for tick in range(50):
        driver.hear(motion(S0 + tick * TICK, jawOpen=0.8), S0 + tick * TICK)
        before = driver.step(S0 + tick * TICK).positions
    for back in (3600, 7200):
        np.testing.assert_array_equal(driver.step(S0 - back * SECOND).positions, before)


def test_after_a_pause_of_the_machine_a_joint_is_where_its_brakes_would_have_brought_it() -> None:
    robot = jaw(
        joint={"from": {"jawOpen": 9.0}, "max": 10.0, "max_velocity": 2.0, "max_acceleration": 20.0},
        delay=0.0,
    )
    driver = HeadDriver(robot)
    for tick in range(40):
        driver.hear(motion(S0 + tick * TICK, names=["jawOpen"], weights=[1.0]), S0 + tick * TICK)
        before = driver.step(S0 + tick * TICK)
        if before.velocities[0] == 2.0:
            break
    after = driver.step(S0 + tick * TICK + 3 * SECOND)
    assert after.velocities[0] == 0 and after.positions[0] - before.positions[0] == pytest.approx(2.0**2 / 40)


def follow(driver, frames, seconds, arrives=lambda stamp: stamp + 130 * MS, start=S0, period=TICK):
    """Play frames, a list of (stamp, shapes); returns times (n,) in s after S0 and positions (n, J)."""
    frames, times, path = sorted(frames, key=lambda frame: arrives(frame[0])), [], []
    for tick in range(int(seconds * SECOND / period)):
        now = start + tick * period
        while frames and arrives(frames[0][0]) <= now:
            stamp, shapes = frames.pop(0)
            driver.hear(motion(stamp, **shapes), arrives(stamp))
        times.append((now - S0) / SECOND)
        path.append(driver.step(now).positions)
    return np.array(times), np.array(path)


def speech(seconds, closed=0.5, length=0.08):
    """Frames of an open mouth that shuts for `length` seconds from `closed` on."""
    count = int(seconds * 25)
    return [
        (S0 + frame * 40 * MS, {"jawOpen": 0.0 if closed <= frame * 0.04 < closed + length else 0.8})
        for frame in range(count)
    ]


def test_with_a_delay_the_jaw_follows_the_stamps_in_straight_lines() -> None:
    frames = [(S0 + frame * 40 * MS, {"jawOpen": frame / 50}) for frame in range(50)]
    times, path = follow(
        HeadDriver(jaw(delay=0.3, joint={"max_acceleration": 1e6})), frames, 2.2, period=7 * MS
    )
    due = (times > 0.4) & (times < 2.0)
    np.testing.assert_allclose(path[due, 0], (times[due] - 0.3) / 0.04 / 50, atol=0.012)  # one step behind


@pytest.mark.parametrize("servo_delay", [0.0, 0.06, 0.12])
def test_the_lead_brings_the_closed_jaw_to_the_moment_of_its_sound(servo_delay) -> None:
    """A servo that answers late shuts the mouth when the p is heard, if it is asked earlier by so much."""
    driver = HeadDriver(
        jaw(delay=0.4, lead=servo_delay, joint={"max_velocity": 40.0, "max_acceleration": 3000.0})
    )
    times, path = follow(driver, speech(1.5), 1.6, period=10 * MS)
    servo = times + servo_delay  # where the servo is when
    heard = servo - 0.4  # in the audio's own time
    shut = heard[(path[:, 0] < 0.05) & (heard > 0.2)]
    assert len(shut) and 0.50 <= shut[0] <= 0.54 and 0.54 <= shut[-1] <= 0.60
    late = heard[(heard > 0.7) & (path[:, 0] > 0.75)][0]
    assert late < 0.75


def test_without_a_lead_the_late_servo_misses_it() -> None:
    driver = HeadDriver(jaw(delay=0.4, joint={"max_velocity": 40.0, "max_acceleration": 3000.0}))
    times, path = follow(driver, speech(1.5), 1.6, period=10 * MS)
    heard = times + 0.12 - 0.4
    assert heard[(path[:, 0] < 0.05) & (heard > 0.2)][0] > 0.62


def test_without_a_delay_frames_are_shown_as_they_come_and_jitter_does_not_matter() -> None:
    random = np.random.default_rng(0)
    arrival = {
        S0 + frame * 40 * MS: S0 + frame * 40 * MS + int(random.uniform(0.13, 0.16) * SECOND)
        for frame in range(60)
    }
    frames = [(S0 + frame * 40 * MS, {"jawOpen": frame / 60}) for frame in range(60)]
    times, path = follow(HeadDriver(jaw()), frames, 2.4, arrives=arrival.get)
    late = times[10:] - path[10:, 0] * 60 * 0.04
    assert late[20:].min() > 0.12 and late[20:].max() < 0.24 and np.diff(path[40:, 0]).min() > 0


def test_motion_sent_ahead_of_its_time_waits_for_it() -> None:
    """pacing: none: a whole sentence comes at once, with its future stamps."""
    frames = [(S0 + frame * 40 * MS, {"jawOpen": 0.8 if frame >= 50 else 0.2}) for frame in range(100)]
    times, path = follow(HeadDriver(jaw()), frames, 4.8, arrives=lambda stamp: S0)
    assert abs(path[(times > 0.5) & (times < 1.9), 0] - 0.2).max() < 0.02
    assert abs(path[(times > 2.2) & (times < 3.9), 0] - 0.8).max() < 0.02
    assert path[-1, 0] == 0.0  # and rests half a second after its end


def test_an_interruption_drops_what_was_sent_ahead() -> None:
    driver = HeadDriver(jaw())
    for frame in range(100):
        driver.hear(motion(S0 + frame * 40 * MS, jawOpen=0.9), S0)
    for tick in range(25):
        driver.step(S0 + tick * TICK)
    for frame in range(12, 16):  # the mouth closes from half a second on
        driver.hear(motion(S0 + frame * 40 * MS, jawOpen=0.0), S0 + 500 * MS)
    for tick in range(25, 45):
        command = driver.step(S0 + tick * TICK)
    assert command.positions[0] == 0.0


def test_frames_over_a_minute_ahead_are_left_out_with_one_warning() -> None:
    told = []
    driver = HeadDriver(jaw(), told.append)
    for frame in range(10):
        driver.hear(motion(S0 + 3600 * SECOND + frame * 40 * MS, jawOpen=1.0), S0 + frame * 40 * MS)
    assert driver.refused == 10 and len(told) == 1 and "clock" in told[0]
    assert driver.step(S0 + SECOND).state == "resting"


def test_when_motion_stops_every_joint_goes_to_rest_within_its_limits_and_comes_back() -> None:
    robot = head(
        {
            "a": {
                "from": {"jawOpen": 1.0},
                "min": 0.0,
                "max": 1.0,
                "rest": 0.3,
                "max_velocity": 2.0,
                "max_acceleration": 30.0,
            }
        },
        timeout=0.5,
    )
    driver = HeadDriver(robot)
    frames = [(S0 + frame * 40 * MS, {"jawOpen": 0.9}) for frame in [*range(50), *range(100, 150)]]
    times, path = follow(driver, frames, 8.0)
    assert path[0, 0] == 0.3
    speaking = (times > 1.5) & (times < 2.4)
    assert (path[speaking, 0] == 0.9).all()
    lost = 49 * 0.04 + 0.13 + 0.5
    assert path[np.argmax(times > lost - 0.05), 0] == 0.9 and path[np.argmax(times > lost + 1.0), 0] == 0.3
    assert path[np.argmax(times > 5.5), 0] == 0.9 and path[-1, 0] == 0.3
    assert max(Law(0.0, 1.0, 2.0, 30.0).judge(path, times)) <= 1 + 1e-6


def test_released_it_hears_no_more_and_rests() -> None:
    driver = HeadDriver(jaw())
    for tick in range(60):
        driver.hear(motion(S0 + tick * TICK, jawOpen=0.8), S0 + tick * TICK)
        driver.step(S0 + tick * TICK)
        if tick == 30:
            assert not driver.at_rest
            driver.release()
    assert driver.at_rest


def test_the_joints_own_positions_are_where_it_begins() -> None:
    told = []
    robot = head(
        {
            "a": {"from": {}, "min": 0.0, "max": 1.0, "max_velocity": 1.0, "max_acceleration": 10.0},
            "b": {"from": {}, "min": 0.0, "max": 1.0, "max_velocity": 1.0, "max_acceleration": 10.0},
        },
        feedback="joint_states",
    )
    driver = HeadDriver(robot, told.append)
    assert driver.step(S0) is None
    driver.place(["b", "other"], [0.8, 3.0])
    assert driver.step(S0 + TICK) is None
    driver.place(["a", "b"], [7.0, 0.8])  # beyond its limit: at it
    np.testing.assert_array_equal(driver.step(S0 + 2 * TICK).positions, [1.0, 0.8])
    driver.place(["a"], [0.0])  # too late: it moves already
    after = driver.step(S0 + 3 * TICK).positions
    assert (after > [0.98, 0.78]).all() and (after < [1.0, 0.8]).all()
    silent = HeadDriver(robot, told.append)
    for tick in range(120):
        command = silent.step(S0 + tick * TICK)
    assert command is not None and len(told) == 1 and "a, b" in told[0]


def test_gains_offsets_and_the_heads_angles_make_the_targets() -> None:
    robot = head(
        {
            "lips": {
                "from": {"jawOpen": 2.0, "mouthClose": -1.0},
                "offset": 0.1,
                "min": -5,
                "max": 5,
                "max_velocity": 100,
                "max_acceleration": 1e5,
            },
            "yaw": {
                "from": {"head_yaw": 1.0},
                "min": -5,
                "max": 5,
                "max_velocity": 100,
                "max_acceleration": 1e5,
            },
            "pitch": {
                "from": {"head_pitch": -2.0},
                "min": -5,
                "max": 5,
                "max_velocity": 100,
                "max_acceleration": 1e5,
            },
            "voice": {
                "from": {"speaking": 1.0, "head_roll": 1.0},
                "min": -5,
                "max": 5,
                "max_velocity": 100,
                "max_acceleration": 1e5,
            },
        }
    )
    driver = HeadDriver(robot)
    turn = euler_to_quaternion([0.3, 0.1, -0.05])
    for tick in range(40):
        driver.hear(motion(S0 + tick * TICK, head=turn, jawOpen=0.5, mouthClose=0.25), S0 + tick * TICK)
        command = driver.step(S0 + tick * TICK)
    np.testing.assert_allclose(command.positions, [0.1 + 1.0 - 0.25, 0.3, -0.2, 0.95], atol=1e-9)
    assert command.state == "following" and (command.velocities == 0).all()


def test_smoothing_is_a_low_pass_of_its_time_constant_and_the_dead_band_holds_small_changes() -> None:
    smooth = jaw(joint={"smoothing": 0.2, "max_velocity": 1000, "max_acceleration": 1e6}, delay=0.0)
    driver = HeadDriver(smooth)
    times, path = follow(
        driver,
        [(S0 + frame * 40 * MS, {"jawOpen": 0.5}) for frame in range(50)],
        1.0,
        arrives=lambda stamp: stamp,
        period=10 * MS,
    )
    np.testing.assert_allclose(path[:, 0], 0.5 * (1 - np.exp(-times / 0.2)), atol=0.005)
    dead = HeadDriver(jaw(joint={"deadband": 0.1}, delay=0.0))
    wiggle = [(S0 + frame * 40 * MS, {"jawOpen": 0.5 + 0.04 * (-1) ** frame}) for frame in range(50)]
    _, path = follow(dead, wiggle + [(S0 + 2 * SECOND, {})], 2.4, arrives=lambda stamp: stamp)
    assert np.ptp(path[10:95, 0]) == 0 and path[-1, 0] == 0.0  # but an end is always reached


def test_shapes_are_looked_up_by_name_and_missing_ones_told_once() -> None:
    told = []
    driver = HeadDriver(jaw(), told.append)
    for tick in range(30):
        driver.hear(
            motion(S0 + tick * TICK, names=["mouthClose", "jawOpen"], weights=[0.1, 0.6]), S0 + tick * TICK
        )
        command = driver.step(S0 + tick * TICK)
    assert command.positions[0] == pytest.approx(0.6) and not told
    for tick in range(30, 60):
        driver.hear(motion(S0 + tick * TICK, names=["mouthClose"], weights=[0.1]), S0 + tick * TICK)
        command = driver.step(S0 + tick * TICK)
    assert command.positions[0] == 0.0 and told == ["the motion has no jawOpen: taken as 0"]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_heads_say_what_can_be(name) -> None:
    robot = load_head(name)
    assert robot.outputs and (robot.joints or name == "facs")
    for joint in robot.joints:  # what all its shapes together ask for reaches, or passes, half of its range
        reach = sum(
            abs(gain) * (0.5 if source.startswith("head_") else 1) for source, gain in joint.gains.items()
        )
        assert reach >= 0.5 * (joint.max - joint.min) / 2, joint.name
        assert joint.gains, joint.name


GOOD = yaml.safe_load(resources.find("config", "heads/jaw.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "path, value, sentence",
    [
        ((), "text", "holds no mapping"),
        (("joins",), {}, "did you mean joints"),
        (("rate",), 0, "rate of the head"),
        (("rate",), "fast", "give a number"),
        (("rate",), True, "give a number"),
        (("timeout",), float("nan"), "give a number"),
        (("outputs",), [], "no outputs"),
        (("outputs",), [{"type": "JointStates", "topic": "a"}], "did you mean JointState"),
        (("outputs",), [{"type": "JointState"}], "lacks type or topic"),
        (
            ("outputs",),
            [{"type": "JointState", "topic": "a", "joints": ["jaw_joints"]}],
            "did you mean jaw_joint",
        ),
        (("joints",), [], "no joints"),
        (("joints", "jaw_joint"), None, "no mapping"),
        (("joints", "jaw_joint", "from"), {"jawopen": 1}, "did you mean jawOpen"),
        (("joints", "jaw_joint", "from"), {"jawOpen": "much"}, "gain of jawOpen"),
        (("joints", "jaw_joint", "from"), "jawOpen", "follows nothing"),
        (("joints", "jaw_joint", "max"), None, "no max"),
        (("joints", "jaw_joint", "max_velocity"), None, "a joint without limits is not driven"),
        (("joints", "jaw_joint", "max_acceleration"), 0, "above 0"),
        (("joints", "jaw_joint", "min"), 2.0, "is above max"),
        (("joints", "jaw_joint", "rest"), 9.0, "outside of its limits"),
        (("joints", "jaw_joint", "smoothing"), -1, "0 to 1 s"),
        (("joints", "jaw_joint", "speed"), 1, "not known"),
    ],
)
def test_a_head_that_cannot_be_is_refused_in_one_sentence(path, value, sentence) -> None:
    document = yaml.safe_load(yaml.safe_dump(GOOD))
    place = document
    for key in path[:-1]:
        place = place[key]
    if path:
        place[path[-1]] = value
    else:
        document = value
    with pytest.raises(TalkerError, match=sentence) as refused:
        parse_head(document, "jaw")
    assert "\n" not in str(refused.value)


def test_a_head_is_found_by_name_or_path_and_otherwise_named(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    assert load_head(path).joints == load_head("jaw").joints and load_head(str(path)).name == "mine"
    (tmp_path / "broken.yaml").write_text("joints: {a: [")
    for source, sentence in (
        (tmp_path / "absent.yaml", "check its path"),
        ("absent", "missing"),
        (tmp_path / "broken.yaml", "line 1"),
        (tmp_path, "cannot be read|missing"),
    ):
        with pytest.raises(TalkerError, match=sentence):
            load_head(source)
