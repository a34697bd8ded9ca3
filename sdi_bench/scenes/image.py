"""The image itself: as the model has it, in pixels in front of its codec, or as a network of coordinates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .. import require
from ..draws import Draws, Purpose
from ..guidance import Prompt
from ..models.base import Denoiser, HasCodec, HasPosterior, check_posterior, images_of
from .base import Flat, Seen, image_shape, traced
from .cameras import View


@dataclass(frozen=True)
class Image(Flat):
    """g(psi) = psi: the parameters are x0, a latent where the model is one of latents.

    project: before each step's kappa is sought x0 is decoded, clamped to [-1, 1] and encoded again, "through the codec"; the
    parameters themselves stay (ottogin/score-distillation-via-inversion, 2dplayground_SDI_version.ipynb: "project through the
    decoder to regularize the latents"; the paper has none of it). Where there is no codec it is the clamp alone.
    posterior: "sample" of the encoder's, as there, or its "mean".
    words: put after each prompt; ", front view" in the notebook, by threestudio's view-dependent prompts at azimuth 0.
    Raises ValueError, naming the field, for another posterior.
    """

    project: bool = False
    posterior: str = "sample"
    words: str = ""

    def __post_init__(self) -> None:
        if self.posterior not in ("sample", "mean"):
            raise ValueError(f"scene.posterior={self.posterior!r}: must be sample or mean")

    @property
    def is_x0(self) -> bool:
        return True

    def check(self, model: Denoiser) -> None:
        if self.project and self.posterior == "sample" and isinstance(model, HasCodec):
            check_posterior(model)

    def prompts(self, prompts: Sequence[Prompt], view: View | None) -> tuple[Prompt, ...]:
        return tuple(prompt and prompt + self.words for prompt in prompts)

    def asked(self, prompt: Prompt) -> tuple[Prompt, ...]:
        return self.prompts([prompt], None)

    def projected(self, x0: Tensor, model: Denoiser, draws: Draws, step: int) -> Tensor:
        """x0 [batch, *shape] as the codec gives it back, if it is to be projected; else itself."""
        if not self.project:
            return x0
        images = images_of(model, x0).clamp(-1, 1)
        if not isinstance(model, HasCodec):
            return images
        if self.posterior == "mean":
            return model.encode(images).to(x0)
        assert isinstance(model, HasPosterior)  # check() has said so
        mean, std = model.encode_random(images)
        return (mean + std * draws.normal(Purpose.VAE, step, tuple(x0.shape[1:]))).to(x0)

    def init(self, model: Denoiser, draws: Draws, n: int) -> Tensor:
        raise NotImplementedError("an image starts from the sampler's first prediction")

    def see(self, params: Tensor, view: View | None, model: Denoiser) -> Seen:
        def pull_image(wanted: Tensor, weight: Tensor) -> Tensor | None:
            if not isinstance(model, HasCodec):
                return None
            with torch.enable_grad():
                leaf = params.detach().requires_grad_()
                shown = images_of(model, leaf)
            gap = weight * (shown.detach() - images_of(model, wanted))
            return torch.autograd.grad(shown, leaf, gap.to(shown.dtype))[0]

        return Seen(params, lambda slope: slope, pull_image)

    def pictures(self, params: Tensor, model: Denoiser) -> Tensor:
        return images_of(model, params)


@dataclass(frozen=True)
class Pixels(Flat):
    """The parameters are the pixels in [-1, 1] that a model of latents encodes; they start as mid-grey noise."""

    spread: float = 0.1
    """Of the noise, >= 0."""

    def __post_init__(self) -> None:
        require.number("scene.spread", self.spread, at_least=0)

    @property
    def is_x0(self) -> bool:
        return False

    def init(self, model: Denoiser, draws: Draws, n: int) -> Tensor:
        return self.spread * draws.normal(Purpose.SCENE, 0, image_shape(model))

    def see(self, params: Tensor, view: View | None, model: Denoiser) -> Seen:
        return traced(params, lambda pixels: pixels, model)

    def pictures(self, params: Tensor, model: Denoiser) -> Tensor:
        return params


@dataclass(frozen=True)
class CoordinateMlp(Flat):
    """A small network from a pixel's place to its colour, sine waves in (arXiv 2006.10739): colour = tanh(W2·relu(W1·waves)).

    n_hidden, n_waves >= 1: units, and random frequencies drawn per item. frequency > 0: their standard deviation, in cycles
    over half the picture. Raises ValueError, naming the field, otherwise.
    """

    n_hidden: int = 64
    n_waves: int = 64
    frequency: float = 6.0

    def __post_init__(self) -> None:
        require.count("scene.n_hidden", self.n_hidden)
        require.count("scene.n_waves", self.n_waves)
        require.number("scene.frequency", self.frequency, above=0)

    @property
    def is_x0(self) -> bool:
        return False

    def sizes(self, channels: int) -> list[tuple[int, int]]:
        """Of the two layers: inputs (one of them constant), outputs."""
        return [(2 * self.n_waves + 1, self.n_hidden), (self.n_hidden + 1, channels)]

    def init(self, model: Denoiser, draws: Draws, n: int) -> Tensor:
        sizes = self.sizes(image_shape(model)[0])
        weights = [
            (draws.normal(Purpose.SCENE, k, size) / math.sqrt(size[0])).flatten(1) for k, size in enumerate(sizes, start=1)
        ]
        waves = self.frequency * draws.normal(Purpose.SCENE, 0, (self.n_waves, 2))
        return torch.cat([waves.flatten(1), *weights], dim=1)

    def image(self, params: Float[Tensor, "batch n"], shape: tuple[int, ...]) -> Float[Tensor, "batch c h w"]:
        """The picture."""
        channels, height, width = shape
        sides = (torch.linspace(-1, 1, side, dtype=params.dtype, device=params.device) for side in (height, width))
        place = torch.cartesian_prod(*sides)
        waves = params[:, : 2 * self.n_waves].detach().reshape(-1, self.n_waves, 2)  # the frequencies stay
        first, second = params[:, 2 * self.n_waves :].split([a * b for a, b in self.sizes(channels)], dim=1)
        (n_in, n_hidden), (_, n_out) = self.sizes(channels)
        angle = math.pi * place @ waves.mT
        one = torch.ones_like(angle[..., :1])
        hidden = (torch.cat([angle.sin(), angle.cos(), one], -1) @ first.reshape(-1, n_in, n_hidden)).relu()
        out = (torch.cat([hidden, one], -1) @ second.reshape(-1, n_hidden + 1, n_out)).tanh()
        return out.mT.reshape(-1, channels, height, width)

    def see(self, params: Tensor, view: View | None, model: Denoiser) -> Seen:
        return traced(params, lambda p: self.image(p, image_shape(model)), model)

    def pictures(self, params: Tensor, model: Denoiser) -> Tensor:
        return self.image(params, image_shape(model))
