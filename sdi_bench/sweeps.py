"""A command line as jobs: checked as a whole before the first network call, made by whatever launcher, one table at the end."""

import itertools
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf

from .draws import Item
from .jobs import Plan, arranged, ask, execute, measured, summarise
from .plans import Shared, model_key, plans_of, unread
from .store import Listed, NotWrittenError, writable, write_index
from .texts import line, near_match
from .words import halves, literal, quoted, said_of, shown, unquoted

Compose = Callable[[Sequence[str]], DictConfig]
"""Overrides -> the configuration, with hydra's own node."""

OmegaConf.register_new_resolver("neg", lambda value: -value, replace=True)
OmegaConf.register_new_resolver("text", lambda value: None if value in (None, "") else str(value), replace=True)


def conf_dir() -> Path:
    """Where the configurations are: inside the package in a wheel, beside it in a checkout."""
    inside = Path(__file__).resolve().parent / "conf"
    return inside if inside.is_dir() else inside.parent.parent / "conf"


# --------------------------------------------------------------------------------------------------------- experiments


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
    return sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))


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


# ---------------------------------------------------------------------------------------------------------------- jobs


@dataclass(frozen=True)
class Asked:
    """A job of a sweep. label: what tells it apart in the table. place: its (tier, row) in an experiment."""

    overrides: list[str]
    label: str
    place: tuple[str, str] | None = None


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
        found += [Asked(job, label, place) for job, label in zip(jobs, labels(jobs, place and place[1]), strict=True)]
    return found


def labels(jobs: Sequence[Sequence[str]], row: str | None = None) -> list[str]:
    """What tells each job apart: its row in the experiment or the sampler's name, then what else varies."""
    pairs = [{key: shown(unquoted(value)) for key, value in map(halves, job)} for job in jobs]
    told = "sampler" if row is None else "guidance.scale"  # an experiment's tables have a column for it
    keys = [key for key in dict.fromkeys(itertools.chain(*pairs)) if key != told]
    varied = [key for key in keys if len({job.get(key) for job in pairs}) > 1]
    return [
        " ".join([row or job.get("sampler", "ddim"), *(f"{key.split('.')[-1]}={job.get(key)}" for key in varied)])
        for job in pairs
    ]


def taken(cfg: DictConfig) -> tuple[dict[str, Any], dict[str, Any], dict[str, str | None]]:
    """(the settings resolved, and as they stand, the choices of groups) of a composed configuration, without hydra's node."""
    choices = dict(cfg.hydra.runtime.choices)
    return plain(cfg, True), plain(cfg, False), choices


def plain(cfg: DictConfig, resolve: bool) -> dict[str, Any]:
    """A configuration as plain data, without hydra's node."""
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    return dict(OmegaConf.to_container(own, resolve=resolve))  # type: ignore[arg-type]


def checked(asked: Sequence[Asked], composed: Compose, models: dict[str, Shared]) -> list[list[Plan]]:
    """The plans of a sweep, [the run, its reference if it has one] each. Raises what is wrong with the first bad one.

    models: those that are open; what is new is added.
    """
    plans: list[list[Plan]] = []
    ignored: list[dict[str, str]] = []
    for one in asked:
        settings, raw, choices = taken(composed(one.overrides))
        ignored.append(unread(raw, one.overrides, choices))
        plans.append(plans_of(settings, choices, one.label, models, one.place))
    for key, why in ignored[0].items() if ignored else ():
        if all(key in job for job in ignored):
            raise ValueError(why)
    for folder in {plan.folder.path.parent for plan, *_ in plans}:
        writable(folder, "results")
    return plans


def preflight(argv: Sequence[str]) -> list[list[Plan]]:
    """The plans of a command line, checked; nothing is computed. Raises what is wrong with the first bad one."""
    words, several = command_line(argv)
    words = [word for word in words if not word.startswith("-")]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        name = said_of(words, "experiment")
        asked = jobs_of(words, read_experiment(name) if name else {}) if several else [Asked(words, labels([words])[0])]
        return checked(asked, lambda overrides: compose("config", list(overrides), return_hydra_config=True), {})


def command_line(argv: Sequence[str]) -> tuple[list[str], bool]:
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
    values = iter(quoted(argv, sweep=several))
    for word in values:
        if word in TAKE_A_VALUE:
            flags += [word, next(values, "")]
        elif word.startswith("-") and halves(word)[0] not in FLAGS:
            raise ValueError(f"{word}: no such option; there are {', '.join(FLAGS)}")
        elif word.startswith("-"):
            flags += [word] if word not in ("-m", "--multirun") else []
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
FLAGS = (
    *TAKE_A_VALUE,
    *("--help", "--hydra-help", "--version", "--resolve", "--multirun", "--run", "--shell-completion", "--experimental-rerun"),
    *("-h", "-m", "-r", "-sc"),
)
"""Hydra's options."""

