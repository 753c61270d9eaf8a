"""An XML file read safely: every complaint names the file, the line, the element and the reason."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from math import isfinite
from pathlib import Path
from xml.parsers import expat

from robotaxi.hdmap.lane_map import MapError

_LARGEST = 1e8  # of any number, also of northings in UTM


class XmlSource:
    """A parsed file. Line numbers are looked up only when something is wrong, so reading stays fast."""

    def __init__(self, path: str | Path, root_tag: str) -> None:
        self.path = Path(path)
        try:
            self.data = self.path.read_bytes()
        except OSError as error:
            raise MapError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        self.checksum = hashlib.sha256(self.data).hexdigest()
        try:
            self.root = ET.fromstring(self.data)
        except ET.ParseError as error:
            raise MapError(f"{self.path}: line {error.position[0]}: not well-formed XML: {error}") from error
        if self.root.tag != root_tag:
            raise MapError(f"{self.path}: the root element is <{self.root.tag}>, expected <{root_tag}>")

    def error(self, element: ET.Element, reason: str) -> MapError:
        """A MapError to raise about ``element``."""
        named = "".join(f' {key}="{element.get(key)}"' for key in ("id", "s", "k", "ref") if element.get(key))
        return MapError(f"{self.path}: line {self._line(element)}: <{element.tag}{named}>: {reason}")

    def text(self, element: ET.Element, key: str) -> str:
        """A required attribute."""
        value = element.get(key)
        if value is None:
            raise self.error(element, f"has no attribute '{key}'")
        return value

    def number(self, element: ET.Element, key: str, default: float | None = None) -> float:
        """A finite number; ``default`` where the attribute is missing, an error when there is none."""
        value = element.get(key)
        if value is None:
            if default is not None:
                return default
            raise self.error(element, f"has no attribute '{key}'")
        try:
            number = float(value)
        except ValueError:
            raise self.error(element, f"attribute {key}='{value}' is not a number") from None
        if not isfinite(number):
            raise self.error(element, f"attribute {key}='{value}' is not finite")
        if abs(number) > _LARGEST:
            raise self.error(element, f"attribute {key}='{value}' is larger than anything on a road")
        return number

    def integer(self, element: ET.Element, key: str) -> int:
        try:
            return int(element.attrib[key])
        except KeyError:
            raise self.error(element, f"has no attribute '{key}'") from None
        except ValueError:
            raise self.error(element, f"attribute {key}='{element.get(key)}' is not a whole number") from None

    def child(self, element: ET.Element, tag: str) -> ET.Element:
        """A required child element."""
        found = element.find(tag)
        if found is None:
            raise self.error(element, f"has no <{tag}>")
        return found

    def _line(self, element: ET.Element) -> int:
        position = next((k for k, e in enumerate(self.root.iter()) if e is element), 0)
        seen, line = -1, 0
        parser = expat.ParserCreate()

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal seen, line
            seen += 1
            if seen == position:
                line = parser.CurrentLineNumber

        parser.StartElementHandler = start
        parser.Parse(self.data, True)
        return line
