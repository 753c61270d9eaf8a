"""The localizer on a synthetic drive: how exact it is, and what it says when a sensor lies or is silent."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.localizer import Localization, Localizer
from robotaxi.types import GnssFix, ImuSample, VehicleReport

ORIGIN = (48.1, 11.6, 520.0)
ARM = np.array([1.2, 0.1, 1.6])
DT = 0.02
STEP_NS = 20_000_000
START_NS = 5_000_000_000

Reading = tuple[ImuSample, VehicleReport | None, Sequence[GnssFix]]
Fault = Callable[[int, Reading], Reading]


@dataclasses.dataclass(frozen=True)
class Drive:
    """Truth at 50 Hz: ``x``, ``y``, ``yaw``, ``speed`` and ``yaw_rate`` (N,), and what the sensors read."""

    x: np.ndarray
    y: np.ndarray
    yaw: np.ndarray
    speed: np.ndarray
    yaw_rate: np.ndarray
    readings: list[Reading]


def make_drive(duration: float = 180.0, seed: int = 1, moving_from: float = 3.0) -> Drive:
    """Straights and bends at up to 14 m/s with stops; the rear axle slips like that of a real car."""
    n, sub = round(duration / DT), 10
    h = DT / sub
    t = np.arange(n * sub) * h
    target = 9.0 + 5.0 * np.sin(2 * np.pi * t / 47.0)
    stop = ((t % 60.0) > 42.0) | (t < moving_from)
    speed = np.zeros(t.size)
    for i in range(1, t.size):
        wanted = -2.5 if stop[i] else 1.8
        speed[i] = min(max(speed[i - 1] + wanted * h, 0.0), max(target[i], speed[i - 1] - 2.5 * h))
    bend = 0.06 * np.sin(2 * np.pi * t / 23.0) + 0.03 * np.sin(2 * np.pi * t / 7.0)
    yaw_rate = speed * np.clip(bend, -2.0 / np.maximum(speed, 1.0) ** 2, 2.0 / np.maximum(speed, 1.0) ** 2)
    yaw = 0.4 + np.cumsum(yaw_rate) * h
    slip = -0.007 * speed * yaw_rate * speed
    x = 50.0 + np.cumsum(speed * np.cos(yaw) - slip * np.sin(yaw)) * h
    y = -20.0 + np.cumsum(speed * np.sin(yaw) + slip * np.cos(yaw)) * h
    forward = np.gradient(speed, h) - slip * yaw_rate
    sideways = speed * yaw_rate + np.gradient(slip, h)
    pick = np.arange(n) * sub
    x, y, yaw, speed, yaw_rate = x[pick], y[pick], yaw[pick], speed[pick], yaw_rate[pick]
    readings = _sense(x, y, yaw, speed, yaw_rate, forward[pick], sideways[pick], np.random.default_rng(seed))
    return Drive(x, y, yaw, speed, yaw_rate, readings)


def _sense(x, y, yaw, speed, yaw_rate, forward, sideways, rng) -> list[Reading]:
    """RTK-grade GNSS at 10 Hz, MEMS IMU with biases and a 0.3 deg heading, wheels with a scale error."""
    n = x.size
    frame = LocalFrame(*ORIGIN)
    force_bias, rate_bias = rng.normal(0, 0.05, 3), rng.normal(0, 0.003, 3)
    heading_bias = math.radians(rng.uniform(-0.1, 0.1))
    scale = 1.0 + rng.normal(0.0, 0.005)
    wander = np.zeros((n, 3))
    wander[0] = rng.normal(0, 0.03, 3)
    decay = math.exp(-DT / 60.0)
    for i in range(1, n):
        wander[i] = decay * wander[i - 1] + 0.03 * math.sqrt(1 - decay**2) * rng.standard_normal(3)
    out: list[Reading] = []
    for i in range(n):
        stamp = START_NS + i * STEP_NS
        force = np.array([forward[i], sideways[i], 9.80665]) + force_bias + rng.normal(0, 0.05, 3)
        rate = np.array([0.0, 0.0, yaw_rate[i]]) + rate_bias + rng.normal(0, 0.002, 3)
        sigma = math.radians(0.3)
        imu = ImuSample(stamp, force, rate, yaw[i] + heading_bias + rng.normal(0, sigma), sigma)
        wheel = scale * speed[i] + rng.normal(0, 0.02) if speed[i] > 1e-3 else 0.0
        fixes = []
        if i % 5 == 0:
            c, s = math.cos(yaw[i]), math.sin(yaw[i])
            place = np.array([x[i] + c * ARM[0] - s * ARM[1], y[i] + s * ARM[0] + c * ARM[1], ARM[2]])
            place += wander[i] + rng.normal(0, 0.02, 3)
            fixes.append(GnssFix(stamp, *frame.to_geodetic(*place), np.full(3, 0.02)))
        out.append((imu, VehicleReport(stamp, wheel, 0.0), fixes))
    return out


def run(drive: Drive, fault: Fault | None = None, config: LocalizationConfig | None = None) -> list[Localization]:
    localizer = Localizer(config or LocalizationConfig(), ORIGIN, ARM)
    return [localizer.step(*(fault(i, r) if fault else r)) for i, r in enumerate(drive.readings)]


def errors(drive: Drive, results: list[Localization], begin: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lateral, total horizontal (m) and heading (rad) error of every step from ``begin`` on."""
    state = np.array([[r.state.x, r.state.y, r.state.yaw] for r in results[begin:] if r.state])
    assert len(state) == len(results) - begin
    dx, dy = state[:, 0] - drive.x[begin:], state[:, 1] - drive.y[begin:]
    lateral = -np.sin(drive.yaw[begin:]) * dx + np.cos(drive.yaw[begin:]) * dy
    heading = np.angle(np.exp(1j * (state[:, 2] - drive.yaw[begin:])))
    return lateral, np.hypot(dx, dy), heading


