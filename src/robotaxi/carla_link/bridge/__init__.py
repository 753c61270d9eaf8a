"""From a CARLA server to the topics of the stack, through the public `carla` API only; see docs/carla.md."""
