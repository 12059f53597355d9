"""Runs `gengfu` without installing it: `python -m benchmarks.serve serve …`."""

from gateway.cli import main

if __name__ == "__main__":
    main()
