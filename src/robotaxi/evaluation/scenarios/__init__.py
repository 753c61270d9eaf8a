"""Scenarios as data: a place on a map, actors with triggers, and named checks, varied by a seed."""
