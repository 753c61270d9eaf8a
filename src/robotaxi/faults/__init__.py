"""What breaks, on purpose: faults of nodes, messages, sensors and machines, and how the car copes."""
