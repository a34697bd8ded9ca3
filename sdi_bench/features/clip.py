"""CLIP (arXiv 2103.00020) from a folder on this machine, in the form that torchmetrics and clean-fid's preprocessing want."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

SIDE = 224
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BATCH = 32
WANTED = "must be a folder with a CLIP in transformers' format (config.json, model.safetensors, tokenizer, preprocessor)"


class Projected(nn.Module):
    """A CLIP whose features are tensors, the projected embeddings, whatever transformers' version returns."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip, self.config = clip, clip.config

    def get_image_features(self, pixel_values: Tensor) -> Float[Tensor, "n d"]:
        """Embeddings of preprocessed pictures."""
        return tensor(self.clip.get_image_features(pixel_values=pixel_values))

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Float[Tensor, "n d"]:
        """Embeddings of tokens."""
        return tensor(self.clip.get_text_features(input_ids=input_ids, attention_mask=attention_mask))


def tensor(found: Any) -> Tensor:
    """transformers 4 gives the embeddings, 5 an output that has them as pooler_output."""
    return found if isinstance(found, Tensor) else found.pooler_output


@dataclass(frozen=True)
class Truncating:
    """A CLIP processor that cuts long texts before their end mark, where the embedding is read: torchmetrics cuts that off."""

    processor: Any

    def __call__(self, text: Sequence[str] | None = None, images: Sequence[Any] | None = None, **more: Any) -> Any:
        """As the processor's."""
        cut = {} if text is None else {"truncation": True, "max_length": self.processor.tokenizer.model_max_length}
        return self.processor(text=text, images=images, **more, **cut)


@cache
def loaded(folder: str, device: str) -> tuple[Projected, Truncating]:
    """The model and its processor. Raises ValueError, saying what the folder must be."""
    if not (Path(folder) / "config.json").is_file():
        raise ValueError(f"folder={folder!r}: {WANTED}")
    from transformers import AutoConfig, CLIPModel, CLIPProcessor

    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if kind != "clip":
            raise ValueError(f"folder={folder!r}: is a {kind!r}; {WANTED}")
        model = CLIPModel.from_pretrained(folder, local_files_only=True).eval().requires_grad_(False)
        processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, KeyError) as error:
        raise ValueError(f"folder={folder!r}: {WANTED} ({' '.join(str(error).split())[:120]})") from error
    return Projected(model).to(device), Truncating(processor)


def source(folder: str, device: str) -> Callable[[], tuple[Projected, Truncating]]:
    """What torchmetrics takes for a model's name."""
    return lambda: loaded(folder, device)


def require_folder(metric: str, folder: str | None) -> None:
    """Raise ValueError, naming the field, unless a folder is given and there."""
    if folder is None or not Path(folder).is_dir():
        raise ValueError(f"metric.{metric}.folder={folder!r}: {WANTED}")


def bytes_of(images: Float[np.ndarray, "n 3 h w"]) -> np.ndarray:
    """[n, h, w, 3] uint8, as picture files would hold them; images are clipped to [-1, 1]."""
    return np.round((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)


@dataclass(frozen=True)
class ClipFeatures:
    """CLIP's image embeddings with the preprocessing of clean-fid's CLIP-FID: bicubic to 224, rounded, normalised; 8-bit in.

    clean-fid loads OpenAI's ViT-B/32 by the package `clip`; here it is any CLIP folder, which the preprocessing id names.
    """

    folder: str | None
    device: str = "cpu"

    def __post_init__(self) -> None:
        require_folder("clip_fid.features", self.folder)

    @property
    def preprocessing(self) -> str:
        return f"clip/{Path(str(self.folder)).name}/224/bicubic"

    @property
    def floor(self) -> int:
        return 2048

    def __call__(self, images: Float[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n d"]:
        from PIL import Image

        model, _ = loaded(str(self.folder), self.device)
        mean, deviation = (torch.tensor(values, device=self.device)[:, None, None] for values in (MEAN, DEVIATION))
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), BATCH):
                sized = [
                    np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
                    for image in bytes_of(images[start : start + BATCH])
                ]
                x = torch.as_tensor(np.stack(sized).transpose(0, 3, 1, 2), device=self.device).float() / 255
                parts.append(model.get_image_features((x - mean) / deviation).double().cpu().numpy())
        return np.concatenate(parts)
