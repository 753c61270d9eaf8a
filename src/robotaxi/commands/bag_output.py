"""How every bag command ends: an exit status, figures, or an error in one sentence."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

EXIT_FELL_SHORT, EXIT_UNUSABLE = 1, 2


def fail(args: argparse.Namespace, what: str, error: Exception) -> int:
    print(f"robotaxi bag {what}: {error}", file=sys.stderr)
    write_json(getattr(args, "json", None), {"error": str(error)})
    return EXIT_UNUSABLE


def write_json(file: Path | None, figures: dict[str, Any]) -> None:
    """The figures of a bag command, where they are asked for."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