QUESTIONS = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}
"""Those that ask something and run nothing."""


# ------------------------------------------------------------------------------------------------------------- running


def unique(plans: Sequence[Sequence[Plan]]) -> list[Plan]:
    """Each run once, references first, as this command has to make them."""
    found = {(plan.folder.path, plan.items): plan for pair in plans for plan in reversed(pair)}
    return arranged(found.values(), plans[0][0].config["retry"])


def begin(plans: Sequence[Sequence[Plan]], runs: Sequence[Plan]) -> None:
    """Say what is finished; list the rows of an experiment; note in the ledger what is asked for."""
    done = [plan.label for plan in runs if not plan.todo and not plan.missing]
    if done:
        print(f"finished earlier, not run again: {', '.join(done)}")
    rows = [plan for plan, *_ in plans if plan.place]
    if rows:
        entries = [Listed(*plan.place, plan.label, plan.gamma, plan.folder) for plan in rows if plan.place]
        write_index(rows[0].folder.path.parent, entries)
    ask(runs)


def conclude(plans: Sequence[Sequence[Plan]], runs: Sequence[Plan], failed: Sequence[str], wanted: bool) -> int:
    """The end of a command: the table of what is whole. wanted: metrics were asked for. Returns the exit status."""
    if failed:
        told = f"sdi_bench.run: {len(failed)} failed; the same command tries these again:"
        print(told, *failed, sep="\n  ", file=sys.stderr)
        whole = [pair for pair in plans if not any(plan.missing for plan in pair)]
        if whole and not any(plan.place or plan.probe for plan, *_ in whole):
            summarise(whole)
        return 1
    if any(plan.place for plan, *_ in plans):
        print(f"finished; to measure: python -m sdi_bench.evaluate experiment={runs[0].config['name']}")
    elif any(plan.missing for plan in runs):
        others = "the same command without retry=failed makes the rest"
        if runs[0].part[1] > 1:
            others = "once the other parts are, any of them given again shows the table"
        print(f"this part is finished; {others}")
    elif any(plan.probe for plan in runs):
        print("finished:", *(plan.folder.path for plan in runs), sep="\n  ")
    elif not summarise(plans) and wanted:
        return 1
    return 0


JOB = "job"
"""The setting by which a sweep tells a job what to make: {reference, shards, label, place, argv}."""

TYPED: list[str] = []
"""The command line as it was typed, for provenance.json."""


def told(one: Asked, plan: Plan, reference: bool, shards: Sequence[Sequence[Any]]) -> list[str]:
    """The overrides of a job that makes some shards of a run, or of its reference."""
    names = ",".join(literal(plan.folder.shard_path(chunk).stem) for chunk in shards)
    place = "null" if one.place is None else f"[{','.join(map(literal, one.place))}]"
    said = {"reference": str(reference).lower(), "shards": f"[{names}]", "label": literal(one.label), "place": place}
    said["argv"] = f"[{','.join(map(literal, TYPED))}]"
    return [*one.overrides, *(f"+{JOB}.{key}={value}" for key, value in said.items())]


Launch = Callable[[Sequence[Sequence[str]]], Sequence[JobReturn]]
"""What makes jobs, each a list of overrides."""


def sweep(asked: Sequence[Asked], composed: Compose, launch: Launch, shards: int | None) -> int:
    """Check a whole sweep, have its jobs made, show the table. shards: of one job at most; None: all of a run.

    Returns the exit status. A launcher that breaks off, as when a worker is killed, is started again as long as that helps.
    """
    plans = checked(asked, composed, OPEN)
    origin: dict[tuple[Path, tuple[Item, ...]], tuple[Asked, bool]] = {}
    for one, pair in zip(asked, plans, strict=True):
        for k, plan in enumerate(pair):
            origin.setdefault((plan.folder.path, plan.items), (one, k > 0))
    runs = unique(plans)
    begin(plans, runs)
    failed: list[str] = []
    while True:
        jobs, left = [], 0
        for plan in runs:
            todo, (one, reference) = plan.todo, origin[plan.folder.path, plan.items]
            left += len(todo)
            size = shards or len(todo) or 1
            jobs += [told(one, plan, reference, todo[k : k + size]) for k in range(0, len(todo), size)]
        try:
            failed += [text for made in (launch(jobs) if jobs else ()) for text in outcome(made)]
            break
        except (KeyboardInterrupt, NotWrittenError):
            raise
        except Exception as error:
            if sum(len(plan.todo) for plan in runs) >= left or runs[0].overwrite:
                failed.append(line(f"the launcher broke off: {type(error).__name__}: {error}", 400))
                break
    words = [word for one in asked for word in one.overrides]
    return conclude(plans, runs, failed, any(word.startswith("metric") for word in words))


