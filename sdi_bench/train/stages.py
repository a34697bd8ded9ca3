"""The codec, then the denoiser with its text encoder, each by `fit`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..coordinates import Velocity, noisy
from ..data.world import World
from ..draws import Item
from ..features.train import captions
from ..levels import Level
from ..models.builtin import angles
from ..pictures import grid
from . import parts
from .fit import fit, generator_of
from .recipe import Recipe, Vae

SHOWN, GUIDANCE, N_LEVELS = 8, 3.0, 25
"""Prompts, guidance and levels of the samples that are shown on the way."""

N_CHECKED = 256
"""Unseen pictures on which a loss is followed."""


def sayings(world: World) -> list[tuple[tuple[str, float], ...]]:
    """What each picture is called, and how often: its caption, the caption with the camera's angle, and shorter ones."""
    found = []
    for (caption, *shorter), angle in zip(captions(world), angles(world), strict=True):
        said = [(caption, 0.6), *((words, 0.4 / len(shorter)) for words in shorter)]
        if angle:
            said = [(words, share * 0.6) for words, share in said] + [(f"{caption}, {angle}", 0.4)]
        found.append(tuple(said))
    return found


def tensor_of(world: World, size: int, device: str) -> Float[Tensor, "n 3 {size} {size}"]:
    """Pictures in [-1, 1]."""
    return torch.from_numpy(world.pixels(size)).to(device)


def train_codec(recipe: Recipe, folder: Path, device: str, until: float) -> Any:
    """The codec, with its scaling factor: latents of training pictures have standard deviation 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = parts.codec(recipe).to(device, memory_format=torch.channels_last)
    seen = recipe.pictures.everything("train")
    pixels = tensor_of(seen, recipe.pictures.size, device)
    if isinstance(recipe.codec, Vae) and recipe.train_codec is not None:
        unseen = tensor_of(few(recipe.pictures.of("val")), recipe.pictures.size, device)
        every = slice(None, None, max(1, len(unseen) // SHOWN))
        shown = unseen[every][:SHOWN].cpu().numpy()
        settings, kl = recipe.train_codec, recipe.codec.kl

        def loss(step: int) -> Tensor:
            draw = generator_of(step, 0, device)
            x = pixels[torch.randint(len(pixels), (settings.batch,), generator=draw, device=device)]
            posterior = net.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist
            made = net.decode(posterior.sample(generator=draw)).sample
            return functional.l1_loss(made.float(), x) + kl * posterior.kl().mean()

        def show(step: int) -> dict[str, float]:
            made = rebuilt(net, unseen)
            pair = np.concatenate([shown, made[every][:SHOWN].cpu().numpy()])
            items = [Item(("unseen", "rebuilt")[i // len(shown)], i % len(shown)) for i in range(len(pair))]
            grid(folder / "codec.png", pair, items, f"{step * settings.batch} pictures")
            return {"psnr": psnr(made, unseen)}

        fit(net, loss, settings, folder, "codec", device, until, show)
    net.eval().requires_grad_(False)
    own = recipe.pictures.of("train")
    spread = float(latents(net, tensor_of(own, recipe.pictures.size, device)).std())
    net.register_to_config(scaling_factor=1 / spread)
    return net


def few(world: World) -> World:
    """At most N_CHECKED of the pictures, from all of them."""
    return world.rows(np.arange(len(world))[:: -(-len(world) // N_CHECKED)])


@torch.no_grad()
def latents(net: Any, pixels: Tensor) -> Tensor:
    """The codec's own latents of pictures: means."""
    return torch.cat([net.encode(rows).latent_dist.mode() for rows in pixels.split(256)])


@torch.no_grad()
def rebuilt(net: Any, pixels: Tensor) -> Tensor:
    """Encoded and decoded again."""
    return torch.cat([net.decode(net.encode(rows).latent_dist.mode()).sample for rows in pixels.split(256)])


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal to noise in dB, the mean over pictures in [-1, 1]."""
    return float((10 * (4 / (a - b).square().mean((1, 2, 3))).log10()).mean())


class Denoiser(nn.Module):
    """What the second stage trains."""

    def __init__(self, unet: nn.Module, text: nn.Module) -> None:
        super().__init__()
        self.unet, self.text = unet, text

    def forward(self, x: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        """v at latents x, timesteps t and tokens ids."""
        return self.unet(x, t, self.text(ids).last_hidden_state).sample


class Captioned:
    """Latents with all that each is called, as tokens on the device."""

    def __init__(self, z: Tensor, said: Sequence[Sequence[tuple[str, float]]], words: Any, device: str) -> None:
        width = max(map(len, said))
        flat = [text for row in said for text in [*(text for text, _ in row), *[""] * (width - len(row))]]
        shares = np.array([[*(share for _, share in row), *[0.0] * (width - len(row))] for row in said])
        self.z = z
        self.ids = tokens(words, flat, device).reshape(len(said), width, -1)
        self.ends = torch.from_numpy(shares.cumsum(1) / shares.sum(1, keepdims=True)).to(device)
        self.none = tokens(words, [""], device)[0]
        self.device = device

    def batch(self, n: int, dropped: float, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents and the tokens of one thing that each is called; of a share of them, of nothing."""
        rows = torch.randint(len(self.z), (n,), generator=draw, device=self.device)
        u, v = torch.rand(2, n, 1, generator=draw, device=self.device, dtype=torch.float64)
        which = (u > self.ends[rows]).sum(1).clamp(max=self.ids.shape[1] - 1)
        return self.z[rows], torch.where(v < dropped, self.none, self.ids[rows, which])


