"""SQLite or PostgreSQL behind one small face: the common part of their SQL, ``?`` for values, rows as dicts."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
STREAMED = 1000  # rows at a time


class DatabaseError(RuntimeError):
    """The database cannot be used; the message names it."""


class Database:
    """``url``: a file name, ":memory:", or ``postgresql://...`` (schema ``schema``). Thread-safe by `lock`."""

    def __init__(self, url: str | Path, schema: Sequence[str], name: str = "public") -> None:
        self.lock = threading.RLock()
        self._depth = 0
        self._postgres = str(url).startswith(("postgresql://", "postgres://"))
        try:
            self._db: Any = self._open_postgres(str(url), name) if self._postgres else self._open_sqlite(str(url))
            with self.transaction():
                for statement in schema:
                    self.execute(statement)
        except Exception as error:  # of either library
            if not isinstance(error, (OSError, sqlite3.Error, *self._errors())):
                raise
            raise DatabaseError(f"order book {_without_password(str(url))} cannot be used: {error}") from error

    def _open_sqlite(self, path: str) -> sqlite3.Connection:
        if path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, check_same_thread=False, timeout=5.0, isolation_level=None)
        db.row_factory = lambda cursor, row: {
            column[0]: value for column, value in zip(cursor.description, row, strict=True)
        }
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # a receipt is a promise: what it is for must be on the disk
        return db

    def _open_postgres(self, url: str, name: str) -> Any:
        try:
            import psycopg
            from psycopg.rows import dict_row
        except ImportError as error:
            raise DatabaseError("PostgreSQL needs psycopg: pip install robotaxi[postgres]") from error
        db = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        db.execute(f'CREATE SCHEMA IF NOT EXISTS "{name}"')  # type: ignore[arg-type]
        db.execute(f'SET search_path TO "{name}"')  # type: ignore[arg-type]
        return db

    def _errors(self) -> tuple[type[Exception], ...]:
        if not self._postgres:
            return (sqlite3.Error,)
        import psycopg

        return (psycopg.Error,)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing; inner ones belong to the outermost."""
        with self.lock:
            outermost = self._depth == 0
            self._depth += 1
            try:
                if outermost:
                    self._db.execute("BEGIN")
                yield
                if outermost:
                    self._db.execute("COMMIT")
            except BaseException:
                if outermost:
                    with contextlib.suppress(Exception):
                        self._db.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def execute(self, statement: str, *values: Any) -> int:
        """How many rows it changed."""
        with self.lock:
            return int(self._db.execute(self._sql(statement), values).rowcount)

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with self.lock:
            if self._postgres:
                with self._db.cursor() as cursor:
                    cursor.executemany(self._sql(statement), rows)
            elif rows:
                self._db.executemany(statement, rows)

    def rows(self, query: str, *values: Any) -> list[Row]:
        with self.lock:
            return list(self._db.execute(self._sql(query), values).fetchall())

    def stream(self, query: str, *values: Any) -> Iterator[Row]:
        """Row by row, for what may not fit into memory; nobody else writes meanwhile."""
        cursor = self._db.execute(self._sql(query), values)
        while rows := cursor.fetchmany(STREAMED):
            yield from rows

    def row(self, query: str, *values: Any) -> Row | None:
        with self.lock:
            found = self._db.execute(self._sql(query), values).fetchone()
            return dict(found) if found else None

    def _sql(self, statement: str) -> str:
        return statement.replace("?", "%s") if self._postgres else statement

    def close(self) -> None:
        with self.lock:
            self._db.close()


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    if not at or "//" not in head:
        return url
    scheme, _, user = head.partition("//")
    return f"{scheme}//{user.split(':')[0]}@{tail}"
