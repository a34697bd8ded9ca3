"""What networks of latents have in common: text, and a codec."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from ...guidance import Blend, Prompt
from ..base import N_PIXELS
from ..rows import Rows
from .adapted import lent, text_encoders
from .folder import SMALLER, DiffusersFolder

N_TEXTS = 256
"""Encoded prompts that are kept through a batch."""

N_JOINED = 4
"""Lists of prompts of which the encoded rows are kept as they were put together: those of a step and of its inversion."""


@dataclass(frozen=True)
class Prompted(DiffusersFolder):
    """A network conditioned on text: any prompt; None is the pipeline's own "no prompt"."""

    texts: Any = field(init=False, repr=False, compare=False)
    kept: dict[Prompt, Sequence[Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)
    joined: Any = field(init=False, repr=False, compare=False)
    more: ClassVar[Mapping[str, Any]] = {}
    """Further arguments that `encode_prompt` insists on."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", lru_cache(N_TEXTS)(self.embedded))
        object.__setattr__(self, "joined", lru_cache(N_JOINED)(self.join))

    def forget(self) -> None:
        super().forget()
        self.texts.cache_clear()
        self.joined.cache_clear()

    @property
    def prompts(self) -> tuple[str, ...]:
        return ()

    def check(self) -> None:
        super().check()
        kind = self.network.config.get("encoder_hid_dim_type")
        known = self.added.get("encoder_hid_dim_type", "text_proj")
        if kind not in (None, known):
            raise ValueError(
                f"encoder_hid_dim_type={kind!r}: a network that asks for pictures (IP-Adapter); only {known} is known"
            )

    def check_prompt(self, prompt: Prompt) -> None:
        """Anything goes."""

    @torch.no_grad()
    def encode_text(self, prompt: Prompt) -> Sequence[Tensor]:
        """What the pipeline makes of a prompt, each of one row: hidden states, and a pooled vector where it has one."""
        none = prompt is None
        both = self.pipe.encode_prompt(
            prompt=prompt or "", device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=none, **self.more
        )
        return both[1::2] if none else both[::2]  # (conditional, unconditional, pooled conditional, pooled unconditional)

    def encoded_text(self, prompt: Prompt) -> Sequence[Tensor]:
        """As `encode_text`; where the encoders wait on the host, from what is kept there."""
        if not self.offloads_text:
            return self.encode_text(prompt)
        self.read([prompt])
        return [each.to(self.device) for each in self.kept[prompt]]

    def read(self, prompts: Sequence[Prompt]) -> None:
        """As `Reads.read`: the encoders come to the device for it, once for all of these; what they give waits on the host."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.kept]
        if self.offloads_text and new:
            with lent(text_encoders(self.pipe), self.device):
                self.kept.update({prompt: [each.cpu() for each in self.encode_text(prompt)] for prompt in new})

    @property
    def offloads_text(self) -> bool:
        """Do the text encoders wait on the host?"""
        return bool(self._known.get("offload_text"))

    def embedded(self, prompt: Prompt) -> Sequence[Tensor]:
        """As `EmbedsText`: what `encode_text` makes of it, or a mixture of two. Raises ValueError if these do not fit."""
        if not isinstance(prompt, Blend):
            return self.encoded_text(prompt)
        found = []
        for one, other in zip(self.texts(prompt.one), self.texts(prompt.other), strict=True):
            if one.shape != other.shape or not (one.is_floating_point() or torch.equal(one, other)):
                raise ValueError(
                    f"guidance.weights=azimuth: this network's text of {prompt.one!r} and {prompt.other!r} has two lengths, "
                    "so that nothing is between them; use weights=constant"
                )
            found.append(prompt.share * one + (1 - prompt.share) * other if one.is_floating_point() else one)
        return found

    def rows_of(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """The encoded prompts, a row each; shorter ones, and their masks, are filled up with zeros."""
        return list(self.joined(tuple(prompts)))

    def join(self, prompts: tuple[Prompt, ...]) -> tuple[Tensor, ...]:
        """As `rows_of`, made anew."""
        rows = tuple(torch.cat(filled(column)) for column in zip(*map(self.texts, prompts), strict=True))
        return tuple(row.to(self.dtype) if row.is_floating_point() else row for row in rows) if self.mixed else rows

    @property
    def mixed(self) -> bool:
        """Does a text encoder run in another precision than the network?"""
        encoders = [part for name, part in self.pipe.components.items() if name.startswith("text_encoder") and part is not None]
        return any(encoder.dtype != self.dtype for encoder in encoders)


@dataclass(frozen=True)
class Coded(DiffusersFolder):
    """A network on a VAE's latents."""

    _pictures: Rows = field(
        default_factory=lambda: Rows("model: its codec", f"{SMALLER}, or model.switches=[vae.enable_tiling],"),
        init=False,
        repr=False,
        compare=False,
    )
    overlooked: ClassVar[tuple[str, ...]] = ("shift_factor",)
    """Fields of a VAE that the pipeline does not look at."""

    @property
    def vae(self) -> Any:
        """The codec."""
        return self.pipe.vae

    @property
    def codec_device(self) -> torch.device:
        """Where the codec is when it is used: one that is put aside is moved there as it is called."""
        return torch.device(self.device) if hasattr(self.vae, "_hf_hook") else self.vae.device

    def check(self) -> None:
        super().check()
        latents = self.codec_channels
        if self.channels != latents:
            raise ValueError(
                f"in_channels={self.network.config.get('in_channels', self.channels)}: its VAE has latents of {latents} "
                "channels; a network that asks for a picture as well (inpainting, editing, depth, upscaling)"
            )
        for name in self.overlooked:
            if self.vae.config.get(name):
                raise ValueError(
                    f"{name}={self.vae.config[name]!r} of the VAE: this pipeline does not look at it; set it to null"
                )

    @property
    def factor(self) -> int:
        return int(self.pipe.vae_scale_factor)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return (self.vae.config.out_channels, *(self.factor * size for size in self.shape[1:]))

    @property
    def at_once(self) -> int:
        """Pictures that the codec is given at once."""
        return max(1, N_PIXELS // math.prod(self.image_shape[1:]))

    def affine(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """(scale, shift): the VAE's own latents are scale·latents + shift."""
        config = self.vae.config
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is None or std is None:
            mean, std = config.get("shift_factor") or 0.0, 1.0
        shift, scale = (torch.as_tensor(value, dtype=like.dtype, device=like.device).reshape(-1, 1, 1) for value in (mean, std))
        return scale / config.scaling_factor, shift

    @property
    def codec_channels(self) -> int:
        """Channels of what is sampled, as the VAE says."""
        return int(self.vae.config.get("latent_channels", self.channels))  # a codec need not say

    def decode(self, latents: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch channels height width"]:
        scale, shift = self.affine(latents)
        with torch.set_grad_enabled(torch.is_grad_enabled() and latents.requires_grad):
            return self.by_rows(scale * latents + shift, self.decoded)

    def encode(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch *shape"]:
        scale, shift = self.affine(images)
        return (self.by_rows(images, self.encoded) - shift) / scale

    def by_rows(self, x: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
        """A batch through the codec, some pictures at a time."""
        there = x.to(self.vae.dtype).to(self.codec_device)
        return self._pictures(len(x), lambda rows: call(there[rows]), self.at_once).to(x.device).to(x.dtype)

    def encode_random(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch *shape"], Float[Tensor, "batch *shape"]]:
        """As `HasPosterior.encode_random`."""
        scale, shift = self.affine(images)
        laws = [self.vae.encode(row).latent_dist for row in images.to(self.codec_device, self.vae.dtype).split(self.at_once)]
        mean, std = (torch.cat([getattr(law, name) for law in laws]).to(images) for name in ("mean", "std"))
        return (mean - shift) / scale, std / scale

    def decoded(self, rows: Tensor) -> Tensor:
        """The VAE's pictures of its own latents."""
        return self.vae.decode(rows, return_dict=False)[0]

    def encoded(self, rows: Tensor) -> Tensor:
        """The VAE's own latents of pictures."""
        found = self.vae.encode(rows)
        return found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents  # AutoencoderTiny's


@dataclass(frozen=True)
class Latents(Prompted, Coded):
    """A network on a VAE's latents, conditioned on text."""


def filled(rows: Sequence[Tensor]) -> list[Tensor]:
    """Tensors [1, tokens, ...] with zeros after the shorter ones; others as they are."""
    if rows[0].ndim < 2:
        return list(rows)
    longest = max(row.shape[1] for row in rows)
    return [pad(row, [0, 0] * (row.ndim - 2) + [0, longest - row.shape[1]]) for row in rows]
