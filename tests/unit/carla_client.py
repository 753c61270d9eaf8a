"""Drives a server with the genuine CARLA client and prints what it found as one JSON line.

A program of its own, because CARLA's client ends a process on its own terms. Written from CARLA's public API.
"""

from __future__ import annotations

import json
import math
import os
import queue
import sys
from typing import Any

import carla

FRAMES = 24


def sensors(client: Any, port: int) -> dict[str, Any]:
    """A car with one of each sensor, frame by frame."""
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
    world.apply_settings(settings)
    library, points = world.get_blueprint_library(), world.get_map().get_spawn_points()
    car = world.spawn_actor(library.find("vehicle.tesla.model3"), points[0])
    found: dict[str, Any] = {"map": world.get_map().name, "spawn_points": len(points), "frames": {}}
    inboxes: dict[str, queue.Queue[Any]] = {}
    mounted = []
    kinds = {
        "sensor.camera.rgb": {"image_size_x": 320, "image_size_y": 180},
        "sensor.camera.depth": {"image_size_x": 160, "image_size_y": 90},
        "sensor.camera.semantic_segmentation": {"image_size_x": 160, "image_size_y": 90},
        "sensor.camera.instance_segmentation": {"image_size_x": 160, "image_size_y": 90},
        "sensor.lidar.ray_cast": {"range": 50, "points_per_second": 100000},
        "sensor.lidar.ray_cast_semantic": {"range": 50, "points_per_second": 50000},
        "sensor.other.radar": {},
        "sensor.other.gnss": {},
        "sensor.other.imu": {},
    }
    for kind, attributes in kinds.items():
        blueprint = library.find(kind)
        for name, value in attributes.items():
            blueprint.set_attribute(name, str(value))
        place = carla.Transform(carla.Location(x=1.0, z=2.0))
        sensor = world.spawn_actor(blueprint, place, attach_to=car)
        inboxes[kind] = queue.Queue()
        sensor.listen(inboxes[kind].put)
        mounted.append(sensor)
    invasions: queue.Queue[Any] = queue.Queue()
    watcher = world.spawn_actor(library.find("sensor.other.lane_invasion"), carla.Transform(), attach_to=car)
    watcher.listen(invasions.put)
    in_step = dict.fromkeys(kinds, 0)
    ahead = points[0].get_forward_vector()
    car.set_target_velocity(carla.Vector3D(8.0 * ahead.x, 8.0 * ahead.y, 0.0))
    for k in range(FRAMES):
        car.apply_control(carla.VehicleControl(throttle=0.6, steer=-0.07 if k > 3 else 0.0))
        frame = world.tick()
        for kind, inbox in inboxes.items():
            data = inbox.get(timeout=20.0)
            in_step[kind] += data.frame == frame
            found[kind] = data
    image = found.pop("sensor.camera.depth")
    image.convert(carla.ColorConverter.Depth)
    cloud, position = found.pop("sensor.lidar.ray_cast"), found.pop("sensor.other.gnss")
    expected = world.get_map().transform_to_geolocation(position.transform.location)
    imu, semantic = found.pop("sensor.other.imu"), found.pop("sensor.lidar.ray_cast_semantic")
    tags = {point.object_tag for point in semantic}
    pixels = bytes(found.pop("sensor.camera.semantic_segmentation").raw_data)[2::4]
    velocity = car.get_velocity()
    found.update(
        in_step=in_step,
        speed=math.hypot(velocity.x, velocity.y),
        points=cloud.get_point_count(0) >= 0 and len(cloud),
        gnss_error_deg=max(abs(position.latitude - expected.latitude), abs(position.longitude - expected.longitude)),
        gravity=imu.accelerometer.z,
        ground_seen=bool(tags & {1, 24}),
        road_pixels=sum(v in (1, 24) for v in pixels) / len(pixels),
        image=[found["sensor.camera.rgb"].width, found["sensor.camera.rgb"].height],
        invasions=invasions.qsize(),
    )
    for kind in kinds:
        found.pop(kind, None)
    for actor in [*mounted, watcher, car]:
        actor.destroy()
    world.tick()
    found["left"] = len(world.get_actors().filter("vehicle.*"))
    return found


def traffic(client: Any, port: int) -> dict[str, Any]:
    """Cars that TrafficManager drives: do they move, do they keep their lanes, do they heed the lights?"""
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
    world.apply_settings(settings)
    town = world.get_map()
    manager = client.get_trafficmanager(port + 7)
    manager.set_synchronous_mode(True)
    manager.set_random_device_seed(3)
    blueprint = world.get_blueprint_library().find("vehicle.tesla.model3")
    spawn, future = carla.command.SpawnActor, carla.command.FutureActor
    batch = [
        spawn(blueprint, point).then(carla.command.SetAutopilot(future, True, manager.get_port()))
        for point in town.get_spawn_points()[::7][:10]
    ]
    ids = [r.actor_id for r in client.apply_batch_sync(batch, True) if not r.error]
    start = {k: world.get_actor(k).get_location() for k in ids}
    offsets = []
    for k in range(200):
        world.tick()
        if k % 10 == 0 and k > 40:
            for number in ids:
                here = world.get_actor(number).get_transform().location
                lane = town.get_waypoint(here).transform
                yaw = math.radians(lane.rotation.yaw)
                dx, dy = here.x - lane.location.x, here.y - lane.location.y
                offsets.append(abs(math.cos(yaw) * dy - math.sin(yaw) * dx))
    moved = [world.get_actor(k).get_location().distance(start[k]) for k in ids]
    lights = world.get_actors().filter("traffic.traffic_light")
    found = {
        "cars": len(ids),
        "moved": sum(m > 5.0 for m in moved),
        "offset_p90": sorted(offsets)[int(0.9 * len(offsets))],
        "lights": len(lights),
        "affected": sum(bool(light.get_affected_lane_waypoints()) for light in lights),
    }
    light = lights[0]
    light.set_state(carla.TrafficLightState.Green)
    light.freeze(True)
    world.tick()
    found["set"] = str(light.get_state())
    found["group"] = len(light.get_group_traffic_lights())
    manager.shut_down()
    client.apply_batch_sync([carla.command.DestroyActor(k) for k in ids], True)
    return found


