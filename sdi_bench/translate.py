"""python -m sdi_bench.translate: what another project's configuration means here, as a command.

  python -m sdi_bench.translate configs/dreamfusion-sd.yaml
  python -m sdi_bench.translate outputs/2024-05-01/12-00-00/.hydra/config.yaml
  eval "$(python -m sdi_bench.translate mine.yaml | head -n 1)"        runs it as it is

Reads threestudio's files (SDS, SDI, VSD) and those of 2d-sds, of which best the .hydra/config.yaml that a run leaves.
Prints the command, what each setting became, where the two differ, and the settings that have no counterpart.
"""

import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .guidance import from_threestudio
from .texts import line

WEIGHTS = {
    "sds": ("OneMinusAlphaBar", "1 - alphas_cumprod"),
    "dreamfusion": ("OneMinusAlphaBar", "1 - alphas_cumprod"),
    "uniform": ("UnitWeight", "1"),
    "fantasia3d": ("Fantasia3dWeight", "sqrt(alphas_cumprod)·(1 - alphas_cumprod)"),
}
"""Their name for w(t) -> ours in `sdi_bench.update`, and the formula."""

OPEN = "YOUR PROMPT"
"""What stands for a prompt that a file leaves open."""


@dataclass
class Reading:
    """A configuration as it is read: what was asked for is noted, the rest has no counterpart.

    words: of the command. said: (their setting, what it is here). warned: where the two differ.
    """

    config: Any
    taken: set[str] = field(default_factory=set)
    words: list[str] = field(default_factory=list)
    said: list[tuple[str, str]] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    def get(self, key: str, default: Any = None) -> Any:
        """A setting by its dotted key, interpolated where that can be done; the default where it is not there, or left open."""
        self.taken.add(key)
        try:
            found = OmegaConf.select(self.config, key)
        except OmegaConfBaseException:
            return default
        if OmegaConf.is_config(found):
            found = OmegaConf.to_container(found, resolve=False)
        return default if found is None else found

    def number(self, key: str, default: float | None) -> float:
        """A finite number; of a schedule [step, from, to, step] the last value, with a warning. Raises ValueError otherwise."""
        value = self.get(key, default)
        if isinstance(value, list) and len(value) == 4:
            self.warned.append(f"{key}={value}: moves from {value[1]} to {value[2]} there; here it is {value[2]} throughout")
            value = value[2]
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = math.nan
        if not math.isfinite(found):
            raise ValueError(f"{key}={value!r}: must be a number, or [step, from, to, step]")
        return found

    def count(self, key: str, default: int) -> int:
        """A whole number, at least 1. Raises ValueError otherwise."""
        value = self.number(key, default)
        if value < 1:
            raise ValueError(f"{key}={short(value)}: must be at least 1")
        return int(value)

    def pair(self, key: str, default: Sequence[float]) -> Sequence[Any]:
        """Two numbers. Raises ValueError otherwise."""
        value = self.get(key, default)
        if not isinstance(value, list | tuple) or len(value) != 2 or not all(isinstance(end, int | float) for end in value):
            raise ValueError(f"{key}={value!r}: must be two numbers")
        return value

    def table(self, key: str) -> dict[str, Any]:
        """Settings below a key, none where there are none. Raises ValueError for anything else."""
        value = self.get(key, {})
        if not isinstance(value, dict):
            raise ValueError(f"{key}={value!r}: must be settings, {{name: value}}")
        return value

    def add(self, source: str, *words: str, why: str = "") -> None:
        """Words of the command, and the setting they come from."""
        self.words += words
        self.said.append((source, " ".join([*words, *([f"({why})"] if why else [])])))

    def left(self) -> list[str]:
        """The settings that nobody asked for, as they stand, one by one."""
        found = []

        def walk(node: Any, key: str) -> None:
            if key in self.taken:
                return
            if isinstance(node, Mapping) and node:
                for name, part in node.items():
                    walk(part, f"{key}.{name}" if key else str(name))
            else:
                found.append(line(f"{key}={node}", 120))

        walk(OmegaConf.to_container(self.config, resolve=False), "")
        return found


def short(value: float) -> str:
    """A number as one writes it."""
    return f"{value:.12g}"


