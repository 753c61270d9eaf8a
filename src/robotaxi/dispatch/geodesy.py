"""WGS 84 <-> map: the local tangent plane at the map's origin (ENU), exact, by way of ECEF.

Formulas: NIMA TR8350.2 (WGS 84 constants); Bowring 1976 for the inverse latitude, good to 1e-9 m
near the ground after one step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SEMI_MAJOR_AXIS = 6378137.0  # m, WGS 84
FLATTENING = 1.0 / 298.257223563
ECCENTRICITY2 = FLATTENING * (2.0 - FLATTENING)
SEMI_MINOR_AXIS = SEMI_MAJOR_AXIS * (1.0 - FLATTENING)


def _ecef(lat_deg: float, lon_deg: float, alt: float) -> tuple[float, float, float]:
    lat, lon = math.radians(lat_deg), math.radians(lon_deg)
    n = SEMI_MAJOR_AXIS / math.sqrt(1.0 - ECCENTRICITY2 * math.sin(lat) ** 2)
    return (
        (n + alt) * math.cos(lat) * math.cos(lon),
        (n + alt) * math.cos(lat) * math.sin(lon),
        (n * (1.0 - ECCENTRICITY2) + alt) * math.sin(lat),
    )


@dataclass(frozen=True, slots=True)
class TangentPlane:
    """Plane that touches the ellipsoid at (lat_deg, lon_deg, alt); x east, y north, z up, metres."""

    lat_deg: float
    lon_deg: float
    alt: float = 0.0

    def to_map(self, lat_deg: float, lon_deg: float, alt: float | None = None) -> tuple[float, float, float]:
        """(x, y, z) in map. ``alt`` None: as high as the origin."""
        here = _ecef(lat_deg, lon_deg, self.alt if alt is None else alt)
        zero = _ecef(self.lat_deg, self.lon_deg, self.alt)
        dx, dy, dz = (a - b for a, b in zip(here, zero, strict=True))
        lat, lon = math.radians(self.lat_deg), math.radians(self.lon_deg)
        sin_lat, cos_lat, sin_lon, cos_lon = math.sin(lat), math.cos(lat), math.sin(lon), math.cos(lon)
        return (
            -sin_lon * dx + cos_lon * dy,
            -sin_lat * cos_lon * dx - sin_lat * sin_lon * dy + cos_lat * dz,
            cos_lat * cos_lon * dx + cos_lat * sin_lon * dy + sin_lat * dz,
        )

    def to_wgs84(self, x: float, y: float, z: float = 0.0) -> tuple[float, float, float]:
        """(lat_deg, lon_deg, alt) of a point in map."""
        lat, lon = math.radians(self.lat_deg), math.radians(self.lon_deg)
        sin_lat, cos_lat, sin_lon, cos_lon = math.sin(lat), math.cos(lat), math.sin(lon), math.cos(lon)
        zero = _ecef(self.lat_deg, self.lon_deg, self.alt)
        ex = zero[0] - sin_lon * x - sin_lat * cos_lon * y + cos_lat * cos_lon * z
        ey = zero[1] + cos_lon * x - sin_lat * sin_lon * y + cos_lat * sin_lon * z
        ez = zero[2] + cos_lat * y + sin_lat * z
        p = math.hypot(ex, ey)
        theta = math.atan2(ez * SEMI_MAJOR_AXIS, p * SEMI_MINOR_AXIS)
        second2 = ECCENTRICITY2 / (1.0 - ECCENTRICITY2)
        out_lat = math.atan2(
            ez + second2 * SEMI_MINOR_AXIS * math.sin(theta) ** 3,
            p - ECCENTRICITY2 * SEMI_MAJOR_AXIS * math.cos(theta) ** 3,
        )
        n = SEMI_MAJOR_AXIS / math.sqrt(1.0 - ECCENTRICITY2 * math.sin(out_lat) ** 2)
        # The height along the plumb line that is stable at the poles as well.
        alt = p * math.cos(out_lat) + ez * math.sin(out_lat) - SEMI_MAJOR_AXIS**2 / n
        return math.degrees(out_lat), math.degrees(math.atan2(ey, ex)), alt
