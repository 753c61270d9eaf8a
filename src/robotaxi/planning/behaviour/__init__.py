"""Behaviours: one small function for each cause, from the scene to what it asks of the speed."""
