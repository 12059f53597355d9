"""Where things are in a checkout."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
SHARED_DATA: Final = ROOT.parent / "shared" / "data"
"""Recorded data beside the checkout; tests that need them are skipped where this folder does not exist."""
