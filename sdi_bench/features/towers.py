"""A two-tower scorer of pictures against captions, trained by features.train on the built-in world's train images.

In its domain only. Never to be used inside an optimisation that it also judges.
"""

import re
import zlib
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from . import weights
from .effnet import WIDTH

BUCKETS, GRAM, JOINT = 2**13, 4, 128

N_CAPTIONS = 100
"""A picture is held against so many, the own one among them: chance is 1 %."""


@lru_cache(2**16)
def buckets(text: str) -> tuple[int, ...]:
    """Hashes of a caption's words and of the words' 4-grams with their ends marked; letter case and order do not count."""
    parts = []
    for word in re.findall(r"\w+", text.lower()):
        ended = f"<{word}>"
        parts += [ended, *(ended[i : i + GRAM] for i in range(len(ended) - GRAM + 1))]
    return tuple(zlib.crc32(part.encode()) % BUCKETS for part in parts)


class Standard(nn.Module):
    """Features less their mean over their standard deviation, both of the train images."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("deviation", torch.ones(WIDTH))

    def forward(self, features: Float[Tensor, "n 1280"]) -> Float[Tensor, "n 1280"]:
        return (features - self.mean) / self.deviation


class Towers(nn.Module):
    """EfficientNet-Lite0 features and captions -> unit vectors; their product is the score."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = nn.Sequential(
            *(Standard(), nn.Dropout(0.5), nn.Linear(WIDTH, 320), nn.GELU(), nn.Dropout(0.5), nn.Linear(320, JOINT))
        )
        self.bag = nn.EmbeddingBag(BUCKETS, 64, mode="mean")
        self.text = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, JOINT))

    def pictures(self, features: Float[Tensor, "n 1280"]) -> Float[Tensor, "n 128"]:
        """Unit vectors of pictures."""
        return functional.normalize(self.picture(features), dim=1)

    def texts(self, captions: Sequence[str]) -> Float[Tensor, "n 128"]:
        """Unit vectors of captions."""
        bags = [buckets(caption) for caption in captions]
        starts = torch.tensor([0, *map(len, bags[:-1])]).cumsum(dim=0)
        return functional.normalize(self.text(self.bag(torch.tensor([*chain(*bags)], dtype=torch.int64), starts)), dim=1)


@cache
def loaded() -> Towers:
    """The scorer with the shipped weights."""
    towers = Towers()
    towers.load_state_dict(weights("towers"))
    return towers.eval().requires_grad_(False)


def pictures(features: Float[np.ndarray, "n 1280"]) -> Float[np.ndarray, "n 128"]:
    """Unit vectors of pictures, from their features."""
    with torch.no_grad():
        return loaded().pictures(torch.tensor(features)).numpy()


def texts(captions: Sequence[str]) -> Float[np.ndarray, "n 128"]:
    """Unit vectors of captions."""
    with torch.no_grad():
        return loaded().texts(captions).numpy()


def distractors(prompt: str, pool: Sequence[str]) -> Int[np.ndarray, " 99"]:
    """Places in the pool of 99 captions other than the prompt, a function of the prompt and the pool alone."""
    others = np.flatnonzero(np.array(pool) != prompt)
    return np.random.default_rng(zlib.crc32(prompt.encode())).choice(others, N_CAPTIONS - 1, replace=False)


def retrieved(
    found: Float[np.ndarray, "n d"], prompts: Sequence[str], pool: Sequence[str], top: int = 1
) -> Float[np.ndarray, " n"]:
    """1.0 where fewer than `top` of the prompt's distractors in the pool are as near to a picture as the prompt, else 0.0.

    pool: at least 100 different captions.
    """
    distinct = list(dict.fromkeys(prompts))
    own = dict(zip(distinct, texts(distinct), strict=True))
    others = texts(pool)
    rivals = {prompt: others[distractors(prompt, pool)] for prompt in distinct}
    return np.array(
        [
            float((rivals[prompt] @ vector >= vector @ own[prompt]).sum() < top)
            for vector, prompt in zip(found, prompts, strict=True)
        ]
    )
