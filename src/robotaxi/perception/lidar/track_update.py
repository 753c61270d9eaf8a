"""What a detection changes in the track that it belongs to: place, class, size, motion and heading.

Compiled kernels over records of `TRACK_DTYPE` and `DETECTION_DTYPE`; ``config`` is the record of `tracker_numbers`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from robotaxi.perception.lidar.anchor import AWAY, EXTENT, EYE, OFFSET, measure, to_map
from robotaxi.perception.lidar.association import misfit, noise
from robotaxi.perception.lidar.full_boxes import ACROSS, full_size, is_vehicle, is_whole
from robotaxi.perception.lidar.heading import add_view, fade, heading, side_information, wrap, wrap_half, wrap_quarter
from robotaxi.perception.lidar.track_table import update
from robotaxi.types import ObjectClass

_WHOLE_GAIN = 0.2
_STICKY = 1.6
_FADE = 0.95  # of the votes for a class, from sweep to sweep
_RIGID_CHANGE = 0.3  # m
_RIGID_SHARE = 0.15
_UNCLEAR_VOTE = 0.3  # a few low returns say less than a full view
_FEW_VOTES = 0.1  # of each class before anything was seen
_SHAPES_ERR = 0.1  # share of the votes that every class has: by its shape a thing may be anything
_RUNNING = 5.0  # m/s, nobody walks this fast for long; what rolls that fast and is small has two wheels
_ALIGNED = math.radians(12.0)
_CROSSWISE = math.radians(35.0)
_BACKWARDS = math.radians(125.0)
_WRONG = math.radians(25.0)  # a heading this far from what is known of it is laid anew
_AGREES = math.radians(10.0)  # by a view that agrees with what is known
_CLEARLY = 0.3  # m
_BY_NETWORK = 1.0 / math.radians(10.0) ** 2  # how well the network tells a heading
_USUAL_MISFIT = 2.0  # mean of the squared misfit of two coordinates
_COURSE_VARIANCE = math.radians(5.0) ** 2  # a car slips and turns: its course is its heading no better than this
_UNKNOWN, _CAR, _PEDESTRIAN = int(ObjectClass.UNKNOWN), int(ObjectClass.CAR), int(ObjectClass.PEDESTRIAN)


@njit(cache=True)
def see(tracks, index, detections, match, box_corners, sensor, stamp_ns, numbers):  # type: ignore[no-untyped-def]
    """Update ``tracks[index]``, in place, with ``detections[match]`` (corners (N, 4, 2)) seen from ``sensor`` (2,)."""
    found, config = np.empty((5, 2)), numbers[0]
    for k in range(index.size):
        track, seen, at = tracks[index[k]], detections[match[k]], box_corners[match[k]]
        doubt = _move(track, seen, at, sensor, found, config)
        _draw_to_rest(track, config)
        track.hits += 1
        track.seen_ns = stamp_ns
        track.looked |= seen.looked
        track.log_odds = min(track.log_odds + config.hit_log_odds, config.max_log_odds) - doubt
        _classify(track, seen, config)
        _resize(track, seen, found, config)
        _judge_motion(track, found, config)
        _turn(track, seen, found, config)
        _straighten(track, seen, at, sensor, found, config)


@njit(cache=True)
def view_information(seen, config):  # type: ignore[no-untyped-def]
    """Information (1/rad^2) of a detection's heading."""
    return _BY_NETWORK if is_whole(seen) else side_information(seen, config.sigma_side)


