"""Tables as files: CSV, Parquet, GeoJSON. Row by row, so that months of history need no memory."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from robotaxi.dispatch.database import Row
from robotaxi.dispatch.datum import as_wgs84
from robotaxi.dispatch.messages import GCJ02, WGS84, Datum, Position
from robotaxi.params import ParameterError

BATCH = 10_000  # rows in one row group of a Parquet file

Writer = Callable[[Path, Mapping[str, type], Iterator[Row]], int]
"""(file, columns with their types, rows) -> how many rows."""


def write_csv(path: Path, columns: Mapping[str, type], rows: Iterator[Row]) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            count += 1
    return count


def write_parquet(path: Path, columns: Mapping[str, type], rows: Iterator[Row]) -> int:
    pyarrow, parquet = arrow()
    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        while batch := list(itertools.islice(rows, BATCH)):
            plain = [{name: _as(row.get(name), kind) for name, kind in columns.items()} for row in batch]
            writer.write_table(pyarrow.Table.from_pylist(plain, schema=schema))
            count += len(batch)
    return count


def write_geojson(path: Path, columns: Mapping[str, type], rows: Iterator[Row]) -> int:
    """Points; trips are lines from pick-up to drop-off. Geometries are WGS 84 (RFC 7946), properties as sent."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for row in rows:
            geometry: dict[str, Any] | None = None
            if row.get("lat") is not None:
                geometry = {"type": "Point", "coordinates": _lon_lat(row, "")}
                if row.get("dropoff_lat") is not None:
                    ends = [_lon_lat(row, ""), _lon_lat(row, "dropoff_")]
                    geometry = {"type": "LineString", "coordinates": ends}
            feature = {"type": "Feature", "geometry": geometry, "properties": row}
            file.write(("," if count else "") + "\n" + json.dumps(feature))
            count += 1
        file.write("\n]}\n")
    return count


def _lon_lat(row: Row, prefix: str) -> list[float]:
    datum: Datum = GCJ02 if row.get("datum") == GCJ02 else WGS84
    position = as_wgs84(Position(datum=datum, lat=row[f"{prefix}lat"], lon=row[f"{prefix}lon"]))
    return [position.lon, position.lat]


def _as(value: Any, kind: type) -> Any:
    return None if value is None else kind(value)


def arrow() -> tuple[Any, Any]:
    """(pyarrow, its parquet module); ParameterError says what to install."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ParameterError("Parquet needs pyarrow: pip install robotaxi[mine]") from error
    return pyarrow, pyarrow.parquet


WRITERS: dict[str, Writer] = {"csv": write_csv, "parquet": write_parquet, "geojson": write_geojson}
