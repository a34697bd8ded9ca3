#!/usr/bin/env bash
# Swapping the scheduler the documented way gives other steps before a pipeline is saved than after.
#
# Expected: `New.from_config(old.config)` carries over what the two schedulers share (diffusers guide "Load schedulers and
#   models", which swaps with `pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)`).
# What happens: a value that the old scheduler took from its own defaults is shown in `old.config` and dropped all the same: the
#   new class's default takes its place. The list of those values (`_use_default_values`) is not written by `save_pretrained`,
#   so after a round trip through a file the very same settings are carried over. PNDM -> Euler visits 999 ... 0 before saving
#   and 901 ... 1 after; PNDM -> DDIM ends at alpha_bar = 1 before and 0.9991 after.
# Versions: diffusers 0.42.1, torch 2.13.0.
# Why it matters here: comparing samplers on one model means swapping schedulers. What is compared then depends on whether the
#   first scheduler came from memory or from disk, and on which keys somebody left out of scheduler_config.json.
# What to do instead: name every setting that matters in the call (`from_config(config, timestep_spacing="leading", ...)`) and
#   print `new.config` next to `old.config`.
set -euo pipefail
export HF_HUB_OFFLINE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 diffusers==0.42.1

"$work/venv/bin/python" - "$work" <<'PY'
import sys
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler

made = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1)
made.save_pretrained(sys.argv[1])
read = PNDMScheduler.from_pretrained(sys.argv[1])
shown = [{k: v for k, v in s.config.items() if not k.startswith("_")} for s in (made, read)]
seen = []
for name, old in (("before saving", made), ("after saving", read)):
    euler = EulerDiscreteScheduler.from_config(old.config)
    euler.set_timesteps(10)
    end = DDIMScheduler.from_config(old.config).final_alpha_cumprod.item()
    seen.append((old.config.timestep_spacing, euler.config.timestep_spacing, *euler.timesteps[[0, -1]].tolist(), round(end, 4)))
    print("{:13}: PNDM says {}; Euler takes {}, steps {:.0f} ... {:.0f}; DDIM ends at {}".format(name, *seen[-1]))
if shown[0] != shown[1] or seen != [("leading", "linspace", 999, 0, 1.0), ("leading", "leading", 901, 1, 0.9991)]:
    sys.exit(f"changed: settings equal {shown[0] == shown[1]}, {seen}")
PY
