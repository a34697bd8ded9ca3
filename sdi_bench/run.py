"""python -m sdi_bench.run: the main job. Wiring: nothing below this file imports hydra."""

import difflib
import itertools
import json
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import hydra
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import _locate, get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from . import prompts, require
from .draws import MOST_SEED
from .jobs import Plan, arranged, ask, execute, summarise
from .metrics import Metric
from .models import Denoiser, ExactModel, HasData
from .samplers import Ddim, Distillation, Sampler
from .sampling import Job
from .schedules import Schedule
from .store import RESULTS_VERSION, Listed, NotWrittenError, RunFolder, digest, writable, write_index
from .texts import line

SETTINGS = (
    *(
        "model",
        "schedule",
        "grid",
        "guidance",
        "scene",
        "sampler",
        "metric",
        "reference",
        "probe",
        "experiment",
        "prompt",
        "prompt_file",
    ),
    *("n_items", "part", "negative_prompt", "seeds", "results", "overwrite", "retry", "batch_size", "device"),
)
"""What a configuration may hold at its top level."""

OPTIONAL = ("metric", "probe")
"""And what it may lack."""

TEXTS = (
    *("prompt", "prompts", "negative_prompt", "text", "prompt_file", "experiment", "results", "path", "folder"),
    *("image", "real", "samples", "paired", "output"),
)
"""Settings, by the last part of their names, whose values are people's own words and paths: see `quoted`."""

LISTS = ("prompt", "prompts")
"""Those of which `[a,b]` gives several."""

QUOTED = r"""(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")"""
"""A text wholly in quotes, as Hydra has it."""

LISTED = rf"\[(?>\s*{QUOTED}\s*(?=[,\]])|[^\]])*+\]"
"""A list in brackets."""

MISSING = """'${text:"???"}'"""
"""How to say the text that OmegaConf would take for a value that is missing."""


def conf_dir() -> Path:
    """Where the configurations are: inside the package in a wheel, beside it in a checkout."""
    inside = Path(__file__).resolve().parent / "conf"
    return inside if inside.is_dir() else inside.parent.parent / "conf"


OmegaConf.register_new_resolver("neg", lambda value: -value, replace=True)
OmegaConf.register_new_resolver("text", lambda value: None if value in (None, "") else str(value), replace=True)


def parse_seeds(value: object) -> list[int]:
    """`0..31` (both ends), a number, or a list. Raises ValueError, naming the field."""
    ends = re.fullmatch(r"(\d{1,19})\.\.(\d{1,19})", value.strip()) if isinstance(value, str) else None
    seeds: list[Any]
    if ends:
        if int(ends[2]) - int(ends[1]) >= require.MOST:
            raise ValueError(f"seeds={value!r}: must be at most {require.MOST:,} seeds")
        seeds = list(range(int(ends[1]), int(ends[2]) + 1))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        seeds = list(value)
    else:
        seeds = [value]
    good = all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds)
    if not good or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds={value!r}: must be a range like 0..31, a number >= 0, or a list of distinct ones")
    require.count("seeds", max(seeds), least=0, most=MOST_SEED)
    return seeds


def parse_prompts(prompt: object, prompt_file: str | None, known: Sequence[str]) -> list[str | None]:
    """The prompts asked for; "" is unconditional. Raises ValueError, naming the field."""
    if prompt_file is not None:
        if prompt is not None:
            raise ValueError(f"prompt_file={prompt_file!r}: give prompt or prompt_file, not both")
        return list(prompts.read(prompt_file))
    if prompt is None:
        chosen: list[Any] = list(known)
        if not chosen:
            raise ValueError("prompt=null: this model needs a prompt")
    else:
        chosen = list(prompt) if isinstance(prompt, Sequence) and not isinstance(prompt, str) else [prompt]
    words = [str(p) for p in chosen]
    if (
        not words
        or len(set(words)) < len(words)
        or not all(isinstance(p, str | int) and not isinstance(p, bool) for p in chosen)
    ):
        raise ValueError(f"prompt={prompt!r}: must be one prompt or a list of distinct ones")
    return [word or None for word in words]


