#!/usr/bin/env bash
# Euler ancestral sampling with a zero terminal SNR returns only NaN from 286 steps on.
#
# Expected: `rescale_betas_zero_snr=True` (docstring of EulerAncestralDiscreteScheduler: rescale the betas to have zero terminal
#   SNR; arXiv 2305.08891, algorithm 1) keeps the noise rising with t, so that sampling walks down from the last level.
# What happens: alpha_bar[999] = 0 is replaced by 2**-24 to keep sigma finite. With the class's own default betas (linear) that
#   is above alpha_bar[998] = 4e-9 and above 997 and 996 too: sigma is 4096 at the last step and up to 15406 before it. As soon
#   as the second step is one of those, `step` takes the root of a negative number and all of the sample is NaN.
# Versions: diffusers 0.42.1, torch 2.13.0. Another cause than the rounding of diffusers issue 14213.
# Why it matters here: stochastic samplers are run with many steps as the reference for the distribution; 50 steps look fine.
# What to do instead: use scaled_linear betas, fewer than 286 steps, or DDIMScheduler / DDPMScheduler, which keep alpha_bar = 0.
set -euo pipefail
export HF_HUB_OFFLINE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 diffusers==0.42.1

"$work/venv/bin/python" - <<'PY'
import sys
import torch
from diffusers import EulerAncestralDiscreteScheduler

scheduler = EulerAncestralDiscreteScheduler(
    rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction"
)
last = scheduler.alphas_cumprod[-4:].tolist()
print("alpha_bar of 996 ... 999:", ["%.1e" % level for level in last])
if last[-1] != 2**-24 or max(last[:-1]) >= last[-1]:
    sys.exit(f"changed: the last levels are {last}")
for n, expected in {50: False, 285: False, 286: True, 1000: True}.items():
    scheduler.set_timesteps(n)
    x = torch.ones(4) * scheduler.init_noise_sigma
    scheduler.scale_model_input(x, scheduler.timesteps[0])
    x = scheduler.step(torch.zeros(4), scheduler.timesteps[0], x, generator=torch.Generator().manual_seed(0)).prev_sample
    print(f"n={n:4}: sigmas {scheduler.sigmas[0]:.0f}, {scheduler.sigmas[1]:.0f}; first step all NaN: {x.isnan().all().item()}")
    if x.isnan().all().item() != expected or x.isnan().any().item() != expected:
        sys.exit(f"changed: n={n} gave {x.tolist()}")
PY
