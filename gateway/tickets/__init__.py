"""Repair and emergency tickets: how they open and move."""
