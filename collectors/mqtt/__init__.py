"""The MQTT connection: packets, the network thread and the bounded queue of messages that have come."""
