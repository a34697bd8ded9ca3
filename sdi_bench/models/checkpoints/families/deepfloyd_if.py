"""DeepFloyd IF."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from ....guidance import Prompt
from ..latents import Prompted


class DeepFloydIF(Prompted):
    """The first stage of DeepFloyd IF (model card of DeepFloyd/IF-I-XL-v1.0; after Imagen, arXiv 2205.11487), on pixels.

    Captions are cleaned, as the pipeline's call has it by default, where beautifulsoup4 and ftfy are installed.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("IFPipeline",)
    added: ClassVar[Mapping[str, str]] = {"addition_embed_type": "text"}
    more: ClassVar[Mapping[str, Any]] = {"clean_caption": True}

    def check(self) -> None:
        super().check()
        given, made = self.network.config.in_channels, self.network.config.out_channels
        if made != 2 * given:
            raise ValueError(f"out_channels={made}: must be twice in_channels={given}, with a learned variance")

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        (hidden,) = self.rows_of(prompts)
        return self.network(x, timesteps, encoder_hidden_states=hidden, return_dict=False)[0]
