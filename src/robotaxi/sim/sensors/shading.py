"""From visible triangles to colours: sun, sky light, cast shadows, haze, and what each material looks like.

A pixel's samples share one shading while they see the same triangle, so edges are smooth at little cost.
Colours are BGR, 0..1, as displayed.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.sim.mesh import Material

NOISE_SIZE = 128  # cells of the texture noise, a power of two: it repeats; 16 kB stay in the fastest cache
NOT_SHADED = -2  # neither a triangle nor the sky
GRAIN_SIZE = 1 << 18  # values of the sensor noise table, a power of two

# columns of the ``look`` table, (T, LOOK_SIZE) float32: what shading knows of each triangle
LOOK_COLOR, LOOK_NORMAL, LOOK_BASE, LOOK_STYLE, LOOK_TEXTURE, LOOK_SPAN, LOOK_SIZE = 0, 3, 6, 7, 8, 9, 11
# entries of the ``light`` vector, float64: what it knows of the whole scene
SUN, HAZE, HAZE_PER_METRE, SHADE_X, SHADE_Y, SHADE_PER_METRE, LIGHT_SIZE = 0, 3, 6, 7, 8, 9, 10

PLAIN, ASPHALT, PAINTED, CONTACT, SLABS, GRASS, FACADE, ROOF, FOLIAGE, PAINT, GLASS, GLOWING = range(12)
TEXTURE = np.full(len(Material), PLAIN, np.uint8)  # what each Material looks like
TEXTURE[[Material.ROAD, Material.MARKING, Material.SHADOW]] = ASPHALT, PAINTED, CONTACT
TEXTURE[[Material.PAVEMENT, Material.KERB]] = SLABS
TEXTURE[[Material.GRASS, Material.FACADE, Material.ROOF, Material.FOLIAGE]] = GRASS, FACADE, ROOF, FOLIAGE
TEXTURE[[Material.PAINT, Material.GLASS, Material.LAMP]] = PAINT, GLASS, GLOWING

_STOREY = 3.1  # m, as built
_AMBIENT, _AMBIENT_UP, _SUN = 0.46, 0.10, 0.60  # light from all around, more from above, from the sun
_CONTACT_LIGHT = 0.4  # light that is left below a car
_BIG = 65536.0  # keeps texture coordinates positive; a multiple of the texture's size


@njit(cache=True, error_model="numpy", forceinline=True)
def _smooth(noise: NDArray[np.int8], u: float, v: float) -> float:
    """Texture noise, bilinear."""
    u += _BIG
    v += _BIG
    iu, iv = int(u), int(v)
    fu, fv = u - iu, v - iv
    mask = NOISE_SIZE - 1
    a, b = iu & mask, iv & mask
    c, d = (iu + 1) & mask, (iv + 1) & mask
    low = noise[a, b] + (noise[a, d] - noise[a, b]) * fv
    high = noise[c, b] + (noise[c, d] - noise[c, b]) * fv
    return (low + (high - low) * fu) * (1.0 / 127.0)


@njit(cache=True, error_model="numpy", forceinline=True)
def _rough(noise: NDArray[np.int8], u: float, v: float) -> float:
    """Texture noise, nearest cell."""
    mask = NOISE_SIZE - 1
    return noise[int(u + _BIG) & mask, int(v + _BIG) & mask] * (1.0 / 127.0)


@njit(cache=True, error_model="numpy", forceinline=True)
def _clip01(value: float) -> float:
    return min(max(value, 0.0), 1.0)


@njit(cache=True, error_model="numpy", forceinline=True)
def _shaded_by(shade: NDArray[np.uint8], light: NDArray[np.float64], x: float, y: float) -> float:
    """Share of the sun that is blocked at a point of the ground, 0..1."""
    u, v = (x - light[SHADE_X]) * light[SHADE_PER_METRE], (y - light[SHADE_Y]) * light[SHADE_PER_METRE]
    rows, columns = shade.shape
    if not (0.0 <= u < columns - 1 and 0.0 <= v < rows - 1):
        return 0.0
    iu, iv = int(u), int(v)
    fu, fv = u - iu, v - iv
    low = shade[iv, iu] * (1 - fu) + shade[iv, iu + 1] * fu
    high = shade[iv + 1, iu] * (1 - fu) + shade[iv + 1, iu + 1] * fu
    return (low * (1 - fv) + high * fv) * (1.0 / 255.0)


@njit(cache=True, error_model="numpy", forceinline=True)
def _sky(noise: NDArray[np.int8], light: NDArray[np.float64], dx: float, dy: float, dz: float) -> tuple:
    """Colour of the sky in a unit direction: a gradient with a few thin clouds."""
    up = _clip01(dz)
    rise = math.sqrt(up)
    b = light[HAZE + 0] + (0.78 - light[HAZE + 0]) * rise
    g = light[HAZE + 1] + (0.52 - light[HAZE + 1]) * rise
    r = light[HAZE + 2] + (0.28 - light[HAZE + 2]) * rise
    if dz > 0.02:
        spread = 5.0 / (dz + 0.12)  # a flat layer of cloud, bent down at the horizon
        u, v = spread * dx, spread * dy
        cover = 0.75 * _clip01(1.5 * _smooth(noise, u, v) - 0.1) * _clip01(6.0 * dz)
        b += (0.97 - b) * cover
        g += (0.96 - g) * cover
        r += (0.95 - r) * cover
    return b, g, r


@njit(cache=True, error_model="numpy", forceinline=True)
def _facade(
    noise: NDArray[np.int8],
    u: float,
    v: float,
    length: float,
    style: float,
    footprint: float,
    b: float,
    g: float,
    r: float,
) -> tuple:
    """Storeys of windows on a wall, ``u`` along it and ``v`` up from its corner.

    ``footprint``: size of a pixel on the wall, so that far windows blend.
    """
    if v < 0.0:
        return 0.7 * b, 0.7 * g, 0.7 * r
    pitch = length / max(math.floor(length / (2.1 + 1.5 * style)), 1.0)  # a whole number of windows
    column, storey = math.floor(u / pitch), math.floor(v / _STOREY)
    off_u = abs(u / pitch - column - 0.5) * pitch
    off_v = abs(v / _STOREY - storey - 0.55) * _STOREY
    half_u, half_v = (0.20 + 0.08 * style) * pitch, 0.24 * _STOREY
    if storey == 0.0 and style > 0.55:  # a shop
        half_u, half_v = 0.42 * pitch, 0.30 * _STOREY
    blur = 1.0 / max(footprint, 0.02)
    frame = _clip01((half_u + 0.10 - off_u) * blur + 0.5) * _clip01((half_v + 0.10 - off_v) * blur + 0.5)
    pane = _clip01((half_u - off_u) * blur + 0.5) * _clip01((half_v - off_v) * blur + 0.5)
    shade = 1.0 + 0.06 * _smooth(noise, 0.6 * u, 0.6 * v)
    b, g, r = b * shade, g * shade, r * shade
    if off_v > 0.47 * _STOREY:
        b, g, r = 0.93 * b, 0.93 * g, 0.93 * r  # the line between two storeys
    b, g, r = b + (0.82 - b) * 0.8 * frame, g + (0.83 - g) * 0.8 * frame, r + (0.83 - r) * 0.8 * frame
    kind = _rough(noise, 7.0 * column + 101.0 * style, 13.0 * storey)
    glass_b, glass_g, glass_r = 0.40 + 0.10 * kind, 0.33 + 0.08 * kind, 0.27 + 0.06 * kind
    if kind > 0.35:
        glass_b, glass_g, glass_r = 0.62, 0.66, 0.68  # curtains
    return b + (glass_b - b) * pane, g + (glass_g - g) * pane, r + (glass_r - r) * pane


@njit(cache=True, error_model="numpy", forceinline=True)
def _surface(
    index: int,
    x: float,
    y: float,
    z: float,
    dx: float,
    dy: float,
    dz: float,
    depth: float,
    pixel: float,
    look: NDArray[np.float32],
    noise: NDArray[np.int8],
    shade: NDArray[np.uint8],
    light: NDArray[np.float64],
) -> tuple:
    """Colour of triangle ``index`` at a point, seen along unit direction (dx, dy, dz) from ``depth`` away.

    ``pixel``: angle that one pixel covers, rad.
    """
    texture = int(look[index, LOOK_TEXTURE])
    b, g, r = float(look[index, 0]), float(look[index, 1]), float(look[index, 2])
    nx, ny, nz = look[index, LOOK_NORMAL], look[index, LOOK_NORMAL + 1], look[index, LOOK_NORMAL + 2]
    facing = nx * light[SUN] + ny * light[SUN + 1] + nz * light[SUN + 2]
    lit = max(facing, 0.0)
    ambient = _AMBIENT + _AMBIENT_UP * nz
    if ASPHALT <= texture <= CONTACT:
        near = _clip01(1.0 - depth / 30.0)
        grain = 1.0 + 0.07 * _smooth(noise, 0.31 * x, 0.31 * y) + 0.16 * near * _rough(noise, 23.0 * x, 23.0 * y)
        if texture == PAINTED:
            grain = 0.6 + 0.4 * grain
        elif texture == CONTACT:
            grain *= _CONTACT_LIGHT
        b, g, r = b * grain, g * grain, r * grain
        lit *= 1.0 - _shaded_by(shade, light, x, y)
    elif texture == SLABS:
        near = _clip01(1.0 - depth / 40.0)
        slab = _rough(noise, 1.6 * x, 1.6 * y)
        grain = 1.0 + 0.05 * slab * near + 0.06 * _smooth(noise, 0.4 * x, 0.4 * y)
        b, g, r = b * grain, g * grain, r * grain
        lit *= 1.0 - _shaded_by(shade, light, x, y)
    elif texture == GRASS:
        near = _clip01(1.0 - depth / 45.0)
        patch = _smooth(noise, 0.09 * x, 0.09 * y)
        grain = 1.0 + 0.16 * _smooth(noise, 0.7 * x, 0.7 * y) + 0.28 * near * _rough(noise, 9.0 * x, 9.0 * y)
        b, g, r = b * grain, g * grain * (1.0 + 0.08 * patch), r * grain * (1.0 + 0.30 * patch)
        lit *= 1.0 - _shaded_by(shade, light, x, y)
    elif texture == FACADE:
        towards = abs(dx * nx + dy * ny)
        footprint = depth * pixel / max(towards, 0.15)
        above = z - look[index, LOOK_BASE]
        start, end = look[index, LOOK_SPAN], look[index, LOOK_SPAN + 1]
        along = nx * y - ny * x - start
        b, g, r = _facade(noise, along, above, end - start, look[index, LOOK_STYLE], footprint, b, g, r)
        ambient *= 0.85 + 0.15 * _clip01((above + 0.6) / 5.0)  # darker near the ground
    elif texture == ROOF:
        grain = 1.0 + 0.10 * _smooth(noise, 1.7 * (x + y), 5.0 * z)
        b, g, r = b * grain, g * grain, r * grain
    elif texture == FOLIAGE:
        near = _clip01(1.2 - depth / 110.0)
        leaf = _rough(noise, 4.1 * x + 2.3 * z, 4.3 * y + 3.1 * z)
        clump = _smooth(noise, 1.1 * x + 0.8 * z, 1.2 * y - 0.9 * z)
        grain = 1.0 + near * (0.30 * leaf + 0.38 * clump)
        b, g, r = b * grain, g * grain, r * grain
        lit = 0.75 * _clip01(0.35 + 0.65 * facing)  # leaves let light through
    elif PAINT <= texture <= GLASS:
        head_on = dx * nx + dy * ny + dz * nz
        up = dz - 2.0 * head_on * nz  # of the mirrored view
        grazing = (1.0 - min(abs(head_on), 1.0)) ** 2
        share = 0.22 + 0.5 * grazing if texture == GLASS else 0.06 + 0.22 * grazing
        if up > 0.0:
            rise = math.sqrt(_clip01(up))
            mirror_b, mirror_g, mirror_r = 0.9 - 0.12 * rise, 0.86 - 0.3 * rise, 0.82 - 0.5 * rise
        else:
            mirror_b, mirror_g, mirror_r = 0.26, 0.27, 0.27
        own = (ambient + _SUN * lit) * (1.0 - share)
        b = b * own + mirror_b * share
        g = g * own + mirror_g * share
        r = r * own + mirror_r * share
        lit, ambient = 0.0, 1.0
    elif texture == GLOWING:
        lit, ambient = 0.0, 1.0
    b *= ambient * 1.04 + _SUN * lit * 0.93
    g *= ambient + _SUN * lit
    r *= ambient * 0.97 + _SUN * lit * 1.05
    haze = depth * light[HAZE_PER_METRE]
    air = haze / (1.0 + haze)  # close to 1 - exp(-haze), and four times as fast
    return b + (light[HAZE] - b) * air, g + (light[HAZE + 1] - g) * air, r + (light[HAZE + 2] - r) * air


@njit(cache=True, error_model="numpy")
def resolve(
    inverse_depth: NDArray[np.float32],  # (S H, S W) of the samples
    owner: NDArray[np.int32],  # (S H, S W)
    samples: int,  # S, per pixel and axis
    position: NDArray[np.float64],
    map_from_optical: NDArray[np.float64],  # (3, 3)
    intrinsics: NDArray[np.float64],  # (4,) fx, fy, cx, cy in pixels
    look: NDArray[np.float32],
    noise: NDArray[np.int8],
    shade: NDArray[np.uint8],
    light: NDArray[np.float64],
    grain: NDArray[np.float32],  # (GRAIN_SIZE,) sensor noise, levels
    grain_start: int,
    image: NDArray[np.uint8],  # (H, W, 3) BGR; written
) -> None:
    """Shade all pixels."""
    height, width = image.shape[:2]
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    px, py, pz = position[0], position[1], position[2]
    m00, m01, m02 = map_from_optical[0, 0], map_from_optical[0, 1], map_from_optical[0, 2]
    m10, m11, m12 = map_from_optical[1, 0], map_from_optical[1, 1], map_from_optical[1, 2]
    m20, m21, m22 = map_from_optical[2, 0], map_from_optical[2, 1], map_from_optical[2, 2]
    pixel = 1.0 / fx
    scale = 255.0 / (samples * samples)
    mask = GRAIN_SIZE - 1
    for row in range(height):
        ray_y = (row - cy) / fy
        for column in range(width):
            ray_x = (column - cx) * pixel
            vx = m00 * ray_x + m01 * ray_y + m02
            vy = m10 * ray_x + m11 * ray_y + m12
            vz = m20 * ray_x + m21 * ray_y + m22
            length = math.sqrt(vx * vx + vy * vy + vz * vz)
            shrink = 1.0 / length
            ux, uy, uz = vx * shrink, vy * shrink, vz * shrink
            b, g, r = 0.0, 0.0, 0.0
            one_b, one_g, one_r = 0.0, 0.0, 0.0
            last = NOT_SHADED
            for i in range(samples):
                for j in range(samples):
                    index = owner[row * samples + i, column * samples + j]
                    if index != last:
                        last = index
                        if index < 0:
                            one_b, one_g, one_r = _sky(noise, light, ux, uy, uz)
                        else:
                            far = 1.0 / inverse_depth[row * samples + i, column * samples + j]
                            one_b, one_g, one_r = _surface(
                                index, px + vx * far, py + vy * far, pz + vz * far, ux, uy, uz, far * length, pixel,
                                look, noise, shade, light,
                            )  # fmt: skip
                    b += one_b
                    g += one_g
                    r += one_r
            at = grain_start + 3 * (row * width + column)
            image[row, column, 0] = int(min(max(scale * b + grain[at & mask] + 0.5, 0.0), 255.0))
            image[row, column, 1] = int(min(max(scale * g + grain[(at + 1) & mask] + 0.5, 0.0), 255.0))
            image[row, column, 2] = int(min(max(scale * r + grain[(at + 2) & mask] + 0.5, 0.0), 255.0))


@njit(cache=True, error_model="numpy")
def draw_discs(
    discs: NDArray[np.float64],  # (N, 9) image x, y, radius x, radius y, inverse depth, B, G, R (0..255), glow
    inverse_depth: NDArray[np.float32],  # (S H, S W)
    samples: int,
    image: NDArray[np.uint8],  # changed in place
) -> None:
    """Lamps as ellipses with smooth edges, hidden where a sample sees something nearer."""
    height, width = image.shape[:2]
    for k in range(len(discs)):
        x, y, radius_x, radius_y, depth = discs[k, 0], discs[k, 1], discs[k, 2], discs[k, 3], discs[k, 4]
        glow = discs[k, 8]
        reach_x, reach_y = 2.2 * radius_x + 1.0, 2.2 * radius_y + 1.0
        for row in range(max(math.floor(y - reach_y), 0), min(math.ceil(y + reach_y), height - 1) + 1):
            for column in range(max(math.floor(x - reach_x), 0), min(math.ceil(x + reach_x), width - 1) + 1):
                seen = 0
                for i in range(samples):
                    for j in range(samples):
                        seen += inverse_depth[row * samples + i, column * samples + j] < 1.02 * depth
                if seen == 0:
                    continue
                norm = math.hypot((column - x) / radius_x, (row - y) / radius_y)
                edge = (1.0 - norm) * min(radius_x, radius_y) + 0.5
                cover = _clip01(edge)
                halo = glow * _clip01((2.2 - norm) / 1.2) ** 2
                alpha = max(cover, halo) * seen / (samples * samples)
                for c in range(3):
                    value = image[row, column, c] + alpha * (discs[k, 5 + c] - image[row, column, c])
                    image[row, column, c] = int(min(max(value + 0.5, 0.0), 255.0))
