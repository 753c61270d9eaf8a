"""WGS 84 latitude, longitude, height <-> local ENU metres about an origin.

Geodetic to earth-centred coordinates is the exact closed form; the way back is J. Zhu's closed form
("Conversion of Earth-centered Earth-fixed coordinates to geodetic coordinates", IEEE Trans.
Aerospace and Electronic Systems 30(3), 1994), exact to nanometres near the ground. Between the
earth-centred frame and ENU lies a rotation, so there is no map projection and no scale error.
"""

from __future__ import annotations

import math

WGS84_SEMI_MAJOR = 6378137.0  # m
WGS84_FLATTENING = 1.0 / 298.257223563
_B = WGS84_SEMI_MAJOR * (1.0 - WGS84_FLATTENING)
_E2 = WGS84_FLATTENING * (2.0 - WGS84_FLATTENING)
_EP2 = _E2 / (1.0 - _E2)


def ecef_from_geodetic(latitude_deg: float, longitude_deg: float, altitude: float) -> tuple[float, float, float]:
    """Earth-centred, earth-fixed coordinates (m) of a WGS 84 position (degrees, degrees, m)."""
    lat, lon = math.radians(latitude_deg), math.radians(longitude_deg)
    sin_lat, cos_lat = math.sin(lat), math.cos(lat)
    n = WGS84_SEMI_MAJOR / math.sqrt(1.0 - _E2 * sin_lat * sin_lat)
    return (
        (n + altitude) * cos_lat * math.cos(lon),
        (n + altitude) * cos_lat * math.sin(lon),
        (n * (1.0 - _E2) + altitude) * sin_lat,
    )


def geodetic_from_ecef(x: float, y: float, z: float) -> tuple[float, float, float]:
    """WGS 84 latitude and longitude (degrees) and height (m) of an earth-centred point near the ground."""
    a = WGS84_SEMI_MAJOR
    r = math.hypot(x, y)
    f = 54.0 * _B * _B * z * z
    g = r * r + (1.0 - _E2) * z * z - _E2 * (a * a - _B * _B)
    c = _E2 * _E2 * f * r * r / (g * g * g)
    s = (1.0 + c + math.sqrt(c * c + 2.0 * c)) ** (1.0 / 3.0)
    p = f / (3.0 * (s + 1.0 / s + 1.0) ** 2 * g * g)
    q = math.sqrt(1.0 + 2.0 * _E2 * _E2 * p)
    root = 0.5 * a * a * (1.0 + 1.0 / q) - p * (1.0 - _E2) * z * z / (q * (1.0 + q)) - 0.5 * p * r * r
    r0 = -p * _E2 * r / (1.0 + q) + math.sqrt(max(root, 0.0))
    u = math.hypot(r - _E2 * r0, z)
    v = math.sqrt((r - _E2 * r0) ** 2 + (1.0 - _E2) * z * z)
    z0 = _B * _B * z / (a * v)
    latitude = math.atan2(z + _EP2 * z0, r)
    return math.degrees(latitude), math.degrees(math.atan2(y, x)), u * (1.0 - _B * _B / (a * v))


class LocalFrame:
    """ENU frame ``map`` whose (0, 0, 0) is a WGS 84 position (degrees, degrees, m)."""

    def __init__(self, latitude_deg: float, longitude_deg: float, altitude: float = 0.0) -> None:
        if not (abs(latitude_deg) <= 90.0 and abs(longitude_deg) <= 180.0 and math.isfinite(altitude)):
            raise ValueError(f"origin ({latitude_deg}, {longitude_deg}, {altitude}) is not a WGS 84 position")
        self.origin = (latitude_deg, longitude_deg, altitude)
        self._origin_ecef = ecef_from_geodetic(latitude_deg, longitude_deg, altitude)
        lat, lon = math.radians(latitude_deg), math.radians(longitude_deg)
        self._sin_lat, self._cos_lat = math.sin(lat), math.cos(lat)
        self._sin_lon, self._cos_lon = math.sin(lon), math.cos(lon)

    def to_map(self, latitude_deg: float, longitude_deg: float, altitude: float = 0.0) -> tuple[float, float, float]:
        """(x, y, z) in ``map``, metres."""
        x, y, z = ecef_from_geodetic(latitude_deg, longitude_deg, altitude)
        dx, dy, dz = x - self._origin_ecef[0], y - self._origin_ecef[1], z - self._origin_ecef[2]
        outward = self._cos_lon * dx + self._sin_lon * dy
        return (
            -self._sin_lon * dx + self._cos_lon * dy,
            -self._sin_lat * outward + self._cos_lat * dz,
            self._cos_lat * outward + self._sin_lat * dz,
        )

    def to_geodetic(self, x: float, y: float, z: float = 0.0) -> tuple[float, float, float]:
        """(latitude_deg, longitude_deg, altitude) of a point of ``map``."""
        outward = -self._sin_lat * y + self._cos_lat * z
        return geodetic_from_ecef(
            self._origin_ecef[0] - self._sin_lon * x + self._cos_lon * outward,
            self._origin_ecef[1] + self._cos_lon * x + self._sin_lon * outward,
            self._origin_ecef[2] + self._cos_lat * y + self._sin_lat * z,
        )
