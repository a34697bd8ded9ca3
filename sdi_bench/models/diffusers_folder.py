"""Any diffusers folder as a Denoiser: a checkpoint on this machine, opened with diffusers' own classes.

x = a·x0 + b·eps and x/r say the same for every r > 0: only sigma = b/a counts. So a level of any schedule is put to a trained
network in the network's own terms, and x0 and eps need no conversion on the way back:

    trained on a table of alpha_bar   r = sqrt(a² + b²)   timestep n with sigma_n = sigma; log-SNR is interpolated
    trained on rectified flow         r = a + b           timestep n_train·b / (a + b)

A level of the scheduler's own table gets exactly its integer timestep. The network runs in its own precision, on its own
device; text is encoded by the pipeline's `encode_prompt`. What the scheduler says is read by `scheduler.py`. diffusers, and
transformers for text, are imported when a folder is opened; nothing is ever downloaded.

What is sampled is the pipeline as it is in memory: a scheduler put in its place, an adapter or changed weights count from the
next call on, and make it another model (another fingerprint).
"""

import json
import logging
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..coordinates import Parametrisation
from ..guidance import Prompt
from ..levels import Level, expand
from ..schedules import RectifiedFlow, Schedule, TableSchedule
from .base import Conds, Prediction, Rules
from .prints import print_of, state_of, switches_of
from .scheduler import Taught, position_of, taught_by

DTYPES = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16", "float64")}
FLAT = {"unet": "config.json", "scheduler": "scheduler_config.json"}
"""Where the oldest folders, of one network, have their configurations: beside model_index.json."""

MORE = {
    "num_class_embeds": "a class",
    "class_embed_type": "a class",
    "time_cond_proj_dim": "a guidance scale",
    "addition_embed_type": "more than text and time",
}
"""Fields by which a network asks for more than it is given here."""

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that sampling from text does without."""

N_TEXTS = 256
"""Encoded prompts that are kept through a batch."""

N_PIXELS = 2**18
"""That a codec is given at once, a picture at least: a decoder's memory is large."""


