"""The sensors a vehicle carries: where they sit, what they can do (``config/sensors/<name>.yaml``).

A real vehicle has this file as well as the simulator, so nothing here knows the simulator.

Mounting poses are ``x, y, z`` (m) and ``roll_deg, pitch_deg, yaw_deg`` in ``base_link``, applied as
``Rz(yaw) Ry(pitch) Rx(roll)`` (REP-103): positive pitch looks down. A camera's pose is that of its body
frame (x forward); its optical frame (x right, y down, z forward) follows from it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from transforms3d.euler import mat2euler

from robotaxi.params import ParameterError, build, load_yaml, param
from robotaxi.resources import config_dir
from robotaxi.types import CameraModel, FloatArray

T = TypeVar("T")

_SLOWEST_TURN_HZ = 5.0  # so far back remembers the simulator where everybody was
_BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def mounting_transform(x: float, y: float, z: float, roll_deg: float, pitch_deg: float, yaw_deg: float) -> FloatArray:
    """T_base_sensor (4x4) from a mounting pose in ``base_link``."""
    roll, pitch, yaw = (math.radians(v) for v in (roll_deg, pitch_deg, yaw_deg))
    cr, sr, cp, sp, cy, sy = (
        math.cos(roll),
        math.sin(roll),
        math.cos(pitch),
        math.sin(pitch),
        math.cos(yaw),
        math.sin(yaw),
    )
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr, x],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr, y],
            [-sp, cp * sr, cp * cr, z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def pinhole_values(camera: CameraModel) -> dict[str, float]:
    """Fields of a `CameraSpec` that sits where ``camera`` does and is as wide, its principal point in the middle."""
    R = camera.T_base_optical[:3, :3] @ _BODY_FROM_OPTICAL.T
    turns = zip(("roll_deg", "pitch_deg", "yaw_deg"), mat2euler(R, "sxyz"), strict=True)
    return {
        **dict(zip("xyz", camera.T_base_optical[:3, 3].tolist(), strict=True)),
        **{name: math.degrees(angle) for name, angle in turns},
        "width": camera.width, "height": camera.height,
        "hfov_deg": math.degrees(2.0 * math.atan(0.5 * camera.width / camera.fx)),
    }  # fmt: skip


@dataclass(frozen=True)
class Mounting:
    """Where a sensor sits and how often it measures."""

    frame: str = param("", doc="tf frame of the sensor")
    rate_hz: float = param(10.0, lo=0.1, hi=1000.0, unit="Hz", doc="measurements per second")
    x: float = param(0.0, lo=-20.0, hi=20.0, unit="m", doc="forward of the rear axle")
    y: float = param(0.0, lo=-5.0, hi=5.0, unit="m", doc="left of the centre line")
    z: float = param(0.0, lo=-1.0, hi=6.0, unit="m", doc="above the ground")
    roll_deg: float = param(0.0, lo=-180.0, hi=180.0, unit="deg")
    pitch_deg: float = param(0.0, lo=-90.0, hi=90.0, unit="deg", doc="positive looks down")
    yaw_deg: float = param(0.0, lo=-180.0, hi=180.0, unit="deg", doc="positive looks left")

    @property
    def T_base_sensor(self) -> FloatArray:
        """4x4, sensor body frame in ``base_link``."""
        return mounting_transform(self.x, self.y, self.z, self.roll_deg, self.pitch_deg, self.yaw_deg)


@dataclass(frozen=True)
class LidarSpec(Mounting):
    """A spinning lidar. Beams are dense in a band around the horizon, as in a Velodyne VLP-32C.

    A ``rolling`` sweep begins and ends looking backwards, where a cut between two moments disturbs least."""

    beams: int = param(32, lo=1, hi=256, doc="rings, counted from the lowest")
    azimuths: int = param(1800, lo=4, hi=8192, doc="columns of one revolution")
    elevation_lo_deg: float = param(-25.0, lo=-89.0, hi=0.0, unit="deg", doc="lowest beam")
    elevation_hi_deg: float = param(15.0, lo=0.0, hi=89.0, unit="deg", doc="highest beam")
    band_lo_deg: float = param(-8.0, lo=-89.0, hi=0.0, unit="deg", doc="lower edge of the dense band")
    band_hi_deg: float = param(2.0, lo=0.0, hi=89.0, unit="deg", doc="upper edge of the dense band")
    band_share: float = param(0.625, lo=0.0, hi=1.0, doc="share of the beams inside the dense band")
    range_min: float = param(1.0, lo=0.0, hi=10.0, unit="m", doc="nearer returns (own body) are dropped")
    range_max: float = param(100.0, lo=1.0, hi=500.0, unit="m")
    range_sigma: float = param(0.02, lo=0.0, hi=1.0, unit="m", doc="white range noise of a hard surface")
    rolling: bool = param(
        False, doc="beams fire one column after the other while the car moves, the last at the stamp; else all at once"
    )

    @property
    def elevations(self) -> FloatArray:
        """Beam elevations (beams,), rad, rising with the ring number."""
        knots_deg = [self.elevation_lo_deg, self.band_lo_deg, self.band_hi_deg, self.elevation_hi_deg]
        outside = (self.band_lo_deg - self.elevation_lo_deg) + (self.elevation_hi_deg - self.band_hi_deg)
        lower = 0.0 if outside <= 0.0 else (self.band_lo_deg - self.elevation_lo_deg) / outside
        shares = [0.0, (1 - self.band_share) * lower, (1 - self.band_share) * lower + self.band_share, 1.0]
        return np.radians(np.interp(np.linspace(0.0, 1.0, self.beams), shares, knots_deg))


@dataclass(frozen=True)
class CameraSpec(Mounting):
    """A pinhole camera without distortion, its principal point in the middle of the image."""

    width: int = param(640, lo=16, hi=4096, unit="px")
    height: int = param(360, lo=16, hi=4096, unit="px")
    hfov_deg: float = param(70.0, lo=5.0, hi=150.0, unit="deg", doc="horizontal field of view")
    noise_sigma: float = param(1.5, lo=0.0, hi=50.0, unit="levels", doc="white noise of each of 0..255 levels")

    def model(self, name: str) -> CameraModel:
        """The pinhole model with T_base_optical (4x4)."""
        focal = 0.5 * self.width / math.tan(0.5 * math.radians(self.hfov_deg))
        T_base_optical = self.T_base_sensor
        T_base_optical[:3, :3] = T_base_optical[:3, :3] @ _BODY_FROM_OPTICAL
        return CameraModel(
            name,
            self.width,
            self.height,
            focal,
            focal,
            (self.width - 1) / 2.0,
            (self.height - 1) / 2.0,
            T_base_optical,
        )


@dataclass(frozen=True)
class GnssSpec(Mounting):
    """An RTK-fixed receiver; ``x, y, z`` is the antenna's lever arm."""

    sigma_horizontal: float = param(0.02, lo=0.0, hi=20.0, unit="m", doc="white noise east and north")
    sigma_vertical: float = param(0.04, lo=0.0, hi=40.0, unit="m", doc="white noise up")
    bias_sigma: float = param(0.03, lo=0.0, hi=20.0, unit="m", doc="Gauss-Markov bias, each axis")
    bias_time: float = param(60.0, lo=0.1, hi=36000.0, unit="s", doc="its correlation time")