def outcome(made: JobReturn) -> list[str]:
    """What failed of a job."""
    try:
        return list(made.return_value)
    except NotWrittenError:
        raise
    except Exception as error:
        return [line(f"{type(error).__name__}: {error}")]


OPEN: dict[str, Shared] = {}
"""The model that this process has open."""


class HandedOnError(BaseException):
    """Carries an error past Hydra, which would print it in its own way."""


def job(cfg: DictConfig) -> Any:
    """One job of Hydra's: of a sweep of ours the shards it names, else a whole command of one run.

    Returns a line for each shard that failed; under a sweeper that tunes, the value of `objective`. A command of its own raises
    HandedOnError, or SystemExit with the exit status unless it is 0.
    """
    hydra = HydraConfig.get()
    settings = dict(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    said, choices = settings.pop(JOB, None), dict(hydra.runtime.choices)
    for other in OPEN.keys() - {model_key(settings)}:
        del OPEN[other]
    if said is not None:
        if choices["hydra/launcher"] != "basic" and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(int(os.environ.get("SLURM_CPUS_PER_TASK", "1")))  # workers share the cores
        place = said["place"] and tuple(said["place"])
        plan = plans_of(settings, choices, str(said["label"]), OPEN, place)[int(said["reference"])]
        return execute(replace(plan, part=(0, 1), only=frozenset(map(str, said["shards"]))), list(map(str, said["argv"])))
    tuned = hydra.mode is not None and hydra.mode.name == "MULTIRUN"
    try:
        return alone(settings, dict(OmegaConf.to_container(cfg, resolve=False)), choices, list(hydra.overrides.task), tuned)  # type: ignore[arg-type]
    except Exception as error:
        if tuned:
            raise
        raise HandedOnError from error


def alone(
    settings: dict[str, Any], raw: Mapping[str, Any], choices: dict[str, str | None], overrides: list[str], tuned: bool
) -> float | None:
    """A whole command of one run. raw: the settings, their interpolations as they stand. Returns the objective if tuned."""
    for why in unread(raw, overrides, choices).values():
        raise ValueError(why)
    plans = [plans_of(settings, choices, labels([overrides])[0], OPEN)]
    writable(plans[0][0].folder.path.parent, "results")
    runs = unique(plans)
    begin(plans, runs)
    failed = [text for plan in runs for text in execute(plan, TYPED)]
    if tuned:
        return float("nan") if failed else measured(plans[0][0], settings["objective"])
    status = conclude(plans, runs, failed, any(word.startswith("metric") for word in overrides))
    if status:
        sys.exit(status)
    return None


# -------------------------------------------------------------------------------------------------------------- errors


def keys_of(node: object, prefix: str = "") -> list[str]:
    """All dotted keys of a configuration."""
    if not isinstance(node, Mapping):
        return []
    return [key for name, value in node.items() for key in (f"{prefix}{name}", *keys_of(value, f"{prefix}{name}."))]


def explain(error: BaseException, argv: Sequence[str], config: str = "config") -> str:
    """One line from an error of the user's making: the field, the value, what would do."""
    deepest = error
    while isinstance(deepest, HydraException) and deepest.__cause__ is not None:
        deepest = deepest.__cause__
    text = " ".join(f"{error} {deepest}".split())
    if "Config group override must be" in text:
        for key, value in map(halves, argv):
            if (conf_dir() / key.lstrip("+")).is_dir() and not re.match(r"[A-Za-z_\[]", value.replace("null", "")):
                options = sorted(path.stem for path in (conf_dir() / key.lstrip("+")).glob("*.yaml"))
                none = f"; {key}=[] is none" if key == "metric" else ""
                return f"{key}={value}: {near_match(value, options)}{none}"
    missing = re.search(r"Could not (?:find|load) '(\w+)/([^']*)'", text)
    if missing:
        options = sorted(path.stem for path in (conf_dir() / missing[1]).glob("*.yaml"))
        own = " (a folder of your own within results/: name=)" if missing[1] == "experiment" else ""
        return f"{missing[1]}={missing[2]}: {near_match(missing[2], options)}{own}"
    unknown = re.search(r"Could not override '([^'=]+)", text)
    if unknown and isinstance(error, ConfigCompositionException) and not unknown[1].startswith("hydra."):
        if "@sampler." in unknown[1]:
            sampler, part = said_of(argv, "sampler") or "ddim", unknown[1].split("@")[0]
            return f"{unknown[1]}: sampler={sampler} has no {part}; sds, sdi, ism and sds_dreamfusion have"
        chosen = [o for o in argv if re.match(r"(model|sampler|grid|schedule)=\w+$", o)]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            known = keys_of(OmegaConf.to_container(compose(config, chosen)))
        if unknown[1] not in known:
            return f"{unknown[1]}: no such setting; {near_match(unknown[1], known)}"
    return line(str(deepest))
