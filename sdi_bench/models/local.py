"""Denoisers in closed form, of images that a prompt weighs: whole images (they memorise) or windows (they generalise)."""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .. import require
from ..guidance import Prompt
from ..levels import Level, expand
from .base import Conds, Prediction
from .words import Words

CHUNK = 16
"""Images whose distances are taken at once: what fits a core's cache."""

LEAST = -80.0
"""Weights below e^-80 of the largest count as that: far below rounding, and still no denormal numbers, which are slow."""


def check_windows(windows: Sequence[Sequence[float]], size: str) -> None:
    """Raise ValueError unless these are pairs (sigma, size of the window from this sigma up), sigma rising."""
    if isinstance(windows, str) or not isinstance(windows, Sequence) or not windows:
        raise ValueError(f"model.windows={windows!r}: must be pairs (sigma, {size})")
    for pair in windows:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise ValueError(f"model.windows: {pair!r} must be a pair (sigma, {size})")
        require.number("model.windows: sigma", pair[0], at_least=0)
        require.count(f"model.windows: {size}", pair[1], least=0)
    sigmas = [sigma for sigma, _ in windows]
    if sigmas != sorted(set(sigmas)):
        raise ValueError(f"model.windows={windows!r}: must be pairs (sigma, {size} >= 0), sigma rising")


def window_at(windows: Sequence[tuple[float, int]], sigma: float) -> int:
    """The size of the window at this level; below the first sigma the first's."""
    return next((number for start, number in reversed(windows) if start <= sigma), windows[0][1])


class Support(NamedTuple):
    """The images a prompt means, [m, channels, height, width] in [-1, 1], and their log weights; the weights sum to 1."""

    images: Tensor
    log_weights: Tensor


@dataclass(frozen=True)
class Prior(ABC):
    """D(x) = m(x) + a·width²/v·(x - a·m(x)), v = b² + a²·width², m a weighted mean of the images that the prompt means.

    images: uint8 [n, channels, height, width]. words: what a prompt makes of them. shrink: k >= 1, a pixel of the model is the
    mean of k x k of theirs. width > 0: standard deviation of the kernel that blurs each image, in units of [-1, 1].
    held: caption -> images that are no part of the model, for `data`. defaults: the prompts that are sampled when none is
    asked for. dtype: of the sums over pixels. Raises ValueError, naming the field, otherwise.
    """

    images: UInt8[np.ndarray, "n channels height width"]
    words: Words
    shrink: int = 1
    width: float = 0.02
    held: Mapping[str, UInt8[np.ndarray, "k channels height width"]] = field(default_factory=dict)
    defaults: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        require.number("model.width", self.width, above=0)
        if self.words.n != len(self.images):
            raise ValueError(f"model.words: {self.words.n} rows for {len(self.images)} images")
        if self.shrink < 1 or any(side % self.shrink for side in self.images.shape[2:]):
            raise ValueError(f"model.shrink={self.shrink!r}: must divide the images' {self.images.shape[2:]} pixels")

    @property
    def shape(self) -> tuple[int, ...]:
        channels, height, width = self.images.shape[1:]
        return channels, height // self.shrink, width // self.shrink

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.defaults

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        for name, texts in self.words.fields.items():
            digest.update("\n".join([name, *texts]).encode())
        for caption, images in self.held.items():
            digest.update(caption.encode() + images.tobytes())
        return digest.hexdigest()

    def check_prompt(self, prompt: Prompt) -> None:
        self.words.check(prompt)

    def seen(self, images: UInt8[np.ndarray, "m channels height width"]) -> Float[Tensor, "m *shape"]:
        """Images as the model has them, float64 in [-1, 1]."""
        channels, height, width = self.shape
        tiles = images.reshape(len(images), channels, height, self.shrink, width, self.shrink)
        return torch.from_numpy(tiles.mean((3, 5)) / 127.5 - 1)

    def pick(self, prompts: Sequence[Prompt], rng: np.random.Generator) -> Float[Tensor, "batch *shape"]:
        """An image of the model's for each prompt, drawn by its weight."""
        weighed = {prompt: self.words.weigh(prompt) for prompt in set(prompts)}
        chosen = [weighed[p][0][np.argmax(weighed[p][1] + rng.gumbel(size=len(weighed[p][0])))] for p in prompts]
        return self.seen(self.images[chosen])

    def data(self, prompts: Sequence[Prompt], rng: np.random.Generator) -> Float[Tensor, "batch *shape"]:
        """Real images for these prompts: held ones of this caption, each in turn, where there are any; else the model's own."""
        images, met = self.pick(prompts, rng), Counter[Prompt]()
        for i, prompt in enumerate(prompts):
            if prompt is not None and prompt in self.held:
                images[i] = self.seen(self.held[prompt][met[prompt] % len(self.held[prompt])][None])[0]
                met[prompt] += 1
        return images

    def unseen(self, prompts: Sequence[Prompt]) -> bool:
        return all(prompt in self.held for prompt in prompts)

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        """Each row has images and weights of its own: its bits do not depend on the batch."""
        x = x.to(torch.float64)
        rows = [(row, prompt) for prompts in conds for row, prompt in enumerate(prompts)]
        host = level.host
        signal, noise = host.a.expand(len(x)).tolist(), host.b.expand(len(x)).tolist()
        means = self.posterior_means(x.to(self.dtype), signal, noise, rows).to(torch.float64).reshape(len(conds), *x.shape)
        a, b = expand(level.a, x), expand(level.b, x)
        v, gap = b.square() + (a * self.width).square(), x - a * means
        return Prediction(means + a * self.width**2 / v * gap, b / v * gap)

    @abstractmethod
    def posterior_means(
        self, x: Float[Tensor, "batch *shape"], a: Sequence[float], b: Sequence[float], rows: Sequence[tuple[int, Prompt]]
    ) -> Float[Tensor, "rows *shape"]:
        """The weighted mean m(x) of the images, in `dtype`, for each (row of the batch, prompt). a, b: its levels."""


