"""Runs nodes in a process: one executor, clean stop on Ctrl-C and SIGTERM, errors as one line."""

from __future__ import annotations

import gc
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)  # the wheels' rclpy looks for its plug-ins there

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

_SPIN_TIMEOUT_S = 0.2
_DRAIN_SPIN_S = 0.05
EXIT_CONFIG = 2  # the process could not start: parameters, files


def make_executor(context: Any = None) -> Any:
    """The events executor where rclpy has it (half the cost a message), else the single-threaded one.

    Its ``spin`` hangs in some releases; a ``spin_once`` loop works in all.
    """
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:
        from rclpy.executors import SingleThreadedExecutor

        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)


class StopFlag:
    """Set by the first SIGINT or SIGTERM; later ones are ignored so that nothing interrupts the clean-up.

    While ``starting``, building and warming up can take long: then the signal also raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.starting = True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        self.is_set = True
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.starting:
            self.starting = False
            raise KeyboardInterrupt


def drain(node: Any, spin: Callable[[], None]) -> None:
    """Let the node hear what has arrived already: until it heard nothing for its ``drain_s``.

    Counted in looks at the queue as well as in time: a process that gets no processor is not one that hears nothing.
    """
    silence_s = getattr(node, "drain_s", 0.0)
    heard, looks = -math.inf, 0
    while silence_s > 0.0:
        if getattr(node, "last_message", -1e9) != heard:
            heard, looks = getattr(node, "last_message", -1e9), 0
        elif looks * _DRAIN_SPIN_S >= silence_s and time.monotonic() - heard >= silence_s:
            return
        spin()
        looks += 1


def run(factories: Sequence[Callable[[], Any]], args: Sequence[str] | None = None) -> int:
    """Build, start and spin the nodes until stopped or until one sets ``finished``. Returns the exit status."""
    stop = StopFlag()
    rclpy.init(args=list(args) if args is not None else sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    nodes: list[Any] = []
    executor = make_executor()
    status = 0
    try:
        for factory in factories:
            node = factory()
            nodes.append(node)
            node.autostart()
            executor.add_node(node)
        # maps, meshes and compiled code stay for good: the collector need not look through them again and again
        gc.collect()
        gc.freeze()
        stop.starting = False
        while not stop.is_set and not any(getattr(node, "finished", False) for node in nodes):
            executor.spin_once(timeout_sec=_SPIN_TIMEOUT_S)
        for node in nodes:
            drain(node, lambda: executor.spin_once(timeout_sec=_DRAIN_SPIN_S))
    except (ValueError, OSError) as error:
        if not stop.starting:  # a fault of ours, not of a file or a parameter
            raise
        print(f"robotaxi: {error}", file=sys.stderr)
        status = EXIT_CONFIG
    except (ExternalShutdownException, KeyboardInterrupt):
        pass
    finally:
        for node in nodes:
            close = getattr(node, "close", None)
            if close is not None:
                close()
            executor.remove_node(node)
            node.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown()
    return status
