"""Devices and guards that speak only over the wire."""
