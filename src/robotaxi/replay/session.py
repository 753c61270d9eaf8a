"""Plays a bag through nodes of the stack, each in its process, and captures what they make."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from robotaxi.bags.plan import NEVER_NS, ReplayPlan, chain_of
from robotaxi.bags.reader import custom_data
from robotaxi.environment import reserve_domain
from robotaxi.replay.controls import Controls
from robotaxi.stack import (
    Executable,
    StackArguments,
    common_parameters,
    describe_replay,
    parameter_files,
    plan_bag,
)
from robotaxi.supervisor import Interrupt, Supervisor, describe_exit, ros_arguments

_SHOW_PERIOD_S = 0.5
_STAGE = "stage"


class ReplayError(RuntimeError):
    """A replay that could not begin or was cut short; the message says why."""


class ReplayInterrupted(ReplayError):
    """The user ended it."""


class ReplaySought(ReplayError):
    """The user wants to go on at ``to_s``."""

    def __init__(self, to_s: float) -> None:
        super().__init__(f"going on at {to_s:.1f} s")
        self.to_s = to_s


@dataclass(frozen=True)
class ReplayOptions:
    """``nodes``: domains or nodes by comma. ``rate``: 0 as fast as the nodes go, below 0 step by step.

    ``map``, ``vehicle``, ``sensors``: empty takes what the bag says. ``on_map``: lidar keeps only objects on
    the map's roads. ``params_file``: overrides instead of
    the bag's own. ``direct``: without middleware, see `nodes.direct`.
    """

    bag: Path
    folder: Path
    nodes: str = ""
    map: str = ""
    vehicle: str = ""
    sensors: str = ""
    on_map: bool = True
    rate: float = 0.0
    from_s: float | None = None
    to_s: float | None = None
    params_file: str = ""
    composed: bool = False
    direct: bool = False


@dataclass(frozen=True)
class ReplayResult:
    """``capture``: the bag with the fresh outputs. ``played_s`` wall seconds for ``recorded_s`` of the bag."""

    capture: Path
    plan: ReplayPlan
    played_s: float
    recorded_s: float
    complete: bool
    given_up: list[str] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        return self.recorded_s / self.played_s if self.played_s > 0.0 else 0.0


def replay(
    options: ReplayOptions, show: Callable[[float], None], say: Callable[[str], None], controls: Controls | None = None
) -> ReplayResult:
    """Run it. ``show`` gets the wall seconds so far, ``say`` what should be known before the start and what a person at
    the ``controls`` should hear.

    Raises ReplayError (ReplaySought where the person seeks), and StackError for a bag or nodes that cannot be used.
    """
    plan = plan_bag(str(options.bag), options.nodes, options.from_s, options.to_s)
    for sentence in plan.warnings():
        say(sentence)
    known = custom_data(options.bag)
    capture = options.folder / "bag"
    arguments = StackArguments(
        mode="bag",
        bag=str(options.bag),
        map=options.map or known.get("map") or "town",
        vehicle=options.vehicle or known.get("vehicle") or "robotaxi",
        sensors=options.sensors or known.get("sensors") or "robotaxi",
        odd=known.get("odd") or "robotaxi",
        params_file=options.params_file or _recorded_overrides(known, options.folder),
    )
    player: dict[str, Any] = {
        "capture": str(capture),
        "params_file": arguments.params_file,
        "rate": float(options.rate),
        "from_ns": -NEVER_NS if options.from_s is None else round(options.from_s * 1e9),
        "to_ns": NEVER_NS if options.to_s is None else round(options.to_s * 1e9),
    }
    if controls is not None:
        player["remote"] = str(options.folder)
        options.folder.mkdir(parents=True, exist_ok=True)
    executables = describe_replay(arguments, plan, **player)
    reservation = reserve_domain()
    before = os.times()
    try:
        with (
            controls.attached(options.folder, plan.last_ns) if controls is not None else nullcontext(),
            Interrupt() as interrupt,
            Supervisor(reservation.domain_id, options.folder / "log") as supervisor,
        ):
            extra = {"use_map": options.on_map}
            if options.direct:
                _start_stages(supervisor, arguments, plan, executables, {**extra, **player}, options.folder)
            else:
                supervisor.start_stack(
                    arguments, executables, extra=extra, composed=options.composed,
                    parameter_folder=options.folder / "params",
                )  # fmt: skip
            _follow(supervisor, interrupt, show, say, controls)
    finally:
        reservation.release()
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    figures = _figures(capture, options.folder)
    return ReplayResult(
        capture,
        plan,
        figures["played_s"],
        figures["recorded_s"],
        figures["complete"],
        figures["given_up"],
        figures.get("cpu_s", cpu_s),
    )


def _start_stages(
    supervisor: Supervisor, arguments: StackArguments, plan: ReplayPlan, executables: list[Executable],
    extra: dict[str, Any], folder: Path,
) -> None:  # fmt: skip
    """A chain of processes, as many as there are kinds of nodes that run; the last one is the player."""
    given = executables[1].parameters
    stages = chain_of(plan.roles)
    common = {**common_parameters(arguments, executables), **given, **extra, "roles": list(plan.roles)}
    upstream: Any = None
    for number, own in enumerate(stages):
        last = number == len(stages) - 1
        later = [role for stage in stages[number + 1 :] for role in stage]
        name = "bag_player" if last else f"{_STAGE}{number + 1}"
        parameters = {**common, "bag": arguments.bag, "own": own, "later": later or [""], "first": number == 0,
                      "last": last}  # fmt: skip
        file = folder / "params" / f"{name}.param.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}, sort_keys=True))
        command = [sys.executable, "-m", "robotaxi.nodes.direct"]
        words = ros_arguments(arguments, [*parameter_files(arguments), file])
        child = supervisor.start(
            name, [*command, *words], stdin=upstream, stdout=None if last else subprocess.PIPE
        )  # fmt: skip
        if upstream is not None:
            upstream.close()
        upstream = child.process.stdout


def _follow(
    supervisor: Supervisor, interrupt: Interrupt, show: Callable[[float], None], say: Callable[[str], None],
    controls: Controls | None,
) -> None:  # fmt: skip
    """Until the player has ended by itself; ReplayError when another ends before, on Ctrl-C, or as the controls say."""
    player = supervisor.children.get("bag_player") or supervisor.children["stack"]
    begun = time.monotonic()
    while player.exit_status is None:
        hands = [controls] if controls is not None and not controls.closed else []
        ended = supervisor.wait(_SHOW_PERIOD_S, interrupt, *hands)
        for hand in hands:
            if select.select([hand], [], [], 0.0)[0]:
                for sentence in hand.hear():
                    say(sentence)
            if hand.quit:
                raise ReplayInterrupted("ended by the user")
            if hand.seek_s is not None:
                raise ReplaySought(hand.seek_s)
        dead = [
            child for child in ended if child is not player and (child.exit_status or not child.name.startswith(_STAGE))
        ]
        if dead and player.exit_status is None:
            status = describe_exit(int(dead[0].exit_status or 0))
            raise ReplayError(f"{dead[0].name} ended ({status}): {dead[0].last_words()}")
        if interrupt.is_set:
            raise ReplayInterrupted("interrupted by the user")
        show(time.monotonic() - begun)
    if player.exit_status != 0:
        raise ReplayError(player.last_words() or f"bag_player ended ({describe_exit(player.exit_status)})")


def _recorded_overrides(known: dict[str, str], folder: Path) -> str:
    """The parameter file that the recording was made with, written out again; '' for none."""
    text = known.get("overrides", "")
    if not text.strip():
        return ""
    file = folder / "params" / "recorded.param.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return str(file)


def _figures(capture: Path, folder: Path) -> dict[str, Any]:
    try:
        figures: dict[str, Any] = json.loads((capture / "replay.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReplayError(f"the bag player left no result ({error}); logs: {folder / 'log'}") from error
    return figures
