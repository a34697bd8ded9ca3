"""One row of the equivalence suite: what is claimed, how far off it was at worst, and what was allowed."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

U = 2.0**-53
"""Unit roundoff of float64."""

U32 = 2.0**-24
"""Unit roundoff of float32."""


@dataclass(frozen=True)
class Row:
    """A checked identity.

    id: "V1a" and the like. deviation: the largest one seen, in the unit the statement names; tolerance: in the same unit.
    cases: settings (model, schedule, gamma, ...) tried. compared: numbers compared in all. worst: the setting of the largest.
    why: what the tolerance rests on.
    """

    id: str
    statement: str
    equation: str
    cases: int
    compared: int
    deviation: float
    tolerance: float
    why: str
    worst: str = ""

    @property
    def holds(self) -> bool:
        """Something was compared, and the deviation is a number within the tolerance (NaN fails)."""
        return self.compared > 0 and math.isfinite(self.deviation) and self.deviation <= self.tolerance


@dataclass
class Worst:
    """The running largest deviation. Not finite, on either side, is kept as NaN: it can never be outvoted by `max`."""

    cases: set[str] = field(default_factory=set)
    compared: int = 0
    deviation: float = 0.0
    where: str = ""

    def add(self, case: str, deviation: Tensor | float) -> None:
        """Take in deviations (already in the row's unit) of one setting."""
        values = torch.as_tensor(deviation, dtype=torch.float64).flatten()
        self.cases.add(case)
        self.compared += values.numel()
        if values.numel() == 0 or math.isnan(self.deviation):
            return
        largest = float(values.abs().max()) if bool(values.isfinite().all()) else math.nan
        if math.isnan(largest) or largest > self.deviation or not self.where:
            self.deviation, self.where = largest, case

    def compare(self, case: str, got: Tensor, expected: Tensor, unit: Tensor | float = 1.0) -> None:
        """Take in |got - expected| / unit; an infinite unit excuses nothing, it gives NaN."""
        self.add(case, (got - expected).abs() / unit + 0 * unit)

    def row(self, id: str, statement: str, equation: str, tolerance: float, why: str) -> Row:
        """Close the account."""
        return Row(
            id,
            statement,
            equation,
            len(self.cases),
            self.compared,
            self.deviation,
            tolerance,
            why,
            self.where,
        )
