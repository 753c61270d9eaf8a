"""Parameters of the prediction."""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.params import param


@dataclass(frozen=True)
class PredictionConfig:
    horizon: float = param(6.0, lo=1.0, hi=12.0, unit="s", doc="how far ahead paths reach")
    step: float = param(0.5, lo=0.1, hi=1.0, unit="s", doc="time between two poses of a path")
    max_paths: int = param(4, lo=1, hi=8, doc="most branches kept for one object")
    max_yaw_error: float = param(0.8, lo=0.1, hi=1.57, unit="rad", doc="heading difference that still matches a lane")
    lane_margin: float = param(0.2, lo=0.0, hi=1.0, unit="m", doc="how far beside a lane a centre still matches it")
    moving_speed: float = param(0.5, lo=0.1, hi=2.0, unit="m/s", doc="slower objects are predicted to stand")
    lateral_return_time: float = param(2.0, lo=0.5, hi=10.0, unit="s", doc="time constant of returning to lane centre")
    curve_lateral_acceleration: float = param(
        2.5, lo=0.5, hi=5.0, unit="m/s^2", doc="lateral acceleration others are expected to accept in curves"
    )
    curve_deceleration: float = param(1.5, lo=0.1, hi=4.0, unit="m/s^2", doc="how hard others brake before curves")
    chain_time: float = param(9.0, lo=2.0, hi=20.0, unit="s", doc="lane chains reach this far at current speed")
    chain_margin: float = param(25.0, lo=0.0, hi=100.0, unit="m", doc="and this much further")
