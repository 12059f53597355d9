"""Simulated devices and guards that communicate only over MQTT."""
