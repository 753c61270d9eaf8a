"""Other people's bags: what is proposed, and that geometry and time survive the adaptation."""

from pathlib import Path

import numpy as np
import pytest
from bag_helpers import RECORD, cloud, make, odometry, record, write_bag
from rosbags.typesys import Stores, get_typestore

from robotaxi.bags.adapt import Adaptation, adapt, load_adaptation
from robotaxi.bags.inspect import inspect
from robotaxi.bags.plan import plan_replay
from robotaxi.bags.reader import open_bag, stamps_by_topic, table_topic
from robotaxi.bags.transforms import transform
from robotaxi.bags.writer import BagError
from robotaxi.pointcloud2 import from_cloud
from robotaxi.sensor_rig import load_rig, mounting_transform

SHARED = Path(__file__).resolve().parents[2].parent / "shared/data/rosbag2"
TYPES = get_typestore(Stores.ROS2_KILTED)
T0 = 1_700_000_000_000_000_000  # a real clock
SPEED, YAW = 5.0, 0.3
SWEEP, STATE = "sensing/lidar/top/pointcloud", "localization/kinematic_state"
POINT = np.zeros(1, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("i", "<f4")])


def tf(rows):
    return make("tf2_msgs/msg/TFMessage", transforms=rows)


@pytest.fixture
def foreign(tmp_path):
    """A drive at 5 m/s along yaw 0.3, lidar at 10.3 Hz on a mast, poses at 30 Hz as tf; a post at (20, 4, 1)."""
    T_base_lidar = mounting_transform(0.5, 0.2, 2.0, 0.0, 0.0, 90.0)

    def T_world_base(stamp_ns):
        s = SPEED * (stamp_ns - T0) / 1e9
        return mounting_transform(s * np.cos(YAW), s * np.sin(YAW), 0.0, 0.0, 0.0, np.degrees(YAW))

    sweeps, poses = [], []
    for k in range(40):
        stamp = T0 + round(k * 1e9 / 10.3)
        points = POINT.copy()
        points["x"], points["y"], points["z"] = (
            np.linalg.inv(T_world_base(stamp) @ T_base_lidar) @ [20.0, 4.0, 1.0, 1.0]
        )[:3]
        points["i"] = 51.0
        sweeps.append((stamp, cloud(stamp, points, "mast")))
    for k in range(-5, 130):
        stamp = T0 + round(k * 1e9 / 30.0)
        poses.append((stamp, tf([transform(TYPES.types, "car", T_world_base(stamp), "world", stamp)])))
    fixed = [(T0, tf([transform(TYPES.types, "mast", T_base_lidar, "car")]))]
    return write_bag(tmp_path / "foreign", {"velo/points": sweeps, "tf": poses, "tf_static": fixed}, native=False)


SPEC = Adaptation("test", lidar="/velo/points", odometry="tf", tf_parent="world", tf_child="car", base_frame="car")


def messages(bag, topic):
    with open_bag(bag) as reader:
        chosen = [c for c in reader.connections if c.topic == "/" + topic]
        return [(t, TYPES.deserialize_cdr(raw, c.msgtype)) for c, t, raw in reader.messages(chosen)]


def test_the_proposal_finds_lidar_and_pose(foreign):
    found = inspect(foreign)
    assert found.adaptation.lidar == "/velo/points"
    assert (found.adaptation.tf_parent, found.adaptation.tf_child) == ("world", "car")
    assert found.runs == ["lidar_perception", "planner"]
    assert found.starves["camera_perception"] == "a camera topic"


def test_points_and_poses_agree_on_the_grid(foreign, tmp_path):
    done = adapt(foreign, tmp_path / "out", SPEC)
    assert done.topics[SWEEP] >= 38
    rig = load_rig("robotaxi")
    states = dict(messages(done.bag, STATE))
    sweeps = messages(done.bag, SWEEP)
    assert all(stamp % 100_000_000 == 0 for stamp, _ in sweeps)
    for stamp, message in sweeps[1:-1]:
        (point,) = from_cloud(message)
        pose = states[stamp].pose.pose
        yaw = 2.0 * np.arctan2(pose.orientation.z, pose.orientation.w)
        T_map_base = mounting_transform(pose.position.x, pose.position.y, 0.0, 0.0, 0.0, np.degrees(yaw))
        place = T_map_base @ rig.T_base_lidar @ [point["x"], point["y"], point["z"], 1.0]
        assert place[:3] == pytest.approx([20.0, 4.0, 1.0], abs=0.01)
        assert point["intensity"] == pytest.approx(0.2)
    assert states[1_000_000_000].twist.twist.linear.x == pytest.approx(SPEED * 10.0 / 10.3, rel=0.05)


