"""Readings that wait on disk while the store does not take them."""
