"""Any diffusers folder as a Denoiser: a checkpoint on this machine, opened with diffusers' own classes.

x = a·x0 + b·eps and x/r say the same for every r > 0: only sigma = b/a counts. So a level of any schedule is put to a trained
network in the network's own terms, and x0 and eps need no conversion on the way back:

    trained on a table of alpha_bar   r = sqrt(a² + b²)              timestep n with sigma_n = sigma; log-SNR is interpolated
    trained on rectified flow         r = a + b                      timestep n_train·b / (a + b)
    trained on EDM's sigmas           r = sqrt(sigma_data²·a² + b²)  timestep log(sigma) / 4, within the trained range

A level of the scheduler's own table gets exactly its integer timestep. The network runs in its own precision, on its own
device; text is encoded by the pipeline's `encode_prompt`. What the scheduler says is read by `scheduler.py`. diffusers, and
transformers for text, are imported when a folder is opened; nothing is ever downloaded.

What is sampled is the pipeline as it is in memory: a scheduler put in its place, an adapter or changed weights count from the
next call on, and make it another model (another fingerprint).
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ... import require
from ...coordinates import Parametrisation
from ...guidance import Prompt
from ...levels import Level, expand, spread
from ...schedules import Karras, RectifiedFlow, Schedule, TableSchedule
from ..base import Conds, Prediction, Rules
from ..rows import Rows
from .prints import print_of
from .scheduler import Taught, taught_by

NEEDS = {
    TableSchedule: "a table of alpha_bar, as DDIMScheduler has",
    RectifiedFlow: "a flow, as FlowMatchEulerDiscreteScheduler has",
    Karras: "sigmas of EDM, as EDMEulerScheduler has",
}
"""What networks are trained on -> what is wanted of a scheduler."""

MORE = {
    "num_class_embeds": "a class",
    "class_embed_type": "a class",
    "time_cond_proj_dim": "a guidance scale",
    "addition_embed_type": "more than text and time",
}
"""Fields by which a network asks for more than it is given here."""

SMALLER = "smaller model.height and model.width, model.dtype=bfloat16 or model.switches=[enable_model_cpu_offload]"
"""What makes one row smaller, or leaves it more memory."""

N_USUAL = 50
"""Levels for which the shift of a schedule's time is told where it goes by their number."""


Made = TypeVar("Made")


@dataclass(frozen=True)
class Wanted:
    """What a user may say of the pictures, and of how they are made. None: as the pipeline has it.

    height, width: in pixels. embedded_guidance: the guidance scale that a distilled network is told (FLUX.1 dev, LCM); it is
    not the sampler's guidance, which for such a network is 1.
    max_rows: that go through the network at once, of all conditions and items; None: all. Out of memory, it is half as many
    from then on.
    """

    height: int | None = None
    width: int | None = None
    embedded_guidance: float | None = None
    max_rows: int | None = None

    def __post_init__(self) -> None:
        for name in ("height", "width", "max_rows"):
            if getattr(self, name) is not None:
                require.count(f"model.{name}", getattr(self, name))
        if self.embedded_guidance is not None:
            require.number("model.embedded_guidance", self.embedded_guidance, at_least=0)


