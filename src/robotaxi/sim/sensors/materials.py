"""What each material looks like under the sun, point by point: plain arithmetic on numbers.

`shading` fetches the noise and the shadow that a point needs and passes their values in: a function that
took the tables themselves would pay for counting references at every pixel. Colours are BGR, 0..1.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from robotaxi.sim.mesh import Material

PLAIN, ASPHALT, PAINTED, CONTACT, SLABS, GRASS, FACADE, ROOF, FOLIAGE, PAINT, GLASS, GLOWING = range(12)
TEXTURE = np.full(len(Material), PLAIN, np.uint8)  # what each Material looks like
TEXTURE[[Material.ROAD, Material.MARKING, Material.SHADOW]] = ASPHALT, PAINTED, CONTACT
TEXTURE[[Material.PAVEMENT, Material.KERB]] = SLABS
TEXTURE[[Material.GRASS, Material.FACADE, Material.ROOF, Material.FOLIAGE]] = GRASS, FACADE, ROOF, FOLIAGE
TEXTURE[[Material.PAINT, Material.GLASS, Material.LAMP]] = PAINT, GLASS, GLOWING

_STOREY = 3.1  # m, as built
_AMBIENT, _AMBIENT_UP, _SUN = 0.46, 0.10, 0.60  # light from all around, more from above, from the sun
_CONTACT_LIGHT = 0.4  # light that is left below a car
_ZENITH_B, _ZENITH_G, _ZENITH_R = 0.78, 0.52, 0.28

Color = tuple[float, float, float]


@njit(cache=True, error_model="numpy", forceinline=True)
def clip01(value: float) -> float:
    return min(max(value, 0.0), 1.0)


@njit(cache=True, error_model="numpy", forceinline=True)
def cloud_point(dx: float, dy: float, dz: float) -> tuple[float, float]:
    """Where to read the noise for a view direction: a flat layer of cloud, bent down at the horizon."""
    spread = 5.0 / (max(dz, 0.0) + 0.12)
    return spread * dx, spread * dy


@njit(cache=True, error_model="numpy", forceinline=True)
def sky(dz: float, soft: float, haze_b: float, haze_g: float, haze_r: float) -> Color:
    """Colour of the sky at the sine ``dz`` of its elevation: a gradient with a few thin clouds."""
    rise = math.sqrt(clip01(dz))
    b = haze_b + (_ZENITH_B - haze_b) * rise
    g = haze_g + (_ZENITH_G - haze_g) * rise
    r = haze_r + (_ZENITH_R - haze_r) * rise
    cover = 0.75 * clip01(1.5 * soft - 0.1) * clip01(6.0 * dz)
    return b + (0.97 - b) * cover, g + (0.96 - g) * cover, r + (0.95 - r) * cover


@njit(cache=True, error_model="numpy", forceinline=True)
def window_pitch(length: float, style: float) -> float:
    """Distance between the windows of a wall: a whole number of them fits."""
    return length / max(math.floor(length / (2.1 + 1.5 * style)), 1.0)


@njit(cache=True, error_model="numpy", forceinline=True)
def noise_points(
    texture: int, x: float, y: float, z: float, along: float, above: float, length: float, style: float
) -> tuple[float, float, float, float]:
    """Where a point reads the noise: (u, v) of the soft value, (u, v) of the rough one.

    ``along`` and ``above``: position on a wall from its corner; ``length`` of the wall.
    """
    if texture <= CONTACT:
        return 0.31 * x, 0.31 * y, 23.0 * x, 23.0 * y
    if texture == SLABS:
        return 0.4 * x, 0.4 * y, 1.6 * x, 1.6 * y
    if texture == GRASS:
        return 0.35 * x, 0.35 * y, 9.0 * x, 9.0 * y
    if texture == FACADE:
        column = math.floor(along / window_pitch(length, style))
        return 0.6 * along, 0.6 * above, 7.0 * column + 101.0 * style, 13.0 * math.floor(above / _STOREY)
    if texture == ROOF:
        return 1.7 * (x + y), 5.0 * z, 0.0, 0.0
    return 1.1 * x + 0.8 * z, 1.2 * y - 0.9 * z, 4.1 * x + 2.3 * z, 4.3 * y + 3.1 * z


@njit(cache=True, error_model="numpy", forceinline=True)
def wall(
    b: float, g: float, r: float, soft: float, rough: float, along: float, above: float, length: float, style: float,
    footprint: float,
) -> Color:  # fmt: skip
    """Storeys of windows; ``footprint``: size of a pixel on the wall, so that far windows blend."""
    if above < 0.0:
        return 0.7 * b, 0.7 * g, 0.7 * r
    pitch = window_pitch(length, style)
    column, storey = math.floor(along / pitch), math.floor(above / _STOREY)
    off_u = abs(along - (column + 0.5) * pitch)
    off_v = abs(above - (storey + 0.55) * _STOREY)
    half_u, half_v = (0.20 + 0.08 * style) * pitch, 0.24 * _STOREY
    if storey == 0.0 and style > 0.55:  # a shop
        half_u, half_v = 0.42 * pitch, 0.30 * _STOREY
    blur = 1.0 / max(footprint, 0.02)
    frame = 0.8 * clip01((half_u + 0.10 - off_u) * blur + 0.5) * clip01((half_v + 0.10 - off_v) * blur + 0.5)
    pane = clip01((half_u - off_u) * blur + 0.5) * clip01((half_v - off_v) * blur + 0.5)
    shade = (1.0 + 0.06 * soft) * (0.93 if off_v > 0.47 * _STOREY else 1.0)  # a line between two storeys
    b, g, r = b * shade, g * shade, r * shade
    b, g, r = b + (0.82 - b) * frame, g + (0.83 - g) * frame, r + (0.83 - r) * frame
    glass_b, glass_g, glass_r = 0.40 + 0.10 * rough, 0.33 + 0.08 * rough, 0.27 + 0.06 * rough
    if rough > 0.35:
        glass_b, glass_g, glass_r = 0.62, 0.66, 0.68  # curtains
    return b + (glass_b - b) * pane, g + (glass_g - g) * pane, r + (glass_r - r) * pane


@njit(cache=True, error_model="numpy", forceinline=True)
def mirror(b: float, g: float, r: float, light: float, texture: int, dx: float, dy: float, dz: float,
           nx: float, ny: float, nz: float) -> Color:  # fmt: skip
    """Car paint and glass, lit by ``light``: a share of what is seen is the sky or the road mirrored."""
    head_on = dx * nx + dy * ny + dz * nz
    up = dz - 2.0 * head_on * nz
    grazing = (1.0 - min(abs(head_on), 1.0)) ** 2
    share = 0.22 + 0.5 * grazing if texture == GLASS else 0.06 + 0.22 * grazing
    mirror_b, mirror_g, mirror_r = 0.26, 0.27, 0.27
    if up > 0.0:
        rise = math.sqrt(clip01(up))
        mirror_b, mirror_g, mirror_r = 0.9 - 0.12 * rise, 0.86 - 0.3 * rise, 0.82 - 0.5 * rise
    own = light * (1.0 - share)
    return b * own + mirror_b * share, g * own + mirror_g * share, r * own + mirror_r * share


@njit(cache=True, error_model="numpy", forceinline=True)
def surface(
    texture: int, b: float, g: float, r: float, soft: float, rough: float, shadow: float, facing: float,
    dx: float, dy: float, dz: float, nx: float, ny: float, nz: float, depth: float, pixel: float,
    along: float, above: float, length: float, style: float,
) -> Color:  # fmt: skip
    """Lit colour of a point of base colour (b, g, r), before haze.

    ``shadow``: share of the sun that is blocked; ``facing``: cosine between normal n and sun; d: unit view
    direction; ``pixel``: angle that one pixel covers; the rest as in `noise_points`.
    """
    lit = max(facing, 0.0) * (1.0 - shadow)
    ambient = _AMBIENT + _AMBIENT_UP * nz
    grain, grain_r = 1.0, 1.0
    if texture == PLAIN:
        pass
    elif texture <= CONTACT:
        grain += 0.07 * soft + 0.16 * clip01(1.0 - depth / 30.0) * rough
        if texture == PAINTED:
            grain = 0.6 + 0.4 * grain
        elif texture == CONTACT:
            grain *= _CONTACT_LIGHT
    elif texture == SLABS:
        grain += 0.06 * soft + 0.05 * clip01(1.0 - depth / 40.0) * rough
    elif texture == GRASS:
        grain += 0.16 * soft + 0.28 * clip01(1.0 - depth / 45.0) * rough
        grain_r += 0.25 * soft
    elif texture == FACADE:
        footprint = depth * pixel / max(abs(dx * nx + dy * ny), 0.15)
        b, g, r = wall(b, g, r, soft, rough, along, above, length, style, footprint)
        ambient *= 0.85 + 0.15 * clip01((above + 0.6) / 5.0)  # darker near the ground
    elif texture == ROOF:
        grain += 0.10 * soft
    elif texture == FOLIAGE:
        grain += clip01(1.2 - depth / 110.0) * (0.38 * soft + 0.30 * rough)
        lit = 0.75 * clip01(0.35 + 0.65 * facing)  # leaves let light through
    elif texture == GLOWING:
        return b, g, r
    else:
        return mirror(b, g, r, ambient + _SUN * lit, texture, dx, dy, dz, nx, ny, nz)
    sun = _SUN * lit
    return (
        b * grain * (1.04 * ambient + 0.93 * sun),
        g * grain * (ambient + sun),
        r * grain * grain_r * (0.97 * ambient + 1.05 * sun),
    )
