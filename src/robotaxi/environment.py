"""The environment that every process of a stack needs, domain reservations and shared-memory clean-up."""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
import tempfile
from pathlib import Path

from robotaxi.resources import config_dir

_SHARED_MEMORY = Path("/dev/shm")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT_FREE_BYTES, _KEPT_BLOCK_BYTES = 256 << 20, 32 << 20
_DOMAINS = range(1, 100)  # above 101 the UDP ports of ROS 2 leave Linux' non-ephemeral range


class AlreadyRunning(RuntimeError):
    """Another stack holds this domain and namespace."""


def stack_environment(domain_id: int) -> dict[str, str]:
    """Environment for a stack's processes, built on this process's own."""
    environment = dict(os.environ)
    environment.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    environment.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(config_dir() / "dds" / "fastdds.xml"))
    environment["ROS_DOMAIN_ID"] = str(domain_id)
    environment["PYTHONUNBUFFERED"] = "1"
    # sums that do not depend on a thread count, and no threads that fight over two cores
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        environment[name] = "1"
    return environment


def keep_memory() -> None:
    """Let malloc keep what this process frees: sweeps and images come and go by the megabyte.

    Memory given back and asked for again is faulted in page by page, which costs more than the work on
    it where page faults are dear (sandboxes, virtual machines). Without glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE_BYTES)


class DomainReservation:
    """A ROS domain (and namespace) held by an flock: it is free again when its holder dies, however it dies."""

    def __init__(self, domain_id: int, namespace: str = "") -> None:
        folder = Path(tempfile.gettempdir()) / f"robotaxi-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        tag = namespace.strip("/").replace("/", ".") or "root"
        self.path = folder / f"domain-{domain_id}-{tag}.lock"
        self.domain_id = domain_id
        self._file = open(self.path, "a+")  # noqa: SIM115 (held for the life of the stack)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise AlreadyRunning(
                f"a stack is already running in ROS domain {domain_id}"
                f"{f' under namespace {namespace}' if namespace else ''} (process {holder}). "
                "Stop it, or set another ROS_DOMAIN_ID or namespace."
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        self._file.close()  # the file stays: who has just opened it would hold a lock that the next one does not see


def reserve_domain(namespace: str = "") -> DomainReservation:
    """The domain that ROS_DOMAIN_ID names, or the first free one. AlreadyRunning when none is."""
    wanted = os.environ.get("ROS_DOMAIN_ID", "")
    if wanted:
        if not wanted.isdigit() or int(wanted) > 232:
            raise AlreadyRunning(f"ROS_DOMAIN_ID is '{wanted}', expected an integer from 0 to 232")
        return DomainReservation(int(wanted), namespace)
    for domain_id in _DOMAINS:
        try:
            return DomainReservation(domain_id, namespace)
        except AlreadyRunning:
            continue
    raise AlreadyRunning(f"ROS domains {_DOMAINS[0]} to {_DOMAINS[-1]} are all in use on this machine")


def remove_dead_shared_memory() -> int:
    """Remove Fast DDS shared-memory files whose owners are gone; returns how many.

    A living owner holds an flock on the file ending in ``_el``; a file that can be locked is left over.
    """
    removed = 0
    for lock_path in sorted(_SHARED_MEMORY.glob("fastrtps_*_el")) + sorted(_SHARED_MEMORY.glob("fastdds_*_el")):
        try:
            with open(lock_path) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                name = lock_path.name.removesuffix("_el")
                for path in (_SHARED_MEMORY / name, _SHARED_MEMORY / f"sem.{name}_mutex", lock_path):
                    path.unlink(missing_ok=True)
                removed += 1
        except OSError:  # in use, or of another user
            continue
    return removed
