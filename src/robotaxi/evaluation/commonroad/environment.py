"""The virtual environment of the CommonRoad tools, and running workers in it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
) -> list[dict[str, Any]]:
    """One row for each file and planner, in order of file and planner. A worker that dies gives error rows."""
    environment = {**os.environ, "PYTHONPATH": str(Path(robotaxi.__file__).parents[1])}

    def share(number: int) -> list[dict[str, Any]]:
        part = list(files[number::workers])
        rows: list[dict[str, Any]] = []
        while part:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "rows.jsonl"
                command = [str(python), "-m", "robotaxi.evaluation.commonroad.worker", str(out), prediction]
                process = subprocess.Popen(
                    [*command, ",".join(planners), *map(str, part)],
                    env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                )  # fmt: skip
                _, fault = process.communicate()
                new = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
            rows += new
            progress(len(new))
            if process.returncode == 0:
                break
            done = len(new) // len(planners)
            last = fault.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
            seen = {row["planner"] for row in new[done * len(planners) :]}
            for name in planners:
                if name not in seen:
                    rows.append({"scenario": part[done].stem, "planner": name, "status": "error", "error": last[0]})
                    progress(1)
            part = part[done + 1 :]
        return rows

    with ThreadPoolExecutor(max(1, workers)) as pool:
        found = [row for rows in pool.map(share, range(max(1, workers))) for row in rows]
    order = {name: k for k, name in enumerate(planners)}
    return sorted(found, key=lambda row: (row["scenario"], order.get(row["planner"], 99)))


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
