"""The blueprint library: CARLA's usual ids with the attributes that its client and TrafficManager read.

Sizes are those of the named vehicles as their makers publish them, rounded; no CARLA asset is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class AttributeType(IntEnum):
    BOOL = 1
    INT = 2
    FLOAT = 3
    STRING = 4
    RGB_COLOR = 5


class Tag(IntEnum):
    """Semantic classes of CARLA 0.9.14 and later, as the Cityscapes palette of the client colours them."""

    NONE = 0
    ROADS = 1
    SIDEWALKS = 2
    BUILDINGS = 3
    POLES = 6
    TRAFFIC_LIGHT = 7
    TRAFFIC_SIGNS = 8
    VEGETATION = 9
    TERRAIN = 10
    SKY = 11
    PEDESTRIANS = 12
    RIDER = 13
    CAR = 14
    TRUCK = 15
    BUS = 16
    MOTORCYCLE = 18
    BICYCLE = 19
    STATIC = 20
    DYNAMIC = 21
    ROAD_LINES = 24


@dataclass(frozen=True)
class Attribute:
    id: str
    type: AttributeType
    value: str
    recommended: tuple[str, ...] = ()
    modifiable: bool = True
    restrict: bool = False

    def wire(self) -> list[Any]:
        return [self.id, int(self.type), self.value, list(self.recommended), self.modifiable, self.restrict]


@dataclass(frozen=True)
class Body:
    """``size``: length, width, height in m. ``wheelbase`` 0: it has no wheels."""

    size: tuple[float, float, float]
    mass: float
    tag: Tag
    wheelbase: float = 0.0


@dataclass(frozen=True)
class Blueprint:
    uid: int
    id: str
    tags: str
    attributes: tuple[Attribute, ...]
    body: Body | None = None
    defaults: dict[str, str] = field(default_factory=dict)

    def wire(self) -> list[Any]:
        return [self.uid, self.id, self.tags, [a.wire() for a in self.attributes]]


_COLORS = ("17,37,103", "58,74,86", "180,44,44", "255,255,255", "33,33,33", "134,134,134")
# id, number of wheels, base type, special type, generation, (length, width, height), wheelbase, kg
_VEHICLES = (
    ("vehicle.tesla.model3", 4, "car", "", 2, (4.79, 2.16, 1.49), 2.90, 1850.0),
    ("vehicle.lincoln.mkz_2017", 4, "car", "", 1, (4.90, 2.13, 1.51), 2.85, 1750.0),
    ("vehicle.lincoln.mkz_2020", 4, "car", "", 2, (4.89, 1.84, 1.49), 2.85, 1750.0),
    ("vehicle.audi.a2", 4, "car", "", 1, (3.71, 1.79, 1.55), 2.41, 1000.0),
    ("vehicle.audi.tt", 4, "car", "", 1, (4.18, 1.99, 1.39), 2.47, 1300.0),
    ("vehicle.audi.etron", 4, "car", "", 1, (4.86, 2.03, 1.65), 2.93, 2500.0),
    ("vehicle.bmw.grandtourer", 4, "car", "", 1, (4.61, 2.24, 1.67), 2.78, 1500.0),
    ("vehicle.chevrolet.impala", 4, "car", "", 1, (5.36, 2.03, 1.41), 2.82, 1700.0),
    ("vehicle.citroen.c3", 4, "car", "", 1, (3.99, 1.85, 1.62), 2.47, 1100.0),
    ("vehicle.dodge.charger_2020", 4, "car", "", 2, (5.01, 1.88, 1.53), 3.05, 1900.0),
    ("vehicle.dodge.charger_police", 4, "car", "emergency", 1, (4.97, 2.04, 1.56), 3.05, 1900.0),
    ("vehicle.ford.mustang", 4, "car", "", 1, (4.72, 1.89, 1.30), 2.74, 1450.0),
    ("vehicle.ford.crown", 4, "car", "taxi", 2, (5.37, 1.80, 1.57), 2.91, 1850.0),
    ("vehicle.jeep.wrangler_rubicon", 4, "car", "", 1, (3.87, 1.91, 1.88), 2.42, 1900.0),
    ("vehicle.mercedes.coupe", 4, "car", "", 1, (5.03, 2.15, 1.64), 2.95, 1900.0),
    ("vehicle.mercedes.coupe_2020", 4, "car", "", 2, (4.67, 1.81, 1.44), 2.84, 1750.0),
    ("vehicle.micro.microlino", 4, "car", "", 1, (2.21, 1.48, 1.38), 1.57, 500.0),
    ("vehicle.mini.cooper_s", 4, "car", "", 1, (3.81, 1.97, 1.48), 2.47, 1200.0),
    ("vehicle.mini.cooper_s_2021", 4, "car", "", 2, (4.55, 2.10, 1.77), 2.67, 1450.0),
    ("vehicle.nissan.micra", 4, "car", "", 1, (3.63, 1.85, 1.50), 2.45, 1000.0),
    ("vehicle.nissan.patrol", 4, "car", "", 1, (4.60, 1.93, 1.85), 2.95, 2200.0),
    ("vehicle.nissan.patrol_2021", 4, "car", "", 2, (5.57, 2.15, 2.05), 3.08, 2700.0),
    ("vehicle.seat.leon", 4, "car", "", 1, (4.19, 1.82, 1.47), 2.58, 1300.0),
    ("vehicle.toyota.prius", 4, "car", "", 1, (4.51, 2.01, 1.52), 2.70, 1400.0),
    ("vehicle.mercedes.sprinter", 4, "van", "", 2, (5.92, 1.99, 2.56), 3.66, 2500.0),
    ("vehicle.volkswagen.t2", 4, "van", "", 1, (4.48, 2.07, 2.04), 2.40, 1400.0),
    ("vehicle.volkswagen.t2_2021", 4, "van", "", 2, (4.44, 1.77, 1.99), 2.40, 1400.0),
    ("vehicle.ford.ambulance", 4, "van", "emergency", 2, (6.36, 2.35, 2.43), 4.01, 4500.0),
    ("vehicle.carlamotors.carlacola", 4, "truck", "", 1, (5.20, 2.61, 2.47), 3.40, 5500.0),
    ("vehicle.carlamotors.firetruck", 4, "truck", "emergency", 2, (8.47, 2.90, 3.83), 4.60, 15000.0),
    ("vehicle.carlamotors.european_hgv", 4, "truck", "", 2, (7.93, 2.88, 3.47), 4.50, 16000.0),
    ("vehicle.mitsubishi.fusorosa", 4, "bus", "", 2, (10.27, 3.94, 4.25), 5.30, 9000.0),
    ("vehicle.harley-davidson.low_rider", 2, "motorcycle", "", 1, (2.35, 0.76, 1.64), 1.63, 380.0),
    ("vehicle.kawasaki.ninja", 2, "motorcycle", "", 1, (2.03, 0.80, 1.46), 1.41, 270.0),
    ("vehicle.yamaha.yzf", 2, "motorcycle", "", 1, (2.21, 0.87, 1.53), 1.38, 270.0),
    ("vehicle.vespa.zx125", 2, "motorcycle", "", 1, (1.80, 0.87, 1.59), 1.28, 190.0),
    ("vehicle.bh.crossbike", 2, "bicycle", "", 1, (1.49, 0.86, 1.61), 1.03, 90.0),
    ("vehicle.diamondback.century", 2, "bicycle", "", 1, (1.64, 0.56, 1.59), 1.03, 90.0),
    ("vehicle.gazelle.omafiets", 2, "bicycle", "", 1, (1.84, 0.66, 1.78), 1.13, 95.0),
)
_VEHICLE_TAG = {
    "car": Tag.CAR,
    "van": Tag.CAR,
    "truck": Tag.TRUCK,
    "bus": Tag.BUS,
    "motorcycle": Tag.MOTORCYCLE,
    "bicycle": Tag.BICYCLE,
}
_WALKERS = 52
_PROPS = (
    ("static.prop.trafficcone01", (0.41, 0.41, 0.56), 4.0),
    ("static.prop.trafficcone02", (0.38, 0.38, 0.72), 4.0),
    ("static.prop.constructioncone", (0.35, 0.35, 0.58), 4.0),
    ("static.prop.trafficwarning", (2.87, 2.37, 3.57), 400.0),
    ("static.prop.warningconstruction", (0.95, 0.6, 1.15), 20.0),
    ("static.prop.warningaccident", (0.95, 0.6, 1.15), 20.0),
    ("static.prop.streetbarrier", (1.22, 0.37, 1.07), 60.0),
    ("static.prop.barrel", (0.5, 0.5, 0.75), 30.0),
    ("static.prop.container", (1.98, 1.0, 1.7), 300.0),
    ("static.prop.box01", (0.66, 0.66, 0.66), 15.0),
    ("static.prop.box02", (0.63, 0.63, 0.55), 15.0),
    ("static.prop.box03", (0.69, 0.64, 0.62), 15.0),
    ("static.prop.shoppingcart", (1.21, 0.66, 1.1), 25.0),
    ("static.prop.plasticchair", (0.62, 0.61, 0.87), 5.0),
    ("static.prop.vendingmachine", (1.1, 0.87, 2.1), 300.0),
    ("static.prop.busstop", (3.9, 1.7, 2.75), 500.0),
    ("static.prop.advertisement", (1.2, 0.3, 2.5), 150.0),
    ("static.prop.creasedbox01", (0.71, 0.7, 0.08), 2.0),
    ("static.prop.dirtdebris01", (2.06, 1.32, 0.08), 50.0),
    ("static.prop.ironplank", (1.03, 0.8, 0.06), 40.0),
)


def build_library() -> dict[str, Blueprint]:
    """Every blueprint by id, in the order of their uids."""
    out: dict[str, Blueprint] = {}

    def add(name: str, attributes: Iterable[Attribute], body: Body | None = None) -> None:
        tags = ",".join(name.split("."))
        out[name] = Blueprint(len(out) + 1, name, tags, tuple(attributes), body)

    for row in _VEHICLES:
        add(
            row[0],
            _vehicle_attributes(row[1], row[2], row[3], row[4]),
            Body(row[5], row[7], _VEHICLE_TAG[row[2]], row[6]),
        )
    for number in range(1, _WALKERS + 1):
        child = number in (9, 10, 11, 12, 13, 14, 48, 49)
        body = Body((0.36, 0.36, 1.3) if child else (0.38, 0.38, 1.86), 35.0 if child else 75.0, Tag.PEDESTRIANS)
        add(f"walker.pedestrian.{number:04d}", _walker_attributes(number, child), body)
    add("controller.ai.walker", [_role()])
    for name, size, mass in _PROPS:
        add(name, [_fixed("size", AttributeType.STRING, "small"), _role("prop")], Body(size, mass, Tag.STATIC))
    for name, attributes in _sensors().items():
        add(name, [*attributes, _role(), _text("ros_name", "")])
    return out


def _text(name: str, value: str, *recommended: str) -> Attribute:
    return Attribute(name, AttributeType.STRING, value, recommended)


def _role(value: str = "default") -> Attribute:
    return _text("role_name", value, "autopilot", "scenario", "ego_vehicle")


def _fixed(name: str, kind: AttributeType, value: str) -> Attribute:
    return Attribute(name, kind, value, (), False)


def _numbers(**values: float | int | bool) -> list[Attribute]:
    out = []
    for name, value in values.items():
        kind = (
            AttributeType.BOOL
            if isinstance(value, bool)
            else AttributeType.INT
            if isinstance(value, int)
            else AttributeType.FLOAT
        )
        out.append(Attribute(name, kind, str(value).lower() if isinstance(value, bool) else repr(value)))
    return out


def _vehicle_attributes(wheels: int, base: str, special: str, generation: int) -> list[Attribute]:
    lights = "true" if base != "bicycle" else "false"
    out = [
        Attribute("color", AttributeType.RGB_COLOR, _COLORS[0], _COLORS),
        _fixed("number_of_wheels", AttributeType.INT, str(wheels)),
        _fixed("object_type", AttributeType.STRING, ""),
        _fixed("base_type", AttributeType.STRING, base),
        _fixed("special_type", AttributeType.STRING, special),
        _fixed("generation", AttributeType.INT, str(generation)),
        _fixed("has_lights", AttributeType.BOOL, lights),
        _fixed("has_dynamic_doors", AttributeType.BOOL, "false"),
        Attribute("sticky_control", AttributeType.BOOL, "true"),
        Attribute("terramechanics", AttributeType.BOOL, "false"),
        _role("autopilot"),
    ]
    if wheels == 2:
        out.append(Attribute("driver_id", AttributeType.INT, "1", ("0", "1", "2")))
    return out


def _walker_attributes(number: int, child: bool) -> list[Attribute]:
    return [
        _fixed("gender", AttributeType.STRING, "female" if number % 2 else "male"),
        _fixed("age", AttributeType.STRING, "child" if child else "adult"),
        _fixed("generation", AttributeType.INT, "1" if number <= 14 else "2"),
        Attribute("speed", AttributeType.FLOAT, "0.0", ("0.0", "1.43", "2.8")),
        Attribute("is_invincible", AttributeType.BOOL, "true"),
        Attribute("can_use_wheelchair", AttributeType.BOOL, "false", (), False),
        Attribute("use_wheelchair", AttributeType.BOOL, "false"),
        _role("pedestrian"),
    ]


def _sensors() -> dict[str, list[Attribute]]:
    tick = _numbers(sensor_tick=0.0)
    camera = _numbers(image_size_x=800, image_size_y=600, fov=90.0) + tick
    lens = _numbers(
        lens_circle_falloff=5.0, lens_circle_multiplier=0.0, lens_k=-1.0, lens_kcube=0.0, lens_x_size=0.08,
        lens_y_size=0.08,
    )  # fmt: skip
    exposure = _numbers(
        gamma=2.2, shutter_speed=200.0, iso=100.0, fstop=1.4, bloom_intensity=0.675, lens_flare_intensity=0.1,
        motion_blur_intensity=0.45, enable_postprocess_effects=True, exposure_compensation=0.0,
    )  # fmt: skip
    lidar = _numbers(
        channels=32, range=10.0, points_per_second=56000, rotation_frequency=10.0, upper_fov=10.0, lower_fov=-30.0,
        horizontal_fov=360.0,
    )  # fmt: skip
    loss = _numbers(
        atmosphere_attenuation_rate=0.004, dropoff_general_rate=0.45, dropoff_intensity_limit=0.8,
        dropoff_zero_intensity=0.4, noise_stddev=0.0, noise_seed=0,
    )  # fmt: skip
    gnss = _numbers(
        noise_alt_bias=0.0, noise_alt_stddev=0.0, noise_lat_bias=0.0, noise_lat_stddev=0.0, noise_lon_bias=0.0,
        noise_lon_stddev=0.0, noise_seed=0,
    )  # fmt: skip
    imu = _numbers(
        noise_accel_stddev_x=0.0, noise_accel_stddev_y=0.0, noise_accel_stddev_z=0.0, noise_gyro_bias_x=0.0,
        noise_gyro_bias_y=0.0, noise_gyro_bias_z=0.0, noise_gyro_stddev_x=0.0, noise_gyro_stddev_y=0.0,
        noise_gyro_stddev_z=0.0, noise_seed=0,
    )  # fmt: skip
    return {
        "sensor.camera.rgb": [*camera, _text("exposure_mode", "histogram", "manual"), *exposure, *lens],
        "sensor.camera.depth": camera + lens,
        "sensor.camera.semantic_segmentation": camera + lens,
        "sensor.camera.instance_segmentation": camera + lens,
        "sensor.lidar.ray_cast": lidar + loss + tick,
        "sensor.lidar.ray_cast_semantic": lidar + tick,
        "sensor.other.radar": _numbers(horizontal_fov=30.0, vertical_fov=30.0, range=100.0, points_per_second=1500)
        + _numbers(noise_seed=0)
        + tick,
        "sensor.other.gnss": gnss + tick,
        "sensor.other.imu": imu + tick,
        "sensor.other.collision": [],
        "sensor.other.lane_invasion": [],
        "sensor.other.obstacle": _numbers(distance=5.0, hit_radius=0.5, only_dynamics=False, debug_linetrace=False)
        + tick,
    }