def never_confidently_wrong(drive: Drive, results: list[Localization]) -> bool:
    """Whenever the status is good, the truth lies within the protection level."""
    for i, r in enumerate(results):
        if r.status != "good":
            continue
        dx, dy = r.state.x - drive.x[i], r.state.y - drive.y[i]
        if abs(-math.sin(drive.yaw[i]) * dx + math.cos(drive.yaw[i]) * dy) > r.protection_lateral:
            return False
    return True


@pytest.fixture(scope="module")
def drive() -> Drive:
    return make_drive()


@pytest.fixture(scope="module")
def short_drive() -> Drive:
    return make_drive(60.0, seed=4)


def test_three_minutes_with_stops(drive):
    results = run(drive)
    lateral, total, heading = errors(drive, results)
    assert np.sqrt(np.mean(lateral**2)) < 0.05 and np.abs(lateral).max() < 0.15 and total.max() < 0.15
    settled = heading[250:]
    assert np.degrees(np.sqrt(np.mean(settled**2))) < 0.1 and np.degrees(np.abs(settled).max()) < 0.2
    assert {r.status for r in results} == {"good"} and not any(r.reason for r in results)
    assert never_confidently_wrong(drive, results)
    speed = np.array([r.state.speed for r in results])
    assert np.sqrt(np.mean((speed - drive.speed) ** 2)) < 0.01


def test_output_moves_without_jumps_and_stands_still(drive):
    results = run(drive)
    x, y = (np.array([getattr(r.state, k) for r in results]) for k in "xy")
    assert np.hypot(np.diff(x - drive.x), np.diff(y - drive.y)).max() < 0.02
    standing = np.array([r.standing for r in results])
    assert drive.speed[standing].max() < 0.1 and standing.sum() > 0.9 * np.sum(drive.speed == 0.0)
    assert max(abs(r.state.speed) for r in results if r.standing) < 0.05


