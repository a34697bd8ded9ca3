"""Checks on settings: one line that names the field, the value and what would do."""

import dataclasses
import math
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

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


PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
"""Types of settings, and how they are called."""


@cache
def plain_types(made: Any) -> dict[str, tuple[type, ...]]:
    """Argument -> what it may be, of what is called with settings; only those that are numbers, text, or true or false."""
    try:
        hints = get_type_hints(getattr(made, "__init__") if isinstance(made, type) else made)  # noqa: B009
    except (TypeError, NameError, AttributeError):
        return {}  # not from here
    kinds = {name: get_args(hint) if isinstance(hint, UnionType) else (hint,) for name, hint in hints.items()}
    return {name: each for name, each in kinds.items() if name != "return" and all(kind in PLAIN for kind in each)}


def types(made: Any, values: Mapping[str, Any], name: str = "") -> None:
    """Raise ValueError, naming the setting, unless all values are of the types with which `made` is declared."""
    for key, kinds in plain_types(made).items():
        if key not in values:
            continue
        value = values[key]
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (type(value) in kinds or (whole and float in kinds)):
            wanted = " or ".join(PLAIN[kind] for kind in kinds)
            raise ValueError(f"{f'{name}.' if name else ''}{key}={value!r}: must be {wanted}")


def ours(hint: object) -> bool:
    """Is this a class of this package?"""
    return isinstance(hint, type) and hint.__module__.startswith("sdi_bench")


def fits(name: str, value: object, kind: Any) -> None:
    """Raise ValueError unless value is an instance of kind, and so are all parts of it that are objects of this package."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        for field in dataclasses.fields(value):
            hint, part, inside = hints[field.name], getattr(value, field.name), get_args(hints[field.name])
            if ours(hint):
                fits(f"{name}.{field.name}", part, hint)
            elif get_origin(hint) is Mapping and ours(inside[1]):
                if not isinstance(part, Mapping):
                    raise ValueError(f"{name}.{field.name}={part!r}: must be settings by name, each a {inside[1].__name__}")
                for key, one in part.items():
                    fits(f"{name}.{field.name}.{key}", one, inside[1])
    if isinstance(value, type) or not isinstance(value, kind):
        raise ValueError(f"{name}={value!r}: must be a {kind.__name__} ({kind.__module__})")
