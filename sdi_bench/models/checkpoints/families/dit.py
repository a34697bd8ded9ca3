"""DiT."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import ClassVar

import torch
from torch import Tensor

from ....guidance import Prompt
from ..latents import Coded


class DiT(Coded):
    """DiT (arXiv 2212.09748), a transformer of classes on latents: a prompt is a class's name, None the null class.

    Where the folder names no classes (`id2label`), their numbers are the names.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("DiTPipeline",)
    overlooked: ClassVar[tuple[str, ...]] = ("shift_factor", "latents_mean", "latents_std")

    @property
    def n_classes(self) -> int:
        return int(self.network.config.num_embeds_ada_norm)

    @property
    def classes(self) -> Mapping[str, int]:
        """Names, several for many of the classes -> numbers."""
        return self.pipe.labels or {str(k): k for k in range(self.n_classes)}

    @property
    def prompts(self) -> tuple[str, ...]:
        return tuple(self.classes)

    @property
    def factor(self) -> int:
        return int(2 ** (len(self.pipe.vae.config.block_out_channels) - 1))

    def check(self) -> None:
        super().check()
        made, top, side = self.network.config.out_channels, max(self.classes.values()), self.factor * self.own_sides[0]
        if made not in (None, self.channels, 2 * self.channels):
            raise ValueError(f"out_channels={made}: must be in_channels={self.channels}, or twice that with a learned variance")
        if top >= self.n_classes:
            raise ValueError(f"id2label: names a class {top}, and num_embeds_ada_norm={self.n_classes}")
        for name, pixels in (("height", self.wanted.height), ("width", self.wanted.width)):
            if pixels not in (None, side):
                raise ValueError(f"model.{name}={pixels}: {type(self.pipe).__name__} makes pictures of {side} x {side} only")

    def check_prompt(self, prompt: Prompt) -> None:
        known = self.classes
        if prompt is None or prompt in known:
            return
        near = get_close_matches(prompt, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        some = ", ".join(map(repr, list(known)[:3]))
        raise ValueError(f"prompt={prompt!r}: {hint}this model knows {len(known)} names of classes, such as {some}")

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        labels = tuple(self.n_classes if prompt is None else self.classes[prompt] for prompt in prompts)
        classes = self.once(labels, lambda: torch.tensor(labels, device=x.device))
        return self.network(x, timesteps, classes, return_dict=False)[0]
