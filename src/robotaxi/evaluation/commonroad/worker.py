"""Runs inside the CommonRoad environment: one planner on one scenario after the other, a JSON line each.

    python -m robotaxi.evaluation.commonroad.worker OUT.jsonl PREDICTION PLANNER[,PLANNER...] FILE...

The loop, the vehicle model and the checks are those of `fiss-bench-commonroad`; our planner sits in it
behind the interface of theirs. A planner's name with ``+qp`` has its trajectories smoothed.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from robotaxi.planning.motion.proposals import Limits, Others, PathArrays, PathState, Target, propose, raster
from robotaxi.planning.path_math import project

OWN = "robotaxi"


def main(arguments: list[str]) -> int:
    from fiss_planner.commonroad import benchmark

    out, prediction, names, *files = arguments
    theirs = benchmark._make_local_planner
    _warm_up()
    with open(out, "a", encoding="utf-8") as sink:
        for file in files:
            for name in names.split(","):
                row = _run(benchmark, theirs, file, name, prediction)
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
    propose(path, state, target, limits, others, raster(np.ones((400, 900), bool), -50.0, -50.0, 0.25), 0.1, 6.0)
    project(path.x, path.y, path.yaw, 0, 400, 1.0, 1.0)


def _run(benchmark: Any, theirs: Any, file: str, name: str, prediction: str) -> dict[str, Any]:
    from commonroad.common.file_reader import CommonRoadFileReader

    from robotaxi.evaluation.commonroad.driver import Driver

    own = name == OWN
    options = benchmark.Options(planner=name.removesuffix("+qp"), prediction=prediction, smoother=name.endswith("+qp"))
    if own:
        scenario, problems = CommonRoadFileReader(file).open()
        if problems.planning_problem_dict:
            problem = next(iter(problems.planning_problem_dict.values()))

            def make(opts: Any, vehicle: Any) -> Driver:
                return Driver(scenario, problem, vehicle, prediction)

            benchmark._make_local_planner = make
    else:
        benchmark._make_local_planner = theirs
    row = benchmark._worker((file, options))
    row["planner"] = name
    return dict(row)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
