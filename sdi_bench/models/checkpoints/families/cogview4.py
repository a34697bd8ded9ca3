"""CogView4."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ....guidance import Prompt
from ....levels import Level
from ....schedules import RectifiedFlow
from ..latents import Latents
from ..scheduler import SHAPED

OTHERWISE = (*SHAPED, "shift_terminal")
"""Options of a scheduler under which its sigmas are not those of its timesteps, shifted."""


class CogView4(Latents):
    """CogView4 (zai-org/CogView4-6B, its model card): it is told the time as it was before the shift, and sizes, as SDXL is.

    A text has a whole number of 16 tokens, padding before it, and no mask; each is encoded on its own here, so that what
    becomes of it does not depend on its neighbours in a batch, as it does in the pipeline.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("CogView4Pipeline",)
    trained_on: ClassVar[type] = RectifiedFlow
    overlooked: ClassVar[tuple[str, ...]] = ("shift_factor", "latents_mean", "latents_std")

    def check(self) -> None:
        super().check()
        given, made = self.network.config.in_channels, self.network.config.out_channels
        if made != given:
            raise ValueError(f"out_channels={made}: must be in_channels={given}")

    def mu(self, n: int) -> float | None:
        config = self.pipe.scheduler.config
        if not config.get("use_dynamic_shifting"):
            return None
        share = self.tokens / config.get("base_image_seq_len", 256)
        return float(share**0.5 * config.get("max_shift", 0.75) + config.get("base_shift", 0.25))

    def set_timesteps(self, scheduler: Any, n: int) -> None:
        """Raises ValueError, naming the field, if levels and timesteps do not go together."""
        for name in OTHERWISE:
            if scheduler.config.get(name):
                raise ValueError(
                    f"{name}={scheduler.config[name]!r} of {type(scheduler).__name__}: with it this pipeline asks its network "
                    "at timesteps that are not those of its sigmas; save it without"
                )
        n_train = scheduler.config.num_train_timesteps
        timesteps = np.linspace(n_train, 1.0, n).astype(np.int64).astype(np.float32)
        scheduler.set_timesteps(timesteps=timesteps, sigmas=timesteps / n_train, mu=self.mu(n))

    def timestep(self, level: Level) -> Float[Tensor, " rows"]:
        """Before the shift; rounded, so that the scheduler's own levels, which are of float32, have their whole timesteps."""
        return (self.schedule.at_sigma(level.sigma).t * self.schedule.n_train).round(decimals=3).float()

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        out, lengths = torch.empty_like(x), [self.texts(prompt)[0].shape[1] for prompt in prompts]
        for length in set(lengths):  # there is no mask for filling up
            rows = [row for row, own in enumerate(lengths) if own == length]
            out[rows] = self.of_one_length(x[rows], timesteps[rows], [prompts[row] for row in rows])
        return out

    def of_one_length(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """The network's output where texts have the same number of tokens."""
        (hidden,) = self.rows_of(prompts)
        size = self.once(("size", hidden.dtype), lambda: torch.tensor([self.image_shape[1:]]).to(hidden)).expand(len(x), -1)
        sizes = {"original_size": size, "target_size": size, "crop_coords": 0 * size}
        return self.network(x, encoder_hidden_states=hidden, timestep=timesteps, return_dict=False, **sizes)[0]