@njit(cache=True)
def _move(track, seen, at, sensor, found, config):  # type: ignore[no-untyped-def]
    """Kalman update with the place; leaves the measurement in ``found``. Returns the evidence that is taken away."""
    x, y = track.mean[0], track.mean[1]
    # a detection's position was measured at its own time within the sweep
    dx, dy = track.mean[2] * seen.time, track.mean[3] * seen.time
    measure(x + dx, y + dy, track.yaw, track.length, track.width, at, sensor, found)
    whole = is_whole(seen)
    xx, xy, yy = noise(found, x, y, track.yaw, whole, sensor, config)
    u, v = to_map(found[OFFSET, 0], found[OFFSET, 1], track.yaw)
    if whole:
        u, v = seen.x - x - dx, seen.y - y - dy
    doubt = 0.0
    if seen.looked:
        # what lies far from where its track was expected, and what is no road user where a vehicle was, is rather a
        # piece of a hedge than that vehicle
        squared = misfit(track.cov[0, 0] + xx, track.cov[0, 1] + xy, track.cov[1, 1] + yy, u, v)
        doubt = min(max(config.look_misfit * (squared - _USUAL_MISFIT), 0.0), 2.0 * config.hit_log_odds)
        if seen.label == _UNKNOWN and is_vehicle(track.label):
            doubt += config.hit_log_odds
    update(track.mean, track.cov, u, v, (xx, xy, yy), 0)
    return doubt


@njit(cache=True)
def _draw_to_rest(track, config):  # type: ignore[no-untyped-def]
    """Pseudo-measurement of zero velocity for what is almost at rest."""
    if math.hypot(track.mean[2], track.mean[3]) < config.rest_speed and track.hits >= config.confirm_hits:
        variance = config.rest_speed**2
        update(track.mean, track.cov, -track.mean[2], -track.mean[3], (variance, 0.0, variance), 2)


@njit(cache=True)
def _classify(track, seen, config):  # type: ignore[no-untyped-def]
    votes = track.votes
    for label in range(votes.size):
        votes[label] *= _FADE
    unclear = seen.label == _UNKNOWN
    if seen.looked:
        votes[seen.label] += seen.score
        if not unclear:
            weight = config.look_doubt if is_vehicle(seen.label) else config.look_doubt_small
            votes[_UNKNOWN] += weight * (1.0 - seen.score)
    else:
        votes[seen.label] += _UNCLEAR_VOTE if unclear else 1.0
    if _too_fast_to_walk(track, config):
        votes[_PEDESTRIAN] = 0.0
    # what was believed of the second look is believed until clearly refuted
    _decide(track, _STICKY if seen.looked and track.label != _UNKNOWN else 1.0, config)


@njit(cache=True)
def _too_fast_to_walk(track, config):  # type: ignore[no-untyped-def]
    speed = math.hypot(track.mean[2], track.mean[3])
    return track.moved and track.hits > 2 * config.confirm_hits and speed > _RUNNING


@njit(cache=True)
def _decide(track, sticky, config):  # type: ignore[no-untyped-def]
    """The class by the votes of the sweeps, and by the camera's word where there is one: prior times likelihood.

    ``sticky``: advantage of the class so far."""
    votes, total = track.votes, 0.0
    for label in range(votes.size):
        total += votes[label]
    best, belief = 0, -np.inf
    for label in range(votes.size):
        mine = _belief(track, label, total, sticky, config)
        if mine > belief:
            best, belief = label, mine
    track.label = best


@njit(cache=True)
def _belief(track, label, total, sticky, config):  # type: ignore[no-untyped-def]
    """How much speaks for ``label``; ``total``: of all votes."""
    mine = track.votes[label] * sticky if label == track.label else track.votes[label]
    if track.viewed and not (label == _PEDESTRIAN and _too_fast_to_walk(track, config)):
        mine = (mine + _SHAPES_ERR * total) * math.exp(track.word[label])
    return mine


@njit(cache=True)
def class_probabilities(track, out, config):  # type: ignore[no-untyped-def]
    """Fill ``out`` (CLASSES,), which add up to 1: a few views leave each class the share of `_FEW_VOTES`."""
    total = track.votes.sum()
    sticky = _STICKY if track.looked and track.label != _UNKNOWN else 1.0
    for label in range(out.size):
        out[label] = _belief(track, label, total, sticky, config) + _FEW_VOTES
    out /= out.sum()


@njit(cache=True)
def hear(tracks, index, said, fade, most, numbers):  # type: ignore[no-untyped-def]
    """Take the camera's log likelihoods ``said`` (K, CLASSES) of ``tracks[index]``, in place: older words fade, and
    none counts more than ``most``."""
    for k in range(index.size):
        track = tracks[index[k]]
        word, highest = track.word, -np.inf
        for label in range(word.size):
            word[label] = fade * word[label] + said[k, label]
            highest = max(highest, word[label])
        for label in range(word.size):
            word[label] = max(word[label] - highest, -most)
        track.viewed = True
        _decide(track, 1.0, numbers[0])


