"""Simulator node: the built-in world behind `sensing/...` and `vehicle/...`, owner of the clock.

It advances only as far as the commands of the stack allow: the step from ``t`` uses the command
stamped ``t - let``. Everything under ``sim/`` is ground truth for scoring.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rosgraph_msgs.msg import Clock

from robotaxi.bags.ride_reader import SENSOR_TO_COMMAND
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.hdmap.light_records import light_records
from robotaxi.interfaces import INTERFACES, MS, TICK_NS, TRUTH_PREFIX, VEHICLE
from robotaxi.nodes import convert
from robotaxi.nodes.cdr import decoder, publishable
from robotaxi.nodes.clocks import steady_clock
from robotaxi.nodes.common import load_lane_map, load_sensor_rig, load_vehicle_params
from robotaxi.nodes.let import is_scheduled
from robotaxi.nodes.messages import message_type
from robotaxi.nodes.qos import qos_profile
from robotaxi.nodes.records import to_cloud, to_record, to_time
from robotaxi.nodes.runtime import StackNode, joined
from robotaxi.params import ParameterError
from robotaxi.sensor_rig import SensorRig
from robotaxi.sim.cabin import RiderPlan
from robotaxi.sim.events.model import load_events
from robotaxi.sim.events.script import write_script
from robotaxi.sim.infractions import Infraction
from robotaxi.sim.ride_plan import RidePlan, plan_ride
from robotaxi.sim.scenery import build_scenery
from robotaxi.sim.sensors.rig import SimulatedRig
from robotaxi.sim.view import AGENT_DTYPE, EgoTruth, WorldView
from robotaxi.sim.watchdog import watchdog_command
from robotaxi.sim.world import World
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import Command, EgoState, LightState, RecordArray, TripState, VehicleParams

_COMMAND = INTERFACES["vehicle/command"]
_CLOUD = INTERFACES["sensing/lidar/top/pointcloud"]
_IMAGE = INTERFACES["sensing/camera/front/image_raw"]
_GNSS = INTERFACES["sensing/gnss/fix"]
_LIGHTS = INTERFACES["perception/traffic_lights"]
_AGENTS = INTERFACES[TRUTH_PREFIX + "agents"]
_READY = INTERFACES["system/ready"]
# a sweep shapes the first command that is this much younger: through objects, planner and trajectory
_SENSOR_TO_COMMAND_NS = INTERFACES["perception/objects"].let_ns + INTERFACES["planning/trajectory"].let_ns
_CLOCK_PERIOD_NS = 100 * MS
_ENDED = (TripState.COMPLETED, TripState.CANCELLED, TripState.ABORTED, TripState.NO_SHOW, TripState.REJECTED)
_AFTERMATH_NS = 3000 * MS  # driven on after the trip has ended
_EGO = TRUTH_PREFIX + "ego"
_DOORS_WITHIN_NS = 1000 * MS  # an older request is not obeyed any more
_ACKNOWLEDGE_S = 2.0
_RADIO_RANGE = 120.0  # m, a roadside unit heard in a street
_FIRST_SOLID_ID = 1_000_000


class SimulatorNode(StackNode):
    role = VEHICLE
    trigger = _COMMAND.topic
    period_ns = TICK_NS
    trigger_counts_at_once = False
    wait_timeout_s = 9.0
    name = "simulator"

    def __init__(self, **node_options: Any) -> None:
        super().__init__(self.name, **node_options)
        self.finished = False
        self._not_ready: set[str] | None = None
        self._started = False
        self._ends_ns: int | None = None
        self._last_progress = time.monotonic()
        self._command_lost = False
        self._last_command: Command | None = None
        self._sweep_sent: dict[int, float] = {}
        self._sensor_to_command_ms: list[float] = []
        # one thread: sensors keep their order; its kernels and rays run without the interpreter's lock
        self._sensor_thread = ThreadPoolExecutor(1, "sensors")
        self._sensor_jobs: list[Future[None]] = []

    # ------------------------------------------------------------------ set-up

    def setup(self) -> None:
        seed = self.parameter("seed", 0)
        if not isinstance(seed, int) or seed < 0:
            raise ParameterError(f"node '{self.name}': parameter 'seed' is {seed!r}, expected an integer from 0")
        lane_map: LaneMap = load_lane_map(self)
        vehicle, spec = load_vehicle_params(self), load_sensor_rig(self)
        self._camera = bool(self.parameter("camera", True))
        self._rate = float(self.parameter("real_time_rate", 1.0))
        self._max_duration_ns = int(float(self.parameter("max_duration", 0.0)) * 1e9)
        self._stop_after_trip = bool(self.parameter("stop_after_trip", False))
        plan = plan_ride(lane_map, seed)
        self._vehicle = vehicle
        self._world, self._sensors = self.make_world(lane_map, vehicle, spec, plan, seed)
        self._camera_model = spec.camera_models["front"]
        self._warm_up()
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10)
        self.create_subscription(
            convert.DiagnosticArray,
            _READY.topic,
            self._on_ready,
            qos_profile(_READY.qos, lockstep=True, publisher=False),
        )
        self._told: list[Infraction] = []
        self._lane_map = lane_map
        self._signal_phases = None
        if not self._camera:
            profile = qos_profile(_LIGHTS.qos, lockstep=self.lockstep, publisher=True)
            self._signal_phases = self.create_publisher(message_type(_LIGHTS.type), _LIGHTS.topic, profile)

    def make_world(
        self, lane_map: LaneMap, vehicle: VehicleParams, spec: SensorRig, plan: RidePlan, seed: int
    ) -> tuple[Any, Any]:
        """What is driven in (as `World`) and what measures it (as `SimulatedRig`)."""
        scenery = build_scenery(lane_map)
        events = str(self.parameter("ride_events", ""))
        script = write_script(load_events(events), lane_map, plan, seed) if events else None
        rider = RiderPlan((plan.pickup.x, plan.pickup.y), (plan.dropoff.x, plan.dropoff.y))
        world = World(
            lane_map,
            vehicle,
            self.config(WorldConfig, "world"),
            seed,
            plan.start,
            riders=(rider,),
            parked=scenery.parked,
            obstacles=solids(scenery.obstacles),
            script=script,
        )
        return world, SimulatedRig(scenery, spec, lane_map.origin, seed)

    def _warm_up(self) -> None:
        """Cast and draw once, so that nothing is compiled or built while the stack waits."""
        view = self._world.view()
        self._sensors.lidar(view)
        if self._camera:
            self._sensors.camera("front", view)

    # ------------------------------------------------------------------ start

    def _on_ready(self, message: Any) -> None:
        if self._not_ready is None:
            peers = {name for name in self.get_parameter("peers").value if name}
            self._not_ready = peers - {VEHICLE}
        self._not_ready.discard(message.status[0].name)
        self._start_when_ready()

    def _start_when_ready(self) -> None:
        peers_ready = not self._not_ready if self._not_ready is not None else not any(self.get_parameter("peers").value)
        if self._started or not self._announced or not peers_ready:
            return
        self._started = True
        self._wall_start = time.monotonic()
        self.get_logger().info("all nodes are connected, the world starts")
        self.write("sensing/camera/front/camera_info", convert.camera_info(self._camera_model, 0, _IMAGE.frame))
        self._publish()
        self._advance()

    def _on_watch(self) -> None:
        super()._on_watch()
        self._start_when_ready()
        waited = time.monotonic() - self._last_progress
        if self._started and not self.finished and waited > self.wait_timeout_s:
            if not self._command_lost:
                self.get_logger().warning("no commands: the vehicle's own watchdog brakes")
            self._command_lost = True
        if self._command_lost and self._started:
            self._step(watchdog_command(self._world.stamp_ns, self._last_command, self._vehicle))

    # ------------------------------------------------------------------ the clock's owner

    def measurements(self) -> dict[str, str]:
        values = {SENSOR_TO_COMMAND: joined(self._sensor_to_command_ms)}
        self._sensor_to_command_ms.clear()
        return values

    def activate(self, at_ns: int) -> None:
        sent = self._sweep_sent.pop(at_ns - _SENSOR_TO_COMMAND_NS, None)
        if sent is not None:
            self._sensor_to_command_ms.append((time.perf_counter() - sent) * 1e3)
        if self._command_lost and at_ns + TICK_NS >= self._world.stamp_ns - TICK_NS:
            self._command_lost = False
        self._advance()

    def _advance(self) -> None:
        """Step as long as the command that counts is here."""
        while self._started and not self.finished and not self._command_lost:
            buffer = self._inputs[_COMMAND.topic]
            buffer.late = False
            now_ns = self._world.stamp_ns
            if not buffer.ready(now_ns) or self._too_early():
                return
            found = buffer.get(now_ns)
            if found is not None:
                self._last_command = found[1]
            self._step(found[1] if found else None)

    def _too_early(self) -> bool:
        """Hold back to ``real_time_rate``; a timer takes the step up when it is due."""
        if self._rate <= 0.0:
            return False
        ahead = self._world.stamp_ns / 1e9 / self._rate - (time.monotonic() - self._wall_start)
        if ahead <= 0.0:
            return False
        self._pace = self.create_timer(ahead, self._on_pace, clock=steady_clock())
        return True

    def _on_pace(self) -> None:
        self.destroy_timer(self._pace)
        self._advance()

    def _step(self, command: Command | None) -> None:
        for job in self._sensor_jobs:
            if job.done():
                job.result()  # a sensor that broke ends the simulator with its reason
        self._world.step(command)
        self._last_progress = time.monotonic()
        self._publish()
        now_ns = self._world.stamp_ns
        if (self._max_duration_ns and now_ns >= self._max_duration_ns) or (self._ends_ns and now_ns >= self._ends_ns):
            self.finished = True

    def _measure(self, publish: Callable[[WorldView], None], view: WorldView) -> None:
        """Cast or draw beside the clock: whoever needs the sweep or image waits for it, nobody else does."""
        self._sensor_jobs = [job for job in self._sensor_jobs if not job.done()]
        self._sensor_jobs.append(self._sensor_thread.submit(publish, view))

    def _publish_sweep(self, view: WorldView) -> None:
        self._sweep_sent[view.stamp_ns] = time.perf_counter()
        self.write(_CLOUD.topic, to_cloud(self._sensors.lidar(view), view.stamp_ns, _CLOUD.frame))

    def _publish_image(self, view: WorldView) -> None:
        pixels = self._sensors.camera("front", view)
        self.write(_IMAGE.topic, convert.image(pixels, view.stamp_ns, _IMAGE.frame))

    def close(self) -> None:
        if self._started:  # the recorder has the last true state: where the trace of a ride ends
            self._outputs[_EGO].wait_for_all_acked(Duration(seconds=_ACKNOWLEDGE_S))
        self._sensor_thread.shutdown(wait=True, cancel_futures=True)

    def _on_input(self, topic: str) -> Any:
        if topic not in ("dispatch/trip", "dispatch/doors"):
            return super()._on_input(topic)

        decode = decoder(INTERFACES[topic])

        def on_doors(cdr: bytes) -> None:
            asked_ns, wanted = decode(cdr)
            if self._started and abs(self._world.stamp_ns - asked_ns) <= _DOORS_WITHIN_NS:
                self._world.ask_doors(wanted == "open")

        if topic == "dispatch/doors":
            return on_doors

        def on_trip(cdr: bytes) -> None:
            event = decode(cdr)
            if self._stop_after_trip and event is not None and event.state in _ENDED:
                self._ends_ns = event.stamp_ns + _AFTERMATH_NS

        return on_trip

    # ------------------------------------------------------------------ what a vehicle publishes, and the truth

    def _publish(self) -> None:
        view, report = self._world.view(), self._world.report()
        now_ns = view.stamp_ns

        def due(topic: str) -> bool:
            return is_scheduled(now_ns, INTERFACES[topic].period_ns, INTERFACES[topic].phase_ns)

        self.write("vehicle/status", convert.joint_state(self._sensors.wheels(view, report)))
        self.write("sensing/imu/data", convert.imu(self._sensors.imu(view)))
        self.write(_EGO, truth_odometry(view.ego))
        if due(_GNSS.topic):
            self.write(_GNSS.topic, convert.nav_sat_fix(self._sensors.gnss(view)))
        if due(_CLOUD.topic):
            self._measure(self._publish_sweep, view)
        if self._camera and due(_IMAGE.topic):
            self._measure(self._publish_image, view)
        if self._signal_phases is not None and due(_LIGHTS.topic):
            phases = to_cloud(signal_phases(self._lane_map, view), now_ns, _LIGHTS.frame)
            self._signal_phases.publish(publishable(phases))
        if due(_AGENTS.topic):
            self.write(_AGENTS.topic, to_cloud(view.agents, now_ns, "map"))
        if is_scheduled(now_ns, _CLOCK_PERIOD_NS, 0):
            self._clock_publisher.publish(Clock(clock=to_time(now_ns)))
            self._diagnose(now_ns)
        for number, item in enumerate(self._world.infractions):
            if number < len(self._told) and self._told[number] == item:
                continue
            self._told[number:] = [item]  # new, or an excursion that goes on: the last word counts
            values = {
                "kind": str(item.kind),
                "at_fault": int(item.at_fault),
                "subject_id": item.subject_id,
                "x": float(item.x),
                "y": float(item.y),
                "value": float(item.value),
            }
            self.write(TRUTH_PREFIX + "infraction", to_record("infraction", item.detail, values, item.stamp_ns))


def signal_phases(lane_map: LaneMap, view: WorldView) -> RecordArray:
    """What a V2X receiver hears without a camera: signal phases (SPaT, SAE J2735) of junctions in radio range."""
    return light_records(
        (signal, view.lights.get(signal.id, LightState.UNKNOWN), 1.0)
        for _, signal in sorted(lane_map.signals.items())
        if math.hypot(signal.position[0] - view.ego.x, signal.position[1] - view.ego.y) < _RADIO_RANGE
    )


def solids(boxes: RecordArray) -> RecordArray:
    """The scenery's solid boxes other than parked cars, as the world takes them (AGENT_DTYPE)."""
    boxes = boxes[boxes["kind"] != "parked"]
    out = np.zeros(len(boxes), AGENT_DTYPE)
    for name in ("x", "y", "z", "yaw", "length", "width", "height"):
        out[name] = boxes[name]
    out["id"] = _FIRST_SOLID_ID + np.arange(len(boxes))
    return out


def truth_odometry(ego: EgoTruth) -> Any:
    """True state; ``twist.linear`` holds longitudinal and lateral speed of the rear axle."""
    state = EgoState(ego.stamp_ns, ego.x, ego.y, ego.yaw, ego.speed, yaw_rate=ego.yaw_rate, z=ego.z)
    message = convert.odometry(state, ego.stamp_ns)
    message.twist.twist.linear.y = float(ego.lateral_speed)
    return message
