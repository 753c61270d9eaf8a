"""The filter with a memory: a measurement of the past is applied where it belongs, and what came after again."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robotaxi.localization import kernels
from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.eskf import ErrorStateFilter, PositionOutcome
from robotaxi.localization.map_match import PoseFix
from robotaxi.types import FloatArray


@dataclass(slots=True)
class _Step:
    """``operations`` lead from the step before to ``state`` and ``covariance`` at ``stamp_ns``."""

    stamp_ns: int
    operations: list[tuple[str, tuple[Any, ...]]]
    state: FloatArray
    covariance: FloatArray


class ReplayFilter(ErrorStateFilter):
    """An `ErrorStateFilter` that remembers the last ``duration_ns``. Call `commit` at the end of each step."""

    def __init__(self, config: LocalizationConfig, start: ErrorStateFilter, stamp_ns: int, duration_ns: int) -> None:
        super().__init__(config, start.state, start.covariance)
        self._duration_ns = duration_ns
        self._operations: list[tuple[str, tuple[Any, ...]]] = []
        self._steps: deque[_Step] = deque([_Step(stamp_ns, [], self.state.copy(), self.covariance.copy())])

    def commit(self, stamp_ns: int) -> None:
        """All operations since the last call lead to ``stamp_ns``."""
        self._steps.append(_Step(stamp_ns, self._operations, self.state.copy(), self.covariance.copy()))
        self._operations = []
        while self._steps[0].stamp_ns < stamp_ns - self._duration_ns:
            self._steps.popleft()

    def reaches(self, stamp_ns: int) -> bool:
        return self._steps[0].stamp_ns <= stamp_ns <= self._steps[-1].stamp_ns

    def pose_at(self, stamp_ns: int) -> FloatArray | None:
        """T_map_base (4x4) then; of the last step before it. None where memory does not reach."""
        if not self.reaches(stamp_ns):
            return None
        step = next(s for s in reversed(self._steps) if s.stamp_ns <= stamp_ns)
        out = np.eye(4)
        out[:3, :3] = kernels.rotation(step.state)
        out[:3, 3] = step.state[:3] + step.state[3:6] * ((stamp_ns - step.stamp_ns) * 1e-9)
        return out

    def update_odometry(self, fix: PoseFix, begins: bool) -> bool:
        """The same with a pose in the frame of lidar odometry; ``begins``: the first in a new frame."""
        return self._late(fix, lambda: self._apply_odometry(fix, begins))

    def update_pose(self, fix: PoseFix) -> bool:
        """Apply a pose of the past; call it between two steps. False where the gate refuses it."""
        return self._late(fix, lambda: self._apply(fix))

    def _late(self, fix: PoseFix, apply: Callable[[], bool]) -> bool:
        after: list[_Step] = []
        while self._steps[-1].stamp_ns > fix.stamp_ns:
            after.append(self._steps.pop())
        base = self._steps[-1]
        self._restore(base)
        late_ns = fix.stamp_ns - base.stamp_ns
        rest = self._advance(after[-1], late_ns) if late_ns and after else None
        accepted = apply()
        if rest is None:
            base.state, base.covariance = self.state.copy(), self.covariance.copy()
        for step in reversed(after):
            for name, arguments in step.operations if rest is None else rest:
                getattr(ErrorStateFilter, name)(self, *arguments)
            rest = None
            step.state, step.covariance = self.state.copy(), self.covariance.copy()
            self._steps.append(step)
        return accepted

    def _restore(self, step: _Step) -> None:
        self.state[:] = step.state
        self.covariance[:] = step.covariance

    def _advance(self, step: _Step, late_ns: int) -> list[tuple[str, tuple[Any, ...]]]:
        """Predict into ``step`` by ``late_ns``; returns what is left of it."""
        (name, (force, rate, dt, arm, *more)), *others = step.operations
        part = late_ns * 1e-9
        ErrorStateFilter.predict(self, force, rate, part, arm, more[0])
        return [(name, (force, rate, max(dt - part, 1e-9), arm, *more)), *others]

    def _apply_odometry(self, fix: PoseFix, begins: bool) -> bool:
        measured, directions, sigmas = fix.planar()
        if begins:
            kernels.begin_odometry(self.state, self.covariance, measured)
        return bool(
            kernels.update_odometry(
                self.state, self.covariance, measured, directions, sigmas, self._config.gate_1d
            )
        )  # fmt: skip

    def _apply(self, fix: PoseFix) -> bool:
        return bool(
            kernels.update_pose(
                self.state, self.covariance, fix.T_map_base[:3, 3], np.ascontiguousarray(fix.T_map_base[:3, :3]),
                fix.directions, fix.sigmas, self._config.gate_1d,
            )
        )  # fmt: skip

    # ------------------------------------------------------------------ the same, remembered

    def predict(
        self, force: FloatArray, rate: FloatArray, dt: float, lever_arm: FloatArray, inflation: float = 1.0
    ) -> tuple[FloatArray, FloatArray]:
        self._operations.append(("predict", (force, rate, dt, lever_arm, inflation)))
        return super().predict(force, rate, dt, lever_arm, inflation)

    def update_position(self, offset: FloatArray, arm: FloatArray, sigma: FloatArray) -> PositionOutcome:
        # ``offset`` is against the estimate of now: as a place it can be compared with any other estimate
        self._operations.append(("update_place", (self.state[:3] + offset, arm, sigma)))
        return super().update_position(offset, arm, sigma)

    def update_body_velocity(self, wheel_speed: float, slip_speed: float, slip_sigma: float) -> tuple[bool, bool]:
        self._operations.append(("update_body_velocity", (wheel_speed, slip_speed, slip_sigma)))
        return super().update_body_velocity(wheel_speed, slip_speed, slip_sigma)

    def advance(
        self, force: FloatArray, rate: FloatArray, dt: float, lever_arm: FloatArray, inflation: float,
        gyro: FloatArray, seen: FloatArray,
    ) -> FloatArray:  # fmt: skip
        self._operations.append(("advance", (force, rate, dt, lever_arm, inflation, gyro, seen)))
        return super().advance(force, rate, dt, lever_arm, inflation, gyro, seen)

    def update_heading(self, heading: float, sigma: float) -> bool:
        self._operations.append(("update_heading", (heading, sigma)))
        return super().update_heading(heading, sigma)


def compile_update() -> None:
    """Compile what only pose fixes use."""
    state, covariance = np.zeros(kernels.NOMINAL), np.eye(kernels.ERROR)
    state[6] = 1.0
    kernels.begin_odometry(state, covariance, np.zeros(3))
    kernels.update_odometry(state, covariance, np.zeros(3), np.eye(3), np.ones(3), math.inf)
    kernels.update_pose(state, covariance, np.zeros(3), np.eye(3), np.eye(6), np.ones(6), math.inf)
