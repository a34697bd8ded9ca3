"""DDPM, DDIM."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from ....guidance import Prompt
from ..folder import DiffusersFolder


class Pixels(DiffusersFolder):
    """An unconditional UNet on pixels (DDPM, arXiv 2006.11239)."""

    pipelines: ClassVar[tuple[str, ...]] = ("DDPMPipeline", "DDIMPipeline")

    def check(self) -> None:
        super().check()
        given, made = self.network.config.in_channels, self.network.config.out_channels
        if made not in (given, 2 * given):
            raise ValueError(f"out_channels={made}: must be in_channels={given}, or twice that with a learned variance")

    @property
    def prompts(self) -> tuple[str, ...]:
        return ("",)

    def check_prompt(self, prompt: Prompt) -> None:
        if prompt is not None:
            raise ValueError(f'prompt={prompt!r}: this model is unconditional; leave the prompt out, or "" for none')

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        return self.network(x, timesteps, return_dict=False)[0]
