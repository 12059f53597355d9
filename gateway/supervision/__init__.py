"""Self-supervision: the state of the platform as one reading, which rules evaluate."""
