"""A server that speaks the wire protocol of CARLA 0.9.16 before the simulated world; see docs/carla.md."""
