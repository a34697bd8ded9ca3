"""CLIPScore (Hessel et al., arXiv 2104.08718), by torchmetrics."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..features.clip import bytes_of, require_folder, source
from ..stats import Statistic, mean_of
from .base import Context, Metric


@dataclass(frozen=True)
class ClipScore(Metric):
    """Mean of 100·max(cos, 0) of a picture's and its prompt's CLIP embeddings. folder: any CLIP in transformers' format.

    Numbers of two backbones are not comparable; prompts beyond 77 tokens are cut. Raises ValueError, naming the field.
    """

    folder: str | None
    device: str = "cpu"
    unit = "100 cos"
    ideal = math.inf

    def __post_init__(self) -> None:
        require_folder("clip_score", self.folder)

    @property
    def preprocessing(self) -> str:  # type: ignore[override]
        return f"clip/{Path(str(self.folder)).name}/its own"

    def statistic(self, context: Context) -> Statistic:
        from torchmetrics.functional.multimodal import clip_score

        context.rgb()
        pictures = torch.as_tensor(bytes_of(context.images).transpose(0, 3, 1, 2), device=self.device)
        values = [  # one by one: the public function gives a mean
            clip_score(picture, prompt, source(str(self.folder), self.device))
            for picture, prompt in zip(pictures, context.asked(), strict=True)
        ]
        return mean_of(np.array(values, dtype=np.float64))
