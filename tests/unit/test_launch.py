"""`ros2 launch` and `robotaxi bringup` start the same processes with the same parameters."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from bag_helpers import cloud, every, odometry, write_bag

from robotaxi.stack import StackError, describe, parse_arguments
from robotaxi.supervisor import Supervisor

launch = pytest.importorskip("launch", reason="ROS 2's launch tools (launch, launch_ros) are not installed")
pytest.importorskip("launch_ros", reason="ROS 2's launch tools (launch, launch_ros) are not installed")

from launch.actions import ExecuteLocal  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from launch_ros.actions import Node  # noqa: E402

ROOT = Path(__file__).parents[2]
OVERRIDE = {"/**/planner": {"ros__parameters": {"max_speed": 9.5}}}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package as `ros2` finds it, whether it is installed or not."""
    (tmp_path / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (tmp_path / "share/ament_index/resource_index/packages/robotaxi").touch()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/robotaxi").symlink_to(ROOT / "src/robotaxi/nodes/bin")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    monkeypatch.setattr(ExecuteLocal, "execute", ExecuteLocal.prepare)  # all but the start of the process
    (tmp_path / "override.yaml").write_text(yaml.safe_dump(OVERRIDE))
    states = [(stamp, odometry(stamp)) for stamp in every(20, 1000)]
    points = np.zeros(1, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4")])
    sweeps = [(stamp, cloud(stamp, points)) for stamp in every(100, 1000)]
    write_bag(tmp_path / "bag", {"localization/kinematic_state": states, "sensing/lidar/top/pointcloud": sweeps})
    return tmp_path


def launched(file, words):
    """Executable -> its --ros-args, as ROS 2 launch would start them."""
    context = launch.LaunchContext(argv=words)
    context.launch_configurations.update(word.split(":=") for word in words)
    found = {}
    waiting = [PythonLaunchDescriptionSource(str(ROOT / "launch" / file)).get_launch_description(context)]
    while waiting:
        entity = waiting.pop()
        waiting += reversed(entity.visit(context) or [])
        if isinstance(entity, Node) and entity.process_description.final_cmd:
            command = entity.process_description.final_cmd
            program = next(i for i, word in enumerate(command) if "/lib/" in word)
            found[Path(command[program]).name] = ros_arguments(command[program:])
    return found


def brought_up(words, folder):
    """The same for `robotaxi bringup`."""
    found = {}

    class Recorder(Supervisor):
        def start(self, name, command, *_):
            found[name] = ros_arguments(command)

    arguments = parse_arguments(words)
    Recorder(0).start_stack(arguments, describe(arguments), parameter_folder=folder)
    return found


def ros_arguments(command):
    """Remappings, log level, parameter files of the package, and the parameters in the process's own file."""
    pairs = list(pairwise(command))
    *files, own = [value for key, value in pairs if key == "--params-file"]
    (body,) = yaml.load(Path(own).read_text(), Loader=yaml.FullLoader).values()  # launch writes lists as tuples
    parameters = {key: list(value) if isinstance(value, tuple) else value
                  for key, value in body["ros__parameters"].items()}  # fmt: skip
    namespace = [value.partition(":=")[2] for key, value in pairs if key == "-r" and value.startswith("__ns:=")]
    level = [value for key, value in pairs if key == "--log-level"]
    return {"namespace": namespace or ["/"], "level": level, "files": files, "parameters": parameters}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["mode:=sim", "map:=town", "seed:=3", "log_level:=info"],
        ["namespace:=car2", "broker:=localhost:8883", "pki:=/pki"],
        ["mode:=vehicle"],
        ["mode:=vehicle", "use_sim_time:=true"],
        ["mode:=bag", "bag:=bag"],
        ["mode:=bag", "bag:=bag", "nodes:=perception"],
        ["params_file:=override.yaml"],
    ],
    ids=" ".join,
)
def test_launch_and_bringup_agree(words, package, monkeypatch):
    monkeypatch.chdir(package)
    assert launched("bringup.launch.py", words) == brought_up(words, package)


def test_each_domain_can_be_launched_alone(package):
    everything = launched("bringup.launch.py", ["seed:=3"])
    alone = {}
    for file in sorted((ROOT / "launch").glob("*.launch.py")):
        if file.name != "bringup.launch.py":
            alone.update(launched(file.name, ["seed:=3"]))
    assert alone == everything


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sed:=3", "unknown launch argument 'sed'; known are: mode, map"),
        ("mode:=boat", "launch argument 'mode' is 'boat', allowed is one of sim, carla, bag, vehicle"),
        ("rviz:=maybe", "launch argument 'rviz' is 'maybe', allowed is true or false"),
    ],
)
@pytest.mark.parametrize("file", ["bringup.launch.py", "planning.launch.py"])
def test_bad_arguments_end_the_launch(file, word, message, package, monkeypatch):
    monkeypatch.setattr("sys.argv", ["ros2", "launch", "robotaxi", file, word])
    with pytest.raises(StackError) as error:
        launched(file, [word])
    assert message in str(error.value)


def test_arguments_of_a_file_that_includes_ours_are_not_ours(package, monkeypatch):
    monkeypatch.setattr("sys.argv", ["ros2", "launch", "fleet.launch.py", "cars:=2"])
    assert launched("planning.launch.py", ["cars:=2"]).keys() == {"planning"}