@dataclass(frozen=True)
class ImuSpec(Mounting):
    """An IMU aligned with ``base_link``, with heading from two GNSS antennas. Noise is per sample."""

    acceleration_sigma: float = param(0.05, lo=0.0, hi=5.0, unit="m/s^2", doc="white noise")
    acceleration_bias_sigma: float = param(0.03, lo=0.0, hi=2.0, unit="m/s^2", doc="turn-on bias")
    acceleration_drift_sigma: float = param(0.005, lo=0.0, hi=2.0, unit="m/s^2", doc="in-run bias drift")
    angular_rate_sigma: float = param(0.002, lo=0.0, hi=0.5, unit="rad/s", doc="white noise")
    angular_rate_bias_sigma: float = param(0.001, lo=0.0, hi=0.5, unit="rad/s", doc="turn-on bias")
    angular_rate_drift_sigma: float = param(0.0002, lo=0.0, hi=0.5, unit="rad/s", doc="in-run bias drift")
    drift_time: float = param(600.0, lo=1.0, hi=36000.0, unit="s", doc="correlation time of the drift")
    has_heading: bool = param(True, doc="a dual antenna gives heading")
    heading_sigma_deg: float = param(0.3, lo=0.0, hi=20.0, unit="deg", doc="white noise of the heading")
    heading_bias_deg: float = param(0.1, lo=0.0, hi=20.0, unit="deg", doc="largest constant heading error")


@dataclass(frozen=True)
class WheelSpec(Mounting):
    """Wheel encoders of the rear axle and the steering angle sensor."""

    speed_scale_sigma: float = param(0.005, lo=0.0, hi=0.2, doc="tyre radius error, share of speed")
    speed_sigma: float = param(0.01, lo=0.0, hi=1.0, unit="m/s", doc="white noise while rolling")
    speed_step: float = param(0.01, lo=0.0, hi=1.0, unit="m/s", doc="quantisation")
    steering_offset_deg: float = param(0.2, lo=0.0, hi=10.0, unit="deg", doc="largest constant offset")
    steering_sigma_deg: float = param(0.05, lo=0.0, hi=10.0, unit="deg", doc="white noise")
    steering_step_deg: float = param(0.02, lo=0.0, hi=5.0, unit="deg", doc="quantisation")


