"""Entities of OpenSCENARIO: what they are and how large, given in place or by a catalog."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from robotaxi.evaluation.scenarios.openscenario.document import Document
from robotaxi.hdmap.lane_map import MapError
from robotaxi.sim.events.actors import KINDS

EGO_NAMES = ("ego", "hero", "ego_vehicle", "egovehicle")
VEHICLES = {
    "car": "car", "van": "van", "truck": "truck", "trailer": "truck", "semitrailer": "truck", "bus": "bus",
    "motorbike": "motorcycle", "bicycle": "bicycle", "train": "bus", "tram": "bus",
}  # fmt: skip
OBJECTS = {"trafficCone": "cone", "barrier": "barrier"}
CATALOGS = {"VehicleCatalog": "Vehicle", "PedestrianCatalog": "Pedestrian", "MiscObjectCatalog": "MiscObject"}


@dataclass(frozen=True)
class Entity:
    """``kind``: of `KINDS`; ``ahead``: m from the reference point to the middle of its box."""

    name: str
    kind: str
    length: float
    width: float
    height: float
    ahead: float
    element: ET.Element


def read_entities(document: Document) -> dict[str, Entity]:
    """By name, in the file's order. Raises MapError."""
    out: dict[str, Entity] = {}
    top = document.child(document.root, "Entities")
    for item in top.findall("ScenarioObject"):
        name = document.text(item, "name")
        if name in out:
            raise document.error(item, "this name is used twice")
        out[name] = _entity(document, item, name)
    if not out:
        raise document.error(top, "has no <ScenarioObject>")
    return out


def find_ego(document: Document, entities: dict[str, Entity]) -> str:
    """The entity that robotaxi drives: called ego or hero, else the first car."""
    for name in entities:
        if name.lower() in EGO_NAMES:
            return name
    for name, entity in entities.items():
        if entity.kind == "car":
            return name
    raise document.error(
        document.child(document.root, "Entities"), "has no vehicle that the ego could be; call one 'Ego'"
    )


def _entity(document: Document, item: ET.Element, name: str) -> Entity:
    reference = item.find("CatalogReference")
    if reference is not None:
        document, element = _from_catalog(document, reference)
    else:
        found = [child for child in item if child.tag in CATALOGS.values()]
        if not found:
            raise document.error(item, "needs a <Vehicle>, <Pedestrian>, <MiscObject> or <CatalogReference>")
        element = found[0]
    kind = _kind(document, element)
    _, length, width, height = KINDS[kind]
    ahead = 0.0
    box = element.find("BoundingBox")
    if box is not None:
        size = document.child(box, "Dimensions")
        length, width = document.number(size, "length"), document.number(size, "width")
        height = document.number(size, "height")
        if min(length, width, height) <= 0.0:
            raise document.error(size, "length, width and height must be above 0")
        centre = box.find("Center")
        ahead = document.number(centre, "x", 0.0) if centre is not None else 0.0
    return Entity(name, kind, length, width, height, ahead, item)


def _kind(document: Document, element: ET.Element) -> str:
    if element.tag == "Pedestrian":
        return "pedestrian"
    if element.tag == "MiscObject":
        return OBJECTS.get(document.text(element, "miscObjectCategory", "none"), "box")
    return VEHICLES[document.choice(element, "vehicleCategory", tuple(VEHICLES), "car")]


def _from_catalog(document: Document, reference: ET.Element) -> tuple[Document, ET.Element]:
    """The entry that ``reference`` names, and the file that it is in, with its parameters put in."""
    catalog, entry = document.text(reference, "catalogName"), document.text(reference, "entryName")
    given = {
        document.text(item, "parameterRef").lstrip("$"): document.text(item, "value")
        for item in reference.findall("ParameterAssignments/ParameterAssignment")
    }
    for file in _catalog_files(document, reference):
        other = Document(file, given)
        top = other.root.find("Catalog")
        if top is None or top.get("name") != catalog:
            continue
        for element in top:
            if element.tag in CATALOGS.values() and element.get("name") == entry:
                other.declare(element)
                return other, element
        known = ", ".join(str(element.get("name")) for element in top)
        raise document.error(reference, f"{file} has no entry '{entry}'; it has {known}")
    raise document.error(reference, f"no file of the CatalogLocations holds the catalog '{catalog}'")


def _catalog_files(document: Document, reference: ET.Element) -> Iterator[Path]:
    locations = document.root.find("CatalogLocations")
    for tag in CATALOGS:
        directory = locations.find(f"{tag}/Directory") if locations is not None else None
        if directory is None:
            continue
        folder = document.source.path.parent / document.text(directory, "path")
        if folder.is_file():
            yield folder
        elif folder.is_dir():
            yield from sorted(folder.glob("*.xosc"))
        else:
            raise MapError(f"{document.error(directory, f'there is no folder {folder}')}")
