"""Parameters declared once: a frozen dataclass whose fields carry range, unit and meaning.

    @dataclass(frozen=True)
    class ClusterConfig:
        tolerance: float = param(0.4, lo=0.05, hi=5.0, unit="m", doc="gap that splits two clusters")

The same dataclass is what the core takes, what the node declares as ROS parameters, and what
checks ``config/stack/*.param.yaml``. Errors name file, key, value and allowed range.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

T = TypeVar("T")
_SCALARS = {"float": float, "int": int, "bool": bool, "str": str}


class ParameterError(ValueError):
    """A parameter file, key, type or range that cannot be used."""


def param(
    default: Any,
    *,
    lo: float | None = None,
    hi: float | None = None,
    unit: str = "",
    doc: str = "",
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """Dataclass field with its allowed range (inclusive), unit and one-line meaning."""
    meta = {"lo": lo, "hi": hi, "unit": unit, "doc": doc, "choices": choices}
    return dataclasses.field(default=default, metadata=meta)


def build(config_type: type[T], values: Mapping[str, Any], source: str = "parameters") -> T:
    """Make a config from plain values, checking every name, type and range.

    Raises ParameterError naming ``source``, the key, the value and what is allowed.
    """
    hints = get_type_hints(config_type)
    fields = {f.name: f for f in dataclasses.fields(config_type)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        known = ", ".join(sorted(fields))
        raise ParameterError(f"{source}: unknown parameter '{unknown[0]}'; known are: {known}")
    checked = {name: check(fields[name], hints[name], value, source) for name, value in values.items()}
    return config_type(**checked)


def check(spec: dataclasses.Field[Any], hint: Any, value: Any, source: str) -> Any:
    """Return ``value`` as the field's type or raise ParameterError."""
    expected = hint if isinstance(hint, type) else _SCALARS.get(str(hint))
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if expected in (float, int, bool, str) and type(value) is not expected:
        raise ParameterError(
            f"{source}: parameter '{spec.name}' is {value!r} ({type(value).__name__}), "
            f"expected {expected.__name__}{_range_text(spec)}"
        )
    lo, hi = spec.metadata.get("lo"), spec.metadata.get("hi")
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterError(f"{source}: parameter '{spec.name}' is {value}, expected a finite number")
    if (lo is not None and value < lo) or (hi is not None and value > hi):
        raise ParameterError(f"{source}: parameter '{spec.name}' is {value}, allowed is{_range_text(spec)}")
    choices = spec.metadata.get("choices")
    if choices and value not in choices:
        raise ParameterError(
            f"{source}: parameter '{spec.name}' is {value!r}, allowed is one of {', '.join(map(str, choices))}"
        )
    return value


def _range_text(spec: dataclasses.Field[Any]) -> str:
    lo, hi, unit = (spec.metadata.get(k) for k in ("lo", "hi", "unit"))
    if lo is None and hi is None:
        return ""
    low = "-inf" if lo is None else f"{lo:g}"
    high = "inf" if hi is None else f"{hi:g}"
    return f" {low} to {high}{' ' + unit if unit else ''}"


def load_yaml(path: str | Path) -> Any:
    """Read a YAML file; ParameterError names the file and the line when it cannot be read."""
    path = Path(path)
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ParameterError(f"{path}: cannot be read: {reason}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", "not YAML")
        raise ParameterError(f"{path}:{where} is not valid YAML: {problem}") from error


def with_line(path: Path, message: str) -> str:
    """``message`` with the line of the field that it is about, where it begins with the file's name and leads there:
    'a.yaml[3] (name): actors[0]: speed is ...' becomes 'a.yaml line 41 [3] (name): ...'."""
    if not message.startswith(path.name):
        return message
    rest = message[len(path.name) :]
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return message
    row = re.match(r"\[(\d+)\]", rest)
    node = _item(node, int(row[1]) if row else 0)
    line = node.start_mark.line if node is not None else 0
    for word, number in re.findall(r"(\w+)(?:\[(\d+)\])?", re.sub(r"^(\[\d+\])?( \(.*?\))?", "", rest)):
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((key, value) for key, value in node.value if key.value == word), None)
        if found is None:
            continue
        line, node = found[0].start_mark.line, found[1]
        if number and isinstance(node, yaml.SequenceNode):
            node = _item(node, int(number))
            line = node.start_mark.line
    return f"{path.name} line {line + 1}{'' if rest.startswith(':') else ' '}{rest}"


def _item(node: Any, number: int) -> Any:
    """One of a list of nodes; what is no list stands for itself."""
    return node.value[number] if isinstance(node, yaml.SequenceNode) and number < len(node.value) else node


def load_config(config_type: type[T], path: str | Path) -> T:
    """Read a plain ``key: value`` YAML file (vehicle, sensors) into a config dataclass."""
    values = load_yaml(path)
    if not isinstance(values, Mapping):
        raise ParameterError(f"{path}: expected 'key: value' lines, found {type(values).__name__}")
    return build(config_type, values, str(path))