@dataclass(frozen=True)
class SensorRig:
    """All sensors of one vehicle type, by their name in the file."""

    name: str
    lidars: dict[str, LidarSpec]
    cameras: dict[str, CameraSpec]
    gnss: GnssSpec
    imu: ImuSpec
    wheels: WheelSpec

    @property
    def T_base_lidar(self) -> FloatArray:
        """4x4, the first lidar of the file in ``base_link``."""
        return next(iter(self.lidars.values())).T_base_sensor

    @property
    def camera_models(self) -> dict[str, CameraModel]:
        """Pinhole models by camera name."""
        return {name: spec.model(name) for name, spec in self.cameras.items()}

    @property
    def gnss_lever_arm(self) -> FloatArray:
        """Antenna position (3,) in ``base_link``."""
        return np.array([self.gnss.x, self.gnss.y, self.gnss.z])


_SECTIONS = ("lidars", "cameras", "gnss", "imu", "wheels")


def load_rig(name_or_path: str | Path) -> SensorRig:
    """Read a rig by name (``config/sensors/<name>.yaml``) or by the path of a YAML file.

    Raises ParameterError naming the file, section, key, value and allowed range.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        folder = config_dir() / "sensors"
        path = folder / f"{name_or_path}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
            raise ParameterError(f"no sensor rig named '{name_or_path}' in {folder}; known are: {known}")
    return rig_from(load_yaml(path), f"{path}", path.stem)


def rig_from(values: Any, path: str, name: str) -> SensorRig:
    """The rig of a file's contents; ``path``: where they are from, for what is said of errors, as `load_rig` does."""
    document = _mapping(values, path)
    unknown = sorted(str(k) for k in set(document) - set(_SECTIONS))
    if unknown:
        raise ParameterError(f"{path}: unknown section '{unknown[0]}'; known are: {', '.join(_SECTIONS)}")
    missing = [s for s in _SECTIONS if s not in document]
    if missing:
        raise ParameterError(f"{path}: section '{missing[0]}' is missing")
    rig = SensorRig(
        name=name,
        lidars=_group(LidarSpec, document["lidars"], f"{path}: lidars"),
        cameras=_group(CameraSpec, document["cameras"], f"{path}: cameras"),
        gnss=build(GnssSpec, _mapping(document["gnss"], f"{path}: gnss"), f"{path}: gnss"),
        imu=build(ImuSpec, _mapping(document["imu"], f"{path}: imu"), f"{path}: imu"),
        wheels=build(WheelSpec, _mapping(document["wheels"], f"{path}: wheels"), f"{path}: wheels"),
    )
    for name, lidar in rig.lidars.items():
        _check_lidar(lidar, f"{path}: lidars.{name}")
    return rig


def _check_lidar(spec: LidarSpec, source: str) -> None:
    order = ("elevation_lo_deg", "band_lo_deg", "band_hi_deg", "elevation_hi_deg")
    for lower, upper in itertools.pairwise(order):
        if getattr(spec, lower) > getattr(spec, upper):
            raise ParameterError(
                f"{source}: parameter '{lower}' is {getattr(spec, lower)}, allowed is at most "
                f"'{upper}' ({getattr(spec, upper)} deg)"
            )
    if spec.rolling and spec.rate_hz < _SLOWEST_TURN_HZ:
        raise ParameterError(
            f"{source}: parameter 'rate_hz' is {spec.rate_hz}, allowed is at least {_SLOWEST_TURN_HZ} Hz "
            "where 'rolling' is true"
        )
    if spec.range_min >= spec.range_max:
        raise ParameterError(
            f"{source}: parameter 'range_min' is {spec.range_min}, allowed is below 'range_max' ({spec.range_max} m)"
        )


def _group(spec_type: type[T], values: Any, source: str) -> dict[str, T]:
    group = _mapping(values, source)
    if not group:
        raise ParameterError(f"{source}: expected at least one sensor, found none")
    return {
        str(name): build(spec_type, _mapping(entry, f"{source}.{name}"), f"{source}.{name}")
        for name, entry in group.items()
    }


def _mapping(value: Any, source: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ParameterError(f"{source}: expected 'key: value' lines, found {type(value).__name__}")
    return value
