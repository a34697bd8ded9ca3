"""Scenes: what is optimised, and how it is seen. In 2D the parameters are the image; in 3D they are a field behind a camera."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..draws import Draws
from ..guidance import Prompt, Sides
from ..models.base import Denoiser, HasCodec
from .cameras import View


class Seen(NamedTuple):
    """x0 [batch, *shape], float64, as the model takes it; pull: a gradient with respect to it -> to the parameters.

    pull_image: (x0 wanted, weight, shaped to multiply) -> the gradient, to the parameters, of weight/2·|image - decoded x0|²,
    where x0 is a latent: asked before `pull`, if at all. It gives None where the image is x0.
    ends: where the rays end on an object, in the world, and the opacity there; None: there is none.
    """

    x0: Tensor
    pull: Callable[[Tensor], Tensor]
    pull_image: Callable[[Tensor, Tensor], Tensor | None] = lambda wanted, weight: None
    ends: Callable[[], tuple[Float[Tensor, "batch 3 h w"], Float[Tensor, "batch h w"]]] | None = None


@runtime_checkable
class Scene(Protocol):
    """psi and g: parameters, a tensor with a row for each item, and how a view of them becomes the x0 of a model."""

    @property
    def is_x0(self) -> bool:
        """True where the parameters are x0 itself: it is carried from step to step, and can be set to any target."""

    @property
    def n_cameras(self) -> int | None:
        """Of how many it is looked at from, each of which comes again; None: none does; 0: it is a picture and has none."""

    def check(self, model: Denoiser) -> None:
        """Raise ValueError, naming the field, if this model cannot look at it."""

    def init(self, model: Denoiser, draws: Draws, n: int) -> Tensor:
        """The parameters of n items to start from; where `is_x0`, the sampler starts from a prediction instead."""

    def view(self, draws: Draws, step: int) -> View | None:
        """Where it is looked at from in this step; None where there is no such choice."""

    def prompts(self, prompts: Sequence[Prompt], view: View | None) -> tuple[Prompt, ...]:
        """What the model is asked for: each item's prompt, with words for the view."""

    def sides(self, prompts: Sequence[Prompt], view: View) -> Sides:
        """What the model would be asked for from each side, and where the view is; for guidance away from the others."""

    def asked(self, prompt: Prompt) -> tuple[Prompt, ...]:
        """All that the model may be asked for a prompt."""

    def see(self, params: Tensor, view: View | None, model: Denoiser) -> Seen:
        """What the model is shown."""

    def pictures(self, params: Tensor, model: Denoiser) -> Tensor:
        """Images to keep: [batch, *image_shape]; of what is Solid from its orbit, [batch, views, *image_shape]."""


class Look(NamedTuple):
    """A rendered view: image in [-1, 1], before white; opacity in [0, 1]; depth along the camera's axis, the mean of where
    light is absorbed; DISTANCE + 1 where next to none is.
    """

    image: Float[Tensor, "batch 3 h w"]
    opacity: Float[Tensor, "batch h w"]
    depth: Float[Tensor, "batch h w"]


@runtime_checkable
class Solid(Protocol):
    """A scene of objects, which have other sides."""

    @property
    def orbit(self) -> View:
        """Where the pictures kept are taken from."""

    def look(self, params: Float[Tensor, "batch n"], view: View, height: int, width: int) -> Look:
        """What each item looks like from its camera."""


def surface(scene: Solid, params: Float[Tensor, "1 n"], size: int = 64) -> Float[np.ndarray, "points 3"]:
    """Where the rays of eight cameras of the orbit end in an object that stops at least half of their light; in the world."""
    found = []
    for camera in scene.orbit.cameras[:: max(1, len(scene.orbit.cameras) // 8)]:
        look = scene.look(params, View.of([camera]), size, size)
        origins, directions = camera.rays(size, size)
        solid = look.opacity[0].cpu().numpy() > 0.5
        along = look.depth[0].cpu().numpy()[solid] / -(directions[solid] @ camera.axes[2])
        found.append(origins[solid] + along[:, None] * directions[solid])
    return np.concatenate(found)


class Flat:
    """What scenes without a camera share."""

    @property
    def n_cameras(self) -> int:
        return 0

    def check(self, model: Denoiser) -> None:
        """Any model will do."""

    def view(self, draws: Draws, step: int) -> None:
        return None

    def prompts(self, prompts: Sequence[Prompt], view: View | None) -> tuple[Prompt, ...]:
        return tuple(prompts)

    def sides(self, prompts: Sequence[Prompt], view: View) -> Sides:
        raise NotImplementedError("a picture has no sides")

    def asked(self, prompt: Prompt) -> tuple[Prompt, ...]:
        return (prompt,)


def image_shape(model: Denoiser) -> tuple[int, ...]:
    """Of the images behind a model: [channels, height, width], of decoded ones where it is one of latents."""
    return model.image_shape if isinstance(model, HasCodec) else model.shape


def traced(params: Tensor, image: Callable[[Tensor], Tensor], model: Denoiser, penalties: Sequence[Tensor] = ()) -> Seen:
    """x0 and pull of a differentiable image(params) of pixels, through the codec's encoder if there is one.

    penalties: filled by `image`; their gradient is added to what is pulled back.
    """
    with torch.enable_grad():
        leaf = params.detach().requires_grad_()
        x0 = shown = image(leaf)
        if isinstance(model, HasCodec):
            x0 = model.encode(shown)

    def pull(slope: Tensor) -> Tensor:
        ones = [torch.ones_like(penalty) for penalty in penalties]
        return torch.autograd.grad([x0, *penalties], leaf, [slope.to(x0.dtype), *ones])[0]

    def pull_image(wanted: Tensor, weight: Tensor) -> Tensor | None:
        if not isinstance(model, HasCodec):
            return None
        gap = weight * (shown.detach() - model.decode(wanted))
        return torch.autograd.grad(shown, leaf, gap.to(shown.dtype), retain_graph=True)[0]

    return Seen(x0.detach().to(torch.float64), pull, pull_image)
