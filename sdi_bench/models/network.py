"""Any network as a Denoiser: one cast in, one cast out, one parametrisation, and its own schedule, time and codec.

x = a·x0 + b·eps and x/r say the same for every r > 0: only sigma = b/a counts. So a level of any schedule is put to a network
in the terms of its own one: the level of the same sigma there, x/r as that has it, and the time of that level. Between the
entries of a table log-SNR is interpolated (`Schedule.at_sigma`). x0 and eps need no conversion on the way back.

    own schedule         r                 time t
    TableSchedule        sqrt(a² + b²)     of the table, between its entries too
    RectifiedFlow        a + b             of b / (a + b)
    Karras               a                 of sigma
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .. import require
from ..coordinates import Anywhere, Epsilon, Parametrisation
from ..guidance import Prompt
from ..levels import Level, expand, spread
from ..schedules import Karras, RectifiedFlow, Schedule, TableSchedule, scaled_linear
from .base import N_PIXELS, Conds, Denoiser, HasCodec, Prediction, check_known
from .checkpoints.prints import print_of_weights
from .rows import Rows

TIMES = ("t", "index", "sigma", "c_noise")
"""What a network can be told of a level."""

SMALLER = "a smaller shape, or a dtype of fewer bytes,"
"""What makes one row smaller."""

NEAR = 1e-6
"""Of an entry of a table: what is nearer is the rounding of that entry."""


@cache
def assumed(flow: bool) -> Schedule:
    """What a network without a schedule of its own is sampled on."""
    return RectifiedFlow() if flow else scaled_linear()


@dataclass(frozen=True)
class Codec:
    """An autoencoder as `HasCodec` has it: diffusers' AutoencoderKL, or any module with `encode` and `decode` like it.

    vae: `decode(z)` gives pictures, `encode(pictures)` latents: as tensors, or as diffusers returns them (`.sample`;
    `.latent_dist`, of which the mode is taken, or `.latents`). It runs in the precision and on the device of its weights.
    image_shape: of one picture, [channels, height, width].
    scaling_factor, shift_factor: the network's latents are (z - shift)·scaling; None: what vae.config says, else 1 and 0
    (arXiv 2112.10752, app. G).
    Raises ValueError, naming the field, for what cannot be.
    """

    vae: Any
    image_shape: tuple[int, ...]
    scaling_factor: float | None = None
    shift_factor: float | None = None
    _rows: Rows = field(default_factory=lambda: Rows("network.codec", SMALLER), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_shape("codec.image_shape", self.image_shape)
        require.number("codec.scaling_factor", self.scaling, above=0)
        require.number("codec.shift_factor", self.shift)
        if isinstance(self.vae, torch.nn.Module):
            self.vae.eval()

    def said(self, name: str) -> float | None:
        """A number of the autoencoder's own configuration."""
        config = getattr(self.vae, "config", {})
        return config.get(name) if hasattr(config, "get") else getattr(config, name, None)

    @property
    def scaling(self) -> float:
        """By which latents are multiplied."""
        return float((self.said("scaling_factor") or 1) if self.scaling_factor is None else self.scaling_factor)

    @property
    def shift(self) -> float:
        """That is taken from them before."""
        return float((self.said("shift_factor") or 0) if self.shift_factor is None else self.shift_factor)

    @property
    def fingerprint(self) -> str:
        """Of the weights, and of how latents are scaled."""
        weights = print_of_weights(self.vae) if isinstance(self.vae, torch.nn.Module) else ""
        return f"{weights} {self.scaling} {self.shift}"

    def by_rows(self, x: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
        """A batch through the autoencoder, some pictures at a time."""
        like = next(iter(self.vae.parameters()), x) if isinstance(self.vae, torch.nn.Module) else x
        there = x.to(like.dtype).to(like.device)
        most = max(1, N_PIXELS // math.prod(self.image_shape[1:]))
        return self._rows(len(x), lambda rows: call(there[rows]), most).to(x.device).to(x.dtype)

    def decode(self, latents: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch channels height width"]:
        """As `HasCodec.decode`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and latents.requires_grad):
            return self.by_rows(latents / self.scaling + self.shift, self.decoded)

    def decoded(self, rows: Tensor) -> Tensor:
        """The autoencoder's pictures."""
        found = self.vae.decode(rows)
        return getattr(found, "sample", found)

    def encode(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch *shape"]:
        """As `HasCodec.encode`; differentiable."""
        return (self.by_rows(images, self.encoded) - self.shift) * self.scaling

    def encoded(self, rows: Tensor) -> Tensor:
        """The autoencoder's own latents."""
        found = self.vae.encode(rows)
        return found.latent_dist.mode() if hasattr(found, "latent_dist") else getattr(found, "latents", found)


def check_shape(name: str, shape: object) -> None:
    """Raise ValueError, naming the field, unless this is the shape of one sample."""
    if not isinstance(shape, tuple) or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(f"{name}={shape!r}: must be a tuple of whole numbers > 0, as (3, 64, 64)")


@dataclass(frozen=True)
class Network:
    """A module or callable (x, t, prompts) -> output in the network's own precision, read through a parametrisation.

    forward: x [rows, *shape] in `dtype`, t [rows] in float32 at least (bfloat16 has no 981 of 1000), a prompt per row (text, or
    None for none) -> [rows, *shape]. A torch.nn.Module is put into evaluation mode; its precision stays. All conditions go
    through in one batch. State stays float64 outside.
    shape: of one x, a latent's where there is a codec. parametrisation: what the output means (`sdi_bench.coordinates`).
    prompts: what it may be asked for; empty where anything goes, ("",) for a network that takes none.
    fingerprint: what tells it from others: by default, of a module, a sha256 of its weights and of how it is read, taken when
    it is made (a second per GB). A plain function has no weights: it says another one whenever it is another function, or the
    command line takes earlier results for its own.
    schedule: that it was trained on. Levels of any other are put in its terms (see above), so that any grid and schedule will
    do; outside its range only t stays at the end. None: it is told x and t of whatever it is sampled on, by default Stable
    Diffusion's table, or rectified flow where only that fits.
    codec: of a network on latents, the way to pictures: a `Codec`, or anything with the members of `HasCodec`.
    device: on which it runs: a module is moved there, and x and t are there. None: where the batch is.
    times: what it is told of the level, by its own schedule:

        t          time in [0, 1]; n / n_train is entry n of a table. A network of a shifted flow that is told b, as Stable
                   Diffusion 3's, has RectifiedFlow() as its own; the shift is a choice of levels
        index      n_train·t, never rounded to a whole number: the timestep (DDPM, arXiv 2006.11239, alg. 1, counted from 0)
        sigma      b/a (arXiv 2206.00364)
        c_noise    log(sigma) / 4 (EDM, arXiv 2206.00364, table 1)

    scaled: x is a·x0 + b·eps of its own schedule; else it is x_bar = x0 + sigma·eps, whatever the schedule.
    max_rows: that go through at once, of all conditions and items; None: all. Out of memory, it is half as many from then on.
    Raises ValueError, naming the field, the value and what would do, for what does not fit together.
    """

    forward: Callable[[Tensor, Tensor, Sequence[Prompt]], Tensor]
    shape: tuple[int, ...]
    parametrisation: Parametrisation = Epsilon()
    dtype: torch.dtype = torch.float32
    prompts: tuple[str, ...] = ()
    fingerprint: str = ""
    schedule: Schedule = field(default=None, kw_only=True)  # type: ignore[assignment]
    codec: HasCodec | None = field(default=None, kw_only=True)
    device: torch.device | str | None = field(default=None, kw_only=True)
    times: str = field(default="t", kw_only=True)
    scaled: bool = field(default=True, kw_only=True)
    max_rows: int | None = field(default=None, kw_only=True)
    _rows: Rows = field(default_factory=lambda: Rows("network.forward", SMALLER), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_shape("network.shape", self.shape)
        if not callable(self.forward):
            raise ValueError(
                f"network.forward={self.forward!r}: must be a torch.nn.Module or a callable (x, t, prompts) -> output"
            )
        if not isinstance(self.dtype, torch.dtype) or not self.dtype.is_floating_point:
            raise ValueError(f"network.dtype={self.dtype!r}: must be a floating-point type, as torch.float32")
        if self.max_rows is not None:
            require.count("network.max_rows", self.max_rows)
        if self.times not in TIMES:
            raise ValueError(f"network.times={self.times!r}: must be one of {', '.join(TIMES)}")
        if self.schedule is None:
            fits = self.parametrisation.fits(assumed(False).level(0.5))
            object.__setattr__(self, "schedule", assumed(not fits))
        elif not isinstance(self.schedule, Schedule):
            raise ValueError(f"network.schedule={self.schedule!r}: must be a schedule, as sdi_bench.schedules.scaled_linear()")
        self.check_fit("network.schedule", self.schedule)
        self.check_codec()
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", self.print())
        if self.device is not None:
            try:
                torch.empty(0, device=self.device)
            except (RuntimeError, AssertionError, TypeError) as error:
                raise ValueError(f"network.device={str(self.device)!r}: not to be had here") from error
        if isinstance(self.forward, torch.nn.Module):
            self.forward.eval()
            if self.device is not None:
                self.forward.to(self.device)

    def check_codec(self) -> None:
        """Raise ValueError unless the codec has all that is asked of one."""
        if self.codec is not None and not isinstance(self.codec, HasCodec):
            lacks = next(name for name in ("image_shape", "decode", "encode") if not hasattr(self.codec, name))
            raise ValueError(
                f"network.codec={type(self.codec).__name__}: has no {lacks}; sdi_bench.Codec(vae, image_shape) has"
            )
        if self.codec is not None:
            check_shape("network.codec.image_shape", self.codec.image_shape)

    @property
    def module(self) -> torch.nn.Module | None:
        """As `HasModule.module`."""
        return self.forward if isinstance(self.forward, torch.nn.Module) else None

    def around(self, module: torch.nn.Module) -> "Network":
        """As `HasModule.around`; its fingerprint stays, for it is no model of its own."""
        return replace(self, forward=module)

    @cached_property
    def has_own(self) -> bool:
        """Was it made with a schedule of its own? Or else what it is told goes by the one that it is sampled on."""
        return self.times == "index" or not any(self.schedule is assumed(flow) for flow in (False, True))

    @property
    def needs_signal(self) -> bool:
        """True where x or the time that it is told would be infinite at a = 0."""
        exploding = self.has_own and not bool(self.schedule.at_sigma(math.inf).b.isfinite().all())
        return exploding or not self.scaled or self.times in ("sigma", "c_noise")

    def print(self) -> str:
        """sha256 of a module's weights and of how it is read; "" for a plain function that is read as it always was."""
        module = self.forward if isinstance(self.forward, torch.nn.Module) else None
        if module is None and not self.has_own and self.codec is None and self.times == "t" and self.scaled:
            return ""
        at = self.schedule.level(torch.linspace(0, 1, 9, dtype=torch.float64))
        read = [repr(self.parametrisation), str(self.dtype), self.times, self.scaled, list(self.shape), self.has_own]
        levels = [f"{value:.9g}" for part in (at.a, at.b, at.t) for value in part.tolist()]
        codec = None if self.codec is None else [list(self.codec.image_shape), getattr(self.codec, "fingerprint", "")]
        whole = [print_of_weights(module) if module is not None else "", read, levels, self.schedule.n_train, codec]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()

    @cached_property
    def time_dtype(self) -> torch.dtype:
        """That of t."""
        return torch.promote_types(self.dtype, torch.float32)

    def check_fit(self, name: str, schedule: Schedule) -> None:
        """Raise ValueError if a network of this output cannot have been trained on it."""
        if not self.parametrisation.fits(schedule.level(0.5)):
            raise ValueError(
                f"{name}={type(schedule).__name__}: not one on which {type(self.parametrisation).__name__} is a velocity, "
                "a + b = 1; use RectifiedFlow (schedule=flow)"
            )

    def check_schedule(self, schedule: Schedule) -> None:
        """Raise ValueError if it cannot be sampled on it: with a schedule of its own it can on any."""
        if not self.has_own:
            self.check_fit("schedule", schedule)

    def check_prompt(self, prompt: Prompt) -> None:
        if self.prompts:
            check_known(prompt, self.prompts)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """As `HasCodec.image_shape`; without a codec x0 is the picture."""
        return self.shape if self.codec is None else self.codec.image_shape

    def decode(self, latents: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *image_shape"]:
        """As `HasCodec.decode`."""
        return latents if self.codec is None else self.codec.decode(latents)

    def encode(self, images: Float[Tensor, "batch *image_shape"]) -> Float[Tensor, "batch *shape"]:
        """As `HasCodec.encode`."""
        return images if self.codec is None else self.codec.encode(images)

    def told(self, level: Level) -> Float[Tensor, " rows"]:
        """As `IsTold.told`: what `times` says, in float64."""
        if self.times == "sigma":
            return level.sigma
        if self.times == "c_noise":
            return level.sigma.log() / 4
        if not self.has_own:
            return level.t
        position = self.schedule.at_sigma(level.sigma).t * self.schedule.n_train
        entry = position.round()
        position = torch.where((position - entry).abs() < NEAR, entry, position)
        return position if self.times == "index" else position / self.schedule.n_train

    @property
    def per_timestep(self) -> float | None:
        """As `CountsTimesteps.per_timestep`."""
        if self.times not in ("t", "index") or not isinstance(self.schedule, TableSchedule):
            return None
        return 1.0 if self.times == "index" else 1 / self.schedule.n_train

    def handed(self, level: Level) -> tuple[Tensor | None, Level]:
        """(r, the level as the network has it: a/r, b/r); r is None where it is 1. Where the level is; nothing is copied."""
        if not self.scaled:
            ratio = level.a
        elif not self.has_own:
            return None, level
        elif isinstance(self.schedule, TableSchedule):
            ratio = torch.hypot(level.a, level.b)
        elif isinstance(self.schedule, RectifiedFlow):
            ratio = level.a + level.b
        elif isinstance(self.schedule, Karras):
            ratio = level.a
        else:
            own = self.schedule.at_sigma(level.sigma)
            ratio = torch.hypot(level.a, level.b) / torch.hypot(own.a, own.b)
        return ratio, Level(level.a / ratio, level.b / ratio, level.t)

    def output(self, x: Tensor, t: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """What `forward` gives, in float64, on the device of x, `max_rows` at a time."""

        def given(rows: slice) -> Tensor:
            whole = rows == slice(0, len(x))  # the usual case
            return self.given(x, t, prompts) if whole else self.given(x[rows], t[rows], prompts[rows])

        return self._rows(len(x), given, self.max_rows)

    def given(self, x: Tensor, t: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """The same of rows that fit. Raises ValueError if it is no row for each of x."""
        asked = x.to(self.dtype)  # before it goes there: MPS has no float64
        if self.device is not None:
            asked, t = asked.to(self.device), t.to(self.device)
        out = self.forward(asked, t, prompts)
        if not isinstance(out, Tensor) or out.shape != x.shape:
            given = f"a tensor {list(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
            raise ValueError(f"network.forward: gave {given}, must give a tensor of the shape of x, {list(x.shape)}")
        return out.to(x.device).to(torch.float64)

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        n = len(conds)
        told = self.told(level.host) if level.told is None else level.told
        if told.shape[0] > 1:
            told = torch.cat([told.to(x.device)] * n)  # where it is, unless a level came without what is told
        t = spread(told, n * len(x), x, self.time_dtype)
        ratio, at = self.handed(level)
        x = x if ratio is None else x / expand(ratio, x)
        if n == 1:  # the usual case: no copies
            out = self.output(x, t, conds[0])[None]
        else:
            flat = [prompt for prompts in conds for prompt in prompts]
            out = self.output(x.expand(n, *x.shape).flatten(0, 1), t, flat).reshape(n, *x.shape)
        if isinstance(self.parametrisation, Epsilon):
            return Prediction(lambda: self.parametrisation.decode(out, x, at)[0], out)
        if isinstance(self.parametrisation, Anywhere):  # ours
            return Prediction(*self.parametrisation.decode(out, x, at))
        halves = [self.parametrisation.decode(row, x, at) for row in out]
        return Prediction(torch.stack([x0 for x0, _ in halves]), torch.stack([eps for _, eps in halves]))

    @torch.no_grad()
    def try_out(self, prompt: Prompt, device: torch.device | str = "cpu") -> None:
        """Ask it once, two rows of noise at the middle of its schedule, and its codec. Raises ValueError, in one line, if it
        fails, or what it gives is of another shape or not finite.
        """
        level = self.schedule.level(0.5)
        noise = torch.randn(2, *self.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x = expand(level.b, noise) * noise
        asked = f"x {list(x.shape)} in {self.dtype}, times={self.times}, prompts {[prompt] * 2}"
        what = f"network.forward, asked with {asked}"
        found = attempt(what, lambda: self.predict(x.to(device), level, [[prompt] * 2]))
        if not bool(found.x0.isfinite().all() & found.eps.isfinite().all()):
            raise ValueError(f"{what}: gives numbers that are not finite, must give finite ones")
        if self.codec is None:
            return
        ways = (
            ("decode", self.codec.decode, self.shape, self.image_shape, "codec.image_shape"),
            ("encode", self.codec.encode, self.image_shape, self.shape, "shape"),
        )
        for name, way, given, wanted, said in ways:
            what = f"network.codec.{name} of {[1, *given]}"
            shape = list(attempt(what, partial(way, torch.zeros(1, *given, dtype=torch.float64, device=device))).shape)
            if shape != [1, *wanted]:
                raise ValueError(f"{what}: gives {shape}, must give {[1, *wanted]}, as network.{said} says")


def attempt(what: str, call: Callable[[], Any]) -> Any:
    """What a call gives. Raises ValueError, in one line, for whatever it raises."""
    try:
        return call()
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith("network."):
            raise
        raise ValueError(f"{what}: fails, {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error


@dataclass(frozen=True)
class OwnSchedule:
    """Stands for the schedule that the model itself has (`schedule=own`), until the model is there."""

    def of(self, model: object) -> Schedule:
        """That schedule. Raises ValueError if the model has none."""
        found = getattr(model, "schedule", None)
        if found is None:
            raise ValueError(
                f"schedule=own: {type(model).__name__} has no schedule of its own; choose scaled_linear, flow or edm"
            )
        return found


@dataclass(frozen=True)
class Reparametrised:
    """An exact model seen as a network of another parametrisation: its prediction is encoded and decoded again."""

    model: Denoiser
    parametrisation: Parametrisation

    @property
    def shape(self) -> tuple[int, ...]:
        return self.model.shape

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.model.prompts

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    def check_prompt(self, prompt: Prompt) -> None:
        self.model.check_prompt(prompt)

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        exact = self.model.predict(x, level, conds)
        halves = [
            self.parametrisation.decode(self.parametrisation.encode(x0, eps, level), x, level)
            for x0, eps in zip(exact.x0, exact.eps, strict=True)
        ]
        return Prediction(torch.stack([x0 for x0, _ in halves]), torch.stack([eps for _, eps in halves]))
