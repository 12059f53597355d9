"""Benchmarks of the service and of alternatives that a user might choose; `make bench` runs all of them."""
