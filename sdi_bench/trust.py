"""What a folder on disk may have this program do: it may be from anyone, and a configuration names what is to be called."""

import re
from collections.abc import Sequence
from pydoc import locate
from typing import Any

from .guidance import gamma_said
from .store import RESULTS_VERSION, NotReadError, RunFolder
from .texts import line

PARTS = ("models", "scenes", "schedules")
"""The modules of this package whose classes and functions a run's configuration may name."""


def trusted(node: object, modules: Sequence[str], where: str, parts: Sequence[str] = PARTS) -> None:
    """Raise ValueError, saying where, unless all that a configuration would call is of these parts of this package, or of the
    modules that the user trusts. Nothing is imported that is not of this package.
    """
    if isinstance(node, list):
        for value in node:
            trusted(value, modules, where, parts)
    if not isinstance(node, dict):
        return
    for value in node.values():
        trusted(value, modules, where, parts)
    target = node.get("_target_")
    if target is None or any(str(target).startswith(f"{module}.") for module in modules):
        return
    known = re.fullmatch(rf"sdi_bench\.({'|'.join(parts)})(\.\w+)+", str(target)) and locate(str(target))
    if not known or not str(getattr(known, "__module__", "")).startswith("sdi_bench."):
        raise ValueError(
            f"{where}: its configuration would call {target!r}, which is none of this package's {', '.join(parts)}; "
            f"modules=[{str(target).split('.')[0]}] trusts it"
        )


def settings_of(folder: RunFolder, modules: Sequence[str], field: str) -> dict[str, Any]:
    """A run's configuration, of which model and scene are safe to be built.

    Raises ValueError, naming the field and the folder, where it cannot be read, names what is not trusted, or its results have
    another version than today's.
    """
    if isinstance(modules, str) or not all(isinstance(module, str) for module in modules):
        raise ValueError(f"modules={modules!r}: must be a list of names")
    where = f"{field}={str(folder.path)!r}"
    try:
        config = folder.read_config()
        for part in (config["model"], config["sampler"].get("scene")):
            trusted(part, modules, where)
        gamma_said(config["sampler"]["guidance"])
        version, _ = config["results_version"], config["fingerprint"]
    except (KeyError, TypeError, AttributeError, NotReadError) as error:
        why = error if isinstance(error, NotReadError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{where}: its config.yaml cannot be read ({line(str(why))})") from error
    if version != RESULTS_VERSION:
        raise ValueError(f"{where}: is of version {version} of the results, today's is {RESULTS_VERSION}: run it again")
    return config
