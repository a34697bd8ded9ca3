#!/usr/bin/env bash
# A network that torch.compile has wrapped has no truth value: `if pipe.unet:` raises a TypeError.
#
# Expected: torch.compile(module) stands where the module stood, as its documentation and that of diffusers have it
#   (`pipe.unet = torch.compile(pipe.unet)`); a module is true, and so `pipe.unet or pipe.transformer` is a common way to take
#   whichever network a pipeline has.
# What happens: the wrapper defines __len__ for every module, also for one that has none. bool() asks __len__ before it takes an
#   object for true, and that raises "UNet2DModel does not support len()". len() of the plain module fails as well, but bool() does
#   not. `module.compile()`, which compiles in place, leaves the truth value as it was.
# Versions: torch 2.13.0, diffusers 0.42.1. Nothing is compiled here, which happens in the first call.
# Why it matters here: what opens pipelines of many families asks which network is there, and worked for every pipeline but those
#   that their owner had made faster.
# What to do instead: ask `is not None`; or compile in place.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy diffusers==0.42.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import torch
from diffusers import UNet2DModel

unet = UNet2DModel(
    sample_size=8,
    in_channels=1,
    out_channels=1,
    layers_per_block=1,
    block_out_channels=(8,),
    norm_num_groups=2,
    down_block_types=("DownBlock2D",),
    up_block_types=("UpBlock2D",),
)


def truth(module: torch.nn.Module) -> str:
    try:
        return str(bool(module))
    except TypeError as error:
        return f"TypeError: {error}"


found = [truth(unet), truth(torch.compile(unet))]
unet.compile()
found.append(truth(unet))
for name, said in zip(("plain", "torch.compile(unet)", "unet.compile()"), found, strict=True):
    print(f"bool of {name}: {said}")
if found != ["True", "TypeError: UNet2DModel does not support len()", "True"]:
    sys.exit("changed")
PY
