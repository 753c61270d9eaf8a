"""The generated parts of docs/dispatch-protocol.md: the table of a trip and its drawing, between markers."""

from __future__ import annotations

from robotaxi.dispatch import trip

BEGIN, END = "<!-- generated: trip -->", "<!-- end generated -->"


def with_trip_table(text: str) -> str:
    """``text`` of the document with the generated part as it is now. ValueError without the markers."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no part between {BEGIN} and {END}")
    words = (
        "Rows of one state are tried in this order. A cancellation with the rider on board is refused: the car\n"
        "drives on to the drop-off. The timers are parameters of the bridge."
    )
    drawing = f"```mermaid\n{trip.diagram_mermaid()}\n```"
    return f"{head}{BEGIN}\n\n{trip.table_markdown()}\n\n{words}\n\n{drawing}\n\n{END}{tail}"
