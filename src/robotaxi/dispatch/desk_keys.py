"""What keeps operators apart on one desk: a secret key, a book and a schema for each."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from robotaxi.dispatch.pki import PkiError, TestPki

KEY = re.compile(r"[A-Za-z0-9_-]{20,128}")


def desk_key(pki: TestPki) -> str:
    """The operator's key to the desk, from ``desk.key`` beside its certificates; made where it is missing.

    Raises PkiError for a file that cannot be used.
    """
    path = pki.folder / "desk.key"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
    except FileExistsError:
        pass
    except OSError as error:
        raise PkiError(f"{path}: {error.strerror or error}") from error
    key = path.read_text(encoding="utf-8").strip()
    if not KEY.fullmatch(key):
        raise PkiError(f"{path}: use 20 to 128 letters, digits, '-' or '_'; or delete it for a new one")
    return key


def book_of(book: str, operator: str, first: str) -> str:
    """Where an operator's orders are: the first one's in ``book`` itself, the others' beside it."""
    if operator == first or book.startswith(("postgresql://", "postgres://")):
        return book
    path = Path(book)
    return str(path.with_name(f"{path.stem}-{operator}{path.suffix}"))


def schema_of(operator: str, first: str) -> str:
    """The schema of a PostgreSQL database that holds an operator's orders."""
    return "public" if operator == first else f"operator_{operator}"
