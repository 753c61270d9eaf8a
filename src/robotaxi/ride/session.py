"""One ride, start to end: broker, desk, stack, order, the drive, and the clean-up, whatever happens."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robotaxi.bags.profiles import PROFILES
from robotaxi.dispatch import client, process
from robotaxi.environment import reserve_domain
from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.ride.cloud import Cloud
from robotaxi.ride.guardian import Guardian, Incident
from robotaxi.ride.monitor import Monitor, Progress
from robotaxi.ride.options import RideError, RideOptions
from robotaxi.sim.events.model import load_events
from robotaxi.sim.events.script import write_script
from robotaxi.sim.ride_plan import RidePlan
from robotaxi.stack import StackArguments, describe
from robotaxi.supervisor import Interrupt, Supervisor, describe_exit
from robotaxi.types import Pose2, TripState

_OPERATOR, _VEHICLE_ID = "demo", "car1"
_CONNECT_S = 120.0  # until the bridge is online; the first start on a slow machine compiles
_READY_S = 180.0
_STANDSTILL_S = 12.0  # ride time that the safety gate gets to stop the car after a process died for good,
_STANDSTILL_WALL_S = 120.0  # and wall time, should the clock stand still
_BOOKS_S = 10.0  # until the dispatcher's books are closed
_POLL_S = 0.1
_MEMORY_PERIOD_S = 5.0
_GROWN = 1.05
_ENDED = (TripState.COMPLETED, TripState.CANCELLED, TripState.ABORTED, TripState.NO_SHOW, TripState.REJECTED)


@dataclass
class Outcome:
    """How a ride went, before its bag is read."""

    folder: Path
    bag: Path
    progress: Progress
    wall_s: float = 0.0
    memory_peak_mb: float = 0.0
    order: dict[str, Any] | None = None
    failure: str = ""
    interrupted: bool = False
    notes: list[str] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)  # processes that died or hung, and what came of them


def drive(options: RideOptions, lane_map: LaneMap, plan: RidePlan, folder: Path,
          show: Callable[[Progress, str], None],
          watch: Callable[[Supervisor, Monitor, Cloud], None] | None = None) -> Outcome:  # fmt: skip
    """Run the ride. ``show`` is called about ten times a second with the progress and the phase, and
    ``watch`` while the car drives (the fault campaign breaks things there).

    Returns an outcome whatever happens; ``failure`` says in a sentence what went wrong.
    """
    outcome = Outcome(folder, folder / "bag", Progress())
    reservation = reserve_domain()
    try:
        with Interrupt() as interrupt, Supervisor(reservation.domain_id, folder / "log") as supervisor:
            ride = _Ride(options, lane_map, plan, outcome, show, interrupt, supervisor, watch)
            try:
                ride.run()
            except (RideError, client.OrderError, process.StartError) as error:
                outcome.failure = outcome.failure or str(error)
            finally:
                ride.end()
            outcome.interrupted = interrupt.is_set
    finally:
        reservation.release()
    return outcome


class _Ride:
    def __init__(
        self,
        options: RideOptions,
        lane_map: LaneMap,
        plan: RidePlan,
        outcome: Outcome,
        show: Callable[[Progress, str], None],
        interrupt: Interrupt,
        supervisor: Supervisor,
        watch: Callable[[Supervisor, Monitor, Cloud], None] | None,
    ) -> None:
        self._watch = watch
        self._options, self._map, self._plan, self._outcome = options, lane_map, plan, outcome
        self._show, self._interrupt, self._supervisor = show, interrupt, supervisor
        self._cloud = Cloud(outcome.folder / "dispatch", outcome.folder / "log", _OPERATOR, _VEHICLE_ID, options.map)
        outcome.notes = self._cloud.notes
        self._order_id = f"ride-{options.seed}"
        self._resident_mb = 0.0

    def run(self) -> None:
        self._show(self._outcome.progress, "starting the dispatch desk")
        self._cloud.start()
        with Monitor(self._supervisor.domain_id) as monitor:
            self._outcome.progress = monitor.progress
            self._start_stack(self._cloud.broker_port)
            self._wait(
                f"waiting for the car to come online; dispatch desk: {self._cloud.desk_url}",
                monitor,
                _CONNECT_S,
                self._car_is_online,
            )
            client.place_order(
                self._cloud.desk_url,
                self._place(self._plan.pickup, self._plan.pickup_name),
                self._place(self._plan.dropoff, self._plan.dropoff_name),
                vehicle=_VEHICLE_ID,
                order_id=self._order_id,
            )
            self._wait("waiting for every node to connect", monitor, _READY_S, lambda: bool(monitor.progress.started))
            self._follow(monitor)
        self._outcome.wall_s = time.monotonic() - monitor.progress.started if monitor.progress.started else 0.0

    def end(self) -> None:
        """Books first, then the stack with the recorder last, then desk and broker."""
        self._supervisor.stop("stack" if self._options.composed else "dispatch")  # sends what is left in its outbox
        if self._cloud.desk_url:
            try:
                if self._outcome.progress.trip in _ENDED:
                    client.wait_for_state(self._cloud.desk_url, self._order_id, (), _BOOKS_S)
                self._outcome.order = client.get_order(self._cloud.desk_url, self._order_id)
            except client.OrderError as error:
                self._outcome.failure = self._outcome.failure or f"the dispatcher's books: {error}"
        for name in [name for name in self._supervisor.children if name != "recorder"]:
            self._supervisor.stop(name)
        self._supervisor.stop_all()
        self._cloud.stop()

    def _start_stack(self, broker_port: int) -> None:
        options, folder = self._options, self._outcome.folder
        arguments = StackArguments(
            mode=options.mode,
            map=options.map,
            vehicle=options.vehicle,
            sensors=options.sensors,
            odd=options.odd,
            seed=options.seed,
            carla=options.carla or StackArguments.carla,
            params_file=options.params_file,
            localization_map=options.localization_map,
            broker=f"localhost:{broker_port}",
            pki=str(self._cloud.pki),
        )
        extra = {
            "record_profile": options.record,
            "bag": str(self._outcome.bag),
            "outbox": str(folder / "dispatch" / "outbox.sqlite"),
            "wait_for_order": True,
            "stop_after_trip": True,
            "camera": options.camera,
            "real_time_rate": float(options.rate),
            "max_duration": float(options.max_duration),
            "inject": [*options.inject, *self._injections()] or [""],
            "ride_events": options.events,
            "bridge.operator": _OPERATOR,
            "bridge.vehicle": _VEHICLE_ID,
            "carla_traffic": options.carla_traffic,
        }
        executables = describe(arguments, recorder=options.record in PROFILES, record_profile=options.record)
        self._supervisor.start_stack(
            arguments, executables, composed=options.composed, extra=extra, parameter_folder=folder / "params"
        )

    def _injections(self) -> tuple[str, ...]:
        """Rows of `nodes.inject` for the broken sensors among the ride's events."""
        events = self._options.events
        return write_script(load_events(events), self._map, self._plan, self._options.seed).injections if events else ()

    def _wait(self, phase: str, monitor: Monitor, patience_s: float, done: Callable[[], bool]) -> None:
        """Until ``done``; RideError when a process dies, on Ctrl-C, or when it takes too long."""
        begun = time.monotonic()
        while not done():
            monitor.poll(_POLL_S)
            self._show(monitor.progress, phase)
            self._check_children()
            if self._interrupt.is_set:
                raise RideError("interrupted before the ride began")
            if time.monotonic() - begun > patience_s:
                silent = sorted(set(self._expected_ready()) - monitor.ready)
                raise RideError(
                    f"gave up {phase} after {patience_s:.0f} s"
                    + (f"; not ready: {', '.join(silent)}" if silent else "")
                    + f". Logs: {self._outcome.folder / 'log'}"
                )

    def _expected_ready(self) -> list[str]:
        owner = "carla_bridge" if self._options.mode == "carla" else "simulator"
        return [owner, "localization", "lidar_perception", "camera_perception", "planner", "controller",
                "command_gate", "health_monitor", "dispatch_bridge", "recorder"]  # fmt: skip

    def _look_at_memory(self) -> None:
        """The exact figure stops the processes for a moment: only when the rough one has grown."""
        pids = (os.getpid(), *self._cloud.pids)
        resident = self._supervisor.resident_mb(*pids)
        if resident > _GROWN * self._resident_mb:
            self._resident_mb = resident
            self._outcome.memory_peak_mb = max(self._outcome.memory_peak_mb, self._supervisor.memory_mb(*pids))

    def _check_children(self) -> None:
        for child in self._supervisor.dead():
            words = child.last_words()
            status = describe_exit(int(child.exit_status or 0))
            raise RideError(f"{child.name} ended ({status})" + (f": {words}" if words else ""))

    def _car_is_online(self) -> bool:
        vehicles = client.list_vehicles(self._cloud.desk_url)
        return any(item.get("vehicle") == _VEHICLE_ID and item.get("connection") == "online" for item in vehicles)

    def _place(self, pose: Pose2, name: str) -> dict[str, Any]:
        latitude_deg, longitude_deg, _ = LocalFrame(*self._map.origin).to_geodetic(pose.x, pose.y, 0.0)
        heading_deg = (90.0 - math.degrees(pose.yaw)) % 360.0
        return {"lat": latitude_deg, "lon": longitude_deg, "heading_deg": heading_deg, "name": name}

    def _follow(self, monitor: Monitor) -> None:
        """Until the simulator has ended by itself; a dead process or Ctrl-C ends the ride early."""
        clock_owner = next(
            self._supervisor.children[name]
            for name in ("simulator", "carla_bridge", "stack")
            if name in self._supervisor.children
        )
        guardian = Guardian(self._supervisor, keep=(clock_owner.name, "recorder"))
        until: tuple[float, int] | None = None
        look_at_memory = 0.0
        while clock_owner.exit_status is None:
            monitor.poll(_POLL_S)
            self._show(monitor.progress, "")
            self._cloud.revive()
            if self._interrupt.is_set:
                self._outcome.failure = "interrupted by the user"
                return
            if time.monotonic() >= look_at_memory:
                look_at_memory = time.monotonic() + _MEMORY_PERIOD_S
                self._look_at_memory()
            if self._watch is not None:
                self._watch(self._supervisor, monitor, self._cloud)
            for incident in guardian.look(monitor.progress):
                self._outcome.failure = self._outcome.failure or incident.sentence
                self._outcome.incidents.append(incident)
            if guardian.given_up and until is None:
                stopped_ns = monitor.progress.stamp_ns + round(_STANDSTILL_S * 1e9)
                until = time.monotonic() + _STANDSTILL_WALL_S, stopped_ns
            if until is not None and (time.monotonic() > until[0] or monitor.progress.stamp_ns > until[1]):
                return
        if clock_owner.exit_status != 0:
            words = clock_owner.last_words()
            self._outcome.failure = self._outcome.failure or (
                f"{clock_owner.name} ended ({describe_exit(clock_owner.exit_status)})" + (f": {words}" if words else "")
            )
        elif monitor.progress.trip is not TripState.COMPLETED and not self._outcome.failure:
            self._outcome.failure = f"the trip ended as {monitor.progress.trip.name}: {monitor.progress.trip_reason}"
