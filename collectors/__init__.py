"""MQTT in, readings out. Knows no alarm, no ticket, no person."""
