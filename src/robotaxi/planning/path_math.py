"""Compiled geometry along a path: projection, occupancy of the swept corridor."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

COARSE_STRIDE = 4  # path samples skipped in the first look for the nearest one
SIDE_POINTS = 8  # samples along each long side of a box
END_POINTS = 3  # samples along each short side


@njit(cache=True)
def project(path_x, path_y, path_yaw, lo, hi, x, y):  # type: ignore[no-untyped-def]
    """Nearest sample of ``path[lo:hi]`` to a point: (index, metres beyond it, lateral offset left)."""
    best, best_d = lo, np.inf
    for k in range(lo, hi):
        d = (path_x[k] - x) ** 2 + (path_y[k] - y) ** 2
        if d < best_d:
            best, best_d = k, d
    c, s = math.cos(path_yaw[best]), math.sin(path_yaw[best])
    dx, dy = x - path_x[best], y - path_y[best]
    return best, c * dx + s * dy, -s * dx + c * dy


@njit(cache=True)
def occupancy(path_x, path_y, path_yaw, path_s, left, right, lo, hi, x, y, yaw, length, width):  # type: ignore[no-untyped-def]
    """What part of the corridor each box covers.

    ``left, right``: (P,) half widths of the corridor on either side of the path; boxes ``x, y,
    yaw, length, width`` (N,). Returns (N, 4): lowest and highest arc length covered (NaN where
    none is), smallest clearance between box and corridor (negative inside), and the arc length of
    the box point nearest to the corridor.
    """
    n = x.shape[0]
    out = np.full((n, 4), np.nan)
    if hi - lo < 2:
        return out
    step = path_s[1] - path_s[0]
    for i in range(n):
        reach = 0.5 * math.hypot(length[i], width[i])
        best, best_d = -1, np.inf
        for k in range(lo, hi, COARSE_STRIDE):
            d = (path_x[k] - x[i]) ** 2 + (path_y[k] - y[i]) ** 2
            if d < best_d:
                best, best_d = k, d
        limit = reach + 5.0 + COARSE_STRIDE * step
        if best < 0 or best_d > limit * limit:
            continue
        span = int((reach + 3.0) / step) + COARSE_STRIDE
        a, b = max(lo, best - span), min(hi, best + span + 1)
        c, s = math.cos(yaw[i]), math.sin(yaw[i])
        clearance, clearance_s = np.inf, 0.0
        s_lo, s_hi = np.inf, -np.inf
        for side in range(2 * SIDE_POINTS + 2 * END_POINTS):
            if side < 2 * SIDE_POINTS:
                u = length[i] * ((side % SIDE_POINTS) / (SIDE_POINTS - 1) - 0.5)
                v = width[i] * (0.5 if side < SIDE_POINTS else -0.5)
            else:
                j = side - 2 * SIDE_POINTS
                u = length[i] * (0.5 if j < END_POINTS else -0.5)
                v = width[i] * ((j % END_POINTS + 1) / (END_POINTS + 1) - 0.5)
            qx, qy = x[i] + c * u - s * v, y[i] + s * u + c * v
            k, along, offset = project(path_x, path_y, path_yaw, a, b, qx, qy)
            if (k == a and a == lo and along < -step) or (k == b - 1 and b == hi and along > step):
                continue  # beyond the ends of the window
            gap = offset - left[k] if offset > 0 else -offset - right[k]
            arc = path_s[k] + along
            if gap < clearance:
                clearance, clearance_s = gap, arc
            if gap <= 0.0:
                s_lo, s_hi = min(s_lo, arc), max(s_hi, arc)
        if clearance < np.inf:
            out[i, 2], out[i, 3] = clearance, clearance_s
        if s_hi >= s_lo:
            out[i, 0], out[i, 1] = s_lo, s_hi
    return out


@njit(cache=True)
def swept_gap(path_x, path_y, path_yaw, rear, front, half, x, y, yaw, length, width):  # type: ignore[no-untyped-def]
    """Smallest distance (N,) between boxes ``x, y, yaw, length, width`` (N,) and the body driven along the path.

    The body reaches ``rear`` behind and ``front`` before each path point and ``half`` to either side; 0 in contact.
    """
    out = np.full(x.shape[0], np.inf)
    for i in range(x.shape[0]):
        reach = 0.5 * math.hypot(length[i], width[i]) + front + 3.0
        bc, bs = math.cos(yaw[i]), math.sin(yaw[i])
        for k in range(path_x.shape[0]):
            dx, dy = x[i] - path_x[k], y[i] - path_y[k]
            if dx * dx + dy * dy > reach * reach:
                continue
            c, s = math.cos(path_yaw[k]), math.sin(path_yaw[k])
            for side in range(2 * SIDE_POINTS + 2 * END_POINTS):
                if side < 2 * SIDE_POINTS:
                    u = length[i] * ((side % SIDE_POINTS) / (SIDE_POINTS - 1) - 0.5)
                    v = width[i] * (0.5 if side < SIDE_POINTS else -0.5)
                else:
                    j = side - 2 * SIDE_POINTS
                    u = length[i] * (0.5 if j < END_POINTS else -0.5)
                    v = width[i] * ((j % END_POINTS + 1) / (END_POINTS + 1) - 0.5)
                qx, qy = dx + bc * u - bs * v, dy + bs * u + bc * v
                along, aside = c * qx + s * qy, -s * qx + c * qy
                far = math.hypot(max(along - front, -rear - along, 0.0), max(abs(aside) - half, 0.0))
                out[i] = min(out[i], far)
            # corners of the body against the box
            for u in (-rear, front):
                for v in (-half, half):
                    qx, qy = c * u - s * v - dx, s * u + c * v - dy
                    along, aside = bc * qx + bs * qy, -bs * qx + bc * qy
                    far = math.hypot(max(abs(along) - 0.5 * length[i], 0.0), max(abs(aside) - 0.5 * width[i], 0.0))
                    out[i] = min(out[i], far)
    return out
