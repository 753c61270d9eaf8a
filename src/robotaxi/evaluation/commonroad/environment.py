"""The virtual environment of the CommonRoad tools, and running workers in it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import robotaxi

PACKAGES = (
    "fiss-planner[commonroad]==1.0.0",
    "commonroad-io==2024.3",
    "commonroad-drivability-checker==2025.4.0",
    "commonroad-route-planner==2025.1.0; python_version < '3.12'",
    "protobuf==3.20.2",
    "numba==0.68.1",
    "piqp==0.7.0",
    "PyYAML==6.0.3",
)


LOOK_S = 1.0  # between two looks at what a worker has done


class CommonRoadError(RuntimeError):
    """The environment could not be made; the message says why."""


def default_folder() -> Path:
    """One folder for each list of packages and each Python."""
    key = hashlib.sha256(f"{sys.version_info[:2]}{PACKAGES}".encode()).hexdigest()[:12]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "robotaxi" / f"commonroad-{key}"


def prepare(folder: Path, report: Callable[[str], None]) -> Path:
    """The interpreter in ``folder``, which is made on first use. Raises CommonRoadError."""
    python = folder / "bin" / "python"
    if python.exists() and _complete(python):
        return python
    report(f"making {folder} (once, some minutes)")
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
            raise CommonRoadError(f"cannot make the CommonRoad environment in {folder}: {last[0]}")
    return python


def _complete(python: Path) -> bool:
    check = "import fiss_planner, commonroad, commonroad_dc, numba, piqp, yaml, scipy, shapely"
    return subprocess.run([str(python), "-c", check], capture_output=True, check=False).returncode == 0


def drive(
    python: Path,
    files: Sequence[Path],
    planners: Sequence[str],
    prediction: str,
    workers: int,
    progress: Callable[[int], None],
    stop: threading.Event | None = None,
) -> list[dict[str, Any]]:
    """One row for each file and planner, in order of file and planner. A worker that dies gives error rows.

    ``stop``: once it is set, the workers are ended and the rows that there are are returned.
    """
    stop = stop or threading.Event()

    def share(number: int) -> list[dict[str, Any]]:
        part = list(files[number::workers])
        rows: list[dict[str, Any]] = []
        while part and not stop.is_set():
            new, status, fault = _work(python, part, planners, prediction, progress, stop)
            rows += new
            if status == -signal.SIGINT:  # Ctrl-C on a terminal reaches the workers too
                stop.set()
            if status == 0 or stop.is_set():
                break
            done = len(new) // len(planners)
            seen = {row["planner"] for row in new[done * len(planners) :]}
            for name in planners:
                if name not in seen:
                    rows.append({"scenario": part[done].stem, "planner": name, "status": "error", "error": fault})
                    progress(1)
            part = part[done + 1 :]
        return rows

    with ThreadPoolExecutor(max(1, workers)) as pool:
        shares = [pool.submit(share, number) for number in range(max(1, workers))]
        try:
            wait(shares)
        except KeyboardInterrupt:
            stop.set()
    order = {name: k for k, name in enumerate(planners)}
    found = [row for item in shares for row in item.result()]
    return sorted(found, key=lambda row: (row["scenario"], order.get(row["planner"], 99)))


def _work(
    python: Path,
    files: Sequence[Path],
    planners: Sequence[str],
    prediction: str,
    progress: Callable[[int], None],
    stop: threading.Event,
) -> tuple[list[dict[str, Any]], int, str]:
    """Rows of one worker process, told to ``progress`` as they come, its exit status and the last line it said."""
    environment = {**os.environ, "PYTHONPATH": str(Path(robotaxi.__file__).parents[1])}
    with tempfile.TemporaryDirectory() as folder:
        out, said = Path(folder) / "rows.jsonl", Path(folder) / "stderr"
        command = [str(python), "-m", "robotaxi.evaluation.commonroad.worker", str(out), prediction]
        with said.open("w") as sink:
            process = subprocess.Popen(
                [*command, ",".join(planners), *map(str, files)], env=environment,
                stdout=subprocess.DEVNULL, stderr=sink,
            )  # fmt: skip
        told, status = 0, None
        while status is None:
            try:
                status = process.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                if stop.is_set():
                    process.terminate()
            rows = _rows(out)
            progress(len(rows) - told)
            told = len(rows)
        last = said.read_text(errors="replace").strip().splitlines()[-1:] or [f"exit status {status}"]
    return rows, status, last[0]


def _rows(file: Path) -> list[dict[str, Any]]:
    """The rows that are complete so far."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def summarise(rows: Sequence[dict[str, Any]], own: str = "robotaxi") -> dict[str, dict[str, float]]:
    """Figures of each planner over the scenarios that can be driven.

    A peer's runs that raised an error are left out of its figures, as its own harness does; ours count as failed.
    """
    out: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(row["planner"] for row in rows):
        mine = [row for row in rows if row["planner"] == name and row["status"] != "skipped"]
        driven = [row for row in mine if row["status"] != "error"]
        counted = mine if name == own else driven
        if not driven:
            continue
        share = {
            f"{kind}_percent": round(100.0 * sum(row["status"] == kind for row in counted) / len(counted), 2)
            for kind in ("success", "collision", "off_road", "timeout", "no_plan", "error")
        }
        out[name] = {
            "scenarios": len(counted),
            **share,
            "plan_ms_mean": round(_mean([row["plan_ms_mean"] for row in driven]), 3),
            "plan_ms_p95_worst_scenario": round(max(row["plan_ms_p95"] for row in driven), 3),
            "cycle_ms_mean": round(_mean([row["cycle_ms_mean"] for row in driven]), 3),
        }
        cycles = sorted(ms for row in driven for ms in row.get("plan_ms", []))
        if cycles:
            out[name]["plan_ms_p99"] = round(cycles[min(math.ceil(0.99 * len(cycles)), len(cycles)) - 1], 3)
    return out


def _mean(values: list[float]) -> float:
    fine = [value for value in values if math.isfinite(value)]
    return sum(fine) / len(fine) if fine else math.nan
