"""What a command line asks for: experiments, the jobs of a sweep, each a list of Hydra's overrides."""

import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString

from .texts import last_part, near_match
from .words import halves, quoted, said_of, shown, unquoted


def conf_dir() -> Path:
    """Where the configurations are: inside the package in a wheel, beside it in a checkout."""
    inside = Path(__file__).resolve().parent / "conf"
    return inside if inside.is_dir() else inside.parent.parent / "conf"


def options(group: str) -> list[str]:
    """What can be chosen of a group; nothing where there is none of that name."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def words_of(argv: Sequence[str]) -> tuple[list[str], bool]:
    """(the command line in Hydra's syntax, whether it is a sweep). Raises ValueError, naming the word.

    Of a sweep each setting is made a choice, of one value twice if need be: so Hydra leaves it to the jobs, which are composed
    one by one, and does not ask whether the default sampler has it.
    """
    name = said_of([word for word in argv if word.startswith("experiment=")], "experiment")
    rows = name in experiments() and bool(read_experiment(str(name)).get("tiers"))
    several = rows or bool({"-m", "--multirun"} & set(argv))
    argv = [*argv, *instead(argv)] if name else argv
    words: list[str] = []
    flags: list[str] = ["-m"] if several and not QUESTIONS & {halves(word)[0] for word in argv} else []
    values: Iterator[str] = iter(quoted(argv, sweep=several))
    for word in values:
        if word in TAKE_A_VALUE:
            value, known = next(values, ""), ANSWERS.get(word)
            if word in ("--info", "-i") and value not in INFO:  # may stand alone
                values, value = itertools.chain([value] if value else [], values), "all"
            if not value or value not in (known or (value,)):
                raise ValueError(f"{word} {value}: must be followed by {', '.join(known or ('a value',))}")
            flags += [word, value]
        elif word.startswith("-") and halves(word)[0] not in FLAGS:
            raise ValueError(f"{word}: no such option; {near_match(halves(word)[0], FLAGS)}")
        elif word.startswith("-"):
            flags += [word] if word not in ("-m", "--multirun", *OWN) else []
        else:
            words.append(as_choice(word, several))
    return [*flags, *words], several


def instead(argv: Sequence[str]) -> list[str]:
    """What a command line takes back of an experiment: prompt and prompt_file stand for each other."""
    said = {halves(word)[0] for word in argv}
    pairs = (("prompt", "prompt_file"), ("prompt_file", "prompt"))
    return [f"{other}=null" for key, other in pairs if key in said and other not in said]


def as_choice(word: str, several: bool) -> str:
    """A word of a sweep, its one value twice; FIXED and Hydra's own settings stay. Raises ValueError for a sweep without -m."""
    override = OverridesParser.create().parse_override(word)  # raises what is wrong with an empty word too
    group, listed = str(override.key_or_group), override.value()
    if options(group) and isinstance(listed, list) and not all(isinstance(part, str | QuotedString) for part in listed):
        raise ValueError(f"{word}: {near_match('', options(group))}")
    if override.is_sweep_override():
        if not several:
            raise ValueError(f"{word}: several values need a sweep; add -m")
        return word
    key, value = halves(word)
    fixed = not several or word[0] == "~" or "=" not in word or key.lstrip("+") in FIXED or key.lstrip("+").startswith("hydra")
    return word if fixed else f"{key}={value or EMPTY},{value or EMPTY}"


FIXED = ("experiment", "results", "name", "tier", "row")
"""Settings that are those of the sweep, not of its jobs."""

EMPTY = "''"
"""A text without letters, in Hydra's syntax."""

TAKE_A_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--info", "-i", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
)
OWN = ("--wide", "--png", "--tensorboard")
"""Options of the main job's own, about what is shown at the end of it."""

FLAGS = (
    *TAKE_A_VALUE,
    *OWN,
    *("--help", "--hydra-help", "--version", "--resolve", "--multirun", "--run", "--shell-completion", "--experimental-rerun"),
    *("-h", "-m", "-r", "-sc"),
)
"""Those, and Hydra's."""

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
ANSWERS = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all"), "--info": INFO, "-i": INFO}
"""What may follow an option, where not everything may."""

QUESTIONS = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}
"""Those that ask something and run nothing."""


# ---- experiments


def read_experiment(name: str) -> dict[str, Any]:
    """What an experiment of conf/experiment says of its sweep: common, criteria, tiers of rows; nothing for one without rows.

    Raises ValueError if there is none of that name.
    """
    path = conf_dir() / "experiment" / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"experiment={name}: {near_match(name, experiments())}")
    found = yaml.safe_load(path.read_text()).get("hydra", {}).get("sweeper", {})
    assert isinstance(found, dict)
    return found


