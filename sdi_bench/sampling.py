"""Sample items with a sampler: batches in, images and cost out. No files, no progress bars, no global state."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from . import require
from .coordinates import noisy
from .draws import Item, PhiloxDraws, items_of
from .guidance import PerpNeg, Prompt
from .models import Network
from .models.base import Denoiser, Reads, Remembers, rules_of
from .predictor import Cost, Predictor
from .samplers import Distillation, Sampler, State
from .scenes import Image, Scene, Solid
from .schedules import Schedule, scaled_linear


@dataclass(frozen=True)
class Job:
    """A sampler on a model and a schedule."""

    model: Denoiser
    sampler: Sampler
    schedule: Schedule
    device: str = "cpu"

    @property
    def scene(self) -> Scene:
        """What is sampled: a picture, or what a sampler that has a choice says."""
        return self.sampler.scene if isinstance(self.sampler, Distillation) else Image()

    def left(self, state: State) -> Tensor:
        """What a last state leaves: the parameters; an image as a·x0 + b·eps where the model's rules say that samples end."""
        end, params = rules_of(self.model).end, state.x0 if state.params is None else state.params
        if end is None or not isinstance(self.scene, Image):
            return params
        return noisy(params, state.eps, end.to(params.device))

    def pictures(self, state: State) -> Float[Tensor, "batch *images"]:
        """What a last state looks like: an image for each item, or several, [batch, views, *image_shape]."""
        with torch.no_grad():
            return self.scene.pictures(self.left(state), self.model)

    def check(self, items: Sequence[Item]) -> None:
        """Raise ValueError, naming the field, before any network call, if this cannot run."""
        for prompt in dict.fromkeys(item.prompt for item in items):
            for asked in self.scene.asked(prompt):
                self.check_asked(asked, prompt)
                for more in self.sampler.direction.asked(asked) if isinstance(self.sampler, Distillation) else ():
                    self.check_direction(more)
        try:
            self.model.check_prompt(self.sampler.guidance.negative)
        except ValueError as error:
            raise ValueError(f"negative_{error}") from error
        guidance = self.sampler.guidance
        if isinstance(guidance, PerpNeg) and guidance.weights == "azimuth" and not isinstance(self.scene, Solid):
            raise ValueError(
                "guidance.weights=azimuth: its weights are functions of the camera's azimuth, and a picture has none; use "
                "guidance.weights=constant, or scene=voxel with reference=null"
            )
        if isinstance(self.model, Network):
            self.model.check_schedule(self.schedule)
        self.sampler.check(self.model, self.schedule)

    def read(self, items: Sequence[Item]) -> None:
        """Have the model encode all that it will be asked, before the first network call, where it keeps that."""
        if isinstance(self.model, Reads):
            own = self.sampler.direction.asked if isinstance(self.sampler, Distillation) else lambda _: ()
            asked = [each for prompt in dict.fromkeys(item.prompt for item in items) for each in self.scene.asked(prompt)]
            source = self.sampler.source if isinstance(self.sampler, Distillation) else None
            edited = [] if source is None else [source.prompt]
            more = [each for prompt in asked for each in own(prompt)]
            self.model.read([None, self.sampler.guidance.negative, *edited, *asked, *more])

    def check_asked(self, asked: Prompt, prompt: Prompt) -> None:
        """Raise ValueError if the model cannot be asked for what the scene makes of a prompt."""
        try:
            self.model.check_prompt(asked)
        except ValueError as error:
            if asked == prompt:
                raise
            raise ValueError(
                f"{error}; prompt={prompt!r} has the scene's words put to it (scene.words, scene.wording)"
            ) from error

    def check_direction(self, prompt: Prompt) -> None:
        """Raise ValueError if the model cannot be asked for what the direction asks besides."""
        assert isinstance(self.sampler, Distillation)
        try:
            self.model.check_prompt(prompt)
        except ValueError as error:
            name = type(self.sampler.direction).__name__.lower()
            raise ValueError(f"direction={name}, which asks for more: {error}; a text of null asks for no prompt") from error

    def states(self, items: Sequence[Item], cost: Cost, since: State | None = None) -> Iterator[State]:
        """The sampler's states for one batch of items, of score distillation those after `since`; rows are added to `cost`."""
        if isinstance(self.model, Remembers):
            self.model.forget()
        prompts = tuple(item.prompt for item in items)
        net = Predictor(self.model, self.schedule, self.sampler.guidance, prompts, self.device, cost)
        draws = PhiloxDraws(tuple(items), self.device)
        walk = self.sampler.sample(net, draws)
        if since is not None:
            assert isinstance(self.sampler, Distillation)
            walk = self.sampler.resume(net, draws, since)
        without = torch.no_grad()
        while True:
            with without:  # per state: a generator must not hold the caller's grad mode between yields
                state = next(walk, None)
            if state is None:
                return
            yield state


def lacks_float64(device: str) -> bool:
    """Apple's MPS has no float64, which levels, noise and what is sampled are kept in."""
    return device.split(":")[0] == "mps"


def check_device(device: object) -> None:
    """Raise ValueError, naming the field, unless a sampler can compute there."""
    if isinstance(device, str) and lacks_float64(device):
        raise ValueError(
            f"device={device!r}: has no float64, in which samplers compute; leave device=cpu and put the network there, "
            f"model.device={device} (sb.Network(..., device={device!r}))"
        )
    try:
        torch.empty(0, device=device)  # type: ignore[call-overload]
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device={device!r}: not to be had here") from error


def sample(
    model: Denoiser,
    sampler: Sampler,
    prompts: Sequence[str | None] = (None,),
    seeds: Sequence[int] = (0,),
    schedule: Schedule | None = None,
    batch_size: int = 64,
    device: str | None = None,
) -> Float[Tensor, "items *image_shape"]:
    """Images (latents are decoded) for all pairs of prompts and seeds, prompt by prompt: float64, about [-1, 1].

    prompts: None is unconditional. schedule: by default the model's own if it has one (rectified flow for a network of flow
    velocity), else Stable Diffusion's. device: on which the sampler computes, in float64; None: the model's own if it says one
    and that has float64, else the CPU. Images come back to the CPU.
    Raises ValueError, naming the field, before any network call, if something does not fit; warns of images not finite.
    """
    for name, values in (("prompts", prompts), ("seeds", seeds)):
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(f"{name}={values!r}: must be a list of at least one")
    require.count("batch_size", batch_size)
    schedule = schedule or getattr(model, "schedule", None) or scaled_linear()
    for name, thing, kind in (("model", model, Denoiser), ("sampler", sampler, Sampler), ("schedule", schedule, Schedule)):
        require.fits(name, thing, kind)
    if device is None:
        own = str(getattr(model, "device", None) or "cpu")
        device = "cpu" if lacks_float64(own) else own
    check_device(device)
    job = Job(model, sampler, schedule, device)
    items = items_of(prompts, seeds)
    job.check(items)
    job.read(items)
    images = []
    for k in range(0, len(items), batch_size):
        for state in job.states(items[k : k + batch_size], Cost()):
            last = state
        images.append(job.pictures(last).cpu().to(torch.float64))
    found = torch.cat(images)
    lost = int((~found.isfinite()).flatten(1).any(dim=1).sum())
    if lost:
        warnings.warn(f"{lost} of {len(found)} images are not finite", stacklevel=2)
    return found
