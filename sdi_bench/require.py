"""Checks on settings: one line that names the field, the value and what would do."""

import dataclasses
import math
from typing import Any, get_type_hints

MOST = 1_000_000
"""Of what is counted, and is not said otherwise: more would not end, or not fit."""


def count(name: str, value: object, least: int = 1, most: int = MOST) -> None:
    """Raise ValueError unless value is a whole number from least to most."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r}: must be a whole number >= {least}")
    if value > most:
        raise ValueError(f"{name}={value!r}: must be a whole number <= {most:,}")


def number(
    name: str,
    value: object,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> None:
    """Raise ValueError unless value is a finite number within the bounds."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not (at_least <= value <= at_most and above < value < below)
    ):
        bounds = [
            f"{sign} {bound:g}"
            for sign, bound in ((">=", at_least), (">", above), ("<=", at_most), ("<", below))
            if math.isfinite(bound)
        ]
        raise ValueError(f"{name}={value!r}: must be a finite number" + (" " + " and ".join(bounds) if bounds else ""))


def fits(name: str, value: object, kind: Any) -> None:
    """Raise ValueError unless value is an instance of kind, and so are all parts of it that are objects of this package."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        for field in dataclasses.fields(value):
            hint = hints[field.name]
            if isinstance(hint, type) and hint.__module__.startswith("sdi_bench"):
                fits(f"{name}.{field.name}", getattr(value, field.name), hint)
    if isinstance(value, type) or not isinstance(value, kind):
        raise ValueError(f"{name}={value!r}: must be a {kind.__name__} ({kind.__module__})")
