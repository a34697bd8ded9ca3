"""What the library asks of a model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..coordinates import Parametrisation
from ..guidance import Guidance, Prompt, Stack
from ..levels import Level

Conds = Sequence[Sequence[Prompt]]
"""Conditions to evaluate at once: [conds][batch] prompts."""


N_PIXELS = 2**18
"""That a codec is given at once, a picture at least: a decoder's memory is large."""


class Prediction:
    """A model's answer at x = a·x0 + b·eps, both halves: an x0 cannot be had from eps where a = 0.

    x0: itself, or what gives it, called once it is asked for: an inversion, and eq. 10, go by eps alone.
    """

    def __init__(self, x0: Stack | Callable[[], Stack], eps: Stack) -> None:
        self._x0, self.eps = x0, eps

    def __iter__(self) -> Iterator[Stack]:
        return iter((self.x0, self.eps))

    def __getitem__(self, half: int) -> Stack:
        return (self.x0, self.eps)[half]

    @cached_property
    def x0(self) -> Stack:
        """The clean images."""
        return self._x0 if isinstance(self._x0, Tensor) else self._x0()


@runtime_checkable
class Denoiser(Protocol):
    """A diffusion model: predicts the clean image and the noise in x, for several conditions in one batched call.

    shape: of one image, [channels, height, width] for images; images live in [-1, 1].
    prompts: what it may be asked for; empty where anything goes.
    fingerprint: a hash of data or weights that its configuration does not spell out; "" if there are none.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def prompts(self) -> tuple[str, ...]: ...

    @property
    def fingerprint(self) -> str: ...

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        """float64 predictions [conds, batch, *shape]; no guidance scale inside."""

    def check_prompt(self, prompt: Prompt) -> None:
        """Raise ValueError, saying what would be valid, if the model cannot be asked for this prompt."""


@runtime_checkable
class HasCodec(Protocol):
    """A model of latents: `shape` is a latent's, and images are decoded from it.

    image_shape: of one image, [channels, height, width].
    """

    @property
    def image_shape(self) -> tuple[int, ...]: ...

    def decode(self, latents: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch channels height width"]:
        """Images of about [-1, 1], of the latents' dtype and device; differentiable where the latents require a gradient."""

    def encode(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch *shape"]:
        """The latents (their mean, where the encoder is random) of images in [-1, 1]."""


@runtime_checkable
class HasModule(Protocol):
    """A model that is a network, and can be put around another one."""

    @property
    def module(self) -> torch.nn.Module | None:
        """Its network; None where that is no module."""

    def around(self, module: torch.nn.Module) -> Denoiser:
        """The same model around another network."""


@runtime_checkable
class EmbedsText(Protocol):
    """A network of text, which can be asked for a Blend of two prompts: their embeddings are mixed."""

    def embedded(self, prompt: Prompt) -> Sequence[Tensor]:
        """What the network is given of a prompt, each of one row."""


@runtime_checkable
class HasPosterior(Protocol):
    """A model of latents whose encoder is random: a normal law of latents for each image."""

    def encode_random(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch *shape"], Float[Tensor, "batch *shape"]]:
        """Mean and standard deviation of the latents of images in [-1, 1]. Raises ValueError if its codec has none."""


def check_posterior(model: "HasCodec") -> None:
    """Raise ValueError, in one line, if no latents can be drawn from this model's encoder."""
    if isinstance(model, HasPosterior):
        with suppress(AttributeError, TypeError), torch.no_grad():
            model.encode_random(torch.zeros(1, *model.image_shape))
            return
    raise ValueError(f"scene.posterior=sample: the encoder of {type(model).__name__} is not random; use scene.posterior=mean")


@runtime_checkable
class IsTold(Protocol):
    """A network that is told something of the level."""

    def told(self, level: Level) -> Float[Tensor, " rows"]:
        """What, such as a timestep; of a level on the host, there."""


@runtime_checkable
class CountsTimesteps(Protocol):
    """A network that is told of the level by its place in a table."""

    @property
    def per_timestep(self) -> float | None:
        """How much more it is told from one entry to the next; None where what it is told is no place in a table."""


@runtime_checkable
class Remembers(Protocol):
    """A model that keeps what it has made of prompts from call to call."""

    def forget(self) -> None:
        """Make it anew from the next call on: a batch begins, and the model may have been changed since."""


@runtime_checkable
class Reads(Protocol):
    """A model that encodes text by something that can be out of the way afterwards."""

    def read(self, prompts: Sequence[Prompt]) -> None:
        """Encode these, which are asked later, where that is done once and for all."""


@dataclass(frozen=True)
class Rules:
    """How a checkpoint wants its samples made, beyond the levels.

    bound: what becomes of a guided x0 before anything goes on with it; None: nothing.
    keeps_eps: what it leaves alone beside: eps (DDIM), or x, so that eps is found again from x and x0 (solvers of an ODE).
    end: the level at which a sample is left, as the picture a·x0 + b·eps; None: at sigma = 0, where the picture is x0.
    variance: of an ancestral step, as diffusers names it.
    guided: (guided output of the network, the conditional one) -> what goes on, where guidance is not 1; None: the guided one.
    """

    bound: Callable[[Tensor], Tensor] | None = None
    keeps_eps: bool = True
    end: Level | None = None
    variance: str = "fixed_small"
    guided: Callable[[Tensor, Tensor], Tensor] | None = None


NO_RULES = Rules()


@runtime_checkable
class HasRules(Protocol):
    """A model that comes with rules."""

    @property
    def rules(self) -> Rules: ...


def rules_of(model: object) -> Rules:
    """The rules a model comes with."""
    return model.rules if isinstance(model, HasRules) else NO_RULES


@runtime_checkable
class HasOutput(Protocol):
    """A network, of which the output means something."""

    @property
    def parametrisation(self) -> Parametrisation: ...


@runtime_checkable
class HasInput(Protocol):
    """A network that is handed x and told of the level in its own terms."""

    @property
    def needs_signal(self) -> bool:
        """True where these would be infinite at a = 0."""


def check_askable(model: object, level: Level) -> None:
    """Raise ValueError if the model is a network that cannot be asked at this level, or gives no x0 there, because nothing is
    left of the signal.
    """
    if isinstance(model, HasInput) and model.needs_signal and not bool((level.a > 0).all()):
        raise ValueError(
            "grid: starts at sigma = infinity, where x_bar, or the sigma that this network is told, would be infinite; set "
            "t_max below 1, or choose a schedule or grid that starts below"
        )
    if isinstance(model, HasOutput) and model.parametrisation.needs_signal and not bool((level.a > 0).all()):
        raise ValueError(
            f"grid: starts at sigma = infinity, where a network of {type(model.parametrisation).__name__.lower()} says nothing "
            "of the picture; set t_max below 1, or choose a schedule or grid that starts below"
        )


@runtime_checkable
class HasData(Protocol):
    """A model that knows real images."""

    def data(self, prompts: Sequence[Prompt], rng: np.random.Generator) -> Float[Tensor, "batch *image_shape"]:
        """Real images for these prompts, one each; float64."""

    def unseen(self, prompts: Sequence[Prompt]) -> bool:
        """True if the model was not made from any of them."""


@runtime_checkable
class ExactModel(Denoiser, Protocol):
    """A model that is the exact posterior mean of a known distribution."""

    def sample(self, prompts: Sequence[Prompt], rng: np.random.Generator) -> Float[Tensor, "batch *shape"]:
        """Fresh independent draws of the data distribution, one per prompt."""


@runtime_checkable
class HasExactRoot(Protocol):
    """A model for which eq. 8 of arXiv 2405.15891 can be solved."""

    def exact_root(
        self, x0: Float[Tensor, "batch *shape"], level: Level, prompts: Sequence[Prompt], guidance: Guidance
    ) -> Float[Tensor, "batch *shape"]:
        """kappa with kappa = eps(a·x0 + b·kappa), the guided prediction."""

    def check_root(self, guidance: Guidance) -> None:
        """Raise ValueError if the root is not defined under this guidance."""


def check_known(prompt: Prompt, known: Sequence[str]) -> None:
    """Raise ValueError with the near match unless prompt is None or one of `known`."""
    if prompt is None or prompt in known:
        return
    near = get_close_matches(str(prompt), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"prompt={prompt!r}: {hint}this model knows {', '.join(known)}")


def images_of(model: Denoiser, x0: Float[Tensor, "batch *shape"]) -> Tensor:
    """What a model's clean samples look like: latents are decoded, anything else is itself."""
    return model.decode(x0) if isinstance(model, HasCodec) else x0


def float64(x: Tensor) -> Tensor:
    """Exact models compute in float64."""
    return x.to(torch.float64)