def as_floats(value: object) -> object:
    """The same plain data with whole numbers as floats, so that 1 and 1.0 name the same run."""
    if isinstance(value, Mapping):
        return {key: as_floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def parse_part(value: object) -> tuple[int, int]:
    """`1/4`: the second of four processes that share a sweep. Raises ValueError, naming the field."""
    found = re.fullmatch(r"(\d+)/(\d+)", "0/1" if value is None else str(value))
    if found is None or not int(found[1]) < int(found[2]):
        raise ValueError(f"part={value!r}: must be k/n with k < n, like 0/2 and 1/2 for two processes that share the work")
    return int(found[1]), int(found[2])


def without_image(sampler: Mapping[str, Any]) -> dict[str, Any]:
    """A sampler's configuration; the image, which is what a sampler samples unless something else is said, goes unsaid."""
    image = {"_target_": "sdi_bench.scenes.Image"}
    return {key: value for key, value in sampler.items() if key != "scene" or value != image}


@dataclass(frozen=True)
class Shared:
    """A model of a sweep, and its fingerprint: it takes a while, and nothing changes while all is checked."""

    model: Denoiser

    @cached_property
    def fingerprint(self) -> str:
        """Of the model."""
        return self.model.fingerprint


def plans_of(
    cfg: DictConfig,
    choices: Mapping[str, str | None],
    label: str,
    models: dict[str, Shared] | None = None,
    place: tuple[str, str] | None = None,
) -> list[Plan]:
    """[the run, its paired reference if it has one]. All is checked, nothing computed. Raises ValueError, naming the field.

    models: those that the plans of a sweep share, by their configuration; what is new is added. place: see Plan.
    """
    plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    for key in plain:
        if key not in SETTINGS:
            raise ValueError(f"{key}: no such setting; {near_match(key, SETTINGS)}")
    lacking = [key for key in SETTINGS if key not in plain and key not in OPTIONAL]
    if lacking:
        raise ValueError(f"~{lacking[0]}: cannot be left out")
    if not isinstance(plain["results"], str) or not plain["results"]:
        raise ValueError(f"results={plain['results']!r}: must name a folder")
    check_experiment(str(plain["experiment"]))
    require.count("batch_size", plain["batch_size"])
    if not isinstance(plain["overwrite"], bool):
        raise ValueError(f"overwrite={plain['overwrite']!r}: must be true or false")
    if plain["retry"] not in ("all", "failed"):
        raise ValueError(f"retry={plain['retry']!r}: must be all or failed")
    try:
        torch.empty(0, device=plain["device"])
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device={plain['device']!r}: not to be had here") from error
    plain["metric"] = plain.get("metric") or {}
    made = {key: built(plain[key]) for key in ("schedule", "sampler", "metric", "reference")}
    models, key = {} if models is None else models, json.dumps(plain["model"], sort_keys=True, default=str)
    shared = models[key] = models.get(key) or Shared(built(plain["model"]))
    model = shared.model
    objects: dict[str, tuple[object, Any]] = {
        "model": (model, Denoiser),
        "schedule": (made["schedule"], Schedule),
        "sampler": (made["sampler"], Sampler),
    }
    if made["reference"] is not None:
        objects["reference"] = (made["reference"], Ddim)
    objects |= {f"metric.{name}": (metric, Metric) for name, metric in made["metric"].items()}
    for name, (thing, protocol) in objects.items():
        require.fits(name, thing, protocol)
    if isinstance(model, ExactModel) and not isinstance(model, HasData) and plain["device"] != "cpu":
        raise ValueError(f"device={plain['device']!r}: this model runs on the CPU")
    asked = parse_prompts(plain["prompt"], plain["prompt_file"], model.prompts)
    items = tuple(prompts.items(asked, parse_seeds(plain["seeds"])))
    if plain["n_items"] is not None:
        require.count("n_items", plain["n_items"])
        items = items[: plain["n_items"]]
    if choices["scene"] != "image" and not isinstance(made["sampler"], Distillation):
        raise ValueError(f"scene={choices['scene']}: sampler={choices['sampler']} samples images only; use sds, sdi or ism")
    sampler, reference, part = made["sampler"], made["reference"], parse_part(plain["part"])
    probe = built(plain["probe"]) if plain.get("probe") else None
    if probe is not None:
        reference = None  # nothing is sampled that it could be held against
    wanted = [(sampler, label, [choices["sampler"], choices.get("noise@sampler.noise")])]
    if reference is not None:
        wanted.append((reference, f"ddim-{reference.n_states}", [f"ddim-{reference.n_states}"]))
    plans = []
    for sampler, title, kind in wanted:
        where = ("path", "device", "prompts")  # no choices: the fingerprint and the items say what is there
        chosen: dict[str, Any] = {
            **{group: {k: v for k, v in plain[group].items() if k not in where} for group in ("model", "schedule")},
            "fingerprint": shared.fingerprint,
            "sampler": without_image(plain["reference" if sampler is reference else "sampler"]),
            "prompts": asked if plain["prompt_file"] is None else digest(asked),
            "results_version": RESULTS_VERSION,
        }
        if probe is not None:
            chosen["probe"], kind = plain["probe"], [*kind, choices["probe"]]
        words = [*filter(None, [choices["model"], *kind]), f"g{sampler.guidance.scale:g}"]
        path = Path(plain["results"]) / str(plain["experiment"]) / f"{'-'.join(words)}-{digest(as_floats(chosen))}"
        job = Job(model, sampler, made["schedule"], plain["device"])
        job.check(items)
        if probe is not None:
            probe.check(job)
        config = plain | chosen
        if "path" in plain["model"]:
            config["model"] = chosen["model"] | {"path": plain["model"]["path"]}  # to find it again, and measure
        kept = (RunFolder(path), config, plain["batch_size"], part, probe, place)
        plans.append(Plan(title, job, items, made["metric"], *kept))
    return plans


def built(node: Any) -> Any:
    """What plain data describes: its `_target_`s called. Hydra's own way would take `${` in a text for an interpolation.

    Raises ValueError for what cannot be made.
    """
    if isinstance(node, list):
        return [built(part) for part in node]
    if not isinstance(node, Mapping):
        return node
    parts = {key: built(part) for key, part in node.items()}
    if "_target_" not in parts:
        return parts
    target = parts.pop("_target_")
    try:
        return _locate(target)(**parts)
    except (TypeError, AttributeError, ImportError, KeyError, OverflowError) as error:
        raise ValueError(f"{target}: {error}") from error


def literal(text: str) -> str:
    """A text in Hydra's syntax, such that it arrives as it is: `$`, quotes, backslashes and all."""
    if text == "???":
        return MISSING
    return QuotedString(re.sub(r"(\\*)\$\{", r"\1\1\\${", text), Quote.single).with_quotes()


def unquoted(value: str) -> str:
    """What a value of the command line says without the quotes that Hydra needs; the inverse of `literal`."""
    if value == MISSING:
        return "???"
    if not re.fullmatch(QUOTED, value, re.DOTALL):
        return value
    said = str(OverridesParser.create().parse_override(f"x={value}").value())
    return re.sub(r"((?:\\\\)*)\\\$\{", lambda found: found[1][::2] + "${", said)


def cut(value: str, comma: str) -> list[str]:
    """A value cut at commas outside quotes and brackets."""
    return re.findall(rf"(\s*(?:{QUOTED}|{LISTED})\s*|(?:(?!{comma}).)*+){comma}", value + ",", re.DOTALL)


def spelled(value: str, several: bool) -> str:
    """A text in Hydra's syntax, or where there may be `several` a list of them in brackets."""
    if value in ("", "null") or re.fullmatch(QUOTED, value, re.DOTALL):
        return value
    if several and value[0] == "[" and value[-1] == "]":
        words = [word.strip() for word in cut(value[1:-1], ",")]
        return f"[{','.join(literal(word) if word == 'null' else spelled(word, False) for word in words)}]"
    return literal(value)


def quoted(argv: Sequence[str]) -> list[str]:
    """The same command line, the values of TEXTS in quotes, so that Hydra takes them as they stand; again changes nothing.

    Hydra is left to read: a value wholly in quotes; null; [a,b] of a prompt, the parts in quotes or as they stand; and under
    -m a comma outside quotes and brackets with no blank after it, which parts the values of a sweep.
    Raises ValueError for what is no text.
    """
    words, sweep = [], bool({"-m", "--multirun"} & set(argv))
    for word in argv:
        key, equals, value = word.partition("=")
        name = key.lstrip("+").rpartition(".")[2]
        if equals and name in TEXTS:
            values = cut(value, r",(?!\s)") if sweep else [value]
            word = f"{key}={','.join(spelled(one, name in LISTS) for one in values)}"
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{key}={value!a}: is not text in UTF-8") from error
        words.append(word)
    return words


def overrides_of(argv: Sequence[str]) -> list[list[str]]:
    """The jobs of a command line, each a list of overrides."""
    options = get_args_parser().parse_args(quoted(argv))
    parsed = OverridesParser.create().parse_overrides(options.overrides)
    if options.multirun:
        return [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]
    swept = next((o for o in parsed if o.is_sweep_override()), None)
    if swept is not None:
        raise ValueError(f"{swept.input_line}: several values need a sweep; add -m")
    return [list(options.overrides)]


def labelled(jobs: Sequence[Sequence[str]], row: str | None = None) -> list[tuple[Sequence[str], str]]:
    """The jobs, each with what tells it apart: its row in the experiment or the sampler's name, then what else varies."""
    pairs = [{key: shown(unquoted(value)) for key, value in map(halves, job)} for job in jobs]
    told = "sampler" if row is None else "guidance.scale"  # an experiment's tables have a column for it
    keys = [key for key in dict.fromkeys(itertools.chain(*pairs)) if key != told]
    varied = [key for key in keys if len({job.get(key) for job in pairs}) > 1]
    names = [
        " ".join([row or job.get("sampler", "ddim"), *(f"{key.split('.')[-1]}={job.get(key)}" for key in varied)])
        for job in pairs
    ]
    return list(zip(jobs, names, strict=True))


def halves(word: str) -> tuple[str, str]:
    """A word of the command line: what it sets, and to what."""
    key, _, value = word.partition("=")
    return key, value


def shown(text: str) -> str:
    """A text in one line, what is not to be seen as its escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def said_of(argv: Sequence[str], key: str) -> str | None:
    """What a command line sets a key to."""
    said = dict(halves(word) for word in argv if "=" in word).get(key)
    return None if said is None else unquoted(said)


def experiments() -> list[str]:
    """Those of conf/experiments."""
    return sorted(path.stem for path in (conf_dir() / "experiments").glob("*.yaml"))


def experiment_of(argv: Sequence[str]) -> str | None:
    """The experiment of conf/experiments that a command line asks for."""
    name = said_of(argv, "experiment")
    return name if name in experiments() else None


def check_experiment(name: str) -> None:
    """Raise ValueError unless this is an experiment, or names a folder within results/ and is not easily meant for one.

    Easily meant is what differs from one in case and punctuation alone, or in about one letter of seven and begins otherwise.
    """
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or max(len(part.encode()) for part in parts) > 255:
        raise ValueError(f"experiment={name!r}: must be the name of a folder within results/, of at most 255 bytes")
    for known in [] if name in experiments() else experiments():
        letters, theirs = (re.sub(r"[\W_]", "", word.lower()) for word in (name, known))
        near = difflib.SequenceMatcher(None, name, known).ratio() > 0.85 and not name.startswith(known)
        if letters == theirs or near:
            raise ValueError(f"experiment={name!r}: did you mean {known}? a name of your own has to be less like it")


def read_experiment(name: str) -> dict[str, Any]:
    """A file of conf/experiments: words for the command line (common), and, where it is more than that, tiers of rows."""
    found = yaml.safe_load((conf_dir() / "experiments" / f"{name}.yaml").read_text())
    assert isinstance(found, dict)
    return found


def sweeps_of(argv: Sequence[str]) -> list[tuple[tuple[str, str] | None, list[str]]]:
    """[((tier, row), command line)] that a command line stands for: itself, or an experiment's rows, with what else was said.

    An experiment without rows is words for the main job. What was said replaces what the experiment says of the same setting,
    another model= (or noise@, update@) all that it says of its own.
    tier=, row=: only these of the experiment's. Raises ValueError for one that it has not.
    """
    name, only = experiment_of(argv), {key: said_of(argv, key) for key in ("tier", "row")}
    if name is None:
        return [(None, list(argv))]
    said = read_experiment(name)
    rest = [word for word in argv if word not in ("-m", "--multirun") and word.split("=")[0] not in only]
    keys = {word.split("=")[0] for word in rest}
    keys |= {"prompt", "prompt_file"} if keys & {"prompt", "prompt_file"} else set()  # one stands for the other

    replaced = tuple(f"{key.split('@')[-1]}." for key in keys if key == "model" or "@" in key)

    def kept(words: str) -> list[str]:
        return [
            word
            for word in shlex.split(words)
            if word.split("=")[0] not in keys and not (replaced and word.lstrip("+").startswith(replaced))
        ]

    if "tiers" not in said:
        return [(None, ["-m", *kept(said["common"]), *rest])]
    rows = [
        ({"tier": tier, "row": row}, ["-m", *kept(" ".join([said["common"], part["all"], words])), *rest])
        for tier, part in said["tiers"].items()
        for row, words in part["rows"].items()
    ]
    for key, value in only.items():
        known = list(dict.fromkeys(place[key] for place, _ in rows))
        if value not in (None, *known):
            raise ValueError(f"{key}={value}: {near_match(str(value), known)}")
        rows = [(place, words) for place, words in rows if value in (None, place[key])]
    return [((place["tier"], place["row"]), words) for place, words in rows]


def preflight(argv: Sequence[str]) -> list[list[Plan]]:
    """Compose and check every job of the sweep before the first network call. Raises what is wrong with the first bad one."""
    plans: list[list[Plan]] = []
    models: dict[str, Shared] = {}
    ignored: list[dict[str, str]] = []
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for place, words in sweeps_of(quoted(argv)):
            for overrides, label in labelled(overrides_of(words), place[1] if place else None):
                cfg = compose("config", overrides, return_hydra_config=True)
                choices = cfg.hydra.runtime.choices
                launcher = choices.get("hydra/launcher")
                if launcher != "basic":
                    raise ValueError(
                        f"hydra/launcher={launcher}: runs are made one by one in this process; use part=0/2 and 1/2"
                    )
                with open_dict(cfg):
                    del cfg.hydra
                ignored.append(unread(cfg, overrides, choices))
                plans.append(plans_of(cfg, choices, label, models, place))
    for key, why in ignored[0].items() if ignored else ():
        if all(key in job for job in ignored):
            raise ValueError(why)
    for folder in {plan.folder.path.parent for plan, *_ in plans}:
        writable(folder, "results")
    return plans


def unread(cfg: DictConfig, overrides: Sequence[str], choices: Mapping[str, str | None]) -> dict[str, str]:
    """What is set of grid or guidance though what was chosen has its own: key -> why it is refused."""
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    read = json.dumps([plain.get(key) for key in ("sampler", "probe", "scene", "model")], default=str)
    found = {}
    for word in overrides:
        group = re.split(r"[.=@]", word.lstrip("+~"))[0]
        if group in ("grid", "guidance") and f"${{{group}" not in read:
            why = f"sampler={choices['sampler']} does not read {group}; it has its own, sampler.*"
            found[halves(word)[0]] = f"{word}: {why}"
    return found


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
        return f"{missing[1]}={missing[2]}: {near_match(missing[2], options)}"
    unknown = re.search(r"Could not override '([^'=]+)", text)
    if unknown and isinstance(error, ConfigCompositionException):
        if "@sampler." in unknown[1]:
            sampler, part = said_of(argv, "sampler") or "ddim", unknown[1].split("@")[0]
            return f"{unknown[1]}: sampler={sampler} has no {part}; sds, sdi, ism and sds_dreamfusion have"
        chosen = [o for o in argv if re.match(r"(model|sampler|grid|schedule)=\w+$", o)]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            known = keys_of(OmegaConf.to_container(compose(config, chosen)))
        if unknown[1] not in known:
            return f"{unknown[1]}: no such setting; {near_match(unknown[1], known)}"
    return line(str(deepest))


def near_match(word: str, known: Sequence[str]) -> str:
    """What may have been meant, or what there is."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(key for key in known if '.' not in key)}"


@hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")
def answer(cfg: DictConfig) -> None:
    """Hydra's own answers: --help, --cfg job and the like."""


def main() -> None:
    """Check the whole sweep, run it, show the table.

    Exit status 2 for bad input; 1 if a shard failed, results cannot be kept, or metrics were asked for and nothing could be
    measured.
    """
    argv = sys.argv[1:]
    flags = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion"}
    if flags & {arg.split("=")[0] for arg in argv}:
        sys.argv[1:] = quoted(argv)
        answer()
        return
    argv = sorted(argv, key=lambda arg: arg not in ("-m", "--multirun"))  # wherever -m stands
    warn_as("sdi_bench.run")
    try:
        plans = preflight(argv)
        asked = {(plan.folder.path, plan.items): plan for pair in plans for plan in reversed(pair)}
        unique = arranged(asked.values(), plans[0][0].config["retry"])
        finished = [plan.label for plan in unique if not plan.todo and not plan.missing]
        if finished:
            print(f"finished earlier, not run again: {', '.join(finished)}")
        if any(plan.place for plan, *_ in plans):
            runs = [plan for plan, *_ in plans if plan.place]
            entries = [Listed(*plan.place, plan.label, plan.gamma, plan.folder) for plan in runs if plan.place]
            write_index(runs[0].folder.path.parent, entries)
        ask(unique)
        failed = [told for plan in unique for told in execute(plan)]
        if failed:
            print(
                f"sdi_bench.run: {len(failed)} failed; the same command tries these again:",
                *failed,
                sep="\n  ",
                file=sys.stderr,
            )
            whole = [pair for pair in plans if not any(plan.missing for plan in pair)]
            if whole and not any(plan.place or plan.probe for plan, *_ in whole):
                summarise(whole)
            sys.exit(1)
        if any(plan.place for plan, *_ in plans):
            print(f"finished; to measure: python -m sdi_bench.evaluate experiment={experiment_of(argv)}")
            return
        if any(plan.missing for plan in unique):
            others = "the same command without retry=failed makes the rest"
            if parse_part(unique[0].config["part"])[1] > 1:
                others = "once the other parts are, any of them given again shows the table"
            print(f"this part is finished; {others}")
            return
        if any(plan.probe for plan in unique):
            print("finished:", *(plan.folder.path for plan in unique), sep="\n  ")
        elif not summarise(plans) and any(word.startswith("metric") for word in argv):
            sys.exit(1)
    except NotWrittenError as error:
        print(f"sdi_bench.run: {line(str(error))}", file=sys.stderr)
        sys.exit(1)
    except (ValueError, HydraException, OmegaConfBaseException) as error:
        print(f"sdi_bench.run: {explain(error, argv)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a picture that cannot be written; some of Hydra's errors are OSErrors too, and told above
        print(f"sdi_bench.run: {line(str(error))}", file=sys.stderr)
        sys.exit(1)


def warn_as(name: str) -> None:
    """From now on a warning is a line of this command."""
    warnings.showwarning = lambda message, *_: print(f"{name}: {line(str(message))}", file=sys.stderr)


def stoppable(command: Callable[[], None], name: str) -> None:
    """Run a command; stopped by the user, it says so in a line. Exit status 130."""
    try:
        command()
    except KeyboardInterrupt:
        print(f"\n{name}: stopped; what is finished stays, and the same command goes on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    stoppable(main, "sdi_bench.run")
