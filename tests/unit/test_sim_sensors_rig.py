"""The sensor rig file: where sensors sit, and errors that say what to change."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from robotaxi.interfaces import INTERFACES
from robotaxi.params import ParameterError
from robotaxi.resources import config_dir
from robotaxi.sensor_rig import load_rig, mounting_transform

SHIPPED = config_dir() / "sensors" / "robotaxi.yaml"


def _edited(tmp_path: Path, *keys: str, value: object) -> Path:
    document = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    entry = document
    for key in keys[:-1]:
        entry = entry[key]
    entry[keys[-1]] = value
    path = tmp_path / "edited.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def test_shipped_rig_loads_by_name_and_by_path() -> None:
    assert load_rig("robotaxi") == load_rig(SHIPPED)


def test_rates_agree_with_the_interfaces() -> None:
    rig = load_rig("robotaxi")
    for rate_hz, topic in (
        (rig.lidars["top"].rate_hz, "sensing/lidar/top/pointcloud"),
        (rig.cameras["front"].rate_hz, "sensing/camera/front/image_raw"),
        (rig.gnss.rate_hz, "sensing/gnss/fix"),
        (rig.imu.rate_hz, "sensing/imu/data"),
        (rig.wheels.rate_hz, "vehicle/status"),
    ):
        assert INTERFACES[topic].period_ns == pytest.approx(1e9 / rate_hz), topic


def test_camera_looks_forward_and_a_little_up() -> None:
    model = load_rig("robotaxi").camera_models["front"]
    forward = model.T_base_optical[:3, 2]
    assert forward[0] > 0.98 and forward[2] == pytest.approx(math.sin(math.radians(5.0)))
    assert model.T_base_optical[:3, 0] == pytest.approx([0.0, -1.0, 0.0])  # image right is the car's right
    half_fov = math.atan(0.5 * model.width / model.fx)
    assert math.degrees(2.0 * half_fov) == pytest.approx(70.0)


def test_mounting_follows_rep_103() -> None:
    looks_down = mounting_transform(0, 0, 0, 0.0, 10.0, 0.0) @ np.array([1.0, 0.0, 0.0, 1.0])
    looks_left = mounting_transform(1, 2, 3, 0.0, 0.0, 90.0) @ np.array([1.0, 0.0, 0.0, 1.0])
    assert looks_down[2] < 0.0
    assert looks_left[:3] == pytest.approx([1.0, 3.0, 3.0])


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ParameterError, match=r"no sensor rig named 'nope'.*known are: .*robotaxi"):
        load_rig("nope")


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("lidars", "top", "beams"), 0, r"edited.yaml: lidars.top: parameter 'beams' is 0, allowed is 1 to 256"),
        (("lidars", "top", "range_max"), 0.5, r"lidars.top: parameter 'range_max' is 0.5, allowed is 1 to 500 m"),
        (("lidars", "top", "band_lo_deg"), -30.0, r"'elevation_lo_deg' is -25.0, allowed is at most 'band_lo_deg'"),
        (("cameras", "front", "hfov_deg"), "wide", r"cameras.front: parameter 'hfov_deg' is 'wide' \(str\)"),
        (("cameras", "front", "colour"), 1, r"cameras.front: unknown parameter 'colour'"),
        (("cameras",), {}, r"cameras: expected at least one sensor"),
        (("gnss",), 3, r"gnss: expected 'key: value' lines, found int"),
        (("radar",), {}, r"unknown section 'radar'"),
        (("imu", "x"), float("nan"), r"imu: parameter 'x' is nan, expected a finite number"),
    ],
)
def test_bad_files_are_refused_with_their_place(
    tmp_path: Path, keys: tuple[str, ...], value: object, message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        load_rig(_edited(tmp_path, *keys, value=value))


def test_missing_section_and_missing_file_are_named(tmp_path: Path) -> None:
    document = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    del document["wheels"]
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(ParameterError, match=r"short.yaml: section 'wheels' is missing"):
        load_rig(path)
    with pytest.raises(ParameterError, match=r"gone.yaml: cannot be read"):
        load_rig(tmp_path / "gone.yaml")
