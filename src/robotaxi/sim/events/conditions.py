"""Weather, light and reception at one place and time, and what they do to a picture and to a sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.types import FloatArray

_FOG_COLOR = np.array([200.0, 196.0, 190.0], np.float32)  # BGR by day
_NIGHT = 0.10  # share of daylight under street lamps
_LAMP_REACH = 18.0  # m at which the head lamps give as much light as falls at 18 m
_LAMP_LIGHT = 0.75  # share of daylight right before the head lamps
_NIGHT_GRAIN = 5.0  # grey levels of a camera that opens up
_RAIN_GREY = 0.0025  # share of contrast lost for each mm/h and 30 m
_DROP_RANGE = (1.5, 14.0)  # m within which droplets give echoes of their own
_DROP_SHARE_FOG, _DROP_SHARE_RAIN = 0.25, 0.0008  # at 0 m visibility; for each mm/h
_RAIN_SIGMA = 0.0008  # m of range noise for each mm/h
_KOSCHMIEDER = 3.0  # extinction times meteorological optical range (5 % contrast, ISO 28902-1)


@dataclass(frozen=True, slots=True)
class Conditions:
    """``visibility``: meteorological optical range in m; ``rain`` in mm/h; ``light``: share of daylight;
    ``satellites``: whether the sky can be seen by the GNSS antenna."""

    visibility: float = math.inf
    rain: float = 0.0
    light: float = 1.0
    satellites: bool = True

    @property
    def extinction(self) -> float:
        """1/m at the wavelength of a lidar: Koschmieder for fog, for rain the power law of Carbonneau (1998)."""
        fog = _KOSCHMIEDER / self.visibility
        return fog + (2.48e-4 * self.rain**0.67 if self.rain > 0.0 else 0.0)


CLEAR = Conditions()
NIGHT_LIGHT = _NIGHT


def worst(found: list[Conditions]) -> Conditions:
    """All at once."""
    return Conditions(
        min((c.visibility for c in found), default=math.inf),
        max((c.rain for c in found), default=0.0),
        min((c.light for c in found), default=1.0),
        all(c.satellites for c in found),
    )


def through_air(
    conditions: Conditions,
    distance: NDArray[np.float32],
    cosine: NDArray[np.float32],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Ranges (N,) and effective cosines (N,) of echoes as rain and fog leave them: weaker by the way there and back,
    noisier, and some beams caught by droplets near the sensor."""
    finite = np.isfinite(distance)
    there_and_back = np.exp(-2.0 * conditions.extinction * np.where(finite, distance, 0.0))
    weaker = (cosine * there_and_back).astype(np.float32)
    noise = rng.standard_normal(len(distance), np.float32) * np.float32(_RAIN_SIGMA * conditions.rain)
    measured = np.where(finite, distance + noise, distance).astype(np.float32)
    share = _DROP_SHARE_FOG * math.exp(-conditions.visibility / 40.0) + _DROP_SHARE_RAIN * conditions.rain
    luck = rng.random(len(distance), np.float32)
    low, high = _DROP_RANGE
    drops = (low + (high - low) * rng.random(len(distance), np.float32) ** 2).astype(np.float32)
    caught = (luck < min(share, 0.5)) & (drops < distance)
    measured[caught] = drops[caught]
    weaker[caught] = np.float32(0.5)
    return measured, weaker


def through_lens(
    conditions: Conditions, image: NDArray[np.uint8], depth: NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Darken and veil a picture (H, W, 3) of surfaces at ``depth`` (H, W), m, in place."""
    far = np.minimum(depth, np.float32(2000.0))
    picture = image.astype(np.float32)
    ambient = conditions.light
    if ambient < 1.0:
        lamps = _LAMP_LIGHT / (1.0 + (far / np.float32(_LAMP_REACH)) ** 2)
        lamps[~np.isfinite(depth)] = 0.0
        picture *= np.minimum(ambient + (1.0 - ambient) * lamps, 1.0)[..., None]
        picture += rng.standard_normal(picture.shape, np.float32) * np.float32(_NIGHT_GRAIN * (1.0 - ambient))
    veil = 1.0 - np.exp(-(_KOSCHMIEDER / conditions.visibility + _RAIN_GREY * conditions.rain / 30.0) * far)
    if conditions.rain > 0.0 or math.isfinite(conditions.visibility):
        color = _FOG_COLOR * np.float32(min(ambient + 0.1, 1.0))
        picture += (color - picture) * veil[..., None]
    np.clip(np.rint(picture), 0.0, 255.0, out=picture)
    image[...] = picture.astype(np.uint8)


def sigma_without_satellites() -> FloatArray:
    """What a receiver says of a position that it does not have, m."""
    return np.full(3, 100.0)
