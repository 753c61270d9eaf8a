"""What is known of a track's heading, up to a quarter turn: views weighed by how much they can tell.

The sides of a rectangle repeat every quarter turn, so headings are added up as vectors at four times their angle; the
length of the sum is the information (1/rad^2). Views that agree add up, views that contradict each other cancel: a
guess from a few far points gives way to the first good view, and a good view outlasts the poor ones after it. From
standstill one and the same poor view comes again and again: it counts for a few of its kind at most.
"""

from __future__ import annotations

import math

from numba import njit

_LEAST_SIDE = 1.0  # m, a shorter side has no direction worth knowing
_LEAST_INFORMATION = 1e-6
_VIEWS = 10.0  # of one quality count; what comes after tells nothing new


@njit(cache=True)
def side_information(detection, sigma):  # type: ignore[no-untyped-def]
    """Information of the heading of ``detection`` (DETECTION_DTYPE) whose points stray by ``sigma`` m.

    That of a line fitted to the points on the sides: their number times the length squared.
    """
    if not detection.length > _LEAST_SIDE:
        return 0.0
    share = detection.length / sigma
    return detection.points * detection.flat * (share * share)


@njit(cache=True)
def fade(facing, sigma):  # type: ignore[no-untyped-def]
    """``facing`` (2,), in place, after the heading may have changed by ``sigma`` rad."""
    rest = 1.0 + math.hypot(facing[0], facing[1]) * (sigma * sigma)
    facing[0] /= rest
    facing[1] /= rest


@njit(cache=True)
def told(yaw, information):  # type: ignore[no-untyped-def]
    """What a single view of a heading ``yaw``, any quarter turn, says: a vector as in ``facing``."""
    return math.cos(4.0 * yaw) * information, math.sin(4.0 * yaw) * information


@njit(cache=True)
def add_view(facing, yaw, information):  # type: ignore[no-untyped-def]
    """``facing`` (2,), in place, with what a view of heading ``yaw`` told."""
    u, v = told(yaw, information)
    x, y = facing[0] + u, facing[1] + v
    most = max(math.hypot(facing[0], facing[1]), _VIEWS * math.hypot(u, v))
    share = min(1.0, most / max(math.hypot(x, y), _LEAST_INFORMATION))
    facing[0], facing[1] = x * share, y * share


@njit(cache=True)
def heading(facing):  # type: ignore[no-untyped-def]
    """The likeliest heading in [-pi/4, pi/4], and whether there is one at all."""
    return math.atan2(facing[1], facing[0]) / 4.0, math.hypot(facing[0], facing[1]) > _LEAST_INFORMATION


@njit(cache=True)
def wrap(angle):  # type: ignore[no-untyped-def]
    """To [-pi, pi)."""
    return (angle + math.pi) % (2.0 * math.pi) - math.pi


@njit(cache=True)
def wrap_half(angle):  # type: ignore[no-untyped-def]
    """To [-pi/2, pi/2): the difference of two headings, front and rear not told apart."""
    return (angle + math.pi / 2) % math.pi - math.pi / 2


@njit(cache=True)
def wrap_quarter(angle):  # type: ignore[no-untyped-def]
    """To [-pi/4, pi/4): the difference of two rectangles' headings, sides not told apart."""
    return (angle + math.pi / 4) % (math.pi / 2) - math.pi / 4
