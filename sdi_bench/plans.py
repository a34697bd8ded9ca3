"""From a composed configuration to plans: every object made, every setting checked, nothing computed."""

import gc
import hashlib
import json
import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from pydoc import ErrorDuringImport, locate
from typing import Any, NoReturn

from . import prompts, require
from .draws import MOST_SEED
from .guidance import Prompt
from .jobs import KEEP, Plan
from .metrics import Metric
from .models import Denoiser, ExactModel, HasCodec, HasData, Network, OwnSchedule
from .models.base import HasOutput
from .noise import Inversion, ReleasedInversion
from .probes import Probe
from .samplers import Ddim, Distillation, Sampler
from .sampling import Job, check_device
from .scenes.base import image_shape
from .schedules import Karras, RectifiedFlow, Schedule, TableSchedule
from .store import RESULTS_VERSION, RunFolder, digest
from .texts import meant, near_match

SETTINGS = (
    *("model", "schedule", "grid", "guidance", "scene", "sampler", "metric", "reference", "probe"),
    *("name", "prompt", "prompt_file", "n_items", "part", "negative_prompt", "source", "source_prompt", "faults", "seeds"),
    *("results", "overwrite", "retry", "batch_size", "device", "keep", "together", "plots", "tier", "row", "objective"),
    *("deviations", "taken_back"),
)
"""What a configuration may hold at its top level."""

PATHS = ("path", "config", "lora")
"""Where a model's files lie: its fingerprint says what they are."""

MEMORY = ("max_rows", "offload_text")
"""How a model gets by with its memory: that changes rounding at most, and so no run's name."""

OPTIONAL = ("metric", "probe")
"""And what it may lack."""


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


def check_name(name: object) -> None:
    """Raise ValueError unless this names a folder within results/."""
    parts = PurePosixPath(str(name)).parts
    if not parts or parts[0] == "/" or ".." in parts or max(len(part.encode()) for part in parts) > 255:
        raise ValueError(f"name={name!r}: must be the name of a folder within results/, of at most 255 bytes")


def parse_part(value: object) -> tuple[int, int]:
    """`1/4`: the second of four processes that share a sweep. Raises ValueError, naming the field."""
    found = re.fullmatch(r"(\d+)/(\d+)", "0/1" if value is None else str(value))
    if found is None or not int(found[1]) < int(found[2]):
        raise ValueError(f"part={value!r}: must be k/n with k < n, like 0/2 and 1/2 for two processes that share the work")
    return int(found[1]), int(found[2])


def told_of_sampler(sampler: Sampler, name: str | None, kappa: str | None) -> dict[str, Any]:
    """A sampler in a table: its name and that of its kappa, gamma, gamma of its inversion if it has one, its levels."""
    told: dict[str, Any] = {"sampler": name} | ({"kappa": kappa} if kappa else {}) | {"gamma": sampler.guidance.gamma}
    noise = sampler.noise if isinstance(sampler, Distillation) else None
    if isinstance(noise, Inversion | ReleasedInversion):
        told["gamma_inv"] = sampler.guidance.gamma_of(noise.guidance_scale)
    return told | {"levels": sampler.n_states}


def check_deviations(preset: str | None, known: Sequence[str], asked: Mapping[str, Any]) -> None:
    """Raise ValueError unless the preset has the deviations that are taken back."""
    for name in asked:
        if name not in known:
            has = f"preset={preset} has {', '.join(known) or 'none'}" if preset else "needs a preset"
            raise ValueError(f"deviation={name}: {has}")


UNSAID: dict[str, dict[str, Any]] = {
    "scene": {"project": False, "posterior": "sample", "words": ""},
    "guidance": {"convention": "paper", "weights": "constant"},
    "timeline": {"whole": False},
    "update": {"n_steps": None, "mean": False},
}
"""Settings of a sampler that came later than results that are there, as they were before: these go unsaid."""


