"""`robotaxi eval town` writes its figures ride by ride, and ends cleanly when it is interrupted."""

import json
from argparse import Namespace
from pathlib import Path

from robotaxi.commands.eval_rides import INTERRUPTED, Rides, _run


def row(seed: int) -> dict[str, object]:
    return {"seed": seed, "exit_status": 0, "driving_score": 90.0 + seed, "line": f"ride {seed}"}


def arguments(file: Path) -> Namespace:
    return Namespace(seeds=[0, 1, 2], json=file, map="town", perfect=None, compare=None, parquet=None)


def test_figures_are_there_after_each_ride_in_the_order_of_the_seeds(tmp_path: Path) -> None:
    file, seen = tmp_path / "town.json", []

    def rides() -> Rides:
        for place in (1, 0, 2):
            yield place, row(place)
            seen.append(json.loads(file.read_text()))

    assert _run(arguments(file), rides(), lambda row: "", lambda rows: {"more": len(rows)}) == 0
    assert [[item["seed"] for item in result["by_seed"]] for result in seen] == [[1], [0, 1], [0, 1, 2]]
    assert [(result["rides"], result["more"], result["interrupted"]) for result in seen] == [
        (1, 1, True), (2, 2, True), (3, 3, False)
    ]  # fmt: skip


def test_an_interrupted_evaluation_ends_its_rides_and_keeps_what_there_is(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    file, closed = tmp_path / "town.json", []

    def rides() -> Rides:
        try:
            yield 0, row(0)
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    assert _run(arguments(file), rides(), lambda row: "", lambda rows: {}) == INTERRUPTED
    result = json.loads(file.read_text())
    assert result["rides"] == 1 and result["interrupted"] and closed
    assert "2 not driven: interrupted" in capsys.readouterr().out
