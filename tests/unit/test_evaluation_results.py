"""Two runs beside each other, and their rows as Parquet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robotaxi.evaluation.results import compare, read_earlier, summary, write_parquet
from robotaxi.evaluation.scenarios.report import write
from robotaxi.params import ParameterError


def row(name: str, seed: int, failed: dict[str, str] | None = None, seconds: float = 20.0) -> dict[str, object]:
    return {"scenario": name, "seed": seed, "passed": not failed, "failed": failed or {}, "duration_s": seconds}


BEFORE = [row("a", 0), row("a", 1, {"clearance": "passed with 0.10 m"}), row("b", 0), row("c", 0)]
NOW = [row("a", 0, {"no_collision": "touched car 4"}), row("a", 1), row("b", 0, seconds=25.0), row("d", 0)]


def test_what_fails_now_comes_first_and_small_changes_are_not_told() -> None:
    changes = compare(BEFORE, NOW)
    assert [(item.drive, item.kind) for item in changes] == [
        ("a seed 0", "fails now"), ("a seed 1", "holds now"), ("d seed 0", "new"), ("c seed 0", "gone"),
        ("b seed 0", "figures"),
    ]  # fmt: skip
    assert changes[0].line() == "a seed 0: fails now; no_collision: touched car 4"
    assert changes[-1].line() == "b seed 0: figures; duration_s 20 -> 25"
    assert summary(changes, Path("old.json")) == "beside old.json: 1 fail now, 1 hold now, 1 differ in figures only"
    assert compare(BEFORE, BEFORE) == []
    assert summary([], Path("old.json")) == "beside old.json: nothing changed"


def test_rides_are_known_by_map_and_seed() -> None:
    good, bad = ({"map": "town", "seed": 3, "exit_status": k, "problems": p} for k, p in ((0, []), (1, ["red light"])))
    assert [item.line() for item in compare([good], [bad])] == ["town seed 3: fails now; red light"]


def test_an_earlier_file_is_read_and_a_wrong_one_named(tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    file.write_text(json.dumps({"rows": BEFORE}))
    assert read_earlier(file) == BEFORE
    for text in ("{}", "[1]", "no json", '{"rows": [1]}'):
        file.write_text(text)
        with pytest.raises(ParameterError, match=r"old\.json"):
            read_earlier(file)
    with pytest.raises(ParameterError, match=r"none\.json"):
        read_earlier(tmp_path / "none.json")


def test_the_report_tells_what_changed(tmp_path: Path) -> None:
    write(tmp_path / "r.html", NOW, compare(BEFORE, NOW))
    assert "Since the earlier run" in (tmp_path / "r.html").read_text()


def test_rows_become_one_parquet_file(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow comes with the mine extra")
    write_parquet(tmp_path / "rows.parquet", [*NOW, {"seed": 5, "path": [[1.0, 2.0]]}])
    table = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [item["seed"] for item in table] == [0.0, 1.0, 0.0, 0.0, 5.0]
    assert json.loads(table[0]["failed"]) == {"no_collision": "touched car 4"}
    assert table[4]["path"] == "[[1.0, 2.0]]" and table[4]["passed"] is None
