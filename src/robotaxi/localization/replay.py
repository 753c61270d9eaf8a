"""The filter with a memory: a measurement of the past is applied where it belongs, and what came after again."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robotaxi.localization import kernels
from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.eskf import ErrorStateFilter, Motion, PositionOutcome
from robotaxi.localization.map_match import PoseFix
from robotaxi.types import FloatArray


@dataclass(slots=True)
class _Step:
    """``motion`` (None for the first), then ``places`` (measured antenna positions less lever arm, lever arms and
    sigmas, map) lead from the step before to ``state`` and ``covariance`` at ``stamp_ns``."""

    stamp_ns: int
    motion: Motion | None
    places: list[tuple[FloatArray, FloatArray, FloatArray]]
    state: FloatArray
    covariance: FloatArray


class ReplayFilter:
    """An `ErrorStateFilter` that remembers the last ``duration_ns``.

    Each step is one `advance`, any number of `update_position`, and `commit`; measurements of the past come between
    two steps. ``start`` is taken over. ``lever_arm``: (3,) antenna in base_link.
    """

    def __init__(
        self, config: LocalizationConfig, start: ErrorStateFilter, lever_arm: FloatArray, stamp_ns: int,
        duration_ns: int,
    ) -> None:  # fmt: skip
        self._config = config
        self._filter = start
        self._lever_arm = lever_arm
        self._duration_ns = duration_ns
        self._motion: Motion | None = None
        self._places: list[tuple[FloatArray, FloatArray, FloatArray]] = []
        self._steps: deque[_Step] = deque()
        self.readout = start.readout
        self.pose = start.pose
        self.rotation = start.rotation
        self.commit(stamp_ns)

    @property
    def position(self) -> FloatArray:
        """(3,) base_link in map."""
        return self._filter.state[:3]

    def advance(self, motion: Motion) -> list[float]:
        """As `ErrorStateFilter.advance`."""
        self._motion = motion
        return self._filter.advance(motion, self._lever_arm)

    def inertial_by(self, steering: float, wheelbase: float) -> tuple[FloatArray, FloatArray]:
        """As `ErrorStateFilter.inertial_by`."""
        return self._filter.inertial_by(steering, wheelbase)

    def update_position(self, offset: FloatArray, arm: FloatArray, sigma: FloatArray) -> PositionOutcome:
        """As `ErrorStateFilter.update_position`."""
        # ``offset`` is against the estimate of now: as a place it can be compared with any other estimate
        self._places.append((self.position + offset, arm, sigma))
        return self._filter.update_position(offset, arm, sigma)

    def commit(self, stamp_ns: int) -> None:
        """All since the last call leads to ``stamp_ns``."""
        steps, kalman = self._steps, self._filter
        steps.append(_Step(stamp_ns, self._motion, self._places, kalman.state.copy(), kalman.covariance.copy()))
        self._places = []
        while steps[0].stamp_ns < stamp_ns - self._duration_ns:
            steps.popleft()

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
        kalman, after = self._filter, []
        while self._steps[-1].stamp_ns > fix.stamp_ns:
            after.append(self._steps.pop())
        base = self._steps[-1]
        kalman.state[:], kalman.covariance[:] = base.state, base.covariance
        late_ns = fix.stamp_ns - base.stamp_ns
        rest = None
        if late_ns and after and after[-1].motion is not None:
            rest = kalman.advance_part(after[-1].motion, late_ns * 1e-9, self._lever_arm)
        accepted = apply()
        if rest is None:
            base.state, base.covariance = kalman.state.copy(), kalman.covariance.copy()
        for step in reversed(after):
            motion, rest = rest or step.motion, None
            if motion is not None:
                kalman.advance(motion, self._lever_arm)
            for place, arm, sigma in step.places:
                kalman.update_position(place - kalman.state[:3], arm, sigma)
            step.state[:], step.covariance[:] = kalman.state, kalman.covariance
            self._steps.append(step)
        return accepted

    def _apply_odometry(self, fix: PoseFix, begins: bool) -> bool:
        measured, directions, sigmas = fix.planar()
        state, covariance = self._filter.state, self._filter.covariance
        if begins:
            kernels.begin_odometry(state, covariance, measured)
        return bool(kernels.update_odometry(state, covariance, measured, directions, sigmas, self._config.gate_1d))

    def _apply(self, fix: PoseFix) -> bool:
        return bool(
            kernels.update_pose(
                self._filter.state, self._filter.covariance, fix.T_map_base[:3, 3],
                np.ascontiguousarray(fix.T_map_base[:3, :3]), fix.directions, fix.sigmas, self._config.gate_1d,
            )
        )  # fmt: skip


def compile_update() -> None:
    """Compile what only pose fixes use."""
    state, covariance = np.zeros(kernels.NOMINAL), np.eye(kernels.ERROR)
    state[6] = 1.0
    kernels.begin_odometry(state, covariance, np.zeros(3))
    kernels.update_odometry(state, covariance, np.zeros(3), np.eye(3), np.ones(3), math.inf)
    kernels.update_pose(state, covariance, np.zeros(3), np.eye(3), np.eye(6), np.ones(6), math.inf)
