"""What the built-in town consists of: nodes, roads between them, crosswalks and pick-up bays.

This is data and its types; `layout` gives it geometry and `opendrive_writer` writes it down.
Right-hand traffic, flat, metres in ``map``, speeds in km/h as on the signs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from robotaxi.sim.town.alignment import Bend

ORIGIN = (52.0, 10.0, 0.0)  # WGS 84 degrees, degrees, m: a round position, not a real town's


@dataclass(frozen=True)
class Node:
    """A junction. ``radius``: from its centre to where the lanes of its roads end."""

    id: int
    x: float
    y: float
    radius: float
    roundabout: bool = False


@dataclass(frozen=True)
class Bay:
    """A lay-by. ``side`` 'right' or 'left' of the road's direction; ``s``: station where a car's
    rear axle stops, along the road."""

    side: str
    s: float


@dataclass(frozen=True)
class Road:
    """Road from node ``a`` to node ``b``, ``lanes`` a direction.

    ``speeds``: (from station, km/h), the first from 0. ``control_a``, ``control_b``: what stands at
    that end for traffic about to enter the node: '' (priority), 'yield', 'stop' or 'signal'.
    """

    id: int
    name: str
    a: int
    b: int
    lanes: int
    speeds: tuple[tuple[float, float], ...]
    control_a: str = ""
    control_b: str = ""
    bends: tuple[Bend, ...] = ()
    crosswalks: tuple[float, ...] = ()  # stations of mid-block crosswalks
    bays: tuple[Bay, ...] = ()


@dataclass(frozen=True)
class Town:
    nodes: tuple[Node, ...]
    roads: tuple[Road, ...]
    name: str = "town"
    origin: tuple[float, float, float] = field(default=ORIGIN)

    def node(self, node_id: int) -> Node:
        return next(n for n in self.nodes if n.id == node_id)


_WIDE, _NARROW, _ROUND = 18.0, 14.0, 34.0  # node radii, m

_NODES = (
    Node(1, -280.0, -780.0, _NARROW),
    Node(2, 260.0, -780.0, _WIDE),
    Node(3, 780.0, -260.0, _WIDE),
    Node(4, 780.0, 240.0, _NARROW),
    Node(5, 220.0, 780.0, _NARROW),
    Node(6, -300.0, 780.0, _NARROW),
    Node(7, -780.0, 240.0, _NARROW),
    Node(8, -780.0, -260.0, _WIDE),
    Node(9, -280.0, -260.0, _WIDE),
    Node(10, 260.0, -260.0, _WIDE),
    Node(11, 260.0, 240.0, _WIDE),
    Node(12, -300.0, 240.0, _NARROW),
    Node(13, 0.0, 240.0, _ROUND, roundabout=True),
    Node(14, 0.0, -260.0, _WIDE),
)


def _right(*stations: float) -> tuple[Bay, ...]:
    return tuple(Bay("right", s) for s in stations)


def _left(*stations: float) -> tuple[Bay, ...]:
    return tuple(Bay("left", s) for s in stations)


_ROADS = (
    Road(1, "South Road", 1, 2, 1, ((0.0, 60.0),), bays=_right(150.0) + _left(330.0)),
    Road(
        2,
        "Harbour Road",
        2,
        3,
        1,
        ((0.0, 60.0),),
        "",
        "signal",
        bends=(Bend(780.0, -780.0, 90.0, 40.0),),
        bays=_right(160.0) + _left(760.0),
    ),
    Road(
        3,
        "River Road",
        3,
        4,
        1,
        ((0.0, 50.0),),
        "signal",
        "",
        bends=(
            Bend(780.0, -160.0, 120.0),
            Bend(735.0, -70.0, 120.0),
            Bend(735.0, 60.0, 120.0),
            Bend(780.0, 150.0, 120.0),
        ),
    ),
    Road(
        4,
        "Hill Road",
        4,
        5,
        1,
        ((0.0, 50.0),),
        bends=(Bend(780.0, 780.0, 90.0, 40.0),),
        bays=_right(180.0) + _left(800.0),
    ),
    Road(5, "North Road", 5, 6, 1, ((0.0, 50.0),), crosswalks=(250.0,), bays=_right(140.0) + _left(370.0)),
    Road(
        6,
        "Forest Road",
        6,
        7,
        1,
        ((0.0, 50.0),),
        bends=(Bend(-780.0, 780.0, 90.0, 40.0),),
        bays=_right(200.0) + _left(720.0),
    ),
    Road(7, "West Road", 7, 8, 1, ((0.0, 60.0),), bays=_right(180.0) + _left(300.0)),
    Road(
        8,
        "Mill Road",
        8,
        1,
        1,
        ((0.0, 60.0),),
        bends=(Bend(-780.0, -780.0, 90.0, 40.0),),
        bays=_right(220.0) + _left(800.0),
    ),
    Road(9, "Main Avenue West", 8, 9, 2, ((0.0, 50.0),), "yield", "signal", bays=_right(200.0) + _left(300.0)),
    Road(10, "Main Avenue", 9, 14, 2, ((0.0, 50.0),), "signal", "signal", bays=_right(110.0)),
    Road(11, "Theatre Avenue", 14, 10, 2, ((0.0, 50.0),), "signal", "signal", bays=_left(110.0)),
    Road(12, "Main Avenue East", 10, 3, 2, ((0.0, 50.0),), "signal", "signal", bays=_right(180.0) + _left(320.0)),
    Road(
        13,
        "School Street",
        1,
        9,
        1,
        ((0.0, 40.0), (180.0, 30.0), (330.0, 40.0)),
        "yield",
        "signal",
        bends=(
            Bend(-280.0, -640.0, 80.0),
            Bend(-320.0, -570.0, 80.0),
            Bend(-320.0, -470.0, 80.0),
            Bend(-280.0, -400.0, 80.0),
        ),
        crosswalks=(250.0,),
    ),
    Road(
        14,
        "Market Street",
        9,
        12,
        1,
        ((0.0, 40.0),),
        "signal",
        "yield",
        bends=(Bend(-280.0, -60.0, 200.0), Bend(-300.0, 40.0, 200.0)),
        bays=_right(100.0) + _left(380.0),
    ),
    Road(
        15,
        "Church Street",
        12,
        6,
        1,
        ((0.0, 30.0),),
        "yield",
        "stop",
        bends=(Bend(-300.0, 460.0, 60.0), Bend(-260.0, 530.0, 60.0), Bend(-300.0, 600.0, 60.0)),
        crosswalks=(60.0,),
        bays=_right(130.0) + _left(440.0),
    ),
    Road(16, "Station Avenue", 2, 10, 2, ((0.0, 50.0),), "yield", "signal", bays=_right(200.0) + _left(320.0)),
    Road(17, "Park Avenue", 10, 11, 2, ((0.0, 50.0),), "signal", "stop", bays=_right(260.0) + _left(180.0)),
    Road(
        18,
        "Bridge Street",
        7,
        12,
        1,
        ((0.0, 40.0),),
        "stop",
        "",
        crosswalks=(240.0,),
        bays=_right(140.0) + _left(330.0),
    ),
    Road(19, "Garden Street", 12, 13, 1, ((0.0, 30.0),), "", "yield", bays=_right(100.0)),
    Road(20, "Museum Street", 13, 11, 1, ((0.0, 30.0), (40.0, 20.0), (150.0, 30.0)), "yield", "", bays=_left(90.0)),
    Road(
        21,
        "Lake Street",
        11,
        4,
        1,
        ((0.0, 40.0),),
        "",
        "yield",
        bends=(
            Bend(400.0, 240.0, 100.0),
            Bend(470.0, 280.0, 100.0),
            Bend(570.0, 280.0, 100.0),
            Bend(640.0, 240.0, 100.0),
        ),
        crosswalks=(80.0,),
    ),
    Road(
        22,
        "Castle Street",
        13,
        5,
        1,
        ((0.0, 30.0), (180.0, 20.0), (330.0, 30.0)),
        "yield",
        "yield",
        bends=(Bend(0.0, 470.0, 50.0), Bend(220.0, 560.0, 50.0)),
        bays=_right(90.0) + _left(295.0),
    ),
    Road(
        23,
        "Theatre Street",
        14,
        13,
        1,
        ((0.0, 30.0),),
        "signal",
        "yield",
        crosswalks=(230.0,),
        bays=_right(130.0) + _left(330.0),
    ),
)

TOWN = Town(_NODES, _ROADS)
