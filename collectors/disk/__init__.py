"""Disk space of the data folder: the reserve for alarms, and what stops when space runs short."""