def as_before(sampler: Mapping[str, Any]) -> dict[str, Any]:
    """A sampler's configuration; the image, which is what a sampler samples unless something else is said, goes unsaid."""
    image = {"_target_": "sdi_bench.scenes.Image"}
    said = {
        key: {k: v for k, v in value.items() if k not in UNSAID.get(key, ()) or v != UNSAID[key][k]}
        if isinstance(value, Mapping)
        else value
        for key, value in sampler.items()
    }
    return {key: value for key, value in said.items() if key != "scene" or value != image}


@dataclass(frozen=True)
class Shared:
    """A model of a sweep, and its fingerprint: it takes a while, and nothing changes while all is checked."""

    model: Denoiser

    @cached_property
    def fingerprint(self) -> str:
        """Of the model."""
        return self.model.fingerprint


def has_codec(model: Denoiser) -> bool:
    """True where pictures are decoded from what is sampled."""
    return model.codec is not None if isinstance(model, Network) else isinstance(model, HasCodec)


def model_key(plain: Mapping[str, Any]) -> str:
    """What tells the model of a configuration from others."""
    return json.dumps(plain.get("model"), sort_keys=True, default=str)


def keep_only(key: str, models: dict[str, Shared]) -> None:
    """Let go of the models of other keys, before this one is opened: memory is for one network."""
    others = models.keys() - {key}
    for other in others:
        del models[other]
    if others:
        gc.collect()  # modules refer to each other in circles


@dataclass(frozen=True)
class Closed:
    """What is left to say of a network whose weights are let go: enough to find, read and measure what it made."""

    shape: tuple[int, ...]
    prompts: tuple[str, ...]
    fingerprint: str

    def predict(self, *_: object) -> NoReturn:
        let_go()

    def check_prompt(self, prompt: Prompt) -> None:
        """It was checked when the network was open."""


def let_go(*_: object) -> NoReturn:
    """Stands where weights, or the pipeline that has them, would be asked."""
    raise RuntimeError("the weights of this network were let go, to open those of another; open it again")


def closed(plan: Plan) -> Plan:
    """The plan without the weights of its network; an exact model, or one that knows real images, stays as it is."""
    model = plan.job.model
    if isinstance(model, HasData) or not isinstance(model, HasOutput):
        return plan
    left, schedule = Closed(model.shape, model.prompts, str(plan.config["fingerprint"])), plan.job.schedule
    if isinstance(schedule, TableSchedule | RectifiedFlow | Karras) and schedule.visits is not None:
        schedule = replace(schedule, visits=let_go)
    return replace(plan, job=replace(plan.job, model=left, schedule=schedule))


