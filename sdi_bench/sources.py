"""What an edit starts from: pictures of the user's, or the model's own data."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .draws import Draws, Purpose
from .guidance import Prompt
from .models.base import Denoiser, ExactModel, HasCodec, HasData
from .picture_files import of_shape, read, read_folder
from .predictor import Predictor
from .scenes.base import image_shape


@dataclass(frozen=True)
class Source:
    """Pictures, and the prompt that says what they show.

    prompt: None is no prompt. pictures: each [3, height, width] in [-1, 1], of which every item draws one; None: each item
    draws one of the model's own data for the prompt.
    """

    prompt: Prompt = None
    pictures: tuple[Float[np.ndarray, "3 h w"], ...] | None = None

    @staticmethod
    def of(pictures: str | None = None, prompt: str | None = None) -> "Source":
        """pictures: a file, or a folder of them. Raises ValueError, naming the field, if none can be read."""
        if pictures is None:
            return Source(prompt)
        where, path = f"source={pictures!r}", Path(pictures)
        if path.is_dir():
            return Source(prompt, tuple(read_folder(path, "source").images))
        try:
            pixels, remarks = read(path)
        except ValueError as error:
            raise ValueError(f"{where}: not a readable picture ({error})") from error
        for remark in remarks:
            warnings.warn(f"{where}: is {remark}", stacklevel=2)
        return Source(prompt, (pixels,))

    def check(self, model: Denoiser) -> None:
        """Raise ValueError, naming the field, if this model cannot take the pictures, or has none and is given none."""
        try:
            model.check_prompt(self.prompt)
        except ValueError as error:
            raise ValueError(f"source_{error}") from error
        for pixels in self.pictures or ():
            of_shape(pixels, image_shape(model), "source")
        if self.pictures is None and not isinstance(model, HasData | ExactModel):
            size = " x ".join(str(side) for side in reversed(image_shape(model)[1:]))
            raise ValueError(f"source=null: this model has no data of its own; name a picture of {size}, or a folder of them")

    def x0(self, net: Predictor, draws: Draws) -> Float[Tensor, "batch *shape"]:
        """What each item starts from, as the model has it: latents of pictures, one by one; float64."""
        model, rows = net.model, []
        for place in draws.uniform(Purpose.SOURCE, 0).tolist():
            rng = np.random.default_rng(int(place * 2**53))
            if self.pictures is not None:
                pixels = self.pictures[int(place * len(self.pictures))]
                row = torch.from_numpy(of_shape(pixels, image_shape(model), "source").copy())[None]
            elif isinstance(model, HasData):
                row = model.data([self.prompt], rng)
            else:
                assert isinstance(model, ExactModel)  # check() has said so
                rows.append(model.sample([self.prompt], rng).to(net.device))
                continue
            row = row.to(net.device, torch.float64)
            rows.append(model.encode(row).to(torch.float64) if isinstance(model, HasCodec) else row)
        return torch.cat(rows)
