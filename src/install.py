"""Makes `.venv` with the pinned dependencies. Run by the Makefile; needs nothing but Python itself.

It lies beside the package, not in it: a script's folder comes first on the path, and `robotaxi.types` would hide the
standard library's.

A second call returns at once, and offline, when nothing that decides the installation has changed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
DECIDES = ("setup.py", "setup.cfg", "constraints.txt")
NEEDED_GB = 2.5
VERSIONS = ((3, 10), (3, 13))  # from, below


class Missing(Exception):
    """Something the machine lacks, with the cure."""


def check_machine() -> None:
    """Raise Missing with what is missing and how to get it."""
    found = ".".join(map(str, sys.version_info[:3]))
    if not VERSIONS[0] <= sys.version_info[:2] < VERSIONS[1]:
        raise Missing(
            f"Python 3.10, 3.11 or 3.12 is needed, {sys.executable} is {found}. "
            "Install one, then: make ride PYTHON=/path/to/python3.11"
        )
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise Missing(f"Linux on x86-64 is needed, this is {sys.platform} on {os.uname().machine}.")
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        raise Missing(
            f"Python's venv module is not complete. On Debian or Ubuntu: apt install python3.{sys.version_info[1]}-venv"
        ) from None
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if not VENV.exists() and free_gb < NEEDED_GB:
        raise Missing(f"{NEEDED_GB} GB of disk are needed for .venv, {ROOT} has {free_gb:.1f} GB free.")


def stamp(extra: str) -> str:
    """What an installation was made from, as a hash."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}{extra}".encode())
    for name in DECIDES:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def pip(*words: str) -> None:
    command = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *words]
    log = ROOT / ".venv" / "install.log"
    with open(log, "a") as output:
        if subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT).returncode == 0:
            return
    last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-4:]
    raise Missing("pip could not install the dependencies (is the network there?):\n  " + "\n  ".join(last))


def install(extra: str) -> None:
    """Create or update `.venv` with the package in editable form, then compile what is compiled at first use."""
    mark = VENV / f".robotaxi-{extra or 'ride'}"
    if mark.exists() and mark.read_text() == stamp(extra):
        return
    begun = time.monotonic()
    fresh = not (VENV / "bin" / "python").exists()
    print(f"robotaxi: installing into {VENV.name} (once, a few minutes) ...", flush=True)
    if fresh:
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip("install", "setuptools>=68,<80", "wheel")
    target = f".[all,{extra}]" if extra else ".[all]"
    pip("install", "--no-build-isolation", "-c", "constraints.txt", "-e", target)
    print("robotaxi: compiling hot loops ...", flush=True)
    subprocess.run([str(VENV / "bin" / "robotaxi"), "warmup"], check=True)
    mark.write_text(stamp(extra))
    print(f"robotaxi: ready after {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        check_machine()
        install(sys.argv[1] if len(sys.argv) > 1 else "")
    except Missing as problem:
        sys.exit(f"robotaxi: {problem}")
    except KeyboardInterrupt:
        sys.exit("robotaxi: installation interrupted; call again to go on")
