"""Runs inside the CommonRoad environment: one planner on one scenario after the other, a JSON line each.

    python -m robotaxi.evaluation.commonroad.worker OUT.jsonl PREDICTION PLANNER[,PLANNER...] FILE...

The loop, the vehicle model and the checks are those of `fiss-bench-commonroad`; our planner sits in it
behind the interface of theirs. A planner's name with ``+qp`` has its trajectories smoothed.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.hdmap.lane_map import Lane, LaneMap
from robotaxi.planning.motion.ground import ground_beside
from robotaxi.planning.motion.proposals import Limits, Others, PathArrays, PathState, Target, propose
from robotaxi.planning.path_math import project
from robotaxi.prediction import LaneGraph, PredictionConfig, predict
from robotaxi.types import OBJECT_DTYPE, ObjectClass

OWN = "robotaxi"
MAX_SECONDS = 900.0  # of processor time for one planner on one scenario


def main(arguments: list[str]) -> int:
    from fiss_planner.commonroad import benchmark

    out, prediction, names, *files = arguments
    theirs = benchmark._make_local_planner
    _warm_up()
    signal.signal(signal.SIGPROF, _too_long)
    with open(out, "a", encoding="utf-8") as sink:
        for file in files:
            fault, problem = _read(file)
            for name in names.split(","):
                if fault:
                    row = {"scenario": Path(file).stem, "planner": name, "status": "skipped", "error": fault}
                else:
                    row = _run(benchmark, theirs, file, problem, name, prediction)
                sink.write(json.dumps(row, default=float) + "\n")
                sink.flush()
    return 0


def _warm_up() -> None:
    """Compile before anything is timed."""
    n = np.arange(400) * 0.5
    path = PathArrays(0.5, n, 0.0 * n, 0.0 * n, 0.0 * n)
    state = PathState(50.0, 8.0, 0.0, 0.0, 0.0, 0.0)
    target = Target(100.0, 110.0, -1.0, 1.0, 4.0, 6.0, np.nan, np.nan, np.nan, np.nan, np.nan)
    limits = Limits(4.5, 1.8, 4.0, 8.0, 0.2, 7.0)
    still = np.zeros((1, 61))
    others = Others(still + 80.0, still + 5.0, still, np.full(1, 4.0), np.full(1, 2.0), np.zeros(61))
    ground = ground_beside(path.x, path.y, 14.0, lambda points: 5.0 - np.abs(points[:, 1]))
    propose(path, state, target, limits, others, ground, 0.1, 6.0)
    project(path.x, path.y, path.yaw, 0, 400, 1.0, 1.0)
    line = np.column_stack([n, 0.0 * n, 0.0 * n]).astype(np.float64)
    aside = np.array([0.0, 2.0, 0.0])
    lanes = LaneMap("", (0.0, 0.0, 0.0), {1: Lane(1, line, line + aside, line - aside, line[:, 0], 10.0)})
    cars = np.zeros(2, OBJECT_DTYPE)
    cars["x"], cars["vx"], cars["length"], cars["width"], cars["label"] = (20.0, 40.0), 5.0, 4.0, 2.0, ObjectClass.CAR
    predict(cars, LaneGraph(lanes), PredictionConfig(step=0.1))
    lanes.drivable(line)


def _read(file: str) -> tuple[str, Any]:
    """Why this scenario cannot be driven by anybody ('' where it can), and scenario with planning problem."""
    from commonroad.common.file_reader import CommonRoadFileReader

    try:
        scenario, problems = CommonRoadFileReader(file).open()
    except Exception as error:  # whatever the reader raises on a broken file
        return f"cannot be read: {type(error).__name__}: {error}", None
    if not problems.planning_problem_dict:
        return "holds no planning problem", None
    if not scenario.lanelet_network.lanelets:
        return "holds no lanelet", None
    problem = next(iter(problems.planning_problem_dict.values()))
    fault = _uncertain("initial", problem.initial_state, ("position", "orientation", "velocity"))
    for obstacle in (*scenario.static_obstacles, *scenario.dynamic_obstacles):
        trajectory = getattr(getattr(obstacle, "prediction", None), "trajectory", None)
        for state in (obstacle.initial_state, *(trajectory.state_list if trajectory is not None else ())):
            fault = fault or _uncertain(f"obstacle {obstacle.obstacle_id}: ", state, ("position",))
            if getattr(state, "orientation", None) is not None:
                fault = fault or _uncertain(f"obstacle {obstacle.obstacle_id}: ", state, ("orientation",))
    return fault, (scenario, problem)


def _uncertain(whose: str, state: Any, names: tuple[str, ...]) -> str:
    """Which of the values of a state is missing or no exact one, '' for none."""
    for name in names:
        value = getattr(state, name, None)
        if value is None:
            return f"{whose} {name} is missing"
        if not (np.isscalar(value) or isinstance(value, np.ndarray)):
            return f"{whose} {name} is uncertain ({type(value).__name__}); the closed loop takes exact states only"
    return ""


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"took more than {MAX_SECONDS:.0f} s of processor time")


def _run(benchmark: Any, theirs: Any, file: str, read: Any, name: str, prediction: str) -> dict[str, Any]:
    from robotaxi.evaluation.commonroad.driver import Driver

    options = benchmark.Options(planner=name.removesuffix("+qp"), prediction=prediction, smoother=name.endswith("+qp"))
    drivers: list[Driver] = []
    ours: list[bool] = []
    scenario, problem = read
    if name == OWN:

        def make(opts: Any, vehicle: Any) -> Driver:
            driver = _blamed(lambda: Driver(scenario, problem, vehicle, prediction), ours)()
            driver.step = _blamed(driver.step, ours)  # type: ignore[method-assign]
            drivers.append(driver)
            return driver

        benchmark._make_local_planner = make
    else:
        benchmark._make_local_planner = theirs
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    try:
        row = dict(benchmark._worker((file, options)))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    row["planner"] = name
    if row["status"] == "error" and name == OWN and not ours:
        row.update(status="skipped", error=f"the closed loop cannot run it: {row['error']}")
    if drivers:
        row["plan_ms"] = [round(ms, 3) for ms in drivers[0].times_ms]
    return row


def _blamed(call: Callable[..., Any], ours: list[bool]) -> Callable[..., Any]:
    """``call``, and a mark in ``ours`` when it raises: what is not ours is the loop's own fault."""

    def watched(*arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception:
            ours.append(True)
            raise

    return watched


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
