"""The run-time type checker of the tests: an int is a float, as for every other Python type checker.

Checks take longer than what they check, so each test has them in its first calls, and goes on without.
"""

import warnings
from collections.abc import Callable
from functools import partial, wraps
from itertools import count
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep585DeprecationWarning

warnings.filterwarnings("ignore", category=BeartypeDecorHintPep585DeprecationWarning)
CHECKED = 300
"""Calls of a test whose arguments, or what they return, are checked: what a loop does again has been seen by then."""
calls = count()
decorated = jaxtyping.jaxtyped


def outermost(thing: Any = None, *, typechecker: Any = None) -> Any:
    """jaxtyping.jaxtyped, with which its import hook decorates all functions, but for those made within others: these would
    be given a checker of their own, a millisecond's work, whenever the other one runs.
    """
    if thing is None:
        return partial(outermost, typechecker=typechecker)
    return thing if "<locals>" in getattr(thing, "__qualname__", "") else decorated(thing, typechecker=typechecker)


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Checked by beartype when it is called, until the checks are off."""
    checked = beartype(conf=BeartypeConf(is_pep484_tower=True))(function)

    @wraps(function)
    def counted(*args: Any, **named: Any) -> Any:
        if next(calls) == CHECKED:
            jaxtyping.config.update("jaxtyping_disable", True)
        return checked(*args, **named)

    return counted


def begin() -> None:
    """A test begins."""
    global calls
    calls = count()
    jaxtyping.config.update("jaxtyping_disable", False)


jaxtyping.jaxtyped = outermost
