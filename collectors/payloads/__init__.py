"""Bytes to readings, one file a format."""
