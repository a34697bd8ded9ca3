"""A command line as jobs: checked as a whole before the first network call, made by whatever launcher, one table at the end."""

import operator
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from .command_line import OWN, Asked, conf_dir, jobs_of, labels, options, read_experiment, words_of
from .draws import Item
from .guidance import gamma_said
from .jobs import Plan, Wanted, arranged, ask, execute_all, measured, mend, summarise
from .plans import SETTINGS, Shared, closed, keep_only, model_key, plans_of, unread
from .scenes.base import image_shape
from .store import Listed, NotWrittenError, writable, write_index
from .texts import line
from .words import literal, said_of

Compose = Callable[[Sequence[str]], DictConfig]
"""Overrides -> the configuration, with hydra's own node."""


def of_number(function: Callable[[Any], Any], value: Any) -> Any:
    """function(value); what is no number stays as it is, and what reads it says so."""
    return function(value) if isinstance(value, int | float) else value


def gamma_in(guidance: Any) -> Any:
    """gamma of a guidance's configuration; of one that is wrong its scale, as the guidance itself says why."""
    try:
        return gamma_said(guidance)
    except (ValueError, TypeError):
        return guidance["scale"]


OmegaConf.register_new_resolver("neg", lambda value: of_number(operator.neg, value), replace=True)
OmegaConf.register_new_resolver("gamma", gamma_in, replace=True)
OmegaConf.register_new_resolver("half", lambda value: of_number(lambda n: n // 2, value), replace=True)
OmegaConf.register_new_resolver("text", lambda value: None if value in (None, "") else str(value), replace=True)


Taken = tuple[dict[str, Any], dict[str, Any], dict[str, str | None]]
"""A configuration without hydra's node: its settings resolved, and as they stand; the choices of groups."""


def taking(composed: Compose) -> Callable[[Sequence[str]], Taken]:
    """Overrides -> what is taken of their configuration. Those that differ in values alone are composed once."""
    known: dict[tuple[str, ...], DictConfig] = {}
    parser = OverridesParser.create()

    def take(overrides: Sequence[str]) -> Taken:
        moved = [package(word) for word in overrides if word[0] in "~+"]  # added or taken away
        values = [word for word in overrides if VALUE.match(word) and not any(of_one(package(word), key) for key in moved)]
        base = tuple(word for word in overrides if word not in values)
        try:
            if base not in known:
                known[base] = composed(base)
            cfg = own(known[base])
            for override in parser.parse_overrides(values):
                OmegaConf.update(cfg, override.key_or_group, override.value())
        except Exception:
            base = tuple(overrides)  # of which Hydra says what is wrong
            known[base] = composed(base)
            cfg = own(known[base])
        findable(known[base].hydra)
        return plain(cfg, True), plain(cfg, False), dict(known[base].hydra.runtime.choices)

    return take


VALUE = re.compile(rf"((?!hydra\.)\w+(\.\w+)+|{'|'.join(key for key in SETTINGS if not options(key))})=")
"""An override of a value, not of a group: that has no dot in its name."""


def package(word: str) -> str:
    """Where in a configuration an override says something: sampler.noise of +noise@sampler.noise=previous."""
    return word.lstrip("~+").partition("=")[0].rpartition("@")[2]


def of_one(a: str, b: str) -> bool:
    """Whether one of two places in a configuration may hold the other."""
    return a.startswith(b) or b.startswith(a)


def findable(hydra: Any) -> None:
    """From now on Python finds, after all else, what lies in the user's own folders (--config-dir, hydra.searchpath)."""
    for source in hydra.runtime.config_sources:
        folder = os.path.abspath(source.path)
        if source.schema == "file" and source.provider not in ("hydra", "main") and folder not in sys.path:
            sys.path.append(folder)


def own(cfg: DictConfig) -> DictConfig:
    """A copy of a configuration without hydra's node; a value that is not there is refused."""
    found = deepcopy(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    OmegaConf.set_struct(found, True)
    return found


def plain(cfg: DictConfig, resolve: bool) -> dict[str, Any]:
    """A configuration as plain data."""
    return dict(OmegaConf.to_container(cfg, resolve=resolve))  # type: ignore[arg-type]


MANY = 20
"""Runs of a sweep from which on its check, a tenth of a second each, shows in a terminal how far it is."""


def checked(asked: Sequence[Asked], composed: Compose, models: dict[str, Shared]) -> list[list[Plan]]:
    """The plans of a sweep, [the run, its reference if it has one] each. Raises what is wrong with the first bad one.

    models: the one that is open, by its configuration. Runs are checked model by model, so that one network is open at a time,
    each once for the check; the last stays open, and the plans of the others have no weights.
    """
    take = taking(composed)
    if len(asked) >= MANY:  # what is wrong with all of them is said at once
        settings, _, choices = take(asked[0].overrides)
        keep_only(model_key(settings), models)
        plans_of(settings, choices, asked[0].label, models, asked[0].place)
    found: list[tuple[dict[str, Any], dict[str, str | None]]] = []
    ignored: list[dict[str, str]] = []
    for one in tqdm(asked, desc="checking", unit="runs", disable=None if len(asked) >= MANY else True, leave=False):
        settings, raw, choices = take(one.overrides)
        ignored.append(unread(raw, one.overrides, choices))
        found.append((settings, choices))
    keys = [model_key(settings) for settings, _ in found]
    made: dict[int, list[Plan]] = {}
    for key in dict.fromkeys(keys):
        made = {k: [closed(plan) for plan in pair] for k, pair in made.items()}
        keep_only(key, models)
        for k, one in enumerate(asked):
            if keys[k] == key:
                made[k] = [replace(plan, varied=one.varied) for plan in plans_of(*found[k], one.label, models, one.place)]
    plans = [made[k] for k in range(len(asked))]
    for key, why in ignored[0].items() if ignored else ():
        if all(key in job for job in ignored):
            raise ValueError(why)
    for folder in {plan.folder.path.parent for plan, *_ in plans}:
        writable(folder, "results")
    return plans


def preflight(argv: Sequence[str]) -> list[list[Plan]]:
    """The plans of a command line, checked; nothing is computed. Raises what is wrong with the first bad one."""
    words, several = words_of(argv)
    words = [word for word in words if not word.startswith("-")]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        name = said_of(words, "experiment")
        asked = jobs_of(words, read_experiment(name) if name else {}) if several else [Asked(words, labels([words])[0])]
        return checked(asked, lambda overrides: compose("config", list(overrides), return_hydra_config=True), {})


def unique(plans: Sequence[Sequence[Plan]]) -> list[Plan]:
    """Each run once, references first, as this command has to make them."""
    found = {(plan.folder.path, plan.items): plan for pair in plans for plan in reversed(pair)}
    return arranged(found.values(), plans[0][0].config["retry"])


def by_model(runs: Sequence[Plan]) -> list[Plan]:
    """The runs model by model, first those of the one that was checked last: it is still open."""
    keys = list(dict.fromkeys(model_key(plan.config) for plan in runs))
    return sorted(runs, key=lambda plan: (keys.index(model_key(plan.config)) + 1) % len(keys))


def begin(plans: Sequence[Sequence[Plan]], runs: Sequence[Plan]) -> None:
    """Say what is finished; list the rows of an experiment; note in the ledger what is asked for."""
    done = [plan.label for plan in runs if not plan.todo and not plan.missing]
    if done:
        print(f"finished earlier, not run again: {', '.join(done)}")
    rows = [plan for plan, *_ in plans if plan.place]
    for option in (word for word in OWN if word in TYPED):
        if any(plan.place or plan.probe for plan, *_ in plans):
            raise ValueError(f"{option}: is about the table of a sweep; an experiment's rows and probes have none here")
        if option == "--png" and any(len(image_shape(plan.job.model)) != 3 for plan in runs):
            raise ValueError("--png: the samples of this model are no pictures")
        if option == "--tensorboard" and find_spec("tensorboard") is None:
            raise ValueError("--tensorboard: needs the extra: pip install -c constraints.txt -e '.[tensorboard]'")
    if rows:
        entries = [Listed(*plan.place, plan.label, plan.gamma, plan.folder) for plan in rows if plan.place]
        write_index(rows[0].folder.path.parent, entries)
    for plan in runs:
        mend(plan)
    ask(runs)


def conclude(plans: Sequence[Sequence[Plan]], runs: Sequence[Plan], failed: Sequence[str], wanted: bool) -> int:
    """The end of a command: the table of what is whole. wanted: metrics were asked for. Returns the exit status."""
    if failed:
        told = f"sdi_bench.run: {len(failed)} failed; the same command tries these again:"
        print(told, *failed, sep="\n  ", file=sys.stderr)
        whole = [pair for pair in plans if not any(plan.missing for plan in pair)]
        if whole and not any(plan.place or plan.probe for plan, *_ in whole):
            summarise(whole, asked_for())
        return 1
    status = told_of(plans, runs, wanted)
    if plans[0][0].config["plots"] and not any(plan.missing for plan in runs):
        draw(runs)
    return status


def draw(runs: Sequence[Plan]) -> None:
    """Figures of these runs, as python -m sdi_bench.plot draws them of a whole folder; what cannot be drawn is told."""
    from .plotting import plot  # matplotlib

    drawn = plot(runs[0].folder.path.parent, only=[plan.folder.path.name for plan in runs])
    print("drawn:", *(path for path, _ in drawn.written), sep="\n  ")
    for why in drawn.missing:
        print(f"sdi_bench.run: not drawn: {line(why)}", file=sys.stderr)


def told_of(plans: Sequence[Sequence[Plan]], runs: Sequence[Plan], wanted: bool) -> int:
    """Measure what is whole and show the table, or say what is to be done next. Returns the exit status."""
    if any(plan.place for plan, *_ in plans):
        print(f"finished; to measure: python -m sdi_bench.evaluate experiment={runs[0].config['name']}")
    elif any(plan.missing for plan in runs):
        others = "the same command without retry=failed makes the rest"
        if runs[0].part[1] > 1:
            others = "once the other parts are, any of them given again shows the table"
        print(f"this part is finished; {others}")
    elif any(plan.probe for plan in runs):
        print("finished:", *(plan.folder.path for plan in runs), sep="\n  ")
    elif not summarise(plans, asked_for()) and wanted:
        return 1
    return 0


def asked_for() -> Wanted:
    """What the command line wants of the end of a sweep. A pipe or a file gets the table in one piece."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return Wanted(width, *(option in TYPED for option in OWN))


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


def sweep(asked: Sequence[Asked], composed: Compose, launch: Launch, shards: int | None, here: bool = True) -> int:
    """Check a whole sweep, have its jobs made, show the table. here: by this process. shards: of one job at most; None: all
    of a run, or one where jobs are made elsewhere.

    Returns the exit status. A launcher that breaks off, as when a worker is killed, is started again as long as that helps.
    """
    plans = [[closed(plan) for plan in pair] for pair in checked(asked, composed, OPEN)]  # jobs have their own
    origin: dict[tuple[Path, tuple[Item, ...]], tuple[Asked, bool]] = {}
    for one, pair in zip(asked, plans, strict=True):
        for k, plan in enumerate(pair):
            origin.setdefault((plan.folder.path, plan.items), (one, k > 0))
    runs = unique(plans)
    most = max(plan.config["together"] for plan in runs)
    if most > 1 and not here:
        raise ValueError(
            f"together={most}: runs ask together that one process makes, and hydra/launcher has several; leave one of them out"
        )
    begin(plans, runs)
    failed: list[str] = []
    while True:
        jobs, left = [], 0
        PENDING.clear()
        for plan in by_model(runs):
            todo, (one, reference) = plan.todo, origin[plan.folder.path, plan.items]
            left += len(todo)
            size = shards or (here and len(todo)) or 1
            jobs += [told(one, plan, reference, todo[k : k + size]) for k in range(0, len(todo), size)]
        try:
            made = launch(jobs) if jobs else ()
            make_pending()
            failed += [text for each in made for text in outcome(each)]
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
"""The one model that this process has open."""


class Pending(NamedTuple):
    """A job that waits for others to ask their model with. failed: what is said of it once it is made."""

    plan: Plan
    argv: list[str]
    failed: list[str]


PENDING: list[Pending] = []
"""All of one model."""


def make_pending() -> None:
    """Make the jobs that wait."""
    jobs = PENDING.copy()
    PENDING.clear()
    if jobs:
        for job, failed in zip(jobs, execute_all([job.plan for job in jobs], jobs[0].argv), strict=True):
            job.failed.extend(failed)


class HandedOnError(BaseException):
    """Carries an error past Hydra, which would print it in its own way."""


def job(cfg: DictConfig) -> Any:
    """One job of Hydra's: of a sweep of ours the shards it names, else a whole command of one run.

    Returns a line for each shard that failed; under a sweeper that tunes, the value of `objective`. A command of its own raises
    HandedOnError, or SystemExit with the exit status unless it is 0.
    """
    hydra = HydraConfig.get()
    findable(hydra)
    tuned = hydra.mode is not None and hydra.mode.name == "MULTIRUN"
    choices = dict(hydra.runtime.choices)
    try:
        settings: dict[str, Any] = dict(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
        if model_key(settings) not in OPEN:
            make_pending()
        keep_only(model_key(settings), OPEN)
        if JOB not in settings:
            raw = dict(OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]
            return alone(settings, raw, choices, list(hydra.overrides.task), tuned)
    except Exception as error:
        if tuned:
            raise
        raise HandedOnError from error
    said = settings.pop(JOB)
    if choices["hydra/launcher"] != "basic" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(int(os.environ.get("SLURM_CPUS_PER_TASK", "1")))  # workers share the cores
    place = said["place"] and tuple(said["place"])
    plan = plans_of(settings, choices, str(said["label"]), OPEN, place)[int(said["reference"])]
    plan = replace(plan, part=(0, 1), only=frozenset(map(str, said["shards"])))
    failed: list[str] = []
    if any(job.plan.folder.path == plan.folder.path for job in PENDING):  # one writes there at a time
        make_pending()
    PENDING.append(Pending(plan, list(map(str, said["argv"])), failed))
    if len(PENDING) >= settings["together"]:
        make_pending()
    return failed


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
    n = settings["together"]
    failed = [text for k in range(0, len(runs), n) for texts in execute_all(runs[k : k + n], TYPED) for text in texts]
    if tuned:
        return float("nan") if failed else measured(plans[0][0], settings["objective"])
    status = conclude(plans, runs, failed, any(word.startswith("metric") for word in overrides))
    if status:
        sys.exit(status)
    return None
