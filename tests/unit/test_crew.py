"""Processes that do jobs: rows come as they are made, and whoever dies or hangs costs only its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from robotaxi.commands.progress import bar
from robotaxi.crew import run_jobs


def _work(job: str, tell) -> None:
    tell({"job": job, "row": 0})
    if job == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "raises":
        raise ValueError("broken on purpose")
    if job == "hangs":
        signal.pause()
    tell({"job": job, "row": 1})


def rows_of(jobs: list[str], patience_s: float = 60.0) -> list[tuple[str, int | str]]:
    rows = run_jobs(jobs, _work, lambda job: 2, lambda job, why: {"job": job, "row": why}, chunk=3,
                    patience_s=patience_s)  # fmt: skip
    return [(row["job"], row["row"]) for row in rows]


def test_who_dies_or_raises_costs_its_own_rows_and_the_others_go_on() -> None:
    rows = rows_of(["dies", "raises", "good"])
    assert [row for row in rows if row[0] == "good"] == [("good", 0), ("good", 1)]
    (dead,) = [row[1] for row in rows if row[0] == "dies" and row[1] != 0]
    (raised,) = [row[1] for row in rows if row[0] == "raises" and row[1] != 0]
    assert dead == "its process ended with status -9"
    assert "broken on purpose" in str(raised)


def test_who_hangs_is_killed() -> None:
    assert rows_of(["hangs"], patience_s=3.0)[1] == ("hangs", "hung: no word for 3 s")


def test_progress_without_a_terminal_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("things", 3) as progress:
        progress(1)
        progress.say("one was bad")
        progress(3)
    assert capsys.readouterr().err.splitlines() == ["things: 3 to do", "one was bad", "things: 3 of 3 after 0 s"]


def test_a_campaign_that_is_interrupted_leaves_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    command = [sys.executable, "-m", "robotaxi", "eval", "faults", "--seeds", "0", "--full", "0", "--json", str(file)]
    child = subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None and child.stderr.readline() == "injections: 8 to do\n"
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=60.0)
    figures = json.loads(file.read_text())
    assert child.returncode == 130
    assert out.splitlines()[-1].startswith("eval faults: interrupted: 0 of 0 injections ended safely")
    assert figures["interrupted"] and not figures["holds"] and figures["injections"] == []