@dataclass(frozen=True)
class DiffusersFolder(ABC):
    """A pipeline's network, with what its scheduler says about it.

    pipe: the pipeline, of diffusers. dtype: the network's. at_first: what was switched on in it when it was opened.

    A family says how its network is asked (`forward`), and what it does otherwise than most: see CONTRIBUTING.
    """

    pipe: Any
    dtype: torch.dtype
    device: str
    at_first: Mapping[str, str] = field(repr=False)
    wanted: Wanted = Wanted()
    _taught: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _once: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _rows: Rows = field(default_factory=lambda: Rows("model", SMALLER), init=False, repr=False, compare=False)
    pipelines: ClassVar[tuple[str, ...]] = ()
    """diffusers' classes whose networks are asked so."""
    trained_on: ClassVar[type | tuple[type, ...]] = TableSchedule
    """The family of schedules that such networks are trained on, or families."""
    added: ClassVar[Mapping[str, str]] = {}
    """What such networks are given beside text and time, by the field that asks for it."""
    shifts: ClassVar[tuple[float, float]] = (0.5, 1.16)
    """base_shift and max_shift of the pipeline's dynamic shifting, where its scheduler does not say."""
    amends: ClassVar[bool] = False
    """Does the pipeline change what classifier-free guidance gives, as `amended` does?"""

    @staticmethod
    def of(
        path: str | Path | None,
        dtype: str | Mapping[str, str] = "float32",
        device: str = "cpu",
        variant: str | None = None,
        height: int | None = None,
        width: int | None = None,
        embedded_guidance: float | None = None,
        config: str | Path | None = None,
        lora: str | Path | None = None,
        lora_scale: float = 1.0,
        switches: Sequence[str] = (),
        max_rows: int | None = None,
        offload_text: bool = False,
    ) -> "DiffusersFolder":
        """Open a pipeline of one of the classes in `families`.

        path: the folder that has a model_index.json; or the id of one in the local Hugging Face cache; or a .safetensors file,
        and then config is the folder (or the id) that has the pipeline's configuration.
        dtype: the network's, "float32", "float16", "bfloat16" or "float64"; a VAE runs in float32 at least. Or one for each
        part, by its name, `default` for the others.
        variant: of the weight files, such as "fp16"; None: the only one there is. lora: a file, or a folder that has one, put
        on the pipeline with weight lora_scale. switches: methods of the pipeline that are called once it is opened.
        offload_text: text encoders wait on the host, and come to the device to encode a run's prompts, once and for all.
        The others: see `Wanted`. The last one that was opened is kept: asked for again it is not opened again, unless it
        has been changed since.
        Raises ValueError, naming the field, if anything is missing, broken or of a pipeline that is not known.
        """
        from .opening import open_folder  # which knows the families

        wanted = Wanted(height, width, embedded_guidance, max_rows)
        return open_folder(path, dtype, device, variant, wanted, config, lora, lora_scale, switches, offload_text)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What stays the same within a batch, such as sizes on the device: made at the first call, kept until `forget`."""
        if key not in self._once:
            self._once[key] = make()
        return self._once[key]

    def forget(self) -> None:
        """As `Remembers.forget`."""
        self._once.clear()

    @property
    def network(self) -> Any:
        """The UNet or the transformer."""
        unet = getattr(self.pipe, "unet", None)
        return self.pipe.transformer if unet is None else unet

    @property
    def module(self) -> torch.nn.Module:
        """As `HasModule.module`."""
        return cast(torch.nn.Module, self.network)

    def around(self, module: torch.nn.Module) -> "DiffusersFolder":
        """As `HasModule.around`; the pipeline's own stays as it is."""
        pipe = copy(self.pipe)
        place = next(name for name in ("unet", "transformer") if getattr(pipe, name, None) is self.network)
        object.__setattr__(pipe, place, module)  # the pipeline's own way would write it into its configuration
        return replace(self, pipe=pipe)

    @property
    def channels(self) -> int:
        """Of what is sampled."""
        return int(self.network.config.in_channels)

    @property
    def own_sides(self) -> tuple[int, int]:
        """Height and width of what is sampled, in cells, where the user does not say. Raises ValueError if nothing says."""
        size = self.network.config.get("sample_size")
        if size is None:
            raise ValueError(
                "sample_size=null: how large its pictures are is not said; set model.height and model.width, or write it into "
                "the network's config.json"
            )
        return (size, size) if isinstance(size, int) else tuple(size)

    @property
    def factor(self) -> int:
        """Pixels a cell."""
        return 1

    @property
    def multiple(self) -> int:
        """Cells of which a side has a whole number, patches of a transformer."""
        return int(self.network.config.get("patch_size") or 1)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of what is sampled, in cells."""
        asked, step = (self.wanted.height, self.wanted.width), self.factor * self.multiple
        for name, pixels in zip(("height", "width"), asked, strict=True):
            if pixels is not None and pixels % step:
                raise ValueError(f"model.{name}={pixels}: must be a multiple of {step}")
        cells = [None if pixels is None else pixels // self.factor for pixels in asked]
        own = (0, 0) if None not in cells else self.own_sides
        return (cells[0] or own[0], cells[1] or own[1])

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, *self.sides)

    @property
    def tokens(self) -> int:
        """Patches of what is sampled, by which dynamic shifting goes."""
        return math.prod(side // self.multiple for side in self.sides)

    def mu(self, n: int) -> float | None:
        """By how much the pipeline shifts time for n levels at this size of picture; None where its scheduler does not."""
        config = self.pipe.scheduler.config
        if not config.get("use_dynamic_shifting"):
            return None
        low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        base, most = config.get("base_shift", self.shifts[0]), config.get("max_shift", self.shifts[1])
        return float(base + (self.tokens - low) * (most - base) / (high - low))

    def sigmas(self, n: int) -> list[float] | None:
        """What the pipeline hands to its scheduler as the n noise levels; None: only their number."""
        return None

    def set_timesteps(self, scheduler: Any, n: int) -> None:
        """Have a scheduler choose n levels as the pipeline has it choose."""
        more = {} if self.mu(n) is None else {"mu": self.mu(n)}
        sigmas = self.sigmas(n)
        if sigmas is None:
            scheduler.set_timesteps(n, **more)
        else:
            scheduler.set_timesteps(sigmas=np.array(sigmas), **more)

    @property
    def embeds_guidance(self) -> bool:
        """Is the network told a guidance scale?"""
        return False

    @property
    def embedded_guidance(self) -> float:
        """The guidance scale that the network is told: the user's, or the pipeline's own default."""
        if self.wanted.embedded_guidance is not None:
            return self.wanted.embedded_guidance
        return float(self.default("guidance_scale"))

    def default(self, name: str) -> Any:
        """What an argument of the pipeline's call is where the user does not say."""
        return inspect.signature(type(self.pipe).__call__).parameters[name].default

    @property
    def taught(self) -> Taught:
        """What the pipe's scheduler says; read anew when it is another. Raises ValueError in one line if it does not fit."""
        scheduler = self.pipe.scheduler
        now = [scheduler, scheduler.config]
        if not self._taught or self._taught[0] is not now[0] or self._taught[1] is not now[1]:
            found = taught_by(scheduler, self.set_timesteps, self.mu(N_USUAL))
            if not isinstance(found.schedule, self.trained_on):
                kinds = self.trained_on if isinstance(self.trained_on, tuple) else (self.trained_on,)
                raise ValueError(
                    f"{type(scheduler).__name__} does not fit {type(self).__name__}, whose network was trained on "
                    + " or ".join(NEEDS[kind] for kind in kinds)
                )
            self._taught[:] = [*now, found]
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
        return replace(self.taught.rules, guided=self.amended) if self.amends else self.taught.rules

    def amended(self, guided: Tensor, conditional: Tensor) -> Tensor:
        """What the pipeline makes of the guided output of its network, beside the conditional one; each [batch, *shape]."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """Of the pipeline as it is in memory."""
        return print_of(self.pipe, self.at_first, self._known)

    def check(self) -> None:
        """Raise ValueError, naming the field, if the network asks for more than it is given here."""
        config = self.network.config
        for name, more in MORE.items():
            if name == "time_cond_proj_dim" and self.embeds_guidance:
                continue
            if config.get(name) not in (None, self.added.get(name)):
                raise ValueError(f"{name}={config[name]!r}: a network that asks for {more}")
        if self.taught.schedule.n_train < 2:
            raise ValueError("num_train_timesteps=1: there is nothing to sample along")
        if self.wanted.embedded_guidance is not None and not self.embeds_guidance:
            raise ValueError(
                f"model.embedded_guidance={self.wanted.embedded_guidance:g}: this network is told no guidance scale"
            )
        _ = self.shape

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
        """What the network is told at a level's sigma, a timestep in [0, n_train] or log(sigma) / 4, in diffusers' float32."""
        return self.taught.timestep(level).float()

    def told(self, level: Level) -> Float[Tensor, " rows"]:
        """As `IsTold.told`."""
        return self.timestep(level.host)

    @property
    def per_timestep(self) -> float | None:
        """As `CountsTimesteps.per_timestep`."""
        return 1.0 if isinstance(self.schedule, TableSchedule) else None

    def scale(self, level: Level) -> Float[Tensor, " rows"]:
        """The r by which x is divided for the network."""
        return (
            level.a + level.b
            if isinstance(self.schedule, RectifiedFlow)
            else torch.hypot(level.a * self.taught.sigma_data, level.b)
        )

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        n = len(conds)
        scaled = (x / expand(self.scale(level), x)).to(self.dtype).to(self.device)  # float64 stays: MPS has none
        told = self.told(level) if level.told is None else level.told
        timesteps = spread(told if len(told) == 1 else told.repeat(n), n * len(x), x, torch.float32).to(self.device)
        prompts = [prompt for row in conds for prompt in row]
        if n > 1:
            scaled = torch.cat([scaled] * n)
        out = self._rows(
            len(scaled), lambda rows: self.forward(scaled[rows], timesteps[rows], prompts[rows]), self.wanted.max_rows
        )
        out = out[:, : x.shape[1]].to(x.device).to(torch.float64).reshape(n, *x.shape)  # what follows is a learned variance
        return Prediction(*self.parametrisation.decode(out, x, level))
