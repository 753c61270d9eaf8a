"""Learned parts: data sets from the simulator, training, export. Nothing that drives imports this."""
