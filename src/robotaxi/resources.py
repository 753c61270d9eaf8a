"""Where the files that ship with the package are: a source checkout, or an installed share folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]


def share_dir() -> Path:
    """Folder that holds ``config``, ``launch`` and ``models``.

    A checkout wins over an installation, so that an edited YAML file is the one that is used.
    """
    candidates = [_CHECKOUT]
    candidates += [Path(p) / "share" / "robotaxi" for p in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if p]
    candidates.append(Path(sys.prefix) / "share" / "robotaxi")
    for candidate in candidates:
        if (candidate / "config" / "maps").is_dir():
            return candidate
    tried = ", ".join(str(c) for c in candidates)
    raise FileNotFoundError(f"robotaxi's config folder was not found; looked in {tried}. Reinstall the package.")


def config_dir() -> Path:
    """The ``config`` folder."""
    return share_dir() / "config"
