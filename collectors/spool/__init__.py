"""Readings that are spooled on disk while the store does not accept them."""
