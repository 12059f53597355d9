"""The MQTT connection: packets, the network thread and the bounded queue of received messages."""
