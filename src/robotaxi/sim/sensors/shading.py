"""From visible triangles to colours: sun, sky light, cast shadows, haze, and what each material looks like.

Every pixel is shaded once where its samples see the same triangle, else once for each sample, so that
edges are smooth at little cost. Colours are BGR, 0..1, as displayed.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.sim.mesh import Material

NOISE_SIZE = 256  # cells of the texture noise, a power of two: it repeats
GRAIN_SIZE = 1 << 18  # values of the sensor noise table, a power of two

_ROAD, _MARKING, _PAVEMENT, _KERB = (
    int(Material.ROAD),
    int(Material.MARKING),
    int(Material.PAVEMENT),
    int(Material.KERB),
)
_GRASS, _FACADE, _ROOF = int(Material.GRASS), int(Material.FACADE), int(Material.ROOF)
_FOLIAGE, _PAINT, _GLASS = int(Material.FOLIAGE), int(Material.PAINT), int(Material.GLASS)
_LAMP, _SHADOW = int(Material.LAMP), int(Material.SHADOW)

_STOREY = 3.1  # m, as built
_AMBIENT, _AMBIENT_UP, _SUN = 0.46, 0.10, 0.60  # light from all around, more from above, from the sun
_CONTACT = 0.4  # light that is left below a car
_BIG = 65536.0  # keeps texture coordinates positive; a multiple of the texture's size


@njit(cache=True)
def _smooth(noise: NDArray[np.float32], u: float, v: float) -> float:
    """Texture noise, bilinear."""
    u += _BIG
    v += _BIG
    iu, iv = int(u), int(v)
    fu, fv = u - iu, v - iv
    mask = NOISE_SIZE - 1
    a, b = iu & mask, iv & mask
    c, d = (iu + 1) & mask, (iv + 1) & mask
    return (noise[a, b] * (1 - fv) + noise[a, d] * fv) * (1 - fu) + (noise[c, b] * (1 - fv) + noise[c, d] * fv) * fu


@njit(cache=True)
def _rough(noise: NDArray[np.float32], u: float, v: float) -> float:
    """Texture noise, nearest cell."""
    mask = NOISE_SIZE - 1
    return noise[int(u + _BIG) & mask, int(v + _BIG) & mask]


@njit(cache=True)
def _clip01(value: float) -> float:
    return min(max(value, 0.0), 1.0)


@njit(cache=True)
def _shaded_by(shade: NDArray[np.uint8], frame: NDArray[np.float64], x: float, y: float) -> float:
    """Share of the sun that is blocked at a point of the ground, 0..1."""
    u, v = (x - frame[0]) / frame[2], (y - frame[1]) / frame[2]
    rows, columns = shade.shape
    if not (0.0 <= u < columns - 1 and 0.0 <= v < rows - 1):
        return 0.0
    iu, iv = int(u), int(v)
    fu, fv = u - iu, v - iv
    low = shade[iv, iu] * (1 - fu) + shade[iv, iu + 1] * fu
    high = shade[iv + 1, iu] * (1 - fu) + shade[iv + 1, iu + 1] * fu
    return (low * (1 - fv) + high * fv) / 255.0


@njit(cache=True)
def _sky(noise: NDArray[np.float32], haze: NDArray[np.float64], dx: float, dy: float, dz: float) -> tuple:
    """Colour of the sky in a unit direction: a gradient with a few thin clouds."""
    up = _clip01(dz)
    rise = math.sqrt(up)
    b = haze[0] + (0.78 - haze[0]) * rise
    g = haze[1] + (0.52 - haze[1]) * rise
    r = haze[2] + (0.28 - haze[2]) * rise
    if dz > 0.02:
        u, v = 5.0 * dx / (dz + 0.12), 5.0 * dy / (dz + 0.12)
        cloud = _smooth(noise, u, v) + 0.5 * _smooth(noise, 2.3 * u + 31.0, 2.3 * v)
        cover = 0.75 * _clip01(1.1 * cloud - 0.15) * _clip01(6.0 * dz)
        b += (0.97 - b) * cover
        g += (0.96 - g) * cover
        r += (0.95 - r) * cover
    return b, g, r


@njit(cache=True)
def _facade(
    noise: NDArray[np.float32], u: float, v: float, style: float, footprint: float, b: float, g: float, r: float
) -> tuple:
    """Storeys of windows; ``footprint`` is the size of a pixel on the wall, so that far windows blend."""
    if v < 0.0:
        return 0.7 * b, 0.7 * g, 0.7 * r
    pitch = 2.1 + 1.5 * style
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


@njit(cache=True)
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
    material: NDArray[np.uint8],
    color: NDArray[np.float32],
    normal: NDArray[np.float32],
    base: NDArray[np.float32],
    style: NDArray[np.float32],
    noise: NDArray[np.float32],
    shade: NDArray[np.uint8],
    shade_frame: NDArray[np.float64],
    sun: NDArray[np.float64],
    haze: NDArray[np.float64],
    haze_length: float,
) -> tuple:
    """Colour of triangle ``index`` at a point, seen along unit direction (dx, dy, dz) from ``depth`` away.

    ``pixel``: angle that one pixel covers, rad.
    """
    kind = material[index]
    b, g, r = float(color[index, 0]), float(color[index, 1]), float(color[index, 2])
    nx, ny, nz = normal[index, 0], normal[index, 1], normal[index, 2]
    facing = nx * sun[0] + ny * sun[1] + nz * sun[2]
    lit = max(facing, 0.0)
    ambient = _AMBIENT + _AMBIENT_UP * nz
    if kind == _ROAD or kind == _SHADOW or kind == _MARKING:
        near = _clip01(1.0 - depth / 30.0)
        grain = 1.0 + 0.07 * _smooth(noise, 0.31 * x, 0.31 * y) + 0.16 * near * _rough(noise, 23.0 * x, 23.0 * y)
        if kind == _MARKING:
            grain = 0.6 + 0.4 * grain
        elif kind == _SHADOW:
            b, g, r = 0.30, 0.295, 0.29
            grain *= _CONTACT
        b, g, r = b * grain, g * grain, r * grain
        lit *= 1.0 - _shaded_by(shade, shade_frame, x, y)
    elif kind == _PAVEMENT or kind == _KERB:
        near = _clip01(1.0 - depth / 40.0)
        slab = _rough(noise, 1.6 * x, 1.6 * y)
        grain = 1.0 + 0.05 * slab * near + 0.06 * _smooth(noise, 0.4 * x, 0.4 * y)
        b, g, r = b * grain, g * grain, r * grain
        lit *= 1.0 - _shaded_by(shade, shade_frame, x, y)
    elif kind == _GRASS:
        near = _clip01(1.0 - depth / 45.0)
        patch = _smooth(noise, 0.09 * x, 0.09 * y)
        grain = 1.0 + 0.16 * _smooth(noise, 0.7 * x, 0.7 * y) + 0.28 * near * _rough(noise, 9.0 * x, 9.0 * y)
        b, g, r = b * grain, g * grain * (1.0 + 0.08 * patch), r * grain * (1.0 + 0.30 * patch)
        lit *= 1.0 - _shaded_by(shade, shade_frame, x, y)
    elif kind == _FACADE:
        towards = abs(dx * nx + dy * ny)
        footprint = depth * pixel / max(towards, 0.15)
        b, g, r = _facade(noise, nx * y - ny * x, z - base[index], style[index], footprint, b, g, r)
        ambient *= 0.85 + 0.15 * _clip01((z - base[index] + 0.6) / 5.0)  # darker near the ground
    elif kind == _ROOF:
        grain = 1.0 + 0.10 * _smooth(noise, 1.7 * (x + y), 5.0 * z)
        b, g, r = b * grain, g * grain, r * grain
    elif kind == _FOLIAGE:
        near = _clip01(1.2 - depth / 110.0)
        leaf = _rough(noise, 4.1 * x + 2.3 * z, 4.3 * y + 3.1 * z)
        clump = _smooth(noise, 1.1 * x + 0.8 * z, 1.2 * y - 0.9 * z)
        grain = 1.0 + near * (0.30 * leaf + 0.38 * clump)
        b, g, r = b * grain, g * grain, r * grain
        lit = 0.75 * _clip01(0.35 + 0.65 * facing)  # leaves let light through
    elif kind == _GLASS or kind == _PAINT:
        along = dx * nx + dy * ny + dz * nz
        up = dz - 2.0 * along * nz  # of the mirrored view
        grazing = (1.0 - min(abs(along), 1.0)) ** 2
        if kind == _GLASS:
            share = 0.22 + 0.5 * grazing
        else:
            share = 0.06 + 0.22 * grazing
        if up > 0.0:
            rise = math.sqrt(_clip01(up))
            mirror_b, mirror_g, mirror_r = 0.9 - 0.12 * rise, 0.86 - 0.3 * rise, 0.82 - 0.5 * rise
        else:
            mirror_b, mirror_g, mirror_r = 0.26, 0.27, 0.27
        light = ambient + _SUN * lit
        b = b * light * (1.0 - share) + mirror_b * share
        g = g * light * (1.0 - share) + mirror_g * share
        r = r * light * (1.0 - share) + mirror_r * share
        lit, ambient = 0.0, 1.0
    elif kind == _LAMP:
        lit, ambient = 0.0, 1.0
    b *= ambient * 1.04 + _SUN * lit * 0.93
    g *= ambient + _SUN * lit
    r *= ambient * 0.97 + _SUN * lit * 1.05
    air = 1.0 - math.exp(-depth / haze_length)
    return b + (haze[0] - b) * air, g + (haze[1] - g) * air, r + (haze[2] - r) * air


@njit(cache=True)
def resolve(
    inverse_depth: NDArray[np.float32],  # (S H, S W) of the samples
    owner: NDArray[np.int32],  # (S H, S W)
    samples: int,  # S, per pixel and axis
    position: NDArray[np.float64],
    map_from_optical: NDArray[np.float64],  # (3, 3)
    intrinsics: NDArray[np.float64],  # (4,) fx, fy, cx, cy in pixels
    material: NDArray[np.uint8],
    color: NDArray[np.float32],
    normal: NDArray[np.float32],
    base: NDArray[np.float32],
    style: NDArray[np.float32],
    noise: NDArray[np.float32],
    shade: NDArray[np.uint8],
    shade_frame: NDArray[np.float64],  # (3,) x, y, cell
    sun: NDArray[np.float64],
    haze: NDArray[np.float64],
    haze_length: float,
    grain: NDArray[np.float32],  # (GRAIN_SIZE,) sensor noise, levels
    grain_start: int,
    image: NDArray[np.uint8],  # (H, W, 3) BGR; written
) -> None:
    """Shade all pixels."""
    height, width = image.shape[:2]
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    pixel = 1.0 / fx
    count = samples * samples
    for row in range(height):
        ray_y = (row - cy) / fy
        for column in range(width):
            ray_x = (column - cx) / fx
            vx = map_from_optical[0, 0] * ray_x + map_from_optical[0, 1] * ray_y + map_from_optical[0, 2]
            vy = map_from_optical[1, 0] * ray_x + map_from_optical[1, 1] * ray_y + map_from_optical[1, 2]
            vz = map_from_optical[2, 0] * ray_x + map_from_optical[2, 1] * ray_y + map_from_optical[2, 2]
            length = math.sqrt(vx * vx + vy * vy + vz * vz)
            ux, uy, uz = vx / length, vy / length, vz / length
            top, left = row * samples, column * samples
            first = owner[top, left]
            same = True
            inverse = 0.0
            for i in range(samples):
                for j in range(samples):
                    same = same and owner[top + i, left + j] == first
                    inverse += inverse_depth[top + i, left + j]
            b, g, r = 0.0, 0.0, 0.0
            if same:
                if first < 0:
                    b, g, r = _sky(noise, haze, ux, uy, uz)
                else:
                    far = count / inverse
                    b, g, r = _surface(
                        first, position[0] + vx * far, position[1] + vy * far, position[2] + vz * far, ux, uy, uz,
                        far * length, pixel, material, color, normal, base, style, noise, shade, shade_frame, sun,
                        haze, haze_length,
                    )  # fmt: skip
            else:
                for i in range(samples):
                    for j in range(samples):
                        index = owner[top + i, left + j]
                        if index < 0:
                            one_b, one_g, one_r = _sky(noise, haze, ux, uy, uz)
                        else:
                            far = 1.0 / inverse_depth[top + i, left + j]
                            one_b, one_g, one_r = _surface(
                                index, position[0] + vx * far, position[1] + vy * far, position[2] + vz * far, ux, uy,
                                uz, far * length, pixel, material, color, normal, base, style, noise, shade,
                                shade_frame, sun, haze, haze_length,
                            )  # fmt: skip
                        b += one_b
                        g += one_g
                        r += one_r
                b, g, r = b / count, g / count, r / count
            at = grain_start + 3 * (row * width + column)
            mask = GRAIN_SIZE - 1
            image[row, column, 0] = int(min(max(255.0 * b + grain[at & mask] + 0.5, 0.0), 255.0))
            image[row, column, 1] = int(min(max(255.0 * g + grain[(at + 1) & mask] + 0.5, 0.0), 255.0))
            image[row, column, 2] = int(min(max(255.0 * r + grain[(at + 2) & mask] + 0.5, 0.0), 255.0))


@njit(cache=True)
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