def by_row(work: Callable[..., Tensor], rows: Sequence[tuple[Any, ...]], device: torch.device) -> list[Tensor]:
    """work(*row) for each row; on the CPU a thread a row, each with one thread of its own: more would sum in another order."""
    grad, n_threads = torch.is_grad_enabled(), torch.get_num_threads() if device.type == "cpu" else 1

    def one(row: tuple[Any, ...]) -> Tensor:
        with torch.set_grad_enabled(grad):  # which every thread has for itself
            return work(*row)

    if n_threads == 1:
        return [one(row) for row in rows]
    with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(one, rows))


@dataclass(frozen=True)
class Weighed(Prior):
    """A prior that compares the picture with each image that the prompt means."""

    @cached_property
    def _supports(self) -> Callable[[Prompt, torch.device], Support]:
        @lru_cache(maxsize=128)
        def support(prompt: Prompt, device: torch.device) -> Support:
            index, log_weights = self.words.weigh(prompt)
            return Support(
                self.seen(self.images[index]).to(device, self.dtype), torch.from_numpy(log_weights).to(device, self.dtype)
            )

        return support

    def support(self, prompt: Prompt, device: torch.device | str = "cpu") -> Support:
        """The images a prompt means."""
        return self._supports(prompt, torch.device(device))

    def posterior_means(
        self, x: Float[Tensor, "batch *shape"], a: Sequence[float], b: Sequence[float], rows: Sequence[tuple[int, Prompt]]
    ) -> Float[Tensor, "rows *shape"]:
        """Row by row, a thread a row."""

        def one(row: int, prompt: Prompt) -> Tensor:
            return self.mean(x[row], a[row], b[row], self.support(prompt, x.device))

        return torch.stack(by_row(one, rows, x.device))

    @abstractmethod
    def mean(self, x: Float[Tensor, "c h w"], a: float, b: float, support: Support) -> Float[Tensor, "c h w"]:
        """The weighted mean m(x) of the images at the level (a, b)."""

    def whole(self, x: Float[Tensor, "c h w"], a: float, b: float, support: Support) -> Float[Tensor, "c h w"]:
        """Weights of whole images, softmax(log weight_i - |x - a·x_i|² / 2v)."""
        v = b * b + (a * self.width) ** 2
        chunks = [(x - a * chunk).square().flatten(1).sum(1, dtype=torch.float64) for chunk in support.images.split(CHUNK)]
        fit = support.log_weights.to(torch.float64) - torch.cat(chunks) / (2 * v)
        return torch.tensordot(fit.softmax(0).to(support.images.dtype), support.images, 1)


