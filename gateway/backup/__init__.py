"""Backups: made while the service runs, read back before they count, restored into an empty place only."""
