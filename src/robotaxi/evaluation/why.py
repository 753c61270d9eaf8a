"""What the car did at a time of a ride, and the one cause it gave."""

from __future__ import annotations

from typing import Any

import numpy as np

from robotaxi.evaluation.ride_log import RideLog

WINDOW = 1.0  # s around the time over which the change of speed is taken
BRAKING = 0.3  # m/s^2
STANDING = 0.1  # m/s
KMH = 3.6


def answer(log: RideLog, at: float) -> dict[str, Any]:
    """The explanation in force at ``at`` seconds, since when, and the motion then; ``lines`` for people.

    ``cause`` is None where the log holds no explanation yet.
    """
    motion = log.truth if len(log.truth) else log.estimate
    end = float(motion.t[-1]) if len(motion) else 0.0
    told = [item for item in log.explanations if item.t <= at + 1e-9]
    speed = acceleration = None
    if len(motion) > 1 and motion.t[0] <= at <= end:
        speed = float(np.interp(at, motion.t, motion.speed))
        ends = np.interp([at - WINDOW / 2.0, at + WINDOW / 2.0], motion.t, motion.speed)
        acceleration = float(ends[1] - ends[0]) / WINDOW
    out: dict[str, Any] = {
        "at": at, "speed": speed, "acceleration": acceleration, "cause": None, "sentence": "", "since": None,
        "subject_id": 0, "distance": 0.0, "mode": None, "trip": None, "lines": [],
    }  # fmt: skip
    mode = [item for item in log.modes if item.t <= at]
    trip = [item for item in log.trip if item.t <= at]
    out["mode"] = mode[-1].mode if mode else None
    out["trip"] = trip[-1].state if trip else None
    if at > end or at < 0.0 or not told:
        out["lines"] = [f"At {at:.1f} s there is nothing to explain: the ride lasts from 0 to {end:.1f} s."]
        return out
    entry = told[-1]
    first = entry
    for item in reversed(told):
        if (item.cause, item.subject_id) != (entry.cause, entry.subject_id):
            break
        first = item
    out |= {
        "cause": entry.cause, "sentence": entry.sentence, "since": first.t, "subject_id": entry.subject_id,
        "distance": entry.distance,
    }  # fmt: skip
    out["lines"] = [
        f"At {at:.1f} s: {_doing(speed, acceleration)}",
        f"Because: {entry.sentence}",
        f"Cause {entry.cause}" + (f", object or map id {entry.subject_id}" if entry.subject_id else "")
        + f", in force since {first.t:.1f} s"
        + (f", then {first.distance:.0f} m ahead, now {entry.distance:.0f} m." if entry.subject_id else "."),
        f"System mode {out['mode'] or 'unknown'}, trip {out['trip'] or 'unknown'}.",
    ]  # fmt: skip
    return out


def _doing(speed: float | None, acceleration: float | None) -> str:
    if speed is None or acceleration is None:
        return "the motion is not in the bag."
    if abs(speed) < STANDING:
        return "the car stood."
    verb = "braked" if acceleration < -BRAKING else "sped up" if acceleration > BRAKING else "drove on"
    return f"the car {verb} at {speed * KMH:.0f} km/h ({acceleration:+.1f} m/s^2)."
