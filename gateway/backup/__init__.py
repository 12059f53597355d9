"""Backups: made while the service runs, verified by reading back, restored into an empty folder only."""
