"""CLIPScore (Hessel et al., arXiv 2104.08718), by torchmetrics."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..features.clip import require_folder, source
from ..features.inception import bytes_of
from ..stats import Statistic, mean_of
from .base import Context, Metric


@dataclass(frozen=True)
class ClipScore(Metric):
    """Mean of 100·max(cos, 0) of a picture's and its prompt's CLIP embeddings. folder: any CLIP in transformers' format.

    As torchmetrics has it; the paper has 2.5·max(cos, 0), and puts "A photo depicts" before the prompt. Numbers
    of two backbones are not comparable; prompts beyond 77 tokens are cut, with a warning. name: of its node, for what is said.
    Raises ValueError, naming the field.
    """

    folder: str | None
    device: str = "cpu"
    name: str = "clip_score"
    unit = "100 cos"
    streams = True
    ideal = math.inf

    def __post_init__(self) -> None:
        require_folder(self.name, self.folder)

    @property
    def preprocessing(self) -> str:  # type: ignore[override]
        return f"clip/{Path(str(self.folder)).name}/its own"

    def statistic(self, context: Context) -> Statistic:
        context.rgb()
        asked = context.asked()
        model = source(str(self.folder), self.device)
        from torchmetrics.functional.multimodal import clip_score

        processor = model()[1]
        n_cut = processor.n_cut(asked)
        if n_cut:
            said = (
                f"metric.{self.name}: {n_cut} of {len(asked)} prompts are longer than {processor.limit} tokens, and cut there"
            )
            warnings.warn(said, stacklevel=2)
        values = []
        for image, prompt in zip(context.images, asked, strict=True):  # one by one: the public function gives a mean
            picture = torch.as_tensor(bytes_of(image[None])[0].transpose(2, 0, 1), device=self.device)
            values.append(float(clip_score(picture, prompt, model)))
        return mean_of(np.array(values, dtype=np.float64))