def test_same_input_gives_the_same_bits(short_drive):
    first, second = (
        [(r.state.x, r.state.y, r.state.yaw, r.state.covariance.tobytes()) for r in run(short_drive)] for _ in range(2)
    )
    assert first == second


def test_starts_at_the_first_fix_and_heading_while_standing(short_drive):
    localizer = Localizer(LocalizationConfig(), ORIGIN, ARM)
    imu, report, fixes = short_drive.readings[0]
    waiting = localizer.step(imu, report, [])
    assert waiting.state is None and waiting.status == "initialising" and "GNSS" in waiting.reason
    assert waiting.protection_lateral == math.inf
    later = dataclasses.replace(imu, stamp_ns=imu.stamp_ns + STEP_NS)
    started = localizer.step(later, report, [dataclasses.replace(fixes[0], stamp_ns=later.stamp_ns)])
    assert started.status == "good"
    assert math.hypot(started.state.x - short_drive.x[0], started.state.y - short_drive.y[0]) < 0.15


def test_coarse_fix_does_not_start_it(short_drive):
    imu, report, fixes = short_drive.readings[0]
    coarse = dataclasses.replace(fixes[0], sigma=np.full(3, 8.0))
    result = Localizer(LocalizationConfig(), ORIGIN, ARM).step(imu, report, [coarse])
    assert result.state is None and "too coarse" in result.reason and "8.0 m" in result.reason


def test_without_heading_sensor_the_course_starts_it():
    drive = make_drive(60.0, seed=2, moving_from=0.0)

    def no_heading(i: int, r: Reading) -> Reading:
        return dataclasses.replace(r[0], heading=math.nan, heading_sigma=math.nan), r[1], r[2]

    # the bends of this drive are too sharp for a course: make the first seconds straight enough
    config = LocalizationConfig(course_distance=1.0)
    results = run(drive, no_heading, config)
    known = [i for i, r in enumerate(results) if r.state]
    assert known and results[0].status == "initialising" and "heading" in results[0].reason
    assert never_confidently_wrong(drive, results)
    _, total, heading = errors(drive, results, known[0] + 1000)
    assert total.max() < 0.25 and np.degrees(np.abs(heading).max()) < 1.0


def shift(drive_fix: GnssFix, north: float) -> GnssFix:
    return dataclasses.replace(drive_fix, latitude_deg=drive_fix.latitude_deg + math.degrees(north / 6.37e6))


def test_one_wild_fix_is_left_out_and_named(short_drive):
    results = run(short_drive, lambda i, r: (r[0], r[1], [shift(f, 30.0) for f in r[2]]) if i == 1500 else r)
    assert results[1500].status == "degraded" and "GNSS fix rejected: 30" in results[1500].reason
    assert results[1510].status == "good"
    assert errors(short_drive, results)[1].max() < 0.15


def test_lasting_gnss_jump_is_lost_but_not_followed(short_drive):
    results = run(short_drive, lambda i, r: (r[0], r[1], [shift(f, 30.0) for f in r[2]]) if 1000 <= i < 1600 else r)
    assert errors(short_drive, results)[1].max() < 0.6  # dead reckoning through 12 s
    during = results[1000:1600]
    assert all(r.status != "good" for r in during) and during[-1].status == "lost"
    assert "contradicts the estimate by 30" in during[-1].reason
    assert math.sqrt(during[-1].state.covariance[1, 1]) > 20.0, "the doubt must show in the covariance"
    assert results[1700].status == "good"


