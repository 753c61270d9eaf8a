"""An OpenSCENARIO file with its parameters put in; every complaint names file, line, element and cure."""

from __future__ import annotations

import ast
import math
import operator
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path

from robotaxi.hdmap.lane_map import MapError
from robotaxi.hdmap.xml_source import XmlSource

TRUE, FALSE = ("true", "1"), ("false", "0")
_NAME = re.compile(r"\$([A-Za-z_][\w.:]*)")
_OPERATORS: dict[type, Callable[..., float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: operator.mod, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min, "max": max, "abs": abs, "sqrt": math.sqrt, "pow": math.pow, "round": round, "floor": math.floor,
    "ceil": math.ceil, "sin": math.sin, "cos": math.cos, "tan": math.tan, "sign": lambda v: math.copysign(1.0, v),
}  # fmt: skip


class Document:
    """One file and what its ``$parameters`` are."""

    def __init__(self, path: Path, parameters: Mapping[str, str] | None = None) -> None:
        self.source = XmlSource(path, "OpenSCENARIO")
        self.parameters = dict(parameters or {})
        self.root = self.source.root

    def error(self, element: ET.Element, reason: str) -> MapError:
        """A MapError to raise about ``element``, which is named by its ``name`` too."""
        name = element.get("name") or element.get("entityRef")
        return self.source.error(element, f"'{name}': {reason}" if name else reason)

    def declare(self, element: ET.Element) -> None:
        """Take the ``ParameterDeclarations`` below ``element``; what is declared already keeps its value."""
        for item in element.findall("ParameterDeclarations/ParameterDeclaration"):
            name = self.source.text(item, "name").lstrip("$")
            if name not in self.parameters:
                self.parameters[name] = self.text(item, "value")

    def text(self, element: ET.Element, key: str, default: str | None = None) -> str:
        """An attribute; an error where it is missing and there is no default."""
        raw = element.get(key)
        if raw is None:
            if default is not None:
                return default
            raise self.error(element, f"has no attribute '{key}'")
        if raw.startswith("${") and raw.endswith("}"):
            return self._calculated(element, key, raw[2:-1])
        if raw.startswith("$"):
            return self._parameter(element, key, raw[1:])
        return raw

    def number(self, element: ET.Element, key: str, default: float | None = None) -> float:
        if element.get(key) is None and default is not None:
            return default
        value = self.text(element, key)
        try:
            number = float(value)
        except ValueError:
            raise self.error(element, f"attribute {key}='{value}' is not a number") from None
        if math.isnan(number):
            raise self.error(element, f"attribute {key}='{value}' is not a number")
        return number

    def flag(self, element: ET.Element, key: str, default: bool = False) -> bool:
        value = self.text(element, key, "true" if default else "false").lower()
        if value not in TRUE + FALSE:
            raise self.error(element, f"attribute {key}='{value}' is neither true nor false")
        return value in TRUE

    def choice(self, element: ET.Element, key: str, known: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(element, key, default)
        if value not in known:
            raise self.error(element, f"attribute {key}='{value}' is not read; known are {', '.join(known)}")
        return value

    def child(self, element: ET.Element, tag: str) -> ET.Element:
        found = element.find(tag)
        if found is None:
            raise self.error(element, f"has no <{tag}>")
        return found

    def only_child(self, element: ET.Element) -> ET.Element:
        """The one element below, whatever it is."""
        if len(element) == 0:
            raise self.error(element, "is empty")
        return element[0]

    def unknown(self, element: ET.Element, known: tuple[str, ...]) -> MapError:
        """That ``element`` is of a kind that is not read."""
        return self.error(element, f"is not read; use {', '.join(known)} or take it out")

    def _parameter(self, element: ET.Element, key: str, name: str) -> str:
        if name not in self.parameters:
            known = ", ".join(sorted(self.parameters)) or "none"
            raise self.error(element, f"attribute {key}: parameter '${name}' is not declared; declared are: {known}")
        return self.parameters[name]

    def _calculated(self, element: ET.Element, key: str, expression: str) -> str:
        text = _NAME.sub(lambda found: f"({self._parameter(element, key, found.group(1))})", expression)
        try:
            return repr(float(_value(ast.parse(text.strip(), mode="eval").body)))
        except (SyntaxError, ValueError, ArithmeticError, TypeError) as error:
            raise self.error(element, f"attribute {key}: cannot work out '{expression}': {error}") from None


def _value(node: ast.expr) -> float:
    """The value of arithmetic; ValueError for everything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        return float(_FUNCTIONS[node.func.id](*(_value(item) for item in node.args)))
    raise ValueError(f"only numbers, + - * / % and {', '.join(_FUNCTIONS)} are known")
