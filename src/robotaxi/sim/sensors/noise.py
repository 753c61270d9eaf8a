"""Named, seeded noise that is a pure function of (seed, name, stamp)."""

from __future__ import annotations

import zlib

import numpy as np

from robotaxi.types import FloatArray

_FEATURES = 48  # cosines per axis: enough that one realisation is close to normally distributed
_NS = 1e-9


def generator(seed: int, name: str, stamp_ns: int | None = None) -> np.random.Generator:
    """The generator of sensor ``name``; with ``stamp_ns`` the one of that single measurement."""
    key = [seed & (2**64 - 1), zlib.crc32(name.encode())]
    if stamp_ns is not None:
        key.append(stamp_ns & (2**64 - 1))
    return np.random.default_rng(key)


class CorrelatedNoise:
    """Gauss-Markov noise of ``size`` independent axes that can be evaluated at any time.

    Drawn in the frequency domain (random Fourier features, Rahimi and Recht 2007): cosines whose
    angular frequencies follow the Cauchy distribution of scale 1/tau have the autocorrelation
    ``sigma^2 exp(-|dt| / tau)`` of a first-order Gauss-Markov process. So no state is carried.
    """

    def __init__(self, seed: int, name: str, sigma: float, tau: float, size: int) -> None:
        rng = generator(seed, name)
        self._omega = rng.standard_cauchy((size, _FEATURES)) / tau
        self._phase = rng.uniform(0.0, 2.0 * np.pi, (size, _FEATURES))
        self._amplitude = sigma * np.sqrt(2.0 / _FEATURES)

    def at(self, stamp_ns: int) -> FloatArray:
        """Value (size,) at ``stamp_ns``, in the unit of ``sigma``."""
        return self._amplitude * np.cos(self._omega * (stamp_ns * _NS) + self._phase).sum(axis=1)