def model(at: Reading, key: str, default: str) -> None:
    """The checkpoint, and what their code takes its output for."""
    path = str(at.get(key, default))
    at.add(f"{key}={path}", "model=diffusers", f"model.path={path}")
    if speaks_v(path):
        at.warned.append(
            f"{key}={path}: predicts v, which their code reads as epsilon; here it is read as the checkpoint's scheduler says. "
            "The base model of the same name predicts epsilon"
        )


def speaks_v(path: str) -> bool:
    """Is it a checkpoint of v-prediction, by its scheduler where it lies here, else by its name?"""
    told = Path(path) / "scheduler" / "scheduler_config.json"
    if told.is_file():
        return '"v_prediction"' in told.read_text()
    return re.search(r"stable-diffusion-2(-1)?$", path) is not None


def prompts(at: Reading, key: str, negative: str) -> None:
    """What is asked for."""
    prompt = at.get(key)
    at.add(key if prompt is None else f"{key}={prompt}", f"prompt={prompt or OPEN}")
    if prompt is None:
        at.warned.append(f"{key}: is left open; say it in place of {OPEN}")
    if at.get(negative):
        at.add(f"{negative}={at.get(negative)}", f"negative_prompt={at.get(negative)}")


def weight(at: Reading, key: str, name: str) -> None:
    """w(t). Raises ValueError for one that is not known."""
    if name not in WEIGHTS:
        raise ValueError(f"{key}={name!r}: must be one of {', '.join(WEIGHTS)}")
    ours, formula = WEIGHTS[name]
    at.add(f"{key}={name}", f"sampler.update.weight._target_=sdi_bench.update.{ours}", why=f"w(t) = {formula}")


def annealed(at: Reading, source: str, n: int, high: float, low: float, power: float) -> None:
    """t falls along a grid; n steps."""
    ends = (f"grid.n_levels={n + 1}", f"grid.t_max={short(high)}", f"grid.t_min={short(low)}")
    at.add(source, "grid=linear", *ends, f"grid.power={short(power)}", why="t falls")


def at_random(at: Reading, source: str, n: int, high: float, low: float) -> None:
    """t is drawn anew at each step."""
    ends = (f"+sampler.timeline.n_steps={n}", f"+sampler.timeline.t_max={short(high)}", f"+sampler.timeline.t_min={short(low)}")
    timeline = "sampler.timeline._target_=sdi_bench.samplers.RandomT"
    at.add(source, "~sampler.timeline.grid", timeline, *ends, why="t is drawn anew")


def optimiser(at: Reading, key: str, lr: float) -> None:
    """Adam."""
    name, where = str(at.get(f"{key}.name", "Adam")), f"{key}.args" if at.get(f"{key}.args") else f"{key}.opt_args"
    args, betas = at.table(where), at.pair(f"{where}.betas", (0.9, 0.999))
    rate, eps = at.number(f"{where}.lr", lr), at.number(f"{where}.eps", 1e-8)
    settings = {"lr": rate, "beta1": betas[0], "beta2": betas[1], "eps": eps}
    words = [f"sampler.update.{each}={short(float(value))}" for each, value in settings.items()]
    at.add(f"{key}={name} {args}", *words)
    if name not in ("Adam", "AdamW"):
        at.warned.append(f"{key}.name={name}: here it is Adam")
    if name == "AdamW":
        at.warned.append(f"{key}.name=AdamW: here it is Adam; the decay of weights has no counterpart")


