#!/usr/bin/env bash
# torchmetrics' MS-SSIM never uses the kernel_size it documents, and its SSIM of volumes uses the one it says it ignores.
#
# Expected: docstring of MultiScaleStructuralSimilarityIndexMeasure: "kernel_size: size of the gaussian kernel"; docstring of
#   StructuralSimilarityIndexMeasure: kernel_size is ignored when the kernel is Gaussian (the default).
# What happens: the window of both is computed from sigma alone. In MS-SSIM kernel_size only decides how small an image is
#   refused: 3, 7 and 11 give the same value to the last bit. In SSIM of volumes it decides how far the depth axis is
#   mirrored: with kernel_size=21 the map of a 24 x 24 x 24 volume is 24 x 24 x 34, with 3 it is 24 x 24 x 16, and the value
#   changes.
# Versions: torchmetrics 1.9.0, torch 2.13.0.
# Why it matters here: SSIM and MS-SSIM are reported for 3D reconstruction and inversion; a paper's stated window is not the one
#   that was used, and values of stacked frames or voxel grids include slices that are not there.
# What to do instead: set sigma (the window is 2 * int(3.5 sigma + 0.5) + 1 wide); for volumes with a Gaussian kernel pass that
#   width as kernel_size.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0

"$work/venv/bin/python" - <<'PY'
import sys
import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

draw = torch.Generator().manual_seed(0)
image, volume = torch.rand(1, 1, 192, 192, generator=draw), torch.rand(1, 1, 24, 24, 24, generator=draw)
other_image = (image + 0.2 * torch.rand(image.shape, generator=draw)).clamp(0, 1)
other_volume = (volume + 0.2 * torch.rand(volume.shape, generator=draw)).clamp(0, 1)

values = {k: ms_ssim(image, other_image, kernel_size=k, data_range=1.0).item() for k in (3, 7, 11)}
print("MS-SSIM by kernel_size:", values)
if len(set(values.values())) != 1:
    sys.exit(f"changed: MS-SSIM reads kernel_size, {values}")
for k, depth in {3: 16, 11: 24, 21: 34}.items():
    value, full = ssim(volume, other_volume, kernel_size=k, data_range=1.0, return_full_image=True)
    values[k] = value.item()
    print(f"SSIM of a 24 x 24 x 24 volume, kernel_size={k:2}: {values[k]:.5f}, map of {tuple(full.shape[2:])}")
    if tuple(full.shape[2:]) != (24, 24, depth):
        sys.exit(f"changed: kernel_size={k} gave a map of {tuple(full.shape[2:])}")
if len({values[k] for k in (3, 11, 21)}) != 3:
    sys.exit(f"changed: SSIM of volumes no longer depends on kernel_size, {values}")
PY
