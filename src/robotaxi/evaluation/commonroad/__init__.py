"""Closed-loop driving of CommonRoad scenarios, beside the planners of the package fiss-planner.

CommonRoad's own tools pin an old protobuf, so everything here but `venv` runs in a virtual environment of
its own: `robotaxi bench planning` makes it and starts `worker` in it.
"""
