#!/usr/bin/env bash
# A 16-bit colour TIFF whose planes are stored one after another opens in Pillow as another picture, without a word.
#
# Expected: PlanarConfiguration=2 is part of TIFF 6.0 (section "More about planar configuration"), and Pillow reads it (its pull
#   request 5364); 16-bit RGB with interleaved channels is read and cut to its upper 8 bits. So: the same picture, or an error.
# What happens: each plane is read as if a sample had one byte. The low and the high byte of a sample become two neighbouring
#   pixels, the left half of every row is stretched over the whole row and the right half is lost.
# Versions: Pillow 13.0.0 (reads), tifffile 2026.3.3 (writes), numpy 2.4.6.
# Why it matters here: a torch tensor is channels first, and writing one with tifffile's planarconfig="separate" gives this
#   layout. Image sets and renders read back with Pillow are then measured as stripes and noise.
# What to do instead: write channels last, or read with tifffile; check one file against the array it was made from.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6

"$work/venv/bin/python" - "$work" <<'PY'
import sys
import numpy as np
import tifffile
from PIL import Image

planes = np.array([[[0x1234, 0xABCD]], [[0x4000, 0x8000]], [[0xFFFF, 0x0100]]], dtype="<u2")  # channels, 1 row, 2 columns
right = (planes >> 8).transpose(1, 2, 0).tolist()
files = {"contig": planes.transpose(1, 2, 0).copy(), "separate": planes}
seen = {}
for layout, array in files.items():
    path = f"{sys.argv[1]}/{layout}.tif"
    tifffile.imwrite(path, array, photometric="rgb", planarconfig=layout, byteorder="<")
    seen[layout] = np.asarray(Image.open(path)).tolist()
    print(f"{layout:8}: Pillow {seen[layout]}, tifffile gives the array back: {np.array_equal(tifffile.imread(path), array)}")
print(f"upper bytes of what was written: {right}")
if seen != {"contig": right, "separate": [[[0x34, 0x00, 0xFF], [0x12, 0x40, 0xFF]]]}:
    sys.exit(f"changed: {seen}, should be {right}")
PY