def test_what_comes_out_can_be_replayed(foreign, tmp_path):
    bag = adapt(foreign, tmp_path / "out", SPEC).bag
    stamps = {table_topic(t): s for t, s in stamps_by_topic(bag).items() if table_topic(t)}
    plan = plan_replay(("localization", "lidar_perception", "planner"), stamps)
    assert plan.roles == ("lidar_perception", "planner")
    assert set(plan.starving) == {"localization"}


def test_a_clock_that_goes_back_does_not_break_it(tmp_path):
    stamps = [T0, T0 + 10**8, T0 + 2 * 10**8, T0 - 5 * 10**8, T0 + 3 * 10**8]
    sweeps = [(T0 + k, cloud(stamp, POINT, "mast")) for k, stamp in enumerate(stamps)]
    bag = write_bag(tmp_path / "foreign", {"points": sweeps}, native=False)
    done = adapt(bag, tmp_path / "out", Adaptation(lidar="/points", mounting={"z": 1.0}))
    assert [stamp for stamp, _ in messages(done.bag, SWEEP)] == [0, 10**8, 2 * 10**8, 3 * 10**8]


def test_what_is_wrong_is_named(foreign, tmp_path):
    with pytest.raises(BagError, match=r"has no topic '/lidar'; its topics are: /tf, /tf_static, /velo/points"):
        adapt(foreign, tmp_path / "a", Adaptation(lidar="/lidar"))
    with pytest.raises(
        BagError, match=r"no static transform from 'base_link' to the lidar's frame 'mast' .frames: mast"
    ):
        adapt(foreign, tmp_path / "b", Adaptation(lidar="/velo/points"))
    odd = write_bag(tmp_path / "odd", {"fancy": [(0, record(0, "x"))]}, native=False)
    with pytest.raises(BagError, match="nothing in it could be adapted; /fancy: holds no pose"):
        adapt(odd, tmp_path / "c", Adaptation(odometry="/fancy"))
    assert RECORD in inspect(odd).topics["/fancy"] and inspect(odd).runs == []


@pytest.mark.parametrize(
    ("text", "message"),
    [("lydar: /x", "unknown key 'lydar'"), ("mounting: {up: 1}", "mounting needs numbers"), ("- a", "unknown key"),
     ("a: [", "cannot be read")],
)  # fmt: skip
def test_wrong_adaptations_are_named(tmp_path, text, message):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(BagError, match=message):
        load_adaptation(str(file))
    with pytest.raises(BagError, match="no adaptation 'nowhere'; known are: autoware, kitti_raw"):
        load_adaptation("nowhere")


def test_odometry_is_put_on_the_grid(tmp_path):
    rows = [(T0 + k * 33_000_000, odometry(T0 + k * 33_000_000, x=0.033 * k)) for k in range(60)]
    bag = write_bag(tmp_path / "foreign", {"odom": rows}, native=False)
    done = adapt(bag, tmp_path / "out", Adaptation(odometry="/odom"))
    found = messages(done.bag, STATE)
    assert [stamp for stamp, _ in found][:3] == [0, 20_000_000, 40_000_000]
    assert found[50][1].pose.pose.position.x == pytest.approx(1.0, abs=1e-6)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the recorded bags are not at {SHARED}")
@pytest.mark.parametrize("name", ["nav2_turtlebot.mcap", "tf_example"])
def test_recorded_bags_of_others_are_understood(name, tmp_path):
    done = adapt(SHARED / name, tmp_path / "out", inspect(SHARED / name).adaptation)
    assert done.topics[STATE] > 2000
