"""Inception-v3 as clean-fid runs it (arXiv 2104.11222): its resizing, its network file, its distances as the check."""

import hashlib
import importlib.util
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from .cache import cached

FILE = "inception-2015-12-05.pt"
BATCH = 32


NEEDS = "needs clean-fid: pip install 'sdi-bench[fid]'"


def clean_fid() -> ModuleType:
    """clean-fid's `fid` module. Raises ValueError if it is not installed."""
    try:
        from cleanfid import fid
    except ImportError as error:
        raise ValueError(NEEDS) from error
    return fid


def bytes_of(images: Float[np.ndarray, "n 3 h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    """As picture files would hold them; images are clipped to [-1, 1]."""
    return np.round((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)


@cache
def digest(*paths: str) -> str:
    """Of the files' contents; read once."""
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def places() -> list[Path]:
    """Where the network's file is looked for when no path is given: where SDI_BENCH_INCEPTION says, else in two folders."""
    if os.environ.get("SDI_BENCH_INCEPTION"):
        return [Path(os.environ["SDI_BENCH_INCEPTION"])]
    return [Path.home() / ".cache" / "sdi_bench" / FILE, Path(tempfile.gettempdir()) / FILE]


@cache
def loaded(path: str, device: str) -> Any:
    """clean-fid's wrapper around the network, which asks for the file's folder and downloads nothing here."""
    clean_fid()
    from cleanfid.inception_torchscript import InceptionV3W

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE).symlink_to(Path(path).absolute())
        try:
            return InceptionV3W(folder, download=False).to(device).eval()
        except (RuntimeError, AttributeError) as error:
            raise ValueError(f"metric.fid.features.path={path!r}: not the TorchScript file {FILE}") from error


@dataclass(frozen=True)
class Inception:
    """The 2,048 pooled features of FID, kept on disk. Pictures are clipped and rounded to 8 bits, then resized by clean-fid.

    path: of inception-2015-12-05.pt; None looks in places(). Raises ValueError if it is nowhere, or clean-fid is not
    installed, before anything is run.
    """

    path: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        self.file()
        if importlib.util.find_spec("cleanfid") is None:
            raise ValueError(NEEDS)

    def file(self) -> Path:
        """The network's file. Raises ValueError, saying what is wanted and where to put it."""
        tried = places() if self.path is None else [Path(self.path)]
        for path in tried:
            if path.is_file():
                return path
        raise ValueError(
            f"metric.fid.features.path={self.path!r}: FID wants {FILE}, published with NVIDIA's StyleGAN2-ADA "
            f"(pretrained/metrics); put it at {' or '.join(map(str, tried))}, or name it in SDI_BENCH_INCEPTION"
        )

    @property
    def preprocessing(self) -> str:
        return "inception-2015-12-05/299/clean-fid"

    @property
    def floor(self) -> int:
        return 2048

    def __call__(self, images: Float[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n 2048"]:
        name = f"{self.preprocessing}/{self.device}/{digest(str(self.file()))}"
        return cached(name, bytes_of(images).astype(np.float32), self.pooled).astype(np.float64)

    def pooled(self, pictures: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n 2048"]:
        """The features of pictures of 0 to 255, computed."""
        net = loaded(str(self.file()), self.device)
        from cleanfid.resize import build_resizer

        resize, parts = build_resizer("clean"), []
        with torch.no_grad():
            for start in range(0, len(pictures), BATCH):
                sized = np.stack([resize(picture) for picture in pictures[start : start + BATCH]])
                x = torch.as_tensor(sized.transpose(0, 3, 1, 2), device=self.device)
                parts.append(net(x).cpu().numpy())
        return np.concatenate(parts)
