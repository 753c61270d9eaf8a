"""Whether this machine's clock is synchronised, and how wrong it may be: what the kernel says (adjtimex)."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

from robotaxi.dispatch.messages import Clock

ERROR = 5  # TIME_ERROR: the clock is not synchronised
REFRESH_S = 10.0


class _Timex(ctypes.Structure):
    """The head of struct timex, with room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # microseconds
        ("rest", ctypes.c_char * 256),
    )


def kernel_clock() -> Clock:
    """As the kernel judges it; not synchronised where it cannot be asked."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = _Timex()
        state = int(libc.adjtimex(ctypes.byref(timex)))
    except (OSError, AttributeError):
        return Clock()
    if state < 0 or state == ERROR:
        return Clock()
    return Clock(synced=True, err_ms=timex.maxerror / 1000.0)


def trusted_clock() -> Clock:
    """This machine's clock taken for right: nothing that is simulated is late by another one."""
    return Clock(synced=True)


def cached(ask: Callable[[], Clock] = kernel_clock) -> Callable[[], Clock]:
    """Ask at most every ten seconds."""
    held: list[tuple[float, Clock]] = []

    def clock() -> Clock:
        now = time.monotonic()
        if not held or now - held[0][0] > REFRESH_S:
            held[:] = [(now, ask())]
        return held[0][1]

    return clock
