"""The equivalence suite: which identities of arXiv 2405.15891 hold, exactly where, and to what tolerance."""

from collections.abc import Iterator
from importlib import import_module

from .rows import Row

CHECKS = {
    "V1": "cached",
    "V2": "diffusers_schedulers",
    "V3": "roots",
    "V4": "sds",
    "V5": "ism",
    "V6": "first_order",
    "V7": "continuous",
    "V8": "oracles",
    "V9": "guidance_scales",
    "V10": "relatives",
    "V11": "noises",
    "V12": "students",
    "V13": "editing",
}
"""Identity -> module of this package; each has rows(full) and is imported only when asked for."""


def rows(only: str | None = None, full: bool = False) -> Iterator[Row]:
    """The rows of the suite, or of one identity ("V3"). full: the whole product of settings, not a covering subset."""
    for name, module in CHECKS.items():
        if only is None or only == name:
            yield from import_module(f"{__name__}.{module}").rows(full)
