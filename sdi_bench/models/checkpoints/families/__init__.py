"""Families of checkpoints, a file each: how a network is asked. A new one is a file here, and one in tests/families."""

from importlib import import_module
from pkgutil import iter_modules

from ..folder import DiffusersFolder

__all__ = ["KINDS"]

_modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]

KINDS: dict[str, type[DiffusersFolder]] = {
    name: kind
    for module in _modules
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, DiffusersFolder) and kind.__module__ == module.__name__
    for name in vars(kind).get("pipelines", ())
}
"""diffusers' pipelines -> how their networks are asked."""