@dataclass(frozen=True)
class DiffusersFolder(ABC):
    """A pipeline's network, with what its scheduler says about it.

    pipe: the pipeline, of diffusers. dtype: the network's. at_first: what was switched on in it when it was opened.
    """

    pipe: Any
    dtype: torch.dtype
    device: str
    at_first: Mapping[str, str] = field(repr=False)
    _taught: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    trained_on: ClassVar[type] = TableSchedule
    """The family of schedules that such networks are trained on."""
    added: ClassVar[Mapping[str, str]] = {}
    """What such networks are given beside text and time, by the field that asks for it."""

    @staticmethod
    def of(
        path: str | Path | None, dtype: str = "float32", device: str = "cpu", variant: str | None = None
    ) -> "DiffusersFolder":
        """Open the folder that has a model_index.json: Stable Diffusion (1, 2, XL, 3) or DDPM.

        dtype: the network's, "float32", "float16", "bfloat16" or "float64"; a VAE runs in float32 at least.
        variant: of the weight files, such as "fp16". Opened once a process, however often it is asked for, unless the one that
        was opened has been changed since.
        Raises ValueError, naming model.path, if the folder is missing, broken or of a pipeline that is not known.
        """
        if dtype not in DTYPES:
            raise ValueError(f"model.dtype={dtype!r}: must be one of {', '.join(DTYPES)}")
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, TypeError) as error:
            raise ValueError(f"model.device={device!r}: not to be had here") from error
        asked = (folder_of(path), DTYPES[dtype], device, variant)
        if state_of(opened(*asked).pipe) != opened(*asked)._known["opened"]:
            opened.cache_clear()
        return opened(*asked)

    @property
    def network(self) -> Any:
        """The UNet or the transformer."""
        return self.pipe.components.get("unet") or self.pipe.transformer

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.network.config.in_channels, *sides(self.network.config))

    @property
    def taught(self) -> Taught:
        """What the pipe's scheduler says; read anew when it is another. Raises ValueError in one line if it does not fit."""
        scheduler = self.pipe.scheduler
        now = [scheduler, scheduler.config]
        if not self._taught or any(one is not other for one, other in zip(self._taught, now, strict=False)):
            self._taught[:] = [*now, taught(scheduler, self.network.config, type(self))]
        return self._taught[-1]

    @property
    def schedule(self) -> Schedule:
        """The one it was trained on."""
        return self.taught.schedule

    @property
    def parametrisation(self) -> Parametrisation:
        """Of the network's output."""
        return self.taught.parametrisation

    @property
    def rules(self) -> Rules:
        """As `HasRules.rules`."""
        return self.taught.rules

    @property
    def fingerprint(self) -> str:
        """Of the pipeline as it is in memory."""
        return print_of(self.pipe, self.at_first, self._known)

    def check(self) -> None:
        """Raise ValueError, naming the field, if the network asks for more than it is given here."""
        config = self.network.config
        for name, more in MORE.items():
            if config.get(name) not in (None, self.added.get(name)):
                raise ValueError(f"{name}={config[name]!r}: a network that asks for {more}")
        if self.taught.schedule.n_train < 2:
            raise ValueError("num_train_timesteps=1: there is nothing to sample along")

    @property
    @abstractmethod
    def prompts(self) -> tuple[str, ...]:
        """As `Denoiser.prompts`."""

    @abstractmethod
    def check_prompt(self, prompt: Prompt) -> None:
        """As `Denoiser.check_prompt`."""

    @abstractmethod
    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """The network's output at its own inputs [rows, *shape], timesteps [rows], a prompt per row."""

    def timestep(self, level: Level) -> Float[Tensor, " rows"]:
        """The network's timestep at a level's sigma, in [0, n_train], in float32 as diffusers' schedulers have it."""
        return self.taught.asked(position_of(self.schedule, level)).float()

    def scale(self, level: Level) -> Float[Tensor, " rows"]:
        """The r by which x is divided for the network."""
        return level.a + level.b if isinstance(self.schedule, RectifiedFlow) else torch.hypot(level.a, level.b)

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        n = len(conds)
        scaled = (x / expand(self.scale(level), x)).to(self.device, self.dtype)
        timesteps = self.timestep(level).to(self.device).expand(len(x)).repeat(n)
        prompts = [prompt for row in conds for prompt in row]
        out = self.forward(scaled.repeat(n, *[1] * (x.ndim - 1)), timesteps, prompts)
        out = out[:, : x.shape[1]].to(x.device, torch.float64).reshape(n, *x.shape)  # what follows is a learned variance
        halves = [self.parametrisation.decode(row, x, level) for row in out]
        return Prediction(torch.stack([x0 for x0, _ in halves]), torch.stack([eps for _, eps in halves]))


class Pixels(DiffusersFolder):
    """An unconditional UNet on pixels (DDPM, arXiv 2006.11239)."""

    def check(self) -> None:
        super().check()
        given, made = self.network.config.in_channels, self.network.config.out_channels
        if made not in (given, 2 * given):
            raise ValueError(f"out_channels={made}: must be in_channels={given}, or twice that with a learned variance")

    @property
    def prompts(self) -> tuple[str, ...]:
        return ("",)

    def check_prompt(self, prompt: Prompt) -> None:
        if prompt is not None:
            raise ValueError(f'prompt={prompt!r}: this model is unconditional; leave the prompt out, or "" for none')

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        return self.network(x, timesteps, return_dict=False)[0]


