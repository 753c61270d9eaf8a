"""From visible triangles to colours: gathers what each point needs, shades it, adds haze and sensor noise.

A pixel's samples share one shading while they see the same triangle, so edges are smooth at little cost.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.sim.sensors.materials import GRASS, PLAIN, clip01, cloud_point, noise_points, sky, surface
from robotaxi.types import LightShape

NOISE_SIZE = 128  # cells of the texture noise, a power of two: it repeats; 16 kB stay in the fastest cache
GRAIN_SIZE = 1 << 18  # values of the sensor noise table, a power of two
_NOT_SHADED = -2  # neither a triangle nor the sky
_BIG = 65536.0  # keeps texture coordinates positive; a multiple of the texture's size

_CIRCLE, _LEFT_ARROW, _UP_ARROW = int(LightShape.CIRCLE), int(LightShape.LEFT_ARROW), int(LightShape.UP_ARROW)
_TIP, _BARBS, _SHAFT = 0.85, -0.05, 0.22  # of an arrow, in radii of its lamp: ends, the head's base, half its width

# columns of the ``look`` table, (T, LOOK_SIZE) float32: what shading knows of each triangle
LOOK_COLOR, LOOK_NORMAL, LOOK_BASE, LOOK_STYLE, LOOK_TEXTURE, LOOK_SPAN, LOOK_SIZE = 0, 3, 6, 7, 8, 9, 11
# entries of the ``light`` vector, float64: what it knows of the whole scene
SUN, HAZE, HAZE_PER_METRE, SHADE_X, SHADE_Y, SHADE_PER_METRE, LIGHT_SIZE = 0, 3, 6, 7, 8, 9, 10


@njit(cache=True, error_model="numpy", nogil=True)
def resolve(
    inverse_depth: NDArray[np.float32],  # (S H, S W) of the samples
    owner: NDArray[np.int32],  # (S H, S W)
    samples: int,  # S, per pixel and axis
    position: NDArray[np.float64],
    map_from_optical: NDArray[np.float64],  # (3, 3)
    intrinsics: NDArray[np.float64],  # (4,) fx, fy, cx, cy in pixels
    look: NDArray[np.float32],  # (T, LOOK_SIZE)
    noise: NDArray[np.int8],  # (NOISE_SIZE, NOISE_SIZE)
    shade: NDArray[np.uint8],  # the shadow map
    light: NDArray[np.float64],  # (LIGHT_SIZE,)
    grain: NDArray[np.float32],  # (GRAIN_SIZE,) sensor noise, levels
    grain_start: int,
    image: NDArray[np.uint8],  # (H, W, 3) BGR; written
) -> None:
    """Shade all pixels."""
    height, width = image.shape[:2]
    shade_rows, shade_columns = shade.shape
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    px, py, pz = position[0], position[1], position[2]
    m00, m01, m02 = map_from_optical[0, 0], map_from_optical[0, 1], map_from_optical[0, 2]
    m10, m11, m12 = map_from_optical[1, 0], map_from_optical[1, 1], map_from_optical[1, 2]
    m20, m21, m22 = map_from_optical[2, 0], map_from_optical[2, 1], map_from_optical[2, 2]
    sun_x, sun_y, sun_z = light[SUN], light[SUN + 1], light[SUN + 2]
    haze_b, haze_g, haze_r = light[HAZE], light[HAZE + 1], light[HAZE + 2]
    pixel = 1.0 / fx
    scale = 255.0 / (samples * samples)
    grain_mask, mask = GRAIN_SIZE - 1, NOISE_SIZE - 1
    for row in range(height):
        ray_y = (row - cy) / fy
        for column in range(width):
            ray_x = (column - cx) * pixel
            vx = m00 * ray_x + m01 * ray_y + m02
            vy = m10 * ray_x + m11 * ray_y + m12
            vz = m20 * ray_x + m21 * ray_y + m22
            length = math.sqrt(vx * vx + vy * vy + vz * vz)
            shrink = 1.0 / length
            dx, dy, dz = vx * shrink, vy * shrink, vz * shrink
            b, g, r = 0.0, 0.0, 0.0
            one_b, one_g, one_r = 0.0, 0.0, 0.0
            last = _NOT_SHADED
            for i in range(samples):
                for j in range(samples):
                    t = owner[row * samples + i, column * samples + j]
                    if t != last:
                        last = t
                        texture = PLAIN
                        x, y, z, depth = 0.0, 0.0, 0.0, 0.0
                        nx, ny, nz = 0.0, 0.0, 0.0
                        along, above, wall_length, style = 0.0, 0.0, 1.0, 0.0
                        u, v, rough_u, rough_v = 0.0, 0.0, 0.0, 0.0
                        if t < 0:
                            u, v = cloud_point(dx, dy, dz)
                        else:
                            texture = int(look[t, LOOK_TEXTURE])
                            far = 1.0 / inverse_depth[row * samples + i, column * samples + j]
                            depth = far * length
                            x, y, z = px + vx * far, py + vy * far, pz + vz * far
                            nx, ny, nz = look[t, LOOK_NORMAL], look[t, LOOK_NORMAL + 1], look[t, LOOK_NORMAL + 2]
                            if texture > GRASS:
                                above, style = z - look[t, LOOK_BASE], look[t, LOOK_STYLE]
                                along = nx * y - ny * x - look[t, LOOK_SPAN]
                                wall_length = look[t, LOOK_SPAN + 1] - look[t, LOOK_SPAN]
                            u, v, rough_u, rough_v = noise_points(texture, x, y, z, along, above, wall_length, style)
                        # the noise: one value bilinear, one of the nearest cell
                        u, v = u + _BIG, v + _BIG
                        iu, iv = int(u), int(v)
                        fu, fv = u - iu, v - iv
                        a, c, a1, c1 = iu & mask, iv & mask, (iu + 1) & mask, (iv + 1) & mask
                        low = noise[a, c] + (noise[a, c1] - noise[a, c]) * fv
                        high = noise[a1, c] + (noise[a1, c1] - noise[a1, c]) * fv
                        soft = (low + (high - low) * fu) * (1.0 / 127.0)
                        if t < 0:
                            one_b, one_g, one_r = sky(dz, soft, haze_b, haze_g, haze_r)
                            b, g, r = b + one_b, g + one_g, r + one_r
                            continue
                        rough = noise[int(rough_u + _BIG) & mask, int(rough_v + _BIG) & mask] * (1.0 / 127.0)
                        shadow = 0.0
                        if PLAIN < texture <= GRASS:  # the ground: look up its shadow, bilinear
                            u = (x - light[SHADE_X]) * light[SHADE_PER_METRE]
                            v = (y - light[SHADE_Y]) * light[SHADE_PER_METRE]
                            if 0.0 <= u < shade_columns - 1 and 0.0 <= v < shade_rows - 1:
                                iu, iv = int(u), int(v)
                                fu, fv = u - iu, v - iv
                                low = shade[iv, iu] * (1.0 - fu) + shade[iv, iu + 1] * fu
                                high = shade[iv + 1, iu] * (1.0 - fu) + shade[iv + 1, iu + 1] * fu
                                shadow = (low * (1.0 - fv) + high * fv) * (1.0 / 255.0)
                        one_b, one_g, one_r = surface(
                            texture, look[t, LOOK_COLOR], look[t, LOOK_COLOR + 1], look[t, LOOK_COLOR + 2], soft, rough,
                            shadow, nx * sun_x + ny * sun_y + nz * sun_z, dx, dy, dz, nx, ny, nz, depth, pixel, along,
                            above, wall_length, style,
                        )  # fmt: skip
                        haze = depth * light[HAZE_PER_METRE]
                        air = haze / (1.0 + haze)  # close to 1 - exp(-haze), and four times as fast
                        one_b += (haze_b - one_b) * air
                        one_g += (haze_g - one_g) * air
                        one_r += (haze_r - one_r) * air
                    b, g, r = b + one_b, g + one_g, r + one_r
            at = grain_start + 3 * (row * width + column)
            image[row, column, 0] = int(min(max(scale * b + grain[at & grain_mask] + 0.5, 0.0), 255.0))
            image[row, column, 1] = int(min(max(scale * g + grain[(at + 1) & grain_mask] + 0.5, 0.0), 255.0))
            image[row, column, 2] = int(min(max(scale * r + grain[(at + 2) & grain_mask] + 0.5, 0.0), 255.0))


@njit(cache=True, error_model="numpy", nogil=True)
def within_arrow(shape, x, y):  # type: ignore[no-untyped-def]
    """How far (x right, y down, in radii of its lamp) lies within the arrow, negative outside."""
    along, across = -y, abs(x)
    if shape != _UP_ARROW:
        along, across = (-x if shape == _LEFT_ARROW else x), abs(y)
    shaft = min(_SHAFT - across, along + _TIP, _BARBS - along + _SHAFT)
    head = min(along - _BARBS, (_TIP - along - across) * math.sqrt(0.5))
    return max(shaft, head)


@njit(cache=True, error_model="numpy", nogil=True)
def draw_discs(
    discs: NDArray[np.float64],  # (N, 10) image x, y, radius x, radius y, inverse depth, B, G, R (0..255), glow, shape
    inverse_depth: NDArray[np.float32],  # (S H, S W)
    samples: int,
    image: NDArray[np.uint8],  # changed in place
) -> None:
    """Lamps as ellipses with smooth edges, or arrows within them, hidden where a sample sees something nearer.

    Shapes are numbered as in `types.LightShape`."""
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
                inside = 1.0 - norm
                if discs[k, 9] > _CIRCLE:
                    inside = within_arrow(discs[k, 9], (column - x) / radius_x, (row - y) / radius_y)
                edge = inside * min(radius_x, radius_y) + 0.5
                cover = clip01(edge)
                halo = glow * clip01((2.2 - norm) / 1.2) ** 2
                alpha = max(cover, halo) * seen / (samples * samples)
                for c in range(3):
                    value = image[row, column, c] + alpha * (discs[k, 5 + c] - image[row, column, c])
                    image[row, column, c] = int(min(max(value + 0.5, 0.0), 255.0))
