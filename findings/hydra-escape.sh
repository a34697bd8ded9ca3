#!/usr/bin/env bash
# Hydra's instantiate fills in an interpolation that the configuration escapes.
#
# Expected: `\${y}` is OmegaConf's way to write the four characters ${y} (OmegaConf documentation, "Interpolations": escaped
#   interpolations), and reading the node gives them. `instantiate` passes the node's values to the target (Hydra documentation,
#   "Instantiating objects with Hydra").
# What happens: reading the node gives ${y}; `instantiate` of the same node passes 3: the text is resolved a second time. Where
#   there is no such key an error is raised that names an interpolation nobody wrote.
# Versions: hydra-core 1.3.8, omegaconf 2.3.1.
# Why it matters here: prompts, captions and file-name patterns are free text inside configurations. What a run's saved
#   configuration shows is not what its objects were given.
# What to do instead: hand such text over as an argument after instantiation (`_partial_: true`), or escape it twice.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet hydra-core==1.3.8 omegaconf==2.3.1

"$work/venv/bin/python" - <<'PY'
import sys
from hydra.utils import instantiate
from omegaconf import OmegaConf

config = OmegaConf.create(r"""
y: 3
prompt:
  _target_: builtins.dict
  text: 'a sign that reads \${y}'
""")
read = config.prompt.text
passed = instantiate(config.prompt)["text"]
print(f"the node reads {read!r}, the target is given {passed!r}")
if (read, passed) != ("a sign that reads ${y}", "a sign that reads 3"):
    sys.exit(f"changed: read {read!r}, passed {passed!r}")
PY
