"""How densely the roadside is built up. The same map with the same config gives the same scenery."""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.params import param


@dataclass(frozen=True)
class SceneryConfig:
    """Spacing is along the edge of the road; setback is from that edge outwards."""

    seed: int = param(7, lo=0, doc="of the scenery alone: rides with different seeds see the same town")
    tile: float = param(64.0, lo=16.0, hi=512.0, unit="m", doc="edge of the tiles the ground is cut into")
    ground_margin: float = param(120.0, lo=20.0, hi=1000.0, unit="m", doc="detailed ground beyond the outermost lane")
    horizon: float = param(900.0, lo=100.0, hi=5000.0, unit="m", doc="plain ground beyond that")
    kerb_height: float = param(0.1, lo=0.0, hi=0.3, unit="m")
    gutter: float = param(0.25, lo=0.0, hi=2.0, unit="m", doc="road surface outside the outermost lane edge")
    closing: float = param(2.0, lo=0.1, hi=10.0, unit="m", doc="gaps of twice this width are paved over")
    pavement_width: float = param(2.8, lo=0.5, hi=10.0, unit="m")
    lane_clearance: float = param(0.6, lo=0.5, hi=5.0, unit="m", doc="nothing stands nearer to a lane or bay")
    parking: bool = param(True, doc="cars parked along the road")
    parking_share: float = param(0.5, lo=0.0, hi=1.0, doc="share of suitable road sides that have parking")
    parking_fill: float = param(0.6, lo=0.0, hi=1.0, doc="share of the parking slots that are taken")
    parking_max_speed: float = param(14.0, lo=0.0, hi=50.0, unit="m/s", doc="no parking where traffic is faster")
    building_spacing: float = param(22.0, lo=5.0, hi=500.0, unit="m")
    building_setback: float = param(5.5, lo=4.5, hi=100.0, unit="m", doc="smallest setback")
    second_row_setback: float = param(34.0, lo=10.0, hi=300.0, unit="m")
    storeys_max: int = param(6, lo=1, hi=40, doc="in the middle of the map")
    lamp_spacing: float = param(32.0, lo=5.0, hi=500.0, unit="m")
    tree_spacing: float = param(13.0, lo=2.0, hi=500.0, unit="m")
    trees_per_hectare: float = param(14.0, lo=0.0, hi=500.0, unit="1/ha", doc="scattered on the grass")
    sun_azimuth_deg: float = param(215.0, lo=-360.0, hi=360.0, unit="deg", doc="towards the sun, from east over north")
    sun_elevation_deg: float = param(48.0, lo=5.0, hi=90.0, unit="deg")
    shadow_cell: float = param(0.4, lo=0.1, hi=5.0, unit="m", doc="cell of the baked shadow map")
