"""Space on the disk of the data folder: what is kept in reserve for alarms, and what stops when it gets short."""
