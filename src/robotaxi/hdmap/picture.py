"""A picture of a map: lanes, stop lines, lights, crosswalks, bays. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from robotaxi.hdmap.lane_map import LaneMap

_LINE_COLOURS = {"signal": "#d62728", "stop": "#9467bd", "yield": "#ff7f0e"}


def draw_map(
    lane_map: LaneMap,
    axes: Axes | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    labels: bool = False,
) -> Any:
    """Draw a map into ``axes``, or into a new figure, and return the axes.

    ``bounds``: (x_min, x_max, y_min, y_max) to show. ``labels``: ids of lanes and furniture.
    """
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.figure import Figure

    if axes is None:
        axes = Figure(figsize=(12.0, 12.0), layout="tight").add_subplot()
    outlines = [np.concatenate([lane.left[:, :2], lane.right[::-1, :2]]) for lane in lane_map.lanes.values()]
    shades = ["#b8b8b8" if lane.junction_id is None else "#a0a0a0" for lane in lane_map.lanes.values()]
    axes.add_collection(PolyCollection(outlines, facecolors=shades, edgecolors="white", linewidths=0.4, zorder=1))
    centers = [lane.centerline[:, :2] for lane in lane_map.lanes.values()]
    axes.add_collection(LineCollection(centers, colors="#e8e8e8", linewidths=0.3, zorder=2))
    crosswalks = [c.polygon[:, :2] for c in lane_map.crosswalks.values()]
    axes.add_collection(PolyCollection(crosswalks, facecolors="white", edgecolors="#606060", hatch="||", zorder=3))
    bays = [p.polygon[:, :2] for p in lane_map.stopping_places.values()]
    axes.add_collection(PolyCollection(bays, facecolors="#9ecae1", edgecolors="#3182bd", linewidths=0.5, zorder=1))
    lines = [line.points[:, :2] for line in lane_map.stop_lines.values()]
    colours = [_LINE_COLOURS.get(line.kind, "black") for line in lane_map.stop_lines.values()]
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=2.0, zorder=4))
    for signal in lane_map.signals.values():
        x, y, _ = signal.position
        dx, dy = 3.0 * np.cos(signal.yaw), 3.0 * np.sin(signal.yaw)
        axes.plot([x, x + dx], [y, y + dy], color="#2ca02c", linewidth=1.0, zorder=5)
        axes.plot([x], [y], marker="o", color="#2ca02c", markersize=3.0, zorder=5)
    for place in lane_map.stopping_places.values():
        axes.plot([place.pose[0]], [place.pose[1]], marker=".", color="#08519c", markersize=3.0, zorder=4)
    if labels:
        _label(lane_map, axes)
    everything = np.concatenate(outlines)
    low, high = everything.min(axis=0) - 10.0, everything.max(axis=0) + 10.0
    x0, x1, y0, y1 = bounds or (low[0], high[0], low[1], high[1])
    axes.set(xlim=(x0, x1), ylim=(y0, y1), xlabel="x east, m", ylabel="y north, m", aspect="equal")
    return axes


def save_picture(lane_map: LaneMap, path: str, bounds: tuple[float, float, float, float] | None = None) -> None:
    """Write a PNG of the map, or of a part of it with ids."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    axes = draw_map(lane_map, bounds=bounds, labels=bounds is not None)
    FigureCanvasAgg(axes.figure).print_png(path)


def _label(lane_map: LaneMap, axes: Axes) -> None:
    places: list[tuple[Any, str]] = [
        (lane.centerline[len(lane.s) // 2], str(lane.id)) for lane in lane_map.lanes.values()
    ]
    places += [(line.points.mean(axis=0), str(line.id)) for line in lane_map.stop_lines.values()]
    places += [(signal.position, str(signal.id)) for signal in lane_map.signals.values()]
    for point, text in places:
        axes.text(float(point[0]), float(point[1]), text, fontsize=5.0, ha="center", clip_on=True, zorder=6)