def threestudio(at: Reading) -> None:
    """A file of threestudio, or of the released SDI, which is one. Raises ValueError for a guidance that is not known."""
    kind = str(at.get("system.guidance_type"))
    at.taken |= {"system.prompt_processor_type", "system_type", "system.guidance.trainer_max_steps", "system.optimizer.params"}
    sdi, vsd = "sdi-guidance" in kind, "vsd-guidance" in kind
    if not (sdi or vsd or kind in ("stable-diffusion-guidance", "deep-floyd-guidance")):
        raise ValueError(
            f"system.guidance_type={kind!r}: known are stable-diffusion-guidance, deep-floyd-guidance, and SDI's and VSD's"
        )
    guide = "system.guidance"
    inverted = sdi and bool(at.get(f"{guide}.enable_sdi", True))
    name = "sdi" if inverted else "vsd" if vsd else "sds"
    at.add(f"system.guidance_type={kind}", f"sampler={name}", "update@sampler.update=adam_step", "scene=voxel")
    if vsd:
        at.warned.append(
            f"system.guidance_type={kind}: one second network for all particles there, told the camera; here each item has its "
            "own, told the view by the prompt's words"
        )
    model(at, f"{guide}.pretrained_model_name_or_path", "runwayml/stable-diffusion-v1-5")
    prompts(at, "system.prompt_processor.prompt", "system.prompt_processor.negative_prompt")

    scale, perp = at.number(f"{guide}.guidance_scale", 100.0), bool(at.get("system.prompt_processor.use_perp_neg", False))
    gamma = scale if perp or vsd else from_threestudio(scale)
    why = "Perp-Neg: gamma = s" if perp else "VSD: gamma = s" if vsd else "text + s·(text - uncond): gamma = s + 1"
    if perp:
        at.add("system.prompt_processor.use_perp_neg=True", "guidance=perp_neg", "guidance.weights=azimuth")
    at.add(f"{guide}.guidance_scale={short(scale)}", f"guidance.scale={short(gamma)}", why=why)
    if gamma != scale:
        at.warned.append(f"{guide}.guidance_scale={short(scale)}: is gamma = {short(gamma)} here, as in diffusers")
    n = at.count("trainer.max_steps", 10000)
    if inverted:
        up = at.number(f"{guide}.inversion_guidance_scale", -7.5)
        rising = up if perp else from_threestudio(up)
        at.add(f"{guide}.inversion_guidance_scale={short(up)}", f"sampler.noise.guidance_scale={short(rising)}", why=why)
        steps = at.count(f"{guide}.inversion_n_steps", 10)
        at.add(f"{guide}.inversion_n_steps={steps}", f"sampler.noise.n_steps={steps}", f"sampler.noise.tau={short(1 / steps)}")
        eta = at.number(f"{guide}.inversion_eta", 0.3)
        at.add(f"{guide}.inversion_eta={short(eta)}", f"sampler.noise.entropy={short(eta)}")
        at.warned += [
            f"{guide}.inversion_eta={short(eta)}: there noise is added at every step up, eta times DDIM's; here once (eq. 11)",
            f"{guide}: the picture inverted to t + delta is denoised there as if at t, the steps up are 1, 1 + 1000/n, ... "
            "with a first call at a negative timestep, and the encoder's posterior is sampled; here as the paper has it",
        ]
    times(at, guide, n, sdi)
    if sdi:
        at.add(f"{guide} (target)", "sampler.update.weight._target_=sdi_bench.update.SigmaWeight", why="w(t) = sigma")
        at.taken.add(f"{guide}.weighting_strategy")
        at.warned.append("loss: a mean over the latent, for SDS a sum: to Adam the same, not beside the other losses")
    else:
        weight(at, f"{guide}.weighting_strategy", str(at.get(f"{guide}.weighting_strategy", "sds")))
        at.warned.append("loss: a sum over the latent over the batch, as here; weights of other losses are relative to that")
    optimiser(at, "system.optimizer", 0.01)
    for loss in ("sds", "sdi", "vsd"):
        told = at.get(f"system.loss.lambda_{loss}")
        if told not in (None, 1, 1.0):
            at.warned.append(f"system.loss.lambda_{loss}={told}: here 1; to Adam the same")
    cameras(at)
    seed(at)
    at.add("(pictures alone)", "reference=null", "metric=[]")


def times(at: Reading, guide: str, n: int, sdi: bool) -> None:
    """t's range, and whether it falls."""
    low, high = at.number(f"{guide}.min_step_percent", 0.02), at.number(f"{guide}.max_step_percent", 0.98)
    source = f"{guide}.min_step_percent={short(low)} max_step_percent={short(high)} trainer.max_steps={n}"
    if sdi and at.get(f"{guide}.t_anneal", True):
        annealed(at, source, n, high, low, 1.0)
    elif at.get(f"{guide}.sqrt_anneal", False):
        annealed(at, source, n, high, low, 0.5)
    else:
        at_random(at, source, n, high, low)
    if at.get(f"{guide}.max_step_percent_annealed") not in (None, high):
        at.warned.append(f"{guide}.max_step_percent_annealed: t's upper end drops there at a step; here it stays {short(high)}")