def test_silent_gnss_degrades_with_growing_protection_and_heals_smoothly(drive):
    begin, end = 4000, 5500
    results = run(drive, lambda i, r: (r[0], r[1], []) if begin <= i < end else r)
    assert results[begin + 40].status == "good"
    assert results[begin + 100].status == "degraded" and "no GNSS fix for" in results[begin + 100].reason
    assert results[end - 1].protection_lateral > 2 * results[begin].protection_lateral
    lateral, total, _ = errors(drive, results)
    assert np.abs(lateral[begin:end]).max() < results[end - 1].protection_lateral
    x, y = (np.array([getattr(r.state, k) for r in results]) for k in "xy")
    assert np.hypot(np.diff(x - drive.x), np.diff(y - drive.y)).max() < 0.02
    assert results[end + 200].status == "good" and total[end + 200 :].max() < 0.2


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e9])
def test_unusable_inertial_samples(short_drive, bad):
    def fault(i: int, r: Reading) -> Reading:
        broken = 1200 <= i < 1205 or 2000 <= i < 2030
        return (dataclasses.replace(r[0], angular_rate=np.array([0.0, bad, 0.0])) if broken else r[0], r[1], r[2])

    results = run(short_drive, fault)
    assert results[1204].status == "degraded" and "inertial" in results[1204].reason
    assert results[1205].status == "good"
    assert results[2029].status == "lost"
    assert all(np.isfinite([r.state.x, r.state.y, r.state.yaw, r.state.speed]).all() for r in results)
    assert errors(short_drive, results)[1].max() < 0.5
    assert results[-1].status == "good"


@pytest.mark.parametrize("begin", [1000, 1600, 1900])
def test_without_inertial_samples_it_turns_as_the_tyres_point(short_drive, begin):
    """Two seconds and a half through bends that begin and end, where the last sample would turn it by 12 to 21 deg."""
    localizer, wheelbase = Localizer(LocalizationConfig(), ORIGIN, ARM, wheelbase=2.9), 2.9
    worst = 0.0
    for i, (imu, report, fixes) in enumerate(short_drive.readings[: begin + 150]):
        tyres = math.atan(wheelbase * short_drive.yaw_rate[i] / max(short_drive.speed[i], 0.5)) + math.radians(0.2)
        if begin <= i < begin + 125:
            imu = dataclasses.replace(imu, acceleration=np.full(3, math.nan))
        result = localizer.step(imu, dataclasses.replace(report, steering=tyres), fixes)
        if i >= begin:
            worst = max(worst, abs(math.remainder(result.state.yaw - short_drive.yaw[i], 2 * math.pi)))
    assert worst < math.radians(2.5)


def test_time_that_jumps_back_starts_over(short_drive):
    localizer = Localizer(LocalizationConfig(), ORIGIN, ARM)
    for reading in short_drive.readings[:101]:
        last = localizer.step(*reading)
    assert localizer.step(*short_drive.readings[99]) is last, "slightly out of order: ignored"
    back = localizer.step(*short_drive.readings[4])
    assert back.state is None and back.status == "initialising" and "time jumped back by 1.92 s" in back.reason
    assert localizer.step(*short_drive.readings[5]).status == "good"


@pytest.mark.parametrize("until", [2250, 2300])
def test_inertial_samples_of_a_second_ago_are_got_over_once_the_car_stands(drive, until):
    """They leave a speed in the estimate that wheels and GNSS contradict in vain."""

    def fault(i: int, r: Reading) -> Reading:
        return (dataclasses.replace(drive.readings[i - 50][0], stamp_ns=r[0].stamp_ns), *r[1:]) if late(i) else r

    def late(i: int) -> bool:
        return 1900 <= i < until

    assert drive.speed[2300:2990].max() < 0.1
    results = run(drive, fault)
    assert not any(r.status == "good" for r in results[2100:2300])
    back = next(i for i in range(2300, 3000) if results[i].status == "good")
    assert never_confidently_wrong(drive, results) and errors(drive, results, back)[1].max() < 0.3


