"""One ament_python package: code in src/, files in share/robotaxi, executables in lib/robotaxi."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "robotaxi"
ROOT = Path(__file__).parent

# Each with its reason. Versions are exact so that the same clone is the same stack; all have wheels for 3.10 to 3.12.
RIDE = [
    "ros-rclpy[fastrtps]==9.1.2",  # ROS 2 (Kilted) and Fast DDS where no ROS is installed
    "ros-common-interfaces==5.5.1",  # std, sensor, nav, geometry, diagnostic, trajectory messages
    "numpy==2.2.6",  # the arrays of everything
    "scipy==1.15.3",  # assignment, filters, spatial trees
    "opencv-python-headless==5.0.0.93",  # images, connected components
    "transforms3d==0.4.2",  # rotations
    "numba==0.68.1",  # hot loops
    "piqp==0.7.0",  # quadratic programs of planning and control
    "embreex==4.4.0.post1",  # rays of the simulated lidar
    "shapely==2.1.2",  # outlines of the simulated scenery
    "rosbags==0.11.9",  # bags without an installed ROS
    "paho-mqtt==2.2.0",  # MQTT client
    "cryptography==50.0.2",  # certificates of the test authority
    "msgspec==0.22.0",  # typed JSON of the dispatch protocol
    "pyyaml==6.0.3",  # parameter files
    "matplotlib==3.10.9",  # plots of the report
    "rich==15.0.0",  # the live line
]
TEST = [
    "pytest==9.2.0",
    "hypothesis==6.168.5",
    "ruff==0.17.6",
    "mypy==2.4.1",
    "import-linter==2.15",
    "types-pyyaml==6.0.12.20261113",
    "lanelet2==1.2.3",  # the genuine library reads our map
]
EXTRAS = {
    "test": TEST,
    # 4.3.0 has no wheel for 3.10; the pre-release of the same version does
    "maps": ['gtsam==4.3.0; python_version >= "3.11"', 'gtsam==4.3a0; python_version < "3.11"'],  # factor graphs
    "carla": ["carla==0.9.16", "msgpack==1.2.4"],  # CARLA's own client, for the bridge; its wire format, for our server
    # peers beside which lidar odometry and lidar objects are measured
    "eval": ["kiss-icp==1.3.0", "pypatchworkpp==1.4.1"],
    "models": ["onnxruntime==1.23.2"],  # learned models on the CPU
    "mine": ["duckdb==1.5.6", "pyarrow==25.0.1"],  # `robotaxi bag find`; `bag import av2`
    "postgres": ["psycopg[binary]==3.3.9"],  # the dispatch desk's books in PostgreSQL
    "view": ["foxglove-sdk==0.30.3", "maplibre==0.3.5"],  # `robotaxi view`; MapLibre GL for the dispatch desk's page
    "train": ["torch==2.13.0", "onnx==1.23.2"],  # `robotaxi train lidar`
}

# what `make ride` installs: every command works, but training (torch)
EXTRAS["all"] = sorted({line for name, lines in EXTRAS.items() if name not in ("test", "train") for line in lines})


def share(folder: str) -> list[tuple[str, list[str]]]:
    """Every file below ``folder`` under share/robotaxi, folders kept."""
    files: dict[str, list[str]] = {}
    for path in sorted((ROOT / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            relative = path.relative_to(ROOT)
            files.setdefault(f"share/{PACKAGE}/{relative.parent}", []).append(str(relative))
    return list(files.items())


setup(
    name=PACKAGE,
    version="0.1.0",
    package_dir={"": "src"},
    packages=find_packages("src"),
    package_data={PACKAGE: ["**/*.html", "**/*.css", "**/*.js"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"lib/{PACKAGE}", sorted(str(p.relative_to(ROOT)) for p in (ROOT / "src/robotaxi/nodes/bin").iterdir())),
        *share("config"),
        *share("launch"),
        *share("models"),
    ],
    python_requires=">=3.10,<3.13",
    install_requires=RIDE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["robotaxi = robotaxi.cli:main"]},
    maintainer="robotaxi",
    maintainer_email="robotaxi@example.org",
    description="ROS 2 autonomy stack of a robotaxi: from a ride order to the drop-off",
    license="Apache-2.0",
    zip_safe=False,
)
