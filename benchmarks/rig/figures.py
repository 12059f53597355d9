"""A measured figure and its row in the document."""

import statistics
from typing import NamedTuple


class Figure(NamedTuple):
    """Name, load shape, the values of the rounds, their unit, and the target."""

    name: str
    shape: str
    values: list[float]
    unit: str
    target: str

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def row(self) -> str:
        """One row of `docs/performance.md`."""
        spread = f"{_number(min(self.values))} to {_number(max(self.values))}" if len(self.values) > 1 else ""
        return f"| {self.name} | {self.shape} | {_number(self.median)} {self.unit} | {spread} | {self.target} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
