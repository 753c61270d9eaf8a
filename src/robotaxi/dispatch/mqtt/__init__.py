"""A small MQTT broker (3.1.1 and 5, QoS 0 and 1) on asyncio: packets, topic tree, connections.

Written here because the brokers that pip alone installs do not carry a fleet: amqtt 0.12 delivered some 50
messages a second on the machine where this was measured, knows only MQTT 3.1.1, and lets a client throw
another off before its certificate is looked at. docs/dispatch-operations.md has the figures.
"""