def tokens(words: Any, texts: Sequence[str], device: str) -> Tensor:
    """Token numbers, padded as the pipeline does."""
    options = {"padding": "max_length", "max_length": words.model_max_length, "truncation": True, "return_tensors": "pt"}
    return words(list(texts), **options).input_ids.to(device)


def v_loss(
    net: Callable[[Tensor, Tensor, Tensor], Tensor],
    data: Captioned,
    alphas: Float[Tensor, " n_timesteps"],
    n: int,
    dropped: float,
    draw: torch.Generator,
) -> Tensor:
    """The mean square of net(x, t, tokens) - v on n pictures, v = a·eps - b·z at x = a·z + b·eps (arXiv 2202.00512), t uniform.

    alphas: alpha_bar of each timestep. dropped: share of captions left out.
    """
    z, ids = data.batch(n, dropped, draw)
    t = torch.randint(len(alphas), (n,), generator=draw, device=data.device)
    eps = torch.randn(z.shape, generator=draw, device=data.device)
    level = Level(alphas[t].sqrt(), (1 - alphas[t]).sqrt(), t / len(alphas))
    x = noisy(z, eps, level).contiguous(memory_format=torch.channels_last)
    return functional.mse_loss(net(x, t, ids).float(), Velocity().encode(z, eps, level))


def train_denoiser(recipe: Recipe, net: Any, folder: Path, device: str, until: float) -> Any:
    """The pipeline, its denoiser and text encoder trained on the codec's latents to predict v (arXiv 2202.00512)."""
    own, unseen = recipe.pictures.of("train"), recipe.pictures.of("val")
    said = sayings(own)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        words = parts.kept_tokenizer(recipe.text, (text for row in said for text, _ in row), folder / "tokenizer")
        denoiser: Any = Denoiser(parts.unet(recipe), parts.text_encoder(recipe.text, words))
    denoiser.to(device, memory_format=torch.channels_last)
    pipe = parts.pipeline(net, denoiser.text, words, denoiser.unet).to(device)
    factor = net.config.scaling_factor
    alphas = pipe.scheduler.alphas_cumprod.to(device)
    size, settings = recipe.pictures.size, recipe.train_denoiser

    def captioned(world: World, sayings: Sequence[Sequence[tuple[str, float]]]) -> Captioned:
        return Captioned(factor * latents(net, tensor_of(world, size, device)), sayings, words, device)

    train = captioned(own, said)
    check = few(unseen)
    checked = captioned(check, [((caption, 1.0),) for caption in check.table["caption"]])
    prompts = list(dict.fromkeys(unseen.table["caption"]))[:: max(1, unseen.table["caption"].nunique() // SHOWN)][:SHOWN]

    def show(step: int) -> dict[str, float]:
        with torch.no_grad():
            draws = [generator_of(k, 2, device) for k in range(4)]
            unseen_loss = float(torch.stack([v_loss(denoiser, checked, alphas, N_CHECKED, 0.0, draw) for draw in draws]).mean())
            made = samples(pipe, prompts, GUIDANCE, N_LEVELS, device)
        grid(folder / "samples.png", made, [Item(p, s) for p in prompts for s in (0, 1)], f"{step * settings.batch} pictures")
        return {"unseen": unseen_loss}

    fit(
        denoiser,
        lambda step: v_loss(denoiser, train, alphas, settings.batch, settings.dropped, generator_of(step, 1, device)),
        settings,
        folder,
        "denoiser",
        device,
        until,
        show,
    )
    return pipe


@torch.no_grad()
def samples(pipe: Any, prompts: Sequence[str], guidance: float, n_levels: int, device: str) -> np.ndarray:
    """Two pictures of each prompt by the pipeline's own DDIM, in [-1, 1]."""
    draw = torch.Generator(device).manual_seed(0)
    asked = {"guidance_scale": guidance, "num_inference_steps": n_levels, "num_images_per_prompt": 2, "generator": draw}
    made = pipe(list(prompts), output_type="pt", **asked).images
    return (2 * made - 1).cpu().numpy()
