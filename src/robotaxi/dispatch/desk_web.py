"""The files of the desk's page: our own, and MapLibre GL as the Python package ``maplibre`` carries it.

Nothing comes from outside: the page's content security policy names this server only.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

WEB = Path(__file__).parent / "web"
OWN = {
    "": ("desk.html", "text/html"),
    "desk.css": ("desk.css", "text/css"),
    "desk.js": ("desk.js", "text/javascript"),
    "desk_map.js": ("desk_map.js", "text/javascript"),
}
LIBRARY = {"maplibre-gl.js": "text/javascript", "maplibre-gl.css": "text/css"}
CURE = "pip install robotaxi[view]"
MISSING = f"the page's map needs MapLibre GL: {CURE}"
POLICY = (
    "default-src 'self'; worker-src blob:; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""MapLibre makes its worker from a blob, and styles its elements."""


def library_file(name: str) -> Path | None:
    """Where the installed package has a file of MapLibre GL; None where it is not installed.

    The package itself is not imported: it would bring pydantic into the desk.
    """
    try:
        path = Path(str(importlib.metadata.distribution("maplibre").locate_file(f"maplibre/srcjs/{name}")))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def page_file(name: str) -> tuple[bytes, str] | None:
    """(content, type) of a file of the page; None for what is no file of it. FileNotFoundError: MapLibre is missing."""
    if name in OWN:
        file, kind = OWN[name]
        return (WEB / file).read_bytes(), kind
    if name in LIBRARY:
        path = library_file(name)
        if path is None:
            raise FileNotFoundError(MISSING)
        return path.read_bytes(), LIBRARY[name]
    return None