def experiments() -> list[str]:
    """Those of conf/experiment."""
    return options("experiment")


def sweeps_of(words: Sequence[str], said: Mapping[str, Any]) -> list[tuple[tuple[str, str] | None, list[str]]]:
    """[((tier, row), words)] of an experiment with rows; a command line without one is itself.

    What was said on the command line replaces what the experiment says of the same setting, another model= (or noise@, update@)
    all that it says of its own. tier=, row=: only these. Raises ValueError for one that it has not.
    """
    if not said.get("tiers"):
        return [(None, list(words))]
    name, only = said_of(words, "experiment"), {key: said_of(words, key) for key in ("tier", "row")}
    rest = [word for word in words if halves(word)[0].lstrip("+") not in ("experiment", *only)]
    keys = {halves(word)[0] for word in rest}
    keys |= {"prompt", "prompt_file"} if keys & {"prompt", "prompt_file"} else set()  # one stands for the other
    replaced = tuple(f"{key.split('@')[-1]}." for key in keys if key == "model" or "@" in key)

    def kept(text: str) -> list[str]:
        found = [word for word in shlex.split(text) if halves(word)[0] not in keys]
        return [word for word in found if not (replaced and word.lstrip("+").startswith(replaced))]

    rows = [
        ({"tier": tier, "row": row}, [f"name={name}", *kept(" ".join([said["common"], part["all"], text])), *rest])
        for tier, part in said["tiers"].items()
        for row, text in part["rows"].items()
    ]
    for key, value in only.items():
        known = list(dict.fromkeys(place[key] for place, _ in rows))
        if value not in (None, *known):
            raise ValueError(f"{key}={value}: {near_match(str(value), known)}")
        rows = [(place, found) for place, found in rows if value in (None, place[key])]
    return [((place["tier"], place["row"]), quoted(found, sweep=True)) for place, found in rows]


# ---- jobs


@dataclass(frozen=True)
class Asked:
    """A job of a sweep. label: what tells it apart in the table. place: its (tier, row) in an experiment.

    varied: of the settings that are not the same in all jobs, what this one has.
    """

    overrides: list[str]
    label: str
    place: tuple[str, str] | None = None
    varied: Mapping[str, str] = field(default_factory=dict)


def split(words: Sequence[str], loader: ConfigLoader | None = None) -> list[list[str]]:
    """The jobs of a sweep's words: all combinations of the values that are several. Raises ValueError."""
    values: dict[str, list[str]] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(words)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            values[key] = [str(override.input_line)]
        elif override.is_discrete_sweep():
            values[key] = list(dict.fromkeys(f"{key}={value}" for value in override.sweep_string_iterator()))
        else:
            raise ValueError(f"{override.input_line}: must be a list of values; a range is for another hydra/sweeper")
    return [list(job) for job in itertools.product(*values.values())]


def jobs_of(words: Sequence[str], said: Mapping[str, Any], loader: ConfigLoader | None = None) -> list[Asked]:
    """The jobs of a sweep. words: of the command line, in Hydra's syntax. said: the sweeper's part of an experiment."""
    params = [f"{key}={value}" for key, value in (said.get("params") or {}).items()]
    found = []
    for place, row in sweeps_of(words, said):
        jobs = split([*params, *row], loader)
        told = labels(jobs, place and place[1])
        found += [Asked(job, label, place, own) for job, label, own in zip(jobs, told, varied(jobs), strict=True)]
    return found


def varied(jobs: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Of each job the settings that are not the same in all."""
    pairs = [{key: shown(unquoted(value)) for key, value in map(halves, job)} for job in jobs]
    keys = [key for key in dict.fromkeys(itertools.chain(*pairs)) if len({job.get(key) for job in pairs}) > 1]
    return [{key: job[key] for key in keys if key in job} for job in pairs]


def labels(jobs: Sequence[Sequence[str]], row: str | None = None) -> list[str]:
    """What tells each job apart: its row in the experiment or the sampler's name, then what else varies."""
    pairs = [{key: shown(unquoted(value)) for key, value in map(halves, job)} for job in jobs]
    named = "sampler" if any("sampler" in job for job in pairs) else "preset"
    told = named if row is None else "guidance.scale"  # an experiment's tables have a column for it
    keys = [key for key in dict.fromkeys(itertools.chain(*varied(jobs))) if key != told]
    return [" ".join([row or job.get(named, "ddim"), *(f"{last_part(key)}={job.get(key)}" for key in keys)]) for job in pairs]
