"""Static transforms of a sensor rig as a tf2_msgs/TFMessage of rosbags' types."""

from __future__ import annotations

from typing import Any

from transforms3d.quaternions import mat2quat

from robotaxi.sensor_rig import SensorRig
from robotaxi.types import FloatArray

TF_TYPE = "tf2_msgs/msg/TFMessage"
TF_STATIC = "/tf_static"


def static_transforms(rig: SensorRig, types: Any) -> Any:
    """base_link to every lidar, and to every camera's optical frame."""
    rows = [(spec.frame, spec.T_base_sensor) for spec in rig.lidars.values()]
    rows += [(rig.cameras[name].frame, model.T_base_optical) for name, model in rig.camera_models.items()]
    return types["tf2_msgs/msg/TFMessage"](transforms=[transform(types, frame, T) for frame, T in rows])


def transform(types: Any, child: str, T_parent_child: FloatArray, parent: str = "base_link", stamp_ns: int = 0) -> Any:
    """One geometry_msgs/TransformStamped."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    w, x, y, z = (float(v) for v in mat2quat(T_parent_child[:3, :3]))
    tx, ty, tz = (float(v) for v in T_parent_child[:3, 3])
    return types["geometry_msgs/msg/TransformStamped"](
        header=types["std_msgs/msg/Header"](
            stamp=types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec), frame_id=parent
        ),
        child_frame_id=child,
        transform=types["geometry_msgs/msg/Transform"](
            translation=types["geometry_msgs/msg/Vector3"](x=tx, y=ty, z=tz),
            rotation=types["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w),
        ),
    )
