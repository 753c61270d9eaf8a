"""CARLA at both ends of the wire: our own server, and the bridge from any CARLA server to the stack."""
