"""Devices at the broker: their accounts in Mosquitto's files, and the certificates that they trust."""
