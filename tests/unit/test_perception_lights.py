"""Traffic lights: drawn heads seen through a pinhole camera, and the filter over time."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotaxi.hdmap.lane_map import LaneMap, Signal
from robotaxi.perception.camera import ImageError, TrafficLightConfig, TrafficLightRecognition
from robotaxi.perception.camera.lamp_shape import lamp_shape
from robotaxi.perception.camera.light_filter import LightFilter
from robotaxi.types import LIGHT_DTYPE, CameraModel, EgoState, LightShape, LightState, LightStatus

T_BASE_OPTICAL = np.array([[0.0, 0, 1, 1.8], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
CAMERA = CameraModel("front", 640, 360, 457.0, 457.0, 319.5, 179.5, T_BASE_OPTICAL)
LAMPS = {LightState.RED: (40, 40, 255), LightState.AMBER: (20, 180, 255), LightState.GREEN: (140, 255, 30)}
ARROWS = {
    LightShape.UP_ARROW: [(0, -9), (9, 0), (3, 0), (3, 9), (-3, 9), (-3, 0), (-9, 0)],
    LightShape.LEFT_ARROW: [(-9, 0), (0, 9), (0, 3), (9, 3), (9, -3), (0, -3), (0, -9)],
    LightShape.RIGHT_ARROW: [(9, 0), (0, -9), (0, -3), (-9, -3), (-9, 3), (0, 3), (0, 9)],
}
STEP_NS = 200_000_000


def signal(number=50, x=60.0, y=-3.0, yaw=math.pi):
    return Signal(number, np.array([x, y, 4.5]), yaw, 40)


def recognition(*signals):
    return TrafficLightRecognition(
        TrafficLightConfig(), LaneMap("test", (0.0, 0.0, 0.0), {}, signals={s.id: s for s in signals}), CAMERA
    )


def draw(lit, ego, shift=(0.0, 0.0), background=(150, 140, 130)):
    """Image of the heads; ``lit``: pairs of Signal and LightState; ``shift``: pixels they are off."""
    scale = 4
    image = np.full((360 * scale, 640 * scale, 3), background, np.uint8)
    for head, state in lit:
        for k, lamp in enumerate(LAMPS):
            offset = head.position - [ego.x + 1.8, ego.y, 1.5]
            offset[2] += (1 - k) * head.height / 3
            c, s = math.cos(ego.yaw), math.sin(ego.yaw)
            depth, left = c * offset[0] + s * offset[1], -s * offset[0] + c * offset[1]
            if depth < 1.0:
                continue
            u = 457.0 * -left / depth + 319.5 + shift[0]
            v = 457.0 * -offset[2] / depth + 179.5 + shift[1]
            half = 457.0 / depth / 6
            place = [
                (int((u - half) * scale), int((v - half) * scale)),
                (int((u + half) * scale), int((v + half) * scale)),
            ]
            cv2.rectangle(image, *place, (25, 25, 25), -1)
            color = LAMPS[lamp] if lamp == state else tuple(c // 6 for c in LAMPS[lamp])
            radius = int(457.0 * 0.15 / depth * scale)
            cv2.circle(image, (int((u + 0.5) * scale), int((v + 0.5) * scale)), radius, color, -1)
    return cv2.resize(image, (640, 360), interpolation=cv2.INTER_AREA)


def ego(x=0.0, stamp_ns=0, yaw=0.0):
    return EgoState(stamp_ns, x, 0.0, yaw, 0.0)


def watch(heads, state, pose, frames=2, **picture):
    light = recognition(*heads)
    for k in range(frames):
        out = light.step(draw([(h, state) for h in heads], pose, **picture), k * STEP_NS, pose)
    return out


@pytest.mark.parametrize("state", list(LAMPS))
@pytest.mark.parametrize("distance", [12.0, 20.0, 40.0, 60.0])
def test_each_state_at_each_distance(state, distance):
    head = signal(x=60.0, y=-2.0)
    pose = ego(60.0 - distance - 1.8)
    out = watch([head], state, pose)
    assert out.dtype == LIGHT_DTYPE and list(out["signal_id"]) == [50]
    assert out["state"][0] == state and out["confidence"][0] > 0.3
    assert out["x"][0] == pytest.approx(60.0)


@pytest.mark.parametrize("state", list(LAMPS))
@pytest.mark.parametrize("shift", [(-4.0, 3.0), (5.0, -4.0)])
def test_a_pose_that_is_a_little_off(state, shift):
    assert watch([signal()], state, ego(), shift=shift)["state"][0] == state


def test_two_heads_side_by_side_keep_their_own_states():
    left, right = signal(1, y=2.0), signal(2, y=-3.0)
    light = recognition(left, right)
    image = draw([(left, LightState.RED), (right, LightState.GREEN)], ego())
    for k in range(2):
        out = light.step(image, k * STEP_NS, ego())
    assert list(out["state"]) == [LightState.RED, LightState.GREEN]


def test_only_heads_that_face_us_ahead_and_in_range_are_expected():
    away, side = signal(1, yaw=0.0), signal(2, yaw=math.pi + math.radians(65))
    behind, far = signal(3, x=-20.0, yaw=0.0), signal(4, x=400.0)
    out = watch([away, side, behind, far, signal(5)], LightState.RED, ego())
    assert list(out["signal_id"]) == [5]


def test_what_cannot_be_told_is_unknown():
    head = signal()
    light = recognition(head)
    assert light.step(draw([(head, LightState.OFF)], ego()), 0, ego())["state"][0] == LightState.UNKNOWN
    for color in ((40, 40, 255), (40, 200, 40)):  # a red bus or a tree fills the crop
        wall = np.full((360, 640, 3), color, np.uint8)
        assert recognition(head).step(wall, 0, ego())["state"][0] == LightState.UNKNOWN
    both = np.maximum(draw([(head, LightState.RED)], ego()), draw([(head, LightState.GREEN)], ego()))
    assert recognition(head).step(both, 0, ego())["state"][0] == LightState.UNKNOWN


def test_sunlit_leaves_behind_a_head_are_no_green():
    head = signal(x=90.0)
    image = draw([(head, LightState.RED)], ego())
    u, v = int(319.5 + 457.0 * 3.0 / 88.2), int(179.5 - 457.0 * 3.0 / 88.2)
    image[v + 3 : v + 7, u - 2 : u + 4] = (73, 155, 113)
    light = recognition(head)
    for k in range(3):
        assert light.step(image, k * STEP_NS, ego())["state"][0] == LightState.RED


def test_a_nearer_head_for_another_way_hides_ours_and_is_not_taken_for_it():
    ours = signal(1, x=60.0, y=-6.0)
    share = (30.0 - 1.8) / (60.0 - 1.8)  # on the ray from the camera to ours
    other = Signal(2, np.array([30.0, -6.0 * share, 1.5 + 3.0 * share]), math.pi / 2.0, 41)
    light = recognition(ours, other)
    beside = EgoState(0, 0.0, 4.0, 0.0, 0.0)
    before = draw([(ours, LightState.RED), (other, LightState.GREEN)], beside)
    hidden = draw([(ours, LightState.RED), (other, LightState.GREEN)], ego())
    assert light.step(before, 0, beside)["state"][0] == LightState.RED
    for k in range(1, 20):
        out = light.step(hidden, k * STEP_NS, ego())
        assert out["state"][0] != LightState.GREEN
    assert out["state"][0] == LightState.UNKNOWN, "it is long that it was seen"


def test_a_head_behind_ours_or_for_the_same_way_hides_nothing():
    ours = signal(1, x=30.0, y=-3.0)
    share = (60.0 - 1.8) / (30.0 - 1.8)
    for line in (40, 41):
        behind = Signal(2, np.array([60.0, -3.0 * share, 1.5 + 3.0 * share]), math.pi, line)
        light = recognition(ours, behind)
        for k in range(2):
            out = light.step(draw([(behind, LightState.RED), (ours, LightState.GREEN)], ego()), k * STEP_NS, ego())
        assert out["state"][0] == LightState.GREEN


def test_red_counts_at_once_and_green_when_seen_again():
    head = signal()
    light = recognition(head)
    red, green = (draw([(head, s)], ego()) for s in (LightState.RED, LightState.GREEN))
    states = [
        light.step(image, k * STEP_NS, ego())["state"][0] for k, image in enumerate([green, green, red, green, green])
    ]
    assert states == [LightState.UNKNOWN, LightState.GREEN, LightState.RED, LightState.RED, LightState.GREEN]


def test_the_pose_is_carried_to_the_time_of_the_image():
    head = signal(y=-1.0)
    late = EgoState(0, 0.0, 0.0, 0.0, 15.0, yaw_rate=0.5)
    now = EgoState(STEP_NS, 3.0, 0.15, 0.1, 15.0)
    image = draw([(head, LightState.RED)], now)
    assert recognition(head).step(image, STEP_NS, late)["state"][0] == LightState.RED


def test_without_a_pose_or_signals_nothing_is_expected():
    image = np.zeros((360, 640, 3), np.uint8)
    assert len(recognition(signal()).step(image, 0, None)) == 0
    assert len(recognition(signal()).step(image, 0, EgoState(0, math.nan, 0.0, 0.0, 0.0))) == 0
    assert len(recognition().step(image, 0, ego())) == 0


@pytest.mark.parametrize("image", [np.zeros((180, 320, 3), np.uint8), np.zeros((360, 640), np.uint8),
                                   np.zeros((360, 640, 3), np.float32)])  # fmt: skip
def test_an_image_that_does_not_fit_is_named(image):
    with pytest.raises(ImageError, match="expected a uint8 image"):
        recognition(signal()).step(image, 0, ego())


@given(seen=st.lists(st.sampled_from([LightState.UNKNOWN, *LAMPS]), max_size=30))
def test_green_is_never_believed_without_two_greens_in_a_row(seen):
    memory = LightFilter(green_frames=2, hold_green=0.5, hold_restrictive=2.0)
    believed = LightState.UNKNOWN
    for k, state in enumerate(seen):
        before, believed = believed, memory.update(1, state, 1.0, k * STEP_NS)[0]
        if believed == LightState.GREEN != before:
            assert seen[k - 1 : k + 1] == [LightState.GREEN, LightState.GREEN]
        if state in (LightState.RED, LightState.AMBER):
            assert believed == state


def test_a_head_that_stays_dark_is_off_and_one_that_is_hidden_or_dim_is_not():
    head = signal(x=25.0, y=-1.0)
    dark = draw([(head, LightState.OFF)], ego())
    light = recognition(head)
    states = [light.step(dark, k * STEP_NS, ego())[0] for k in range(16)]
    assert {int(s["state"]) for s in states[:10]} == {LightState.UNKNOWN}
    assert states[-1]["state"] == LightState.OFF and states[-1]["status"] == LightStatus.OFF
    assert states[-1]["confidence"] >= 0.3
    lit = draw([(head, LightState.RED)], ego())
    assert light.step(lit, 16 * STEP_NS, ego())["state"][0] == LightState.RED
    u, v = int(319.5 + 457.0 * 1.0 / 23.2), int(179.5 - 457.0 * 3.0 / 23.2)
    hidden = dark.copy()
    hidden[v - 30 : v + 30, u - 30 : u + 30] = (90, 90, 90)
    window = hidden.copy()
    window[v - 10 : v + 10, u - 3 : u + 4] = (25, 25, 25)  # as of a lorry
    night = (dark // 12).astype(np.uint8)
    far = draw([(signal(x=70.0), LightState.OFF)], ego())
    for image, at in ((hidden, head), (window, head), (night, head), (far, signal(x=70.0))):
        other = recognition(at)
        for k in range(16):
            out = other.step(image, k * STEP_NS, ego())
        assert out["state"][0] == LightState.UNKNOWN


def test_the_shape_of_a_lamp_is_told_by_its_lit_pixels():
    for shape, corners in ARROWS.items():
        mask = np.zeros((40, 40), np.uint8)
        cv2.fillPoly(mask, [np.array(corners, np.int32) * 2 + 20], 1)
        for size in (40, 20):
            lit = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA) > 0
            assert lamp_shape(lit, 0.85 * size) == shape
    disc = cv2.circle(np.zeros((40, 40), np.uint8), (20, 20), 16, 1, -1) > 0
    assert lamp_shape(disc, 32.0) == LightShape.CIRCLE
    assert lamp_shape(disc[::8, ::8], 4.0) == LightShape.UNKNOWN
    half = disc.copy()
    half[:, 20:] = False  # behind a pole
    assert lamp_shape(half, 32.0) == LightShape.UNKNOWN


def test_an_unseen_light_is_forgotten():
    memory = LightFilter(green_frames=2, hold_green=0.5, hold_restrictive=2.0)
    memory.update(1, LightState.RED, 1.0, 0)
    held = memory.update(1, LightState.UNKNOWN, 0.0, int(1.9e9))
    assert held[0] == LightState.RED and held[1] < 1.0
    assert memory.update(1, LightState.UNKNOWN, 0.0, int(2.1e9)) == (LightState.UNKNOWN, 0.0)