@njit(cache=True)
def _resize(track, seen, found, config):  # type: ignore[no-untyped-def]
    """Grow to what is visible; the edge near the sensor stays where it is."""
    aligned, whole = abs(wrap_quarter(seen.yaw - track.yaw)) < _ALIGNED, is_whole(seen)
    along, across = found[EXTENT, 0], found[EXTENT, 1]
    if whole:
        track.seen_length += _WHOLE_GAIN * (seen.length - track.seen_length)
        track.seen_width += _WHOLE_GAIN * (seen.width - track.seen_width)
    else:
        track.seen_length += _growth_rate(along > track.seen_length, aligned) * (along - track.seen_length)
        track.seen_width += _growth_rate(across > track.seen_width, aligned) * (across - track.seen_width)
    length, width = track.length, track.width
    track.length, track.width = full_size(track.seen_length, track.seen_width, track.label, config)
    if not whole:
        _shift(track, 0.5 * (track.length - length) * found[AWAY, 0], 0.5 * (track.width - width) * found[AWAY, 1])
    track.height += (0.5 if seen.height > track.height else 0.05) * (seen.height - track.height)
    track.ground += 0.2 * (seen.z - seen.base - track.ground)


@njit(cache=True)
def _growth_rate(larger, aligned):  # type: ignore[no-untyped-def]
    """Quick to grow, slow to forget a merge with a neighbour."""
    if not larger:
        return 0.02
    return 0.5 if aligned else 0.1


@njit(cache=True)
def _shift(track, along, across):  # type: ignore[no-untyped-def]
    """Move a track, and where it was first seen, in the axes of its box."""
    dx, dy = to_map(along, across, track.yaw)
    track.mean[0] += dx
    track.mean[1] += dy
    track.anchor[0] += dx
    track.anchor[1] += dy


@njit(cache=True)
def _judge_motion(track, found, config):  # type: ignore[no-untyped-def]
    way_x, way_y = track.mean[0] - track.anchor[0], track.mean[1] - track.anchor[1]
    distance, speed = math.hypot(way_x, way_y), math.hypot(track.mean[2], track.mean[3])
    spread = math.sqrt(max(track.cov[0, 0], track.cov[1, 1]))
    doubt = math.sqrt(max(track.cov[2, 2], track.cov[3, 3]))
    moving = distance > max(config.moved_distance, 3.0 * spread) and speed > max(config.moved_speed, 2.0 * doubt)
    moving = moving and way_x * track.mean[2] + way_y * track.mean[3] > 0.0  # away from its place
    # a rigid body shows much the same of itself from sweep to sweep; pieces cut from a hedge or a wall do not
    rigid = True
    for axis in range(2):
        extent = found[EXTENT, axis]
        rigid = rigid and abs(extent - track.last_extent[axis]) < _RIGID_CHANGE + _RIGID_SHARE * extent
        track.last_extent[axis] = extent
    surely = speed > max(config.sure_speed, 3.0 * doubt)
    track.moving_hits = track.moving_hits + int(rigid) + int(surely) if moving else 0
    track.moved |= track.moving_hits >= config.moved_hits
    if not (distance < config.moved_distance and speed < config.rest_speed):
        track.rest_ns = track.seen_ns
    track.moved &= (track.seen_ns - track.rest_ns) * 1e-9 < config.false_start
    if not track.moved:  # the place follows slowly, as the map pose drifts
        track.anchor[0] += 0.02 * way_x
        track.anchor[1] += 0.02 * way_y


