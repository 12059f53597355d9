"""The service: decides, remembers, answers."""
