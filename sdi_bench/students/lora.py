"""A LoRA of the teacher, one for each item, taught what the particle is now."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import chain
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from .. import require
from ..coordinates import noisy
from ..draws import Draws, Purpose
from ..guidance import Guidance, Prompt
from ..levels import Level, Step, expand
from ..models.base import Conds, Denoiser, HasModule, HasOutput, Prediction
from ..noise.base import Kappa
from ..predictor import Predictor, Use
from ..update import Adam, Moments
from .base import Image, Learnt, Student

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""Ends of the names of diffusers' attention layers: where VSD puts its LoRA."""

STARTED = "lora_A"
"""In the name of the factor that starts as noise; the other starts at 0, so that eps_phi starts as the teacher."""


@dataclass(frozen=True)
class Lora(Student):
    """eps_phi = the teacher with a LoRA (arXiv 2106.09685) of its own for each item, trained by the diffusion loss on the
    item's particle (ProlificDreamer, arXiv 2305.16213, eq. 8): after each step n_train steps of Adam of length lr on

        | output(a·x0 + b·eps, t, y) - (what it should have been) |²,    t uniform over the schedule, eps ~ N(0, I)

    in the mean over pixels, in the terms of the network's own output (eps, v, ...). With one particle for each LoRA an item
    does not depend on its batch; the paper's several particles that share one are not built.

    On a diffusers checkpoint the LoRA is of its attention layers, as released; on a module of your own of all its linear and
    convolutional ones (both by peft, whose weights stand beside the teacher's, which are never touched). A model without such
    layers has one of the identity: see `Residual`.

    rank >= 1: the first factor starts as N(0, 1 / rank²). lr > 0: threestudio has 1e-4. n_train >= 0: 1 in all released code;
    at 0 it stays the teacher. Of a training step one row is booked; with its way back it costs about three.
    Raises ValueError, naming the field, otherwise.
    """

    rank: int = 4
    lr: float = 1e-4
    n_train: int = 1

    def __post_init__(self) -> None:
        require.count("student.rank", self.rank)
        require.number("student.lr", self.lr, above=0)
        require.count("student.n_train", self.n_train, least=0)

    def check(self, model: Denoiser, guidance: Guidance, noise: Kappa) -> None:
        if module_of(model) is not None and find_spec("peft") is None:
            raise ValueError("student=lora: needs the package peft (pip install peft)")

    def pupil(self, net: Predictor) -> "Pupil":
        """The teacher with room for a LoRA; made once a batch."""
        if self not in net.once:
            net.once[self] = pupil_of(net.model, self.rank, net.device)
        return net.once[self]

    def begin(self, net: Predictor, draws: Draws, level: Level) -> Learnt:
        pupil = self.pupil(net)
        noise = draws.normal(Purpose.STUDENT, 0, (pupil.n,))
        weights = (noise * pupil.started.to(noise) / self.rank).to(pupil.weights[0].dtype)
        return {"weights": weights, "first": torch.zeros_like(weights), "second": torch.zeros_like(weights)}

    @torch.no_grad()
    def eps(self, learnt: Learnt, x: Image, level: Level, net: Predictor, prompts: Sequence[Prompt]) -> Image:
        pupil, rows = self.pupil(net), []
        for i, level_i in enumerate(rows_of(level, len(x), net)):
            pupil.take(learnt["weights"][i])
            asked = replace(net, model=pupil.model, guidance=Guidance(), prompts=(prompts[i],))
            rows.append(asked(x[i : i + 1], level_i, use=Use.OTHER).eps)
        return torch.cat(rows)

    def learn(self, learnt: Learnt, x0: Image, step: Step, net: Predictor, draws: Draws, drop: float = 0.0) -> Learnt:
        if self.n_train == 0:
            return learnt
        pupil, adam, low, high = self.pupil(net), Adam(self.lr, n_inner=1), net.schedule.lowest.t, net.schedule.highest.t
        weights, first, second = (learnt[name] for name in ("weights", "first", "second"))
        noise = draws.normal(Purpose.STUDENT, step.index, (self.n_train, *x0.shape[1:]))
        for k in range(self.n_train):
            n = (step.index - 1) * self.n_train + k
            level = net.level(low + (high - low) * draws.uniform(Purpose.STUDENT_TIME, n))
            bare = (draws.uniform(Purpose.STUDENT_VIEW, n) < drop).tolist()
            prompts = [plain if out else told for out, plain, told in zip(bare, net.plain, net.prompts, strict=True)]
            slopes = []
            for i, level_i in enumerate(rows_of(level, len(x0), net)):
                pupil.take(weights[i])
                slopes.append(pupil.slope(x0[i : i + 1], noise[i : i + 1, k], level_i, prompts[i]))
                net.cost.add(Use.TRAINING, 1)
            weights, (_, first, second) = adam.move(weights, Moments(n, first, second), torch.stack(slopes))
        return {"weights": weights, "first": first, "second": second}