@njit(cache=True)
def _turn(track, seen, found, config):  # type: ignore[no-untyped-def]
    """Heading: of the box's sides, and of the motion where there is enough of it."""
    course = math.atan2(track.mean[3], track.mean[2])
    going = track.moved and math.hypot(track.mean[2], track.mean[3]) > config.heading_speed
    error = abs(wrap(course - track.yaw))
    vehicle, whole = is_vehicle(track.label), is_whole(seen)
    if going and abs(error - math.pi / 2) < _CROSSWISE:
        # a front taken for a side: swap the axes once the motion tells
        _swap_axes(track, found, config)
        track.yaw = course
    elif not going and not whole and vehicle and _lies_crosswise(track, found, config):
        yaw = wrap(track.yaw + math.pi / 2)
        _swap_axes(track, found, config)
        track.yaw = yaw
    elif going and error > _BACKWARDS:
        track.yaw = wrap(track.yaw + math.pi)
    _weigh_heading(track, seen, going, config)
    known_yaw, known = heading(track.facing)
    turn = wrap_quarter(known_yaw - track.yaw) if known else 0.0
    if abs(turn) >= _WRONG:
        turn = 0.0
    if whole and not going:  # a whole box tells its sides apart
        turn = config.heading_gain * wrap_half(seen.yaw - track.yaw)
    track.yaw = wrap(track.yaw + turn)


@njit(cache=True)
def _lies_crosswise(track, found, config):  # type: ignore[no-untyped-def]
    """Whether what was taken for the length of a vehicle is its width."""
    length, width = track.seen_length, track.seen_width
    no_width = config.wide_car if track.label == _CAR else config.max_width_seen
    if width > no_width and width > length:
        return True
    # a face that squarely faces us shows all of itself: too short for a car's side, it is its front or rear
    faces_us = abs(found[EYE, 0]) < ACROSS * math.hypot(found[EYE, 0], found[EYE, 1])
    short = length < config.full_car_length - 1.2 and faces_us
    return short and (length > width + _CLEARLY or width > length + 0.5 * _CLEARLY)


@njit(cache=True)
def _swap_axes(track, found, config):  # type: ignore[no-untyped-def]
    """What was taken for the length is the width. The corner near the sensor stays where it is."""
    track.seen_length, track.seen_width = track.seen_width, track.seen_length
    length, width = track.length, track.width
    track.length, track.width = full_size(track.seen_length, track.seen_width, track.label, config)
    _shift(track, 0.5 * (track.width - length) * found[AWAY, 0], 0.5 * (track.length - width) * found[AWAY, 1])


@njit(cache=True)
def _weigh_heading(track, seen, going, config):  # type: ignore[no-untyped-def]
    fade(track.facing, config.sigma_turn if track.moved else config.sigma_stand)
    add_view(track.facing, seen.yaw, view_information(seen, config))
    if going:
        vx, vy = track.mean[2], track.mean[3]
        doubt = max(track.cov[2, 2], track.cov[3, 3])
        information = 1.0 / (_COURSE_VARIANCE + doubt / max(vx * vx + vy * vy, 1e-6))
        add_view(track.facing, math.atan2(vy, vx), information)


@njit(cache=True)
def _straighten(track, seen, at, sensor, found, config):  # type: ignore[no-untyped-def]
    """Lay a box anew whose heading was guessed wrong from a few far points, once better views say so.

    A small error is turned back; a large one would leave a box that grew to cover the car crosswise.
    """
    if is_whole(seen) or not is_vehicle(track.label) or not side_information(seen, config.sigma_side) > 0.0:
        return
    known_yaw, known = heading(track.facing)
    side = wrap_quarter(known_yaw - track.yaw)
    if not known or abs(side) <= _WRONG or abs(wrap_quarter(known_yaw - seen.yaw)) >= _AGREES:
        return
    track.yaw = wrap(track.yaw + side)
    parallel = abs(math.cos(seen.yaw - track.yaw)) > math.cos(math.pi / 4)
    track.seen_length = seen.length if parallel else seen.width
    track.seen_width = seen.width if parallel else seen.length
    track.length, track.width = full_size(track.seen_length, track.seen_width, track.label, config)
    measure(seen.x, seen.y, track.yaw, track.length, track.width, at, sensor, found)
    dx, dy = to_map(found[OFFSET, 0], found[OFFSET, 1], track.yaw)
    x, y = seen.x + dx, seen.y + dy
    track.anchor[0] += x - track.mean[0]
    track.anchor[1] += y - track.mean[1]
    track.mean[0], track.mean[1] = x, y
    track.last_extent[0], track.last_extent[1] = found[EXTENT, 0], found[EXTENT, 1]
