"""What UNets have in common that were distilled under guidance (arXiv 2210.03142; LCM, arXiv 2310.04378)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .latents import Latents


@dataclass(frozen=True)
class Distillable(Latents):
    """A UNet that is told a guidance scale beside the time where it has a `time_cond_proj_dim`."""

    @property
    def embeds_guidance(self) -> bool:
        return self.network.config.get("time_cond_proj_dim") is not None

    def guidance_told(self, like: Tensor) -> Float[Tensor, "rows width"] | None:
        """The embedded guidance scale, for each row of `like`; None where the network is told none.

        It is that of gamma - 1, the scale as the papers count it.
        """

        def made() -> Tensor | None:
            if not self.embeds_guidance:
                return None
            scale, width = torch.tensor([self.embedded_guidance - 1]), self.network.config.time_cond_proj_dim
            return self.pipe.get_guidance_scale_embedding(scale, embedding_dim=width).to(like)

        found = self.once(("guidance", like.dtype), made)
        return None if found is None else found.expand(len(like), -1)