def test_a_gap_starts_over(short_drive):
    localizer = Localizer(LocalizationConfig(), ORIGIN, ARM)
    for reading in short_drive.readings[:1001]:
        localizer.step(*reading)
    gap = localizer.step(*short_drive.readings[1101])
    assert gap.state is None and "inertial sensor was silent for 2.0" in gap.reason
    after = [localizer.step(*r) for r in short_drive.readings[1102:1400]]
    assert after[-1].status == "good"
    assert math.hypot(after[-1].state.x - short_drive.x[1399], after[-1].state.y - short_drive.y[1399]) < 0.2


def test_silent_wheels(short_drive):
    results = run(short_drive, lambda i, r: (r[0], None, r[2]) if 500 <= i < 1000 else r)
    assert results[530].status == "degraded" and "no wheel speed" in results[530].reason
    assert results[1000].status == "good" and errors(short_drive, results)[1].max() < 0.15


def test_wheels_that_read_zero_while_driving(short_drive):
    def dead(i: int, r: Reading) -> Reading:
        return (r[0], dataclasses.replace(r[1], speed=0.0), r[2]) if 700 <= i < 1200 else r

    assert short_drive.speed[700:1200].min() > 5.0
    results = run(short_drive, dead)
    assert results[800].status == "degraded" and "wheel speed contradicts" in results[800].reason
    assert not any(r.standing for r in results[700:1200])
    assert errors(short_drive, results)[1].max() < 0.2 and results[1300].status == "good"


def test_heading_reference_that_lies(short_drive):
    def fault(i: int, r: Reading) -> Reading:
        return (dataclasses.replace(r[0], heading=r[0].heading + 0.4), r[1], r[2]) if i >= 1000 else r

    results = run(short_drive, fault)
    assert results[1200].status == "degraded" and "heading reference contradicts" in results[1200].reason
    assert np.degrees(np.abs(errors(short_drive, results)[2][250:]).max()) < 1.0


def test_late_fixes_count_for_the_moment_they_were_taken(short_drive):
    readings = short_drive.readings

    def late(i: int, r: Reading) -> Reading:
        return (r[0], r[1], r[2] if i < 5 else readings[i - 10][2])  # 200 ms, 2.8 m at full speed

    results = run(short_drive, late)
    lateral, total, _ = errors(short_drive, results)
    assert total.max() < 0.2 and np.sqrt(np.mean(lateral**2)) < 0.06
    assert {r.status for r in results} == {"good"}


def test_fixes_too_old_or_from_the_future_or_not_numbers_are_dropped(short_drive):
    def fault(i: int, r: Reading) -> Reading:
        if i < 500:
            return r
        wild = []
        for f in r[2]:
            far = shift(f, 500.0)
            wild += [
                dataclasses.replace(far, stamp_ns=f.stamp_ns - 3_000_000_000),
                dataclasses.replace(far, stamp_ns=f.stamp_ns + 3_000_000_000),
                dataclasses.replace(far, latitude_deg=math.nan),
                dataclasses.replace(far, sigma=np.array([math.nan] * 3)),
                dataclasses.replace(far, sigma=np.zeros(1)),
                dataclasses.replace(far, valid=False),
            ]
        return r[0], r[1], [*wild, *r[2]]

    results = run(short_drive, fault)
    assert {r.status for r in results} == {"good"} and errors(short_drive, results)[1].max() < 0.15


def test_a_wrong_first_fix_is_put_right_once_the_car_stands():
    """It cannot be known to be wrong; but it must be called lost and started over, not drive on for ever."""
    drive = make_drive(40.0, moving_from=40.0)
    results = run(drive, lambda i, r: (r[0], r[1], [shift(f, 30.0) for f in r[2]]) if i == 0 else r)
    assert results[500].status == "lost"
    last = results[-1]
    assert last.status == "good" and math.hypot(last.state.x - drive.x[-1], last.state.y - drive.y[-1]) < 0.15


def test_lever_arm_must_be_three_numbers():
    with pytest.raises(ValueError, match="gnss_lever_arm"):
        Localizer(LocalizationConfig(), ORIGIN, np.array([1.0, math.nan, 0.0]))