def walkers(client: Any, port: int) -> dict[str, Any]:
    """Pedestrians that the client walks by itself over the town's navigation mesh."""
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
    world.apply_settings(settings)
    world.set_pedestrians_seed(4)
    world.set_pedestrians_cross_factor(0.0)
    library, spawn = world.get_blueprint_library(), carla.command.SpawnActor
    places = [world.get_random_location_from_navigation() for _ in range(8)]
    people = library.filter("walker.pedestrian.*")
    answers = client.apply_batch_sync([spawn(people[k], carla.Transform(p)) for k, p in enumerate(places)], True)
    ids = [answer.actor_id for answer in answers if not answer.error]
    mind = library.find("controller.ai.walker")
    answers = client.apply_batch_sync([spawn(mind, carla.Transform(), number) for number in ids], True)
    minds = world.get_actors([answer.actor_id for answer in answers])
    world.tick()
    for each in minds:
        each.start()
        each.go_to_location(world.get_random_location_from_navigation())
        each.set_max_speed(1.4)
    start = {number: world.get_actor(number).get_location() for number in ids}
    places = []
    for k in range(160):
        world.tick()
        if k % 20 == 19:
            here = [world.get_actor(number).get_location() for number in ids]
            places += [[p.x, -p.y, p.z] for p in here]
    moved = [world.get_actor(number).get_location().distance(start[number]) for number in ids]
    for each in minds:
        each.stop()
    client.apply_batch_sync([carla.command.DestroyActor(k) for k in [*(m.id for m in minds), *ids]], True)
    return {"walkers": len(ids), "moved": sum(m > 3.0 for m in moved), "places": places}


def queries(client: Any, port: int) -> dict[str, Any]:
    """What a client can ask of cars, lights and signs."""
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
    world.apply_settings(settings)
    town = world.get_map()
    lights = world.get_actors().filter("traffic.traffic_light")
    found: dict[str, Any] = {"stop_waypoints": sum(len(light.get_stop_waypoints()) > 0 for light in lights)}
    found["lights"] = len(lights)
    world.freeze_all_traffic_lights(True)
    light = lights[0]
    light.set_state(carla.TrafficLightState.Red)
    place = light.get_stop_waypoints()[0].transform
    place.location.z += 0.3
    car = world.spawn_actor(world.get_blueprint_library().find("vehicle.tesla.model3"), place)
    world.tick()
    world.tick()
    found["at_light"] = [car.is_at_traffic_light(), str(car.get_traffic_light_state()), car.get_traffic_light().id]
    found["this_light"] = light.id
    signs = [mark for mark in town.get_all_landmarks() if mark.type in ("205", "206")]
    found["signs"] = len(signs)
    found["sign_actors"] = sum(world.get_traffic_sign(sign) is not None for sign in signs)
    control = car.get_physics_control()
    wheels = control.wheels
    for wheel in wheels:
        wheel.tire_friction = 1.0
    control.mass, control.wheels = 2000.0, wheels
    car.apply_physics_control(control)
    world.tick()
    kept = car.get_physics_control()
    found["kept"] = [kept.mass, kept.wheels[0].tire_friction, len(kept.wheels)]
    found["telemetry"] = [
        len(car.get_telemetry_data().wheels),
        car.get_wheel_pitch_angle(carla.VehicleWheelLocation(0)),
    ]
    number = car.id
    car.destroy()
    world.tick()
    found["left"] = number in [actor.id for actor in world.get_actors()]
    return found


def refusals(client: Any, port: int) -> dict[str, Any]:
    """What a client is told when it asks for what is not there."""
    world = client.get_world()
    library, point = world.get_blueprint_library(), world.get_map().get_spawn_points()[0]
    car = world.spawn_actor(library.find("vehicle.tesla.model3"), point)
    said = {}
    attempts = {
        "collision": lambda: world.spawn_actor(library.find("vehicle.tesla.model3"), point),
        "map": lambda: client.load_world("Atlantis"),
        "recorder": lambda: client.start_recorder("a.log"),
        "road": lambda: client.generate_opendrive_world("<OpenDRIVE><road"),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
            said[name] = ""
        except RuntimeError as error:
            said[name] = str(error)
    weather = carla.WeatherParameters(*[float(k) for k in range(1, 11)])
    world.set_weather(weather)
    said["weather"] = world.get_weather().sun_altitude_angle
    car.destroy()
    return said


if __name__ == "__main__":
    chosen, served_port = sys.argv[1], int(sys.argv[2])
    connected = carla.Client("127.0.0.1", served_port)
    connected.set_timeout(60.0)
    print(json.dumps(globals()[chosen](connected, served_port)), flush=True)
    os._exit(0)
