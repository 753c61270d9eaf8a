"""QoS profiles of `interfaces.Qos` as rclpy understands them."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from robotaxi.interfaces import Qos

_DEPTH = {Qos.SENSOR: 5, Qos.STATE: 50, Qos.COMMAND: 1, Qos.LATCHED: 1, Qos.EVENT: 200}
_LOCKSTEP_DEPTH = 50


def qos_profile(qos: Qos, *, lockstep: bool, publisher: bool) -> QoSProfile:
    """Profile for one end of a topic.

    Under lockstep nothing may be lost or overtaken, so every end is reliable and deep enough. On a
    wall clock sensors are read best effort; publishers offer reliable, which serves both kinds.
    """
    best_effort = qos is Qos.SENSOR and not lockstep and not publisher
    latched = qos in (Qos.LATCHED, Qos.EVENT)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=max(_DEPTH[qos], _LOCKSTEP_DEPTH if lockstep else 0) if qos is not Qos.LATCHED else 1,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
