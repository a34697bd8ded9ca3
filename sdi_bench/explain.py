"""What is wrong with a command, in one line: the field, the value, what would do."""

import re
from collections.abc import Mapping, Sequence

from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import OmegaConf

from .command_line import conf_dir, options
from .texts import line, meant, near_match
from .words import halves, said_of


def keys_of(node: object, prefix: str = "") -> list[str]:
    """All dotted keys of a configuration."""
    if not isinstance(node, Mapping):
        return []
    return [key for name, value in node.items() for key in (f"{prefix}{name}", *keys_of(value, f"{prefix}{name}."))]


HAVING = ("sdi", "sds_dreamfusion", "vsd", "dds")
"""Samplers that together have all settings of samplers, but a few."""


def known_to(sampler: str) -> list[str]:
    """All dotted keys of the main job with this sampler."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return keys_of(OmegaConf.to_container(compose("config", [f"sampler={sampler}"])))


def explain(error: BaseException, argv: Sequence[str], config: str = "config") -> str:
    """One line from an error of the user's making: the field, the value, what would do."""
    deepest = error
    while isinstance(deepest, HydraException) and deepest.__cause__ is not None and str(deepest.__cause__) != "None":
        deepest = deepest.__cause__
    text = " ".join(f"{error} {deepest}".split())
    if "Config group override must be" in text:
        for key, value in map(halves, argv):
            known = options(key.lstrip("+"))
            if known and not re.match(r"[A-Za-z_\[]", value.replace("null", "")):
                none = f"; {key}=[] is none" if key == "metric" else ""
                return f"{key}={value}: {near_match(value, known)}{none}"
    missing = re.search(r"Could not (?:find|load) '(\w+)/([^']*)'", text)
    if missing:
        own = " (a folder of your own within results/: name=)" if missing[1] == "experiment" else ""
        return f"{missing[1]}={missing[2]}: {near_match(missing[2], options(missing[1]))}{own}"
    unknown = re.search(r"Could not override '([^'=]+)", text)
    if unknown and isinstance(error, ConfigCompositionException) and not unknown[1].startswith("hydra."):
        if "@sampler." in unknown[1]:
            sampler, part = said_of(argv, "sampler") or "ddim", unknown[1].split("@")[0]
            having = "vsd and esd have" if part == "student" else "sds, sdi, ism and sds_dreamfusion have"
            return f"{unknown[1]}: sampler={sampler} has no {part}; {having}"
        chosen = [o for o in argv if re.match(r"(model|sampler|grid|schedule)=\w+$", o)]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            known = keys_of(OmegaConf.to_container(compose(config, chosen)))
        if unknown[1] not in known:
            others = HAVING if unknown[1].startswith("sampler.") and config == "config" else ()
            other = next((name for name in others if unknown[1] in known_to(name)), None)
            if other:
                return f"{unknown[1]}: sampler={said_of(argv, 'sampler') or 'ddim'} has no such setting; sampler={other} has"
            near = meant if config == "config" else near_match
            return f"{unknown[1]}: no such setting; {near(unknown[1], known)}"
    return line(str(deepest))
