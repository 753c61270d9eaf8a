"""Any numeric fields of a bag over time, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.bags.compare import fields_of
from robotaxi.bags.reader import known_types, open_bag, ordered, table_topic
from robotaxi.bags.writer import BagError


def series(bag: str | Path, names: list[str]) -> dict[str, tuple[Any, Any]]:
    """'topic:field' -> (seconds (N,), values (N,)). BagError names a topic or field that is not there."""
    out: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in names}
    with open_bag(bag) as reader:
        store, _ = known_types(reader)
        for name in names:
            topic, _, field = name.partition(":")
            chosen = [c for c in reader.connections if topic.lstrip("/") in (c.topic.lstrip("/"), table_topic(c.topic))]
            if not chosen or not field:
                topics = ", ".join(sorted(c.topic for c in reader.connections))
                raise BagError(f"'{name}' is no topic:field of {bag}; its topics are: {topics}")
            kind = chosen[0].msgtype
            if kind not in store.types:
                raise BagError(f"'{name}': type {kind} is not known")
            known: set[str] = set()
            for stamp_ns, _, raw in ordered(reader, chosen):
                values = fields_of(store.deserialize_cdr(raw, kind), kind)
                known.update(values)
                value = values.get(field)
                if isinstance(value, int | float):
                    out[name][0].append(stamp_ns / 1e9)
                    out[name][1].append(float(value))
            if not out[name][0]:
                raise BagError(f"'{name}': no numeric field '{field}'; known are: {', '.join(sorted(known)[:40])}")
    return {name: (np.array(t), np.array(v)) for name, (t, v) in out.items()}


def plot(bag: str | Path, names: list[str], out: str | Path) -> Path:
    """Write one picture (format by the suffix of ``out``) with a panel for each field."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = series(bag, names)
    figure = Figure(figsize=(11, 1.2 + 2.2 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (name, (t, value)) in zip(panels, found.items(), strict=True):
        panel.plot(t, value, linewidth=1.0)
        panel.set_title(name, fontsize=9, loc="left")
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("s")
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    return out
