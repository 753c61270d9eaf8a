"""Network namespaces: a car that has a network of its own, which can be taken from it.

Each holds nothing but a loopback. The proxy's door for the car listens inside, the rest of the proxy outside, so that
all that a car sends goes through one link; with the link down its packets are lost without a word, as in a tunnel.
Needs Linux and the right to make namespaces (root, or CAP_SYS_ADMIN); nothing of the machine's own network is touched.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading

CLONE_NEWNET = 0x40000000  # linux/sched.h
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1  # linux/sockios.h, linux/if.h


class Namespace:
    """``path``: what a process enters it by, as long as this one lives. ``door``: listens inside, not bound to a use.

    OSError where the machine does not allow it.
    """

    def __init__(self) -> None:
        failed: list[OSError] = []
        thread = threading.Thread(target=self._make, args=(failed,), name="namespace")
        thread.start()  # a namespace belongs to a thread: this one ends, what it has opened stays
        thread.join()
        if failed:
            raise failed[0]

    def _make(self, failed: list[OSError]) -> None:
        try:
            _call("unshare", CLONE_NEWNET)
            self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.link(True)
            self.door = socket.create_server(("127.0.0.1", 0))
        except OSError as error:
            failed.append(error)

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def link(self, up: bool) -> None:
        """Up: packets pass. Down: they are lost, connections stall, new ones find no network."""
        name = b"lo".ljust(16, b"\0")
        (flags,) = struct.unpack_from("h", fcntl.ioctl(self._control, SIOCGIFFLAGS, name + bytes(24)), 16)
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(self._control, SIOCSIFFLAGS, name + struct.pack("h", flags) + bytes(22))

    def close(self) -> None:
        self.door.close()
        self._control.close()
        os.close(self._fd)


def enter(path: str) -> None:
    """Put the calling thread, and those that it starts, into the namespace at ``path``."""
    fd = os.open(path, os.O_RDONLY)
    try:
        _call("setns", fd, CLONE_NEWNET)
    finally:
        os.close(fd)


def make(names: list[str]) -> dict[str, Namespace]:
    """One for each name, or none at all where the machine does not allow it."""
    made: dict[str, Namespace] = {}
    try:
        for name in names:
            made[name] = Namespace()
    except OSError:
        for namespace in made.values():
            namespace.close()
        return {}
    return made


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
