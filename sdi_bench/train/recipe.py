"""What is trained on what: plain settings, checked where they are made."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from .. import require
from ..data.world import DOMAINS, World


@dataclass(frozen=True)
class Domain:
    """A part of the built-in world. size: 64, 32 or 16 pixels. domain: "object", "emoji", None for both. concepts: only these,
    None for all. Raises ValueError, naming the field, otherwise."""

    size: int = 64
    domain: str | None = None
    concepts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.size not in (64, 32, 16):
            raise ValueError(f"recipe.pictures.size={self.size!r}: must be 64, 32 or 16")
        if self.domain is not None and self.domain not in DOMAINS:
            raise ValueError(f"recipe.pictures.domain={self.domain!r}: must be one of {', '.join(DOMAINS)}, or null")
        known = set(self.everything("train").table["concept"])
        for concept in self.concepts or ():
            if concept not in known:
                near = get_close_matches(str(concept), known, n=1)
                raise ValueError(
                    f"recipe.pictures.concepts: {concept!r} is no concept of the training pictures"
                    + (f"; did you mean {near[0]!r}?" if near else "")
                )

        for split in ("train", "val"):
            if not len(self.of(split)):
                raise ValueError(
                    f"recipe.pictures.concepts={list(self.concepts or ())!r}: there are no {split} pictures of these"
                )

    def everything(self, split: str) -> World:
        """All pictures of a split of the domain, whatever the concept: what the codec sees."""
        return World.open().where(split, self.domain)

    def of(self, split: str) -> World:
        """The pictures of a split."""
        world = self.everything(split)
        return world if self.concepts is None else world.rows(world.table["concept"].isin(list(self.concepts)).to_numpy())


@dataclass(frozen=True)
class Vae:
    """diffusers' AutoencoderKL: channels of each resolution, each half of the one before; latents: channels of a latent."""

    channels: Sequence[int]
    latents: int = 4
    layers: int = 1
    groups: int = 8
    kl: float = 1e-6

    def __post_init__(self) -> None:
        widths("recipe.codec.channels", self.channels, self.groups)
        require.count("recipe.codec.latents", self.latents)
        require.count("recipe.codec.layers", self.layers)
        require.number("recipe.codec.kl", self.kl, at_least=0)

    @property
    def factor(self) -> int:
        """Pixels a side of a latent's cell."""
        return 2 ** (len(self.channels) - 1)


@dataclass(frozen=True)
class Haar:
    """No autoencoder: orthonormal patches, `models.patches.Patches`. factor: pixels a side, a power of 2."""

    factor: int = 2

    def __post_init__(self) -> None:
        if self.factor not in (2, 4, 8):
            raise ValueError(f"recipe.codec.factor={self.factor!r}: must be 2, 4 or 8")

    @property
    def latents(self) -> int:
        """Channels of a latent."""
        return 3 * self.factor**2


@dataclass(frozen=True)
class Text:
    """CLIP's text encoder, trained with the denoiser. n_words: tokens there are. n_tokens: of a prompt, its ends included."""

    width: int = 128
    layers: int = 2
    heads: int = 4
    n_words: int = 1024
    n_tokens: int = 24

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads"):
            require.count(f"recipe.text.{name}", getattr(self, name))
        require.count("recipe.text.n_words", self.n_words, least=514)
        require.count("recipe.text.n_tokens", self.n_tokens, least=4)
        if self.width % self.heads:
            raise ValueError(f"recipe.text.heads={self.heads!r}: must divide the width, {self.width}")


@dataclass(frozen=True)
class Unet:
    """diffusers' UNet2DConditionModel: channels of each resolution; attention: which of them look at the text; head: channels
    of an attention head."""

    channels: Sequence[int]
    attention: Sequence[bool]
    layers: int = 1
    head: int = 32
    groups: int = 16

    def __post_init__(self) -> None:
        widths("recipe.unet.channels", self.channels, self.groups)
        require.count("recipe.unet.layers", self.layers)
        require.count("recipe.unet.head", self.head)
        if len(self.attention) != len(self.channels):
            raise ValueError(f"recipe.unet.attention: {len(self.attention)} for {len(self.channels)} resolutions")
        if not any(self.attention):
            raise ValueError("recipe.unet.attention: no resolution looks at the text")
        for width, looks in zip(self.channels, self.attention, strict=True):
            if looks and width % self.head:
                raise ValueError(f"recipe.unet.head={self.head!r}: must divide the channels, {width}")


@dataclass(frozen=True)
class Training:
    """AdamW on n_samples pictures in batches; the rate rises over `warmup` steps and falls to 0 along a cosine.

    ema: of the weights that are kept. dtype: what the network computes in, "bfloat16" or "float32".
    """

    n_samples: int
    batch: int = 64
    rate: float = 1e-3
    warmup: int = 200
    ema: float = 0.999
    decay: float = 0.01
    dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        require.count("n_samples", self.n_samples, most=10**12)
        require.count("batch", self.batch)
        require.number("rate", self.rate, above=0)
        require.count("warmup", self.warmup, least=0, most=10**12)
        require.number("ema", self.ema, at_least=0, below=1)
        require.number("decay", self.decay, at_least=0)
        if self.dtype not in ("bfloat16", "float32"):
            raise ValueError(f"dtype={self.dtype!r}: must be bfloat16 or float32")

    @property
    def n_steps(self) -> int:
        """Batches."""
        return -(-self.n_samples // self.batch)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        return self.rate * min((step + 1) / (self.warmup + 1), 0.5 * (1 + float(np.cos(np.pi * step / self.n_steps))))


@dataclass(frozen=True)
class DenoiserTraining(Training):
    """And dropped: share of captions that are left out, for guidance."""

    dropped: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require.number("dropped", self.dropped, at_least=0, below=1)


@dataclass(frozen=True)
class Recipe:
    """A model and how it is made. Raises ValueError, naming the field, where the parts do not fit each other."""

    pictures: Domain
    codec: Vae | Haar
    text: Text
    unet: Unet
    train_denoiser: DenoiserTraining
    train_codec: Training | None = None

    def __post_init__(self) -> None:
        if (self.train_codec is None) != isinstance(self.codec, Haar):
            raise ValueError("recipe.train_codec: an autoencoder is trained, patches are not")
        coarsest = self.codec.factor * 2 ** (len(self.unet.channels) - 1)
        if self.pictures.size % coarsest:
            raise ValueError(f"recipe.pictures.size={self.pictures.size!r}: must be a multiple of {coarsest} (codec and UNet)")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a latent."""
        side = self.pictures.size // self.codec.factor
        return self.codec.latents, side, side


def widths(name: str, channels: Sequence[int], groups: int) -> None:
    """Raise ValueError unless there are channels and the norm's groups divide each."""
    if (
        not channels
        or isinstance(channels, str)
        or any(isinstance(c, bool) or not isinstance(c, int) or c < 1 for c in channels)
    ):
        raise ValueError(f"{name}={channels!r}: must be a list of whole numbers >= 1")
    for width in channels:
        if width % groups:
            raise ValueError(f"{name}={list(channels)!r}: {width} is no multiple of the norm's {groups} groups")
