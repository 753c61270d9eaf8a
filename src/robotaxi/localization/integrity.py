"""Is the estimate to be trusted, and if not, why? One status, one reason, worst first."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.eskf import PositionOutcome

INITIALISING = "initialising"
GOOD = "good"
DEGRADED = "degraded"
LOST = "lost"

_S = 1_000_000_000
_NOTHING = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    status: str
    reason: str


_WELL = Verdict(GOOD, "")


class IntegrityMonitor:
    """Remembers when each source was last of use and judges the estimate after every step."""

    def __init__(self, config: LocalizationConfig, start_ns: int) -> None:
        self._config = config
        self._fix_ns = start_ns
        self._fix_ever = False
        self._wheel_ns = start_ns
        self._wheel_rejected = False
        self._imu_ns = start_ns
        self._heading_ns: int | None = None
        self._heading_rejected = False
        self._rejected_since_ns: int | None = None
        self._rejected_count = 0
        self._last_rejected: PositionOutcome | None = None
        self._lost_standing_since_ns: int | None = None
        self._match_ns: int | None = None  # last accepted; of the first match ever seen before one is
        self._match_ever = False
        self._match_reason = ""
        self._open_directions = 0

    def saw_imu(self, stamp_ns: int) -> None:
        self._imu_ns = stamp_ns

    def saw_fix(self, stamp_ns: int, outcome: PositionOutcome) -> None:
        if outcome.accepted:
            self._fix_ns = stamp_ns
            self._fix_ever = True
            self._rejected_since_ns = None
            self._rejected_count = 0
            self._last_rejected = None
            return
        if self._rejected_since_ns is None:
            self._rejected_since_ns = stamp_ns
        self._rejected_count += 1
        self._last_rejected = outcome

    def saw_wheel(self, stamp_ns: int, accepted: bool) -> None:
        self._wheel_rejected = not accepted
        if accepted:
            self._wheel_ns = stamp_ns

    def saw_heading(self, stamp_ns: int, accepted: bool) -> None:
        self._heading_rejected = not accepted
        if accepted or self._heading_ns is None:
            self._heading_ns = stamp_ns

    def saw_match(self, stamp_ns: int, accepted: bool, reason: str, open_directions: int) -> None:
        """``open_directions``: how many directions the place leaves open (tunnel, open square)."""
        self._match_reason = reason
        self._open_directions = open_directions
        if accepted or self._match_ns is None:
            self._match_ns = stamp_ns
        self._match_ever = self._match_ever or accepted

    def saw_odometry(self) -> None:
        """Lidar odometry carries the car on; where a map had been heard of, it does not hold the car now."""
        if self._match_ns is not None:
            self._match_reason = "the localization map does not hold the car: carried on by lidar odometry"

    def held_by_gnss(self, stamp_ns: int) -> bool:
        """Whether fresh fixes agree with the estimate."""
        fresh = stamp_ns - self._fix_ns <= self._config.gnss_timeout * _S
        return self._fix_ever and fresh and self._rejected_count == 0

    @property
    def fixes_refused(self) -> int:
        """In a row, since the start where none was ever accepted; else 0."""
        return 0 if self._fix_ever else self._rejected_count

    def _held_by_map(self, stamp_ns: int) -> bool:
        """Whether a fresh scan match holds the pose in every direction."""
        c = self._config
        return (
            self._match_ever
            and self._match_ns is not None
            and stamp_ns - self._match_ns <= c.match_timeout * _S
            and self._open_directions == 0
        )

    def contradiction(self, stamp_ns: int) -> tuple[float, float]:
        """East and north offset of fixes that keep contradicting the estimate; zero if none."""
        if self._last_rejected is None or self._rejected_count < self._config.contradiction_fixes:
            return _NOTHING
        if self._held_by_map(stamp_ns):
            return _NOTHING  # two against one: map and motion agree
        return self._last_rejected.east, self._last_rejected.north

    def judge(self, stamp_ns: int, protection_lateral: float, yaw_sigma: float) -> Verdict:
        c = self._config
        if self._all_well(stamp_ns, protection_lateral, yaw_sigma):
            return _WELL

        def since(then_ns: int) -> float:
            return (stamp_ns - then_ns) / _S

        lost: list[str] = []
        degraded: list[str] = []
        imu_age = since(self._imu_ns)
        if imu_age > 0.0:
            (lost if imu_age > c.imu_hold else degraded).append(f"no usable inertial sample for {imu_age:.2f} s")
        if self._last_rejected is not None and self._rejected_since_ns is not None:
            far = self._last_rejected.distance
            age = since(self._rejected_since_ns)
            if age > c.contradiction_time and not self._held_by_map(stamp_ns):
                lost.append(f"GNSS contradicts the estimate by {far:.1f} m for {age:.1f} s")
            else:
                degraded.append(f"GNSS fix rejected: {far:.1f} m from the estimate")
        fix_age = since(self._fix_ns)
        if fix_age > c.gnss_timeout and self._last_rejected is None and not self._held_by_map(stamp_ns):
            degraded.append(f"no GNSS fix for {fix_age:.1f} s")
        if self._match_ns is not None and self._match_reason and since(self._match_ns) > c.match_rejection:
            degraded.append(f"{self._match_reason}, for {since(self._match_ns):.1f} s")
        wheel_age = since(self._wheel_ns)
        if wheel_age > c.wheel_silence:
            why = "wheel speed contradicts the estimate" if self._wheel_rejected else "no wheel speed"
            degraded.append(f"{why} for {wheel_age:.1f} s")
        heading_age = 0.0 if self._heading_ns is None else since(self._heading_ns)
        if heading_age > (c.heading_rejection if self._heading_rejected else c.heading_silence):
            why = "heading reference contradicts the estimate" if self._heading_rejected else "no heading reference"
            degraded.append(f"{why} for {heading_age:.1f} s")
        if not math.isfinite(protection_lateral) or protection_lateral > c.lost_protection:
            lost.append(f"lateral position known to {protection_lateral:.1f} m only")
        elif protection_lateral > c.good_protection:
            degraded.append(f"lateral position known to {protection_lateral:.1f} m only")
        if yaw_sigma > c.good_yaw_sigma:
            degraded.append(f"heading known to {math.degrees(yaw_sigma):.1f} deg only")
        if lost:
            return Verdict(LOST, "; ".join(lost + degraded))
        if degraded:
            return Verdict(DEGRADED, "; ".join(degraded))
        return Verdict(GOOD, "")

    def _all_well(self, stamp_ns: int, protection_lateral: float, yaw_sigma: float) -> bool:
        """The usual case, seen quickly: every source fresh and agreed with, the estimate sharp."""
        c = self._config
        return (
            stamp_ns == self._imu_ns
            and self._last_rejected is None
            and stamp_ns - self._fix_ns <= c.gnss_timeout * _S
            and (self._match_ns is None or not self._match_reason)
            and stamp_ns - self._wheel_ns <= c.wheel_silence * _S
            and (self._heading_ns is None or (not self._heading_rejected
                                              and stamp_ns - self._heading_ns <= c.heading_silence * _S))
            and protection_lateral <= c.good_protection
            and yaw_sigma <= c.good_yaw_sigma
        )  # fmt: skip

    def wants_restart(self, stamp_ns: int, status: str, standing: bool) -> bool:
        """Lost while standing for `restart_time`: nothing is left to lose by starting over."""
        if status != LOST or not standing:
            self._lost_standing_since_ns = None
            return False
        if self._lost_standing_since_ns is None:
            self._lost_standing_since_ns = stamp_ns
        return (stamp_ns - self._lost_standing_since_ns) / _S > self._config.restart_time