@dataclass(frozen=True)
class Latents(DiffusersFolder):
    """A network on a VAE's latents, conditioned on text: any prompt; None is the pipeline's own "no prompt"."""

    texts: Any = field(init=False, repr=False, compare=False)
    more: ClassVar[dict[str, None]] = {}
    """Further arguments that `encode_prompt` insists on."""
    overlooked: ClassVar[tuple[str, ...]] = ("shift_factor",)
    """Fields of a VAE that the pipeline does not look at."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", lru_cache(N_TEXTS)(self.encode_text))

    def forget(self) -> None:
        """As `Remembers.forget`."""
        self.texts.cache_clear()

    @property
    def prompts(self) -> tuple[str, ...]:
        return ()

    def check(self) -> None:
        super().check()
        given = self.network.config.in_channels
        latents = self.pipe.vae.config.get("latent_channels", given)  # a codec need not say
        if given != latents:
            raise ValueError(
                f"in_channels={given}: its VAE has latents of {latents} channels; a network that asks for a picture as well "
                "(inpainting, editing, depth, upscaling)"
            )
        kind = self.network.config.get("encoder_hid_dim_type")
        if kind not in (None, "text_proj"):
            raise ValueError(
                f"encoder_hid_dim_type={kind!r}: a network that asks for pictures (IP-Adapter); only text_proj is known"
            )
        for name in self.overlooked:
            if self.pipe.vae.config.get(name):
                raise ValueError(
                    f"{name}={self.pipe.vae.config[name]!r} of the VAE: this pipeline does not look at it; set it to null"
                )

    def check_prompt(self, prompt: Prompt) -> None:
        """Anything goes."""

    @torch.no_grad()
    def encode_text(self, prompt: Prompt) -> Sequence[Tensor]:
        """What the pipeline makes of a prompt, each of one row: hidden states, and a pooled vector where it has one."""
        none = prompt is None
        both = self.pipe.encode_prompt(
            prompt=prompt or "", device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=none, **self.more
        )
        return both[1::2] if none else both[::2]  # (conditional, unconditional, pooled conditional, pooled unconditional)

    def rows_of(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """The encoded prompts, a row each."""
        return [torch.cat(column) for column in zip(*map(self.texts, prompts), strict=True)]

    @property
    def image_shape(self) -> tuple[int, ...]:
        factor = self.pipe.vae_scale_factor
        return (self.pipe.vae.config.out_channels, *(factor * size for size in self.shape[1:]))

    @property
    def at_once(self) -> int:
        """Pictures that the codec is given at once."""
        return max(1, N_PIXELS // math.prod(self.image_shape[1:]))

    def affine(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """(scale, shift): the VAE's own latents are scale·latents + shift."""
        config = self.pipe.vae.config
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is None or std is None:
            mean, std = config.get("shift_factor") or 0.0, 1.0
        shift, scale = (torch.as_tensor(value, dtype=like.dtype, device=like.device).reshape(-1, 1, 1) for value in (mean, std))
        return scale / config.scaling_factor, shift

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch channels height width"]:
        scale, shift = self.affine(latents)
        vae = self.pipe.vae
        rows = (scale * latents + shift).to(vae.device, vae.dtype).split(self.at_once)
        return torch.cat([vae.decode(row, return_dict=False)[0] for row in rows]).to(latents)

    def encode(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch *shape"]:
        scale, shift = self.affine(images)
        vae = self.pipe.vae
        found = [vae.encode(row) for row in images.to(vae.device, vae.dtype).split(self.at_once)]
        rows = [row.latent_dist.mode() if hasattr(row, "latent_dist") else row.latents for row in found]  # AutoencoderTiny's
        return (torch.cat(rows).to(images) - shift) / scale


class StableDiffusion(Latents):
    """Stable Diffusion 1 and 2 (arXiv 2112.10752)."""

    overlooked: ClassVar[tuple[str, ...]] = ("shift_factor", "latents_mean", "latents_std")

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        (hidden,) = self.rows_of(prompts)
        return self.network(x, timesteps, encoder_hidden_states=hidden, return_dict=False)[0]


class StableDiffusionXL(Latents):
    """Stable Diffusion XL (arXiv 2307.01952), told that images are of full size and not cropped."""

    added: ClassVar[Mapping[str, str]] = {"addition_embed_type": "text_time"}

    def check(self) -> None:
        super().check()
        self.time_ids(torch.float32, self.pipe.text_encoder_2.config.projection_dim)

    def time_ids(self, dtype: torch.dtype, width: int) -> Float[Tensor, "1 6"]:
        """Sizes and crop. Raises ValueError if the network wants other numbers (an aesthetic score)."""
        size = self.image_shape[1:]
        return self.pipe._get_add_time_ids(size, (0, 0), size, dtype, width)

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        hidden, pooled = self.rows_of(prompts)
        ids = self.time_ids(hidden.dtype, pooled.shape[-1]).to(x.device)
        added = {"text_embeds": pooled, "time_ids": ids.expand(len(x), -1)}
        return self.network(x, timesteps, encoder_hidden_states=hidden, added_cond_kwargs=added, return_dict=False)[0]


class StableDiffusion3(Latents):
    """Stable Diffusion 3 (arXiv 2403.03206), with or without T5."""

    trained_on: ClassVar[type] = RectifiedFlow
    more: ClassVar[dict[str, None]] = {"prompt_2": None, "prompt_3": None}
    overlooked: ClassVar[tuple[str, ...]] = ("latents_mean", "latents_std")

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        hidden, pooled = self.rows_of(prompts)
        words = {"encoder_hidden_states": hidden, "pooled_projections": pooled}
        return self.network(hidden_states=x, timestep=timesteps, return_dict=False, **words)[0]


KINDS: dict[str, type[DiffusersFolder]] = {
    "DDPMPipeline": Pixels,
    "DDIMPipeline": Pixels,
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
    "StableDiffusion3Pipeline": StableDiffusion3,
}
"""diffusers' pipelines -> how their networks are asked."""


def folder_of(path: str | Path | None) -> Path:
    """The folder, absolute. Raises ValueError unless it has a model_index.json."""
    if path is not None and (Path(path) / "model_index.json").is_file():
        return Path(path).resolve()
    what = "not given" if path is None else "has no model_index.json" if Path(path).is_dir() else "no such folder"
    if path is not None and (Path(path) / FLAT["unet"]).is_file():
        what += " and is one network alone, without a scheduler"
    raise ValueError(f"model.path={path and str(path)!r}: {what}; must be the folder of a diffusers pipeline")


def refusal(folder: Path, why: str) -> ValueError:
    """One line about a folder that cannot be opened."""
    return ValueError(f"model.path={str(folder)!r}: {' '.join(why.split())[:400]}")


class Strict(logging.Handler):
    """Raises ValueError where the libraries would warn that weights are not in the checkpoint, and make random ones."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "newly initialized" in text:
            raise ValueError(
                f"weights are missing, {', '.join(re.findall(r'[a-z][a-z0-9_.]*[.](?:weight|bias)', text)[:3])}, ..."
            )


class Quiet(logging.Filter):
    """Drops what is below the level that the user has set, and what the libraries say of a package that nothing here needs."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self.level and "torchvision" not in record.getMessage()


@contextmanager
def in_one_line(folder: Path) -> Iterator[None]:
    """Whatever goes wrong inside, in any of the libraries, becomes one ValueError that names the folder.

    Their warnings are heard even where the user has silenced them: random weights must not pass.
    """
    listening = [
        (logger, logger.level, Quiet(logger.level)) for logger in map(logging.getLogger, ("diffusers", "transformers"))
    ]
    strict = Strict()
    for logger, level, quiet in listening:
        for handler in logger.handlers:
            handler.addFilter(quiet)
        logger.handlers.insert(0, strict)  # before the one that prints
        logger.setLevel(min(level, logging.WARNING))
    try:
        yield
    except Exception as error:
        raise refusal(folder, f"cannot be opened ({type(error).__name__}: {error})") from error
    finally:
        for logger, level, quiet in listening:
            logger.handlers.remove(strict)
            for handler in logger.handlers:
                handler.removeFilter(quiet)
            logger.setLevel(level)


def parts_of(folder: Path) -> tuple[str, dict[str, str | None]]:
    """The pipeline's class, and its components: name -> class, None where it is left out."""
    with in_one_line(folder):
        index = json.loads((folder / "model_index.json").read_text())
        parts = {name: None if name in UNUSED else value[1] for name, value in index.items() if isinstance(value, list)}
        kind = index["_class_name"]
    for name, class_name in parts.items():
        flat = (folder / FLAT.get(name, "")).is_file()
        if class_name is not None and not (folder / name).is_dir() and not flat:
            raise refusal(folder, f"its component {name}/ is missing")
    return kind, parts


def sides(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Height and width of what a network makes. Raises ValueError if its configuration does not say."""
    size = config["sample_size"]
    if size is None:
        raise ValueError("sample_size=null: how large its pictures are is not said; write it into the network's config.json")
    return (size, size) if isinstance(size, int) else tuple(size)


def taught(scheduler: Any, config: Mapping[str, Any], kind: type[DiffusersFolder]) -> Taught:
    """What a scheduler says of a network with this configuration. Raises ValueError if it is one of another family."""
    patch = config.get("patch_size", 1)
    found = taught_by(scheduler, math.prod(side // patch for side in sides(config)))
    if not isinstance(found.schedule, kind.trained_on):
        needs = {
            TableSchedule: "a table of alpha_bar, as DDIMScheduler has",
            RectifiedFlow: "a flow, as FlowMatchEulerDiscreteScheduler has",
        }
        raise ValueError(
            f"{type(scheduler).__name__} does not fit {kind.__name__}, whose network was trained on {needs[kind.trained_on]}"
        )
    return found


def schedule_of(path: str | Path | None, dtype: str = "float32", device: str = "cpu", variant: str | None = None) -> Schedule:
    """The schedule that the checkpoint in this folder was trained on, opened: its pipeline may amend what the file says.

    Raises ValueError, naming model.path.
    """
    return DiffusersFolder.of(path, dtype, device, variant).schedule


def kind_of(folder: Path, kind: str) -> type[DiffusersFolder]:
    """How a pipeline's network is asked. Raises ValueError if that is not known."""
    if kind not in KINDS:
        raise refusal(folder, f"is a {kind}; known are {', '.join(KINDS)}")
    return KINDS[kind]


@lru_cache(maxsize=2)
def opened(folder: Path, dtype: torch.dtype, device: str, variant: str | None) -> DiffusersFolder:
    """`DiffusersFolder.of`, remembered: the runs of a sweep share one network."""
    kind, parts = parts_of(folder)
    how = kind_of(folder, kind)
    if issubclass(how, Latents) and find_spec("transformers") is None:
        raise refusal(folder, f"a {kind} needs the package transformers (pip install transformers)")
    import diffusers

    diffusers.utils.logging.disable_progress_bar()
    if issubclass(how, Latents):
        import transformers

        transformers.utils.logging.get_logger()  # whose handler `in_one_line` finds
        transformers.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {name: None for name, class_name in parts.items() if class_name is None}
    if "safety_checker" in options:
        options["requires_safety_checker"] = False
    with in_one_line(folder):
        dtypes = {"default": dtype, "vae": torch.promote_types(dtype, torch.float32)}
        load = getattr(diffusers, kind).from_pretrained
        options["low_cpu_mem_usage"] = find_spec("accelerate") is not None  # said aloud, its absence is no warning
        pipe = load(folder, dtype=dtypes, variant=variant, local_files_only=True, **options).to(device)
        for name, part in pipe.components.items():
            if isinstance(part, torch.nn.Module):
                part.eval().requires_grad_(False)
            if isinstance(part, diffusers.ModelMixin):  # without accelerate it stays as the files have it
                torch.nn.Module.to(part, dtypes.get(name, dtype))
            if isinstance(part, torch.nn.Module) and dtype == torch.float64:  # also what the libraries keep in float32
                part.to(dtype)
            files = getattr(part, "vocab_files_names", {}).values()  # without any of them a tokenizer opens, and knows no word
            if files and not any((folder / name / file).is_file() for file in files):
                raise ValueError(f"none of {', '.join(files)} in {name}/")
        model = how(pipe, dtype, device, switches_of(pipe))
        model.check()
        model._known["opened"] = state_of(pipe)
    return model
