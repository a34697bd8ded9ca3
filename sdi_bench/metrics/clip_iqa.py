"""CLIP-IQA (Wang et al., arXiv 2207.12396), by torchmetrics."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from ..features.clip import require_folder, source
from ..features.inception import bytes_of
from ..sizes import by_size
from ..stats import Statistic, mean_of
from .base import Context, Metric

BATCH = 32
PROMPTS = (
    *("quality", "brightness", "noisiness", "colorfullness", "sharpness", "contrast", "complexity", "natural", "happy"),
    *("scary", "new", "warm", "real", "beautiful", "lonely", "relaxing"),
)
"""The pairs of texts that torchmetrics has."""


@dataclass(frozen=True)
class ClipIqa(Metric):
    """Mean probability that CLIP gives to the good one of two texts, "Good photo." against "Bad photo." for `quality`.

    prompt: one of PROMPTS. folder: any CLIP in transformers' format,
    whose position embeddings are kept (torchmetrics' own default drops them: its numbers are others). Raises ValueError.
    """

    folder: str | None
    prompt: str = "quality"
    device: str = "cpu"
    unit = "probability"
    streams = True
    ideal = math.inf

    def __post_init__(self) -> None:
        require_folder("clip_iqa", self.folder)
        if self.prompt not in PROMPTS:
            raise ValueError(f"metric.clip_iqa.prompt={self.prompt!r}: must be one of {', '.join(PROMPTS)}")

    @property
    def preprocessing(self) -> str:  # type: ignore[override]
        return f"clip/{Path(str(self.folder)).name}/its own"

    def statistic(self, context: Context) -> Statistic:
        context.rgb()
        model = source(str(self.folder), self.device)
        from torchmetrics.functional.multimodal import clip_image_quality_assessment

        def probability(images: Float[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, " n"]:
            # 0 to 255 with data_range 1: the processor divides by 255, and would once more what came in [0, 1]
            pictures = torch.as_tensor(bytes_of(images).transpose(0, 3, 1, 2), device=self.device).float()
            parts = [clip_image_quality_assessment(part, model, 1.0, (self.prompt,)) for part in pictures.split(BATCH)]
            return torch.cat([part.reshape(-1) for part in parts]).double().cpu().numpy()

        return mean_of(by_size(probability, context.images))