class Pupil(NamedTuple):
    """A model, and those of its weights that are an item's own; started: [n] of 0 and 1, which of them start as noise."""

    model: Denoiser
    weights: list[nn.Parameter]
    started: Float[Tensor, " n"]

    @property
    def n(self) -> int:
        """Numbers in all."""
        return len(self.started)

    def take(self, row: Float[Tensor, " n"]) -> None:
        """Have these weights from now on."""
        vector_to_parameters(row, self.weights)

    def slope(self, x0: Image, eps: Image, level: Level, prompt: Prompt) -> Float[Tensor, " n"]:
        """The gradient of the diffusion loss of one row, for the weights that it has now."""
        with torch.enable_grad():
            found = self.model.predict(noisy(x0, eps, level), level, [[prompt]])
            out, wanted = found.eps[0], eps
            if isinstance(self.model, HasOutput):
                output = self.model.parametrisation
                out, wanted = output.encode(found.x0[0], found.eps[0], level), output.encode(x0, eps, level)
            loss = (out - wanted).square().mean()
            return parameters_to_vector(torch.autograd.grad(loss, self.weights, materialize_grads=True))


def rows_of(level: Level, n: int, net: Predictor) -> list[Level]:
    """The level of each of n rows."""
    if level.a.shape[0] == 1:
        return [level] * n
    return net.placed(level.host.split())


def module_of(model: Denoiser) -> nn.Module | None:
    """The teacher's network, where it has layers to put a LoRA on."""
    module = model.module if isinstance(model, HasModule) else None
    return module if module is not None and layers_of(module) else None


def layers_of(module: nn.Module) -> list[str]:
    """The layers that get a LoRA: those of attention; where there are none, all linear and convolutional ones."""
    every = [name for name, part in module.named_modules() if type(part) in (nn.Linear, nn.Conv1d, nn.Conv2d)]
    return [name for name in every if name.removesuffix(".base_layer").endswith(ATTENTION)] or every


def pupil_of(model: Denoiser, rank: int, device: torch.device | str) -> Pupil:
    """A copy of the model that shares its weights, and has further ones."""
    module = module_of(model)
    if module is None:
        student: Denoiser = Residual(model, rank).to(device)
        named = dict(student.named_parameters())  # type: ignore[attr-defined]
    else:
        twin = with_lora(module, rank)
        named = {name: weight for name, weight in twin.named_parameters() if f".{ADAPTER}." in name}
        assert isinstance(model, HasModule)
        student = model.around(twin)
    started = [torch.full((weight.numel(),), float(STARTED in name)) for name, weight in named.items()]
    return Pupil(student, list(named.values()), torch.cat(started))


ADAPTER = "student"
"""The name of the LoRA in peft's terms."""


def with_lora(module: nn.Module, rank: int) -> nn.Module:
    """A copy that has a LoRA (alpha = rank, so of weight 1) and shares all other tensors with the module."""
    from peft import LoraConfig, inject_adapter_in_model

    own = {id(each): each for each in chain(module.parameters(), module.buffers())}
    trained = [(each, each.requires_grad) for each in module.parameters()]
    twin = deepcopy(module, dict(own))
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=layers_of(twin)), twin, ADAPTER)
    for each, flag in trained:  # peft switches off what is not its own, and these are the teacher's
        each.requires_grad_(flag)
    for each in twin.parameters():
        if id(each) not in own:
            each.data = each.data.to(torch.promote_types(each.dtype, torch.float32))
    return twin.eval()


class Residual(nn.Module):
    """A LoRA for a model that has no layers, such as an exact one: eps_phi = eps + B·A·(x, a, b), of the images as vectors,
    with x, a, b divided by sqrt(a² + b²). What a network would learn in its layers is linear here; the level enters by a and b.
    """

    def __init__(self, model: Denoiser, rank: int) -> None:
        super().__init__()
        n = torch.Size(model.shape).numel()
        self.model, self.shape, self.prompts, self.fingerprint = model, model.shape, model.prompts, model.fingerprint
        self.lora_A = nn.Parameter(torch.zeros(rank, n + 2, dtype=torch.float64))
        self.lora_B = nn.Parameter(torch.zeros(n, rank, dtype=torch.float64))

    def check_prompt(self, prompt: Prompt) -> None:
        """As `Denoiser.check_prompt`."""
        self.model.check_prompt(prompt)

    def predict(self, x: Image, level: Level, conds: Conds) -> Prediction:
        """As `Denoiser.predict`."""
        with torch.no_grad():
            x0, eps = self.model.predict(x, level, conds)
        flat, unit = x.flatten(1), torch.hypot(level.a, level.b)
        ends = [expand(value, flat) * torch.ones_like(flat[:, :1]) for value in (level.a / unit, level.b / unit)]
        more = (torch.cat([flat / expand(unit, flat), *ends], dim=1) @ self.lora_A.T @ self.lora_B.T).reshape(x.shape)
        return Prediction(x0 - expand(level.sigma, x) * more, eps + more)
