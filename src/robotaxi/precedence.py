"""Who gets the processor first."""

from __future__ import annotations

import contextlib
import os

_NICE = -10


def take_precedence() -> None:
    """Let this process go before others, where it has the right to (CAP_SYS_NICE, or a limit on `nice`)."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