@dataclass(frozen=True)
class WeightedImages(Weighed):
    """The exact posterior mean of the law "an image that the prompt means, blurred by the kernel".

    It can only return training images and blends of them: the memorising limit.
    """

    def sample(self, prompts: Sequence[Prompt], rng: np.random.Generator) -> Float[Tensor, "batch *shape"]:
        """Draws of the law: a training image by its weight, plus the kernel's noise."""
        images = self.pick(prompts, rng)
        return images + self.width * torch.from_numpy(rng.standard_normal(tuple(images.shape)))

    def mean(self, x: Float[Tensor, "c h w"], a: float, b: float, support: Support) -> Float[Tensor, "c h w"]:
        return self.whole(x, a, b, support)


@dataclass(frozen=True)
class Local(Weighed):
    """Each pixel's posterior mean from a window around it (Kamb and Ganguli, arXiv 2412.20292; Niedoba et al., 2411.19339).

        m(x)_p = sum_i w_i(p)·x_i(p),   w(p) = softmax(log weight_i - |x - a·x_i|²_window(p) / 2v)

    The window shrinks as sigma falls, so parts of several images join where they agree, and samples are new. It is not the
    score of any density: its Jacobian is not symmetric, and eq. 8 of arXiv 2405.15891 has no root that is known to be unique.

    windows: pairs (sigma, half-width in pixels), rising: the half-width from this sigma up; below the first one the first's.
    A window that covers the image from each of its pixels leaves the weights of whole images.
    """

    windows: tuple[tuple[float, int], ...] = ((0.0, 4),)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_windows(self.windows, "half-width")

    def half_width(self, sigma: float) -> int:
        """Of the square window at this level, in pixels."""
        return window_at(self.windows, sigma)

    @cached_property
    def _bands(self) -> Callable[[int, int, torch.device], Tensor]:
        @lru_cache(maxsize=64)
        def band(size: int, half_width: int, device: torch.device) -> Tensor:
            place = torch.arange(size, device=device)
            return ((place[:, None] - place).abs() <= half_width).to(self.dtype)

        return band

    def mean(self, x: Float[Tensor, "c h w"], a: float, b: float, support: Support) -> Float[Tensor, "c h w"]:
        height, width = x.shape[-2:]
        half_width = self.half_width(b / a if a > 0 else np.inf)
        if half_width >= max(height, width) - 1:
            return self.whole(x, a, b, support)
        return self.windowed(x, a, b, support, half_width)

    def windowed(
        self, x: Float[Tensor, "c h w"], a: float, b: float, support: Support, half_width: int
    ) -> Float[Tensor, "c h w"]:
        """Weights of windows, a set for each pixel."""
        rows, columns = (self._bands(size, half_width, x.device) for size in x.shape[-2:])
        distances = [(x - a * chunk).square().sum(1) for chunk in support.images.split(CHUNK)]
        fit = rows @ torch.cat(distances) @ columns  # sums over windows
        fit = support.log_weights[:, None, None] - fit / (2 * (b * b + (a * self.width) ** 2))
        weights = (fit - fit.amax(0).detach()).clamp(min=LEAST).exp()
        pairs = zip(weights.split(CHUNK), support.images.split(CHUNK), strict=True)
        return sum((w[:, None] * chunk).sum(0) for w, chunk in pairs) / weights.sum(0)
