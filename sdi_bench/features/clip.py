"""CLIP (arXiv 2103.00020) from a folder on this machine, in the form that torchmetrics and clean-fid's preprocessing want."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from torch import Tensor, nn

from .cache import cached
from .inception import bytes_of, digest

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
    limit: int

    def __call__(self, text: Sequence[str] | None = None, images: Sequence[Any] | None = None, **more: Any) -> Any:
        """As the processor's."""
        cut = {} if text is None else {"truncation": True, "max_length": self.limit}
        return self.processor(text=text, images=images, **more, **cut)

    def n_cut(self, texts: Sequence[str]) -> int:
        """How many of them are too long."""
        return sum(len(tokens) > self.limit for tokens in self.processor.tokenizer(list(texts), verbose=False)["input_ids"])


@cache
def loaded(folder: str, device: str) -> tuple[Projected, Truncating]:
    """The model in float32 and its processor, which resizes by Pillow: by torchvision, where installed, numbers were others.

    Raises ValueError, saying what the folder must be; weights that are missing would be random.
    """
    import transformers

    pillow = "CLIPImageProcessorPil" if hasattr(transformers, "CLIPImageProcessorPil") else "CLIPImageProcessor"  # 5, 4
    try:
        model, found = transformers.CLIPModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
        pictures = getattr(transformers, pillow).from_pretrained(folder, local_files_only=True)
        words = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"folder={folder!r}: {WANTED} ({' '.join(str(error).split())[:120]})") from error
    if found["missing_keys"]:
        raise ValueError(f"folder={folder!r}: its weights lack {sorted(found['missing_keys'])[0]}; {WANTED}")
    limit = min(words.model_max_length, model.config.text_config.max_position_embeddings)
    network = Projected(model.float().eval().requires_grad_(False)).to(device)
    return network, Truncating(transformers.CLIPProcessor(pictures, words), limit)


def source(folder: str, device: str) -> Callable[[], tuple[Projected, Truncating]]:
    """What torchmetrics takes for a model's name."""
    pair = loaded(folder, device)
    return lambda: pair


def require_folder(field: str, folder: str | None) -> None:
    """Raise ValueError, naming the field, unless it is a folder with a CLIP's settings and tokenizer; weights are not read.

    Without a tokenizer's files transformers would make one that knows no word.
    """
    if folder is None or not (Path(folder) / "config.json").is_file():
        raise ValueError(f"metric.{field}.folder={folder!r}: {WANTED}")
    try:
        kind = json.loads((Path(folder) / "config.json").read_text()).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"metric.{field}.folder={folder!r}: its config.json cannot be read; {WANTED}") from error
    if kind != "clip":
        raise ValueError(f"metric.{field}.folder={folder!r}: is a {kind!r}; {WANTED}")
    if not any((Path(folder) / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise ValueError(f"metric.{field}.folder={folder!r}: has no tokenizer; {WANTED}")


def cropped(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "224 224 3"]:
    """The shorter side to 224 by Pillow's bicubic filter, then the middle: torchvision's Resize and CenterCrop."""
    from PIL import Image

    short = min(picture.shape[:2])
    width, height = (SIDE * side // short for side in picture.shape[1::-1])
    sized = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - SIDE) / 2), round((height - SIDE) / 2)
    return np.asarray(sized.crop((left, top, left + SIDE, top + SIDE)))


@dataclass(frozen=True)
class ClipFeatures:
    """CLIP's image embeddings with the preprocessing of clean-fid's CLIP-FID, of 8-bit pictures; kept on disk.

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
        weights = sorted(str(path) for path in Path(str(self.folder)).iterdir() if path.suffix in (".safetensors", ".bin"))
        name = f"{self.preprocessing}/{self.device}/{digest(f'{self.folder}/config.json', *weights)}"
        return cached(name, bytes_of(images).astype(np.float32), self.embedded).astype(np.float64)

    def embedded(self, pictures: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n d"]:
        """The embeddings of pictures of 0 to 255, computed."""
        model, _ = loaded(str(self.folder), self.device)
        mean, deviation = (torch.tensor(values, device=self.device)[:, None, None] for values in (MEAN, DEVIATION))
        parts = []
        with torch.no_grad():
            for start in range(0, len(pictures), BATCH):
                sized = np.stack([cropped(picture) for picture in pictures[start : start + BATCH].astype(np.uint8)])
                x = torch.as_tensor(sized.transpose(0, 3, 1, 2), device=self.device).float() / 255
                parts.append(model.get_image_features((x - mean) / deviation).cpu().numpy())
        return np.concatenate(parts)