def cameras(at: Reading) -> None:
    """Where from, and how the prompt says so."""
    low, high = at.pair("data.elevation_range", [-10, 90])
    east, west = at.pair("data.azimuth_range", [-180, 180])
    words = (f"+scene.cameras.elevations=[{low},{high}]", f"+scene.cameras.azimuths=[{east},{west}]")
    at.add(f"data.elevation_range=[{low}, {high}]", "scene.cameras._target_=sdi_bench.scenes.Around", *words)
    front, back = (at.number(f"system.prompt_processor.{side}_threshold", 45.0) for side in ("front", "back"))
    at.add(f"system.prompt_processor.front_threshold={short(front)}", f"+scene.wording.within={short(front)}")
    if back != front:
        at.warned.append(f"system.prompt_processor.back_threshold={short(back)}: here {short(front)}, as at the front")
    if at.get("data.batch_size", 1) != 1:
        at.warned.append(f"data.batch_size={at.get('data.batch_size')}: views a step there; here each step has one view")


def seed(at: Reading) -> None:
    """The seed."""
    value = int(at.number("seed", 0))
    at.add(f"seed={value}", f"seeds={value}")
    at.warned.append(
        "seed: there one stream feeds every draw, and a script that seeds after its first draw leaves the start random; here a "
        "draw depends on prompt, seed, purpose and step alone. The same number gives other pictures"
    )


def two_d(at: Reading) -> None:
    """A file of 2d-sds. Raises ValueError for an algorithm, schedule or rasterizer that is not known."""
    at.taken |= {"algorithm.device", "device", "algorithm.wt_schedule_cfg", "algorithm.prompt", "algorithm.neg_prompt"}
    if at.get("defaults"):
        at.warned.append(
            "defaults: other files say the rest, which is not read; give the .hydra/config.yaml of a run to read all"
        )
    kind = str(at.get("algorithm.name", at.get("name", "sds")))
    if kind not in ("sds", "ism", "vsd", "dds", "pds"):
        raise ValueError(f"algorithm.name={kind!r}: known are sds, ism, vsd, dds, pds")
    pixels = not at.get("rasterizer.rgb_as_latents", True)
    if str(at.get("rasterizer.name", "pixels")) != "pixels":
        raise ValueError(
            f"rasterizer.name={at.get('rasterizer.name')!r}: known is pixels; for a field of colours see scene=coordinate_mlp"
        )
    inner = at.count("algorithm.update_steps_per_iter", 1)
    words = (f"sampler={kind}", "update@sampler.update=adam", f"sampler.update.n_inner={inner}")
    at.add(f"algorithm.name={kind}", *words, f"scene={'pixels' if pixels else 'image'}")
    if kind == "vsd":
        at.warned.append("algorithm.name=vsd: one second network for all pictures there; here each item has its own")
    model(at, "algorithm.model_path", "stabilityai/stable-diffusion-2-1-base")
    if kind == "pds":
        at.add("algorithm.name=pds", "sampler.direction.lag=1")
        at.warned.append(
            "algorithm.name=pds: the step before t is looked up in a list that falls, and is t + 1; here t - 1, where psi is 0"
        )
    if kind in ("dds", "pds"):
        edit(at)
    else:
        prompts(at, "prompt", "neg_prompt")
    scale = at.number("algorithm.guidance_scale", 100.0)
    at.add(
        f"algorithm.guidance_scale={short(scale)}",
        f"guidance.scale={short(scale)}",
        why="uncond + s·(text - uncond): gamma = s",
    )
    if kind == "ism":
        n, span = 1000 / at.count("algorithm.delta_s", 100), at.number("algorithm.delta_t", 80) / 1000
        at.add("algorithm.delta_s, delta_t", f"sampler.noise.n_steps={round(n)}", f"sampler.noise.interval={short(span)}")
    schedule(at, kind)
    optimiser(at, "rasterizer.optimizer", 0.01)
    at.warned.append("loss: a sum over the latent over the batch, as here")
    n_seeds = 1 if kind in ("dds", "pds") else at.count("rasterizer.batch_size", 1)
    if n_seeds > 1:
        first = int(at.number("seed", 0))
        at.add(f"rasterizer.batch_size={n_seeds}", f"seeds={first}..{first + n_seeds - 1}", why="pictures of one prompt")
    else:
        seed(at)
    at.add("(pictures alone)", "reference=null", "metric=[]")


