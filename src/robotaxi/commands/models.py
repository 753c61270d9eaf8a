"""`robotaxi models list|pull|verify`: the learned models, their licences and checksums."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

_EXIT_UNUSABLE = 2


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "models",
        help="learned models: list, fetch, check",
        epilog="examples:\n  robotaxi models list\n  robotaxi models pull yolox_nano --from ~/Downloads\n"
        "  robotaxi models verify",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="models_command", required=True, metavar="COMMAND")
    lister = commands.add_parser("list", help="every model of the manifest, and where its file is")
    lister.set_defaults(run=run_list)
    puller = commands.add_parser("pull", help="fetch a model that is not shipped")
    puller.add_argument("name", help="as in the list")
    puller.add_argument("--from", dest="source", type=Path, metavar="FILE", help="a local file or folder instead")
    puller.set_defaults(run=run_pull)
    checker = commands.add_parser("verify", help="compare every file that is here with its checksum")
    checker.set_defaults(run=run_verify)


def run_list(args: argparse.Namespace) -> int:
    from robotaxi.model_store import ModelError, find, read_manifest

    try:
        manifest = read_manifest()
    except ModelError as error:
        return _fail(error)
    for name, item in manifest.items():
        try:
            place = str(find(item))
        except ModelError as error:
            place = str(error)
        print(f"{name}: {item.task}\n  licence: {item.licence}\n  input: {item.input}\n  file: {place}")
    print(f"models list: {len(manifest)} models")
    return 0


def run_pull(args: argparse.Namespace) -> int:
    from robotaxi.model_store import ModelError, entry, pull

    try:
        item = entry(args.name)
        path = pull(item, args.source)
    except ModelError as error:
        return _fail(error)
    print(f"models pull: {item.name}, {item.licence}, checksum right -> {path}")
    return 0


def run_verify(args: argparse.Namespace) -> int:
    from robotaxi.model_store import ModelError, cache_dir, models_dir, read_manifest, verify

    try:
        manifest = read_manifest()
    except ModelError as error:
        return _fail(error)
    good = wrong = absent = 0
    for name, item in manifest.items():
        here = [folder / item.file for folder in (models_dir(), cache_dir()) if (folder / item.file).is_file()]
        if not here:
            absent += 1
            wrong += item.shipped
            print(f"{name}: {'missing, though it ships' if item.shipped else 'not pulled'}")
        for path in here:
            try:
                verify(item, path)
                good += 1
                print(f"{name}: right ({path})")
            except ModelError as error:
                wrong += 1
                print(f"{name}: {error}")
    print(f"models verify: {good} right, {wrong} wrong, {absent} absent")
    return 1 if wrong else 0


def _fail(error: Exception) -> int:
    print(f"robotaxi: {error}", file=sys.stderr)
    return _EXIT_UNUSABLE
