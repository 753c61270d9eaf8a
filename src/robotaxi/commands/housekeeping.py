"""`robotaxi warmup` and `robotaxi clean`: compile caches after installation, leftovers of killed runs."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from robotaxi.environment import remove_dead_shared_memory


def register(subparsers: Any) -> None:
    warmup = subparsers.add_parser(
        "warmup",
        help="compile the hot loops, so that the first ride does not wait for it",
        description="Runs each module once on made-up data so that numba's caches are filled. Called by `make ride`.",
    )
    warmup.set_defaults(run=run_warmup)
    parameters = subparsers.add_parser(
        "params",
        help="check parameter files, or write the defaults with their ranges",
        description="Checks *.param.yaml files against every node's declared parameters.",
        epilog="examples:\n  robotaxi params my.param.yaml\n  robotaxi params --write config/stack",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parameters.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: config/stack/*.param.yaml")
    parameters.add_argument("--write", type=Path, metavar="FOLDER", help="write one file a domain with the defaults")
    parameters.set_defaults(run=run_params)
    clean = subparsers.add_parser(
        "clean",
        help="remove shared memory that killed processes left behind",
        description="Removes Fast DDS shared-memory files in /dev/shm that no living process owns.",
    )
    clean.set_defaults(run=run_clean)


def run_warmup(args: argparse.Namespace) -> int:
    from robotaxi.warmup import STAGES

    begun = time.monotonic()
    for name, stage in STAGES.items():
        print(f"  {name} ...", flush=True)
        stage()
    print(f"robotaxi: {len(STAGES)} modules compiled in {time.monotonic() - begun:.1f} s")
    return 0


def run_params(args: argparse.Namespace) -> int:
    from robotaxi.parameter_files import CONFIGS, check_file, domain_text
    from robotaxi.params import ParameterError
    from robotaxi.stack import StackArguments, parameter_files

    if args.write:
        for domain in CONFIGS:
            (args.write / f"{domain}.param.yaml").write_text(domain_text(domain), encoding="utf-8")
        print(f"robotaxi: {len(CONFIGS)} files written to {args.write}")
        return 0
    files = args.files or parameter_files(StackArguments())
    try:
        for file in files:
            check_file(file)
    except ParameterError as error:
        print(f"robotaxi params: {error}", file=sys.stderr)
        return 2
    print(f"robotaxi: {len(files)} parameter files are in order")
    return 0


def run_clean(args: argparse.Namespace) -> int:
    removed = remove_dead_shared_memory()
    print(f"robotaxi: {removed} leftover shared-memory segments removed")
    return 0