def edit(at: Reading) -> None:
    """Of pairs of prompts and a picture the first."""
    sources, targets, pictures = (
        at.get(f"algorithm.{name}") for name in ("source_prompts", "target_prompts", "source_images_paths")
    )
    at.taken |= {"rasterizer.init_strategy", "rasterizer.batch_size"}
    if not (
        isinstance(sources, list)
        and isinstance(targets, list)
        and isinstance(pictures, list)
        and sources
        and targets
        and pictures
    ):
        raise ValueError("algorithm: an edit has source_prompts, target_prompts and source_images_paths, lists of at least one")
    at.add("algorithm.target_prompts", f"prompt={targets[0]}")
    at.add("algorithm.source_prompts, source_images_paths", f"source_prompt={sources[0]}", f"source={pictures[0]}")
    if len(targets) > 1:
        at.warned.append(f"algorithm.target_prompts: {len(targets)} edits; this is the first, the others are commands like it")


def schedule(at: Reading, kind: str) -> None:
    """t and w(t)."""
    n = at.count("wt_schedule.n_steps", at.count("iterations", 1000))
    part = "wt_schedule.t_schedule_cfg"
    name, args = str(at.get(f"{part}.name", "uniform")), at.table(f"{part}.args")

    def time(end: str, default: float | None = None) -> float:
        return at.number(f"{part}.args.{end}", default) / 1000

    if str(at.get("wt_schedule.name", "independent")) != "independent":
        raise ValueError(f"wt_schedule.name={at.get('wt_schedule.name')!r}: known is independent")
    if name == "uniform":
        at_random(at, f"{part}={name} {args}", n, min(time("high", 1000) - 0.001, 1.0), time("low", 0))
    elif name == "linear":
        annealed(at, f"{part}={name} {args}", n, time("start"), time("end"), 1.0)
    elif name == "hifa":
        annealed(at, f"{part}={name} {args}", n, time("t_max"), time("t_min"), 0.5)
    else:
        raise ValueError(f"{part}.name={name!r}: known are uniform, linear, hifa")
    told = str(at.get("wt_schedule.w_schedule_cfg.name", "dreamfusion"))
    args = at.table("wt_schedule.w_schedule_cfg.args")
    if told == "constant":
        at.warned.append(f"w(t) = {args.get('value')}: here 1; to Adam the same")
        told = "uniform"
    weight(at, "wt_schedule.w_schedule_cfg.name", told)


def read(path: Path) -> Reading:
    """A file as what it means. Raises ValueError, naming the field, for files of other kinds."""
    if not path.is_file():
        raise ValueError(f"file={str(path)!r}: no such file")
    try:
        config = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError, RecursionError) as error:
        raise ValueError(f"file={str(path)!r}: not yaml ({line(str(error))})") from error
    at = Reading(config)
    known = OmegaConf.is_dict(config)
    if known and at.get("system.guidance_type") is not None:
        threestudio(at)
    elif known and ("algorithm" in config or "rasterizer" in config or "wt_schedule" in config):
        two_d(at)
    else:
        raise ValueError(
            f"file={str(path)!r}: neither threestudio's (system.guidance_type) nor 2d-sds's (algorithm, rasterizer)"
        )
    return at


def report(at: Reading) -> str:
    """What is printed."""
    width = max(len(line(theirs, 60)) for theirs, _ in at.said)
    left = at.left()
    parts = [shlex.join(["python", "-m", "sdi_bench.run", *at.words]), "", "what became of what:"]
    parts += [f"  {line(theirs, 60):{width}}  {ours}" for theirs, ours in at.said]
    parts += ["", "where the two differ:", *(f"  {each}" for each in at.warned)]
    return "\n".join([*parts, *(["", "no counterpart here:", *(f"  {each}" for each in left)] if left else [])])


def main() -> None:
    """Show it. Exit status 2 for bad input."""
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    try:
        if len(words) != 1:
            raise ValueError("name one file, as dreamfusion-sd.yaml")
        told = report(read(Path(words[0])))
    except ValueError as error:
        print(f"sdi_bench.translate: {line(str(error))}", file=sys.stderr)
        sys.exit(2)
    print(told)


if __name__ == "__main__":
    main()
