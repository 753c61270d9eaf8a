"""Small bags for tests: records of any topic at any stamps."""

import numpy as np
from rosbags.typesys import Stores, get_typestore

from robotaxi.bags.writer import BagWriter
from robotaxi.interfaces import INTERFACES, MS

TYPES = get_typestore(Stores.ROS2_KILTED)
CLOUD, RECORD, ODOMETRY = "sensor_msgs/msg/PointCloud2", "diagnostic_msgs/msg/DiagnosticArray", "nav_msgs/msg/Odometry"
_FIELDS = {"<f4": 7, "<f8": 8, "<i4": 5, "|u1": 2, "<u4": 6, "<u2": 4}


def make(kind, **values):
    return TYPES.types[kind](**values)


def header(stamp_ns, frame=""):
    stamp = make("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)


def record(stamp_ns, sentence, **values):
    pairs = [make("diagnostic_msgs/msg/KeyValue", key=k, value=str(v)) for k, v in values.items()]
    status = make("diagnostic_msgs/msg/DiagnosticStatus", level=0, name="explanation", message=sentence,
                  hardware_id="", values=pairs)  # fmt: skip
    return make(RECORD, header=header(stamp_ns), status=[status])


def cloud(stamp_ns, points, frame="map"):
    fields = [
        make("sensor_msgs/msg/PointField", name=n, offset=points.dtype.fields[n][1],
             datatype=_FIELDS[points.dtype.fields[n][0].str], count=1)
        for n in points.dtype.names
    ]  # fmt: skip
    size = points.dtype.itemsize
    return make(CLOUD, header=header(stamp_ns, frame), height=1, width=len(points), fields=fields, is_bigendian=False,
                point_step=size, row_step=size * len(points), data=np.frombuffer(points.tobytes(), np.uint8),
                is_dense=True)  # fmt: skip


def odometry(stamp_ns, x=0.0, y=0.0, yaw=0.0, speed=0.0):
    point, vector = "geometry_msgs/msg/Point", "geometry_msgs/msg/Vector3"
    turn = make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=float(np.sin(yaw / 2)), w=float(np.cos(yaw / 2)))
    pose = make("geometry_msgs/msg/Pose", position=make(point, x=x, y=y, z=0.0), orientation=turn)
    twist = make("geometry_msgs/msg/Twist", linear=make(vector, x=speed, y=0.0, z=0.0),
                 angular=make(vector, x=0.0, y=0.0, z=0.0))  # fmt: skip
    return make(
        ODOMETRY, header=header(stamp_ns, "map"), child_frame_id="base_link",
        pose=make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
        twist=make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=np.zeros(36)),
    )  # fmt: skip


def write_bag(path, messages, form=None, custom=None, native=True):
    """``messages``: topic -> [(stamp_ns, message)]."""
    writer = BagWriter(path, form, custom, native=native, tf=False)
    for topic in messages:
        item = INTERFACES.get(topic)
        kind = item.type if item else messages[topic][0][1].__msgtype__
        writer.add_topic("/" + topic, kind)
    rows = [(stamp, topic, message) for topic, found in messages.items() for stamp, message in found]
    for stamp, topic, message in sorted(rows, key=lambda row: row[0]):
        writer.write_message("/" + topic, message, stamp)
    writer.close()
    return path


def every(period_ms, until_ms, phase_ms=0):
    return [t * MS for t in range(phase_ms, until_ms, period_ms)]
