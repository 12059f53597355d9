"""Stores of readings: one protocol, one module or package for each store."""