def plans_of(
    plain: dict[str, Any],
    choices: Mapping[str, str | None],
    label: str,
    models: dict[str, Shared] | None = None,
    place: tuple[str, str] | None = None,
) -> list[Plan]:
    """[the run, its paired reference if it has one]. All is checked, nothing computed, but that a network of the user's own is
    asked once, when it is opened. Raises ValueError, naming the field.

    plain: the configuration, composed and resolved. choices: of its groups.
    models: those that the plans of a sweep share, by their configuration; what is new is added. place: see Plan.
    """
    for key in plain:
        if key not in SETTINGS:
            raise ValueError(f"{key}: no such setting; {meant(key, SETTINGS)}")
    lacking = [key for key in SETTINGS if key not in plain and key not in OPTIONAL]
    if lacking:
        raise ValueError(f"~{lacking[0]}: cannot be left out")
    check_deviations(choices.get("preset"), plain["deviations"], plain["taken_back"])
    if not isinstance(plain["results"], str) or not plain["results"]:
        raise ValueError(f"results={plain['results']!r}: must name a folder")
    check_name(plain["name"])
    require.count("batch_size", plain["batch_size"])
    require.count("together", plain["together"])
    if not isinstance(plain["overwrite"], bool):
        raise ValueError(f"overwrite={plain['overwrite']!r}: must be true or false")
    if not isinstance(plain["plots"], bool):
        raise ValueError(f"plots={plain['plots']!r}: must be true or false")
    if plain["keep"] not in ("auto", "exact", *KEEP):
        raise ValueError(f"keep={plain['keep']!r}: must be one of auto, exact, {', '.join(KEEP)}")
    if plain["retry"] not in ("all", "failed"):
        raise ValueError(f"retry={plain['retry']!r}: must be all or failed")
    check_device(plain["device"])
    plain["metric"] = plain.get("metric") or {}
    made = {key: built(plain[key], key) for key in ("schedule", "sampler", "metric", "reference")}
    models, key = {} if models is None else models, model_key(plain)
    is_new = key not in models
    if is_new:
        opened = built(plain["model"], "model")
        require.fits("model", opened, Denoiser)
        models[key] = Shared(opened)
    shared, model = models[key], models[key].model
    unsaid = choices.get("schedule") == "default" and set(plain["schedule"]) == {"_target_"}
    if unsaid and isinstance(model, Network) and model.has_own:
        made["schedule"], plain["schedule"] = OwnSchedule(), {"_target_": "sdi_bench.models.OwnSchedule"}
    if isinstance(made["schedule"], OwnSchedule):
        made["schedule"] = made["schedule"].of(model)
    objects: dict[str, tuple[object, Any]] = {
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
    if plain["n_items"] is not None:
        require.count("n_items", plain["n_items"])
    items = tuple(prompts.items(asked, parse_seeds(plain["seeds"]), plain["n_items"]))
    if choices["scene"] != "image" and not isinstance(made["sampler"], Distillation):
        raise ValueError(f"scene={choices['scene']}: sampler={choices['sampler']} samples images only; use sds, sdi or ism")
    said = as_before({"scene": plain["scene"]})
    if said and not isinstance(made["sampler"], Distillation):
        raise ValueError(
            f"scene.{[*said['scene']][-1]}: sampler={choices['sampler']} has no scene; "
            "sampler=sds noise@sampler.noise=previous is DDIM with one"
        )
    sampler, reference, part = made["sampler"], made["reference"], parse_part(plain["part"])
    probe = built(plain["probe"], "probe") if plain.get("probe") else None
    if probe is not None:
        require.fits("probe", probe, Probe)
        reference = None  # nothing is sampled that it could be held against
    wanted = [(sampler, label, [choices["sampler"], choices.get("noise@sampler.noise")])]
    if reference is not None:
        wanted.append((reference, f"ddim-{reference.n_states}", [f"ddim-{reference.n_states}"]))
    plans = []
    for sampler, title, kind in wanted:
        where = (*PATHS, *MEMORY, "device", "prompts")  # no choices: the fingerprint and the items say what is there
        chosen: dict[str, Any] = {
            **{group: {k: v for k, v in plain[group].items() if k not in where} for group in ("model", "schedule")},
            "fingerprint": shared.fingerprint,
            "sampler": as_before(plain["reference" if sampler is reference else "sampler"]),
            "prompts": asked if plain["prompt_file"] is None else digest(asked),
            "results_version": RESULTS_VERSION,
        }
        pictured = len(image_shape(model)) == 3
        usual = "8bit" if has_codec(model) and pictured else "exact"
        keep = usual if plain["keep"] == "auto" else plain["keep"]
        if keep != usual and probe is None:  # pictures of another precision are another run
            chosen["keep"] = keep
        if isinstance(sampler, Distillation) and sampler.source is not None and sampler.source.pictures is not None:
            chosen["source_fingerprint"] = digest(
                [hashlib.sha256(each.tobytes()).hexdigest() for each in sampler.source.pictures]
            )
        if probe is not None:
            chosen["probe"], kind = plain["probe"], [*kind, choices["probe"]]
        words = [*filter(None, [choices["model"], *kind]), f"g{sampler.guidance.gamma:g}"]
        path = Path(plain["results"]) / str(plain["name"]) / f"{'-'.join(words)}-{digest(as_floats(chosen))}"
        job = Job(model, sampler, made["schedule"], plain["device"])
        job.check(items)
        if keep == "latents" and not (has_codec(model) and job.scene.is_x0):
            raise ValueError("keep='latents': nothing that is sampled here is a latent; exact keeps what is")
        if keep in KEEP and not pictured:
            raise ValueError(f"keep={keep!r}: the samples are no pictures; exact keeps them")
        if probe is not None:
            probe.check(job)
        config = plain | chosen
        found = {key: plain["model"][key] for key in PATHS if key in plain["model"]}  # to find it again, and measure
        if found:
            config["model"] = chosen["model"] | found
        kept = (RunFolder(path), config, plain["batch_size"], part, probe, place, keep)
        named = ("ddim", None) if sampler is reference else (choices["sampler"], choices.get("noise@sampler.noise"))
        about = {"model": choices["model"], **told_of_sampler(sampler, *named)}
        plans.append(Plan(title, job, items, made["metric"], *kept, about=about))
    if is_new and isinstance(model, Network):
        model.try_out(asked[0], plain["device"])
    return plans


def built(node: Any, name: str = "") -> Any:
    """What plain data describes: its `_target_`s called. Hydra's own way would take `${` in a text for an interpolation.

    name: of the setting. Raises ValueError for what cannot be made, naming the setting if its type is wrong.
    """
    if isinstance(node, list):
        return [built(part, name) for part in node]
    if not isinstance(node, Mapping):
        return node
    parts = {key: built(part, f"{name}.{key}" if name else str(key)) for key, part in node.items()}
    if "_target_" not in parts:
        return parts
    target = str(parts.pop("_target_"))
    foreign = (Exception,) if target.split(".")[0] != __package__ else ()  # the user's: whatever it raises is his to mend
    try:
        made = locate(target)
        if made is None:
            raise ImportError(f"there is no such thing; {where_from(target)}")
        try:
            thing = made(**parts)  # type: ignore[operator]
        except (TypeError, AttributeError) as error:
            require.types(made, parts, name)  # which says more
            other = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if other and name and not foreign:
                key = re.sub(r"^sampler\.(?=scene\.|guidance\.)", "", f"{name}.{other[1]}")  # which have them from there
                raise ValueError(f"{key}: {target} has no such setting; leave it out: ~{key}") from error
            raise
        require.types(made, parts, name)
        return thing
    except (TypeError, AttributeError, ImportError, ErrorDuringImport, KeyError, OverflowError, *foreign) as error:
        said = error if not foreign or isinstance(error, ValueError | ImportError | ErrorDuringImport) else told_of(error)
        raise ValueError(f"{f'{name}._target_=' if foreign and name else ''}{target}: {said}") from error


MANY = 40
"""Names from which on they are not listed."""


def where_from(target: str) -> str:
    """Where a target that is not found would have to be, or what else there is in its place."""
    head, _, last = target.rpartition(".")
    module = locate(head) if head else None
    if module is None:
        return (
            f"{target.split('.')[0]}.py must be where the command is started, in the folder of --config-dir, or in one on "
            "PYTHONPATH"
        )
    known = [each for each in dir(module) if each[0] != "_"]
    near = near_match(last, known)
    return near if len(known) < MANY or near.startswith("did you mean") else f"{head} has none of that name"


def told_of(error: Exception) -> str:
    """An error of code that is not ours, and where it came from."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"


def unread(plain: Mapping[str, Any], overrides: Sequence[str], choices: Mapping[str, str | None]) -> dict[str, str]:
    """What is set of grid or guidance though what was chosen has its own: the setting -> why it is refused.

    plain: the configuration, composed, its interpolations as they stand.
    """
    read = json.dumps([plain.get(key) for key in ("sampler", "probe", "scene", "model")], default=str)
    found = {}
    for word in overrides:
        group = re.split(r"[.=@]", word.lstrip("+~"))[0]
        if group in ("grid", "guidance", "source", "source_prompt") and f"${{{group}" not in read:
            instead = "it edits no picture; dds and pds do" if group.startswith("source") else "it has its own, sampler.*"
            why = f"sampler={choices['sampler']} does not read {group}; {instead}"
            found[word.partition("=")[0]] = f"{word}: {why}"
    return found
