"""Devices at the broker: their accounts in Mosquitto's files, and the certificates of the installation."""
