#!/usr/bin/env bash
# piq's improved recall counts a real picture as covered when its distance equals the radius of a REAL picture.
#
# Expected: recall is the share of real features that lie within the k-th-neighbour radius of some generated feature
#   (arXiv 1904.06991, equations 1 and 2 with the two sets exchanged), as the docstring of piq.PR names that paper.
# What happens: the test is `d < generated radius or d is close to the REAL radius`; precision has the real radius in both
#   places, and its second line was not exchanged. Only ties show it, so it goes unnoticed on continuous features, and on
#   features that are whole numbers recall comes out up to twice too large.
# Versions: piq 0.8.0, torch 2.13.0. torchvision is not needed by this part of piq and is left out: the package's __init__ and
#   the Inception class are stood in for, the files piq/pr.py, piq/base.py and piq/utils are piq's own.
# Why it matters here: recall is how mode-seeking (score distillation) is told from sampling; an error upwards hides the loss of
#   modes. Pixels, histograms and quantised or hashed features have ties.
# What to do instead: count by the definition, as below, or add a little noise to break ties.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$work/venv/bin/pip" install --quiet --no-deps piq==0.8.0

"$work/venv/bin/python" - <<'PY'
import sys
import sysconfig
import types
import torch

package, extractors = types.ModuleType("piq"), types.ModuleType("piq.feature_extractors")
package.__path__ = [sysconfig.get_path("purelib") + "/piq"]
extractors.InceptionV3 = None
sys.modules.update({"piq": package, "piq.feature_extractors": extractors})
from piq.pr import PR


def by_definition(real, generated, k):
    def distances(a, b):  # cdist's faster way for many points rounds, and ties are what matters here
        return torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist")

    radius = distances(generated, generated).sort().values[:, k]  # the 0th is the point itself
    return (distances(real, generated) <= radius).any(dim=1).double().mean().item()


draw = torch.Generator().manual_seed(0)
grid = torch.randint(0, 64, (500, 2), generator=draw).float()
corner = torch.randint(32, 40, (500, 2), generator=draw).float()
cases = {
    "four points on a line": (torch.tensor([[0.0], [1], [10], [11]]), torch.tensor([[2], [2.1], [12], [12.1]]), 1),
    "whole numbers, generator in one corner": (grid, corner, 5),
}
seen = {}
for name, (real, generated, k) in cases.items():
    seen[name] = [PR(nearest_k=k).compute_metric(real, generated)[1].item(), by_definition(real, generated, k)]
    print("{}: piq {:.3f}, definition {:.3f}".format(name, *seen[name]))
line, whole = seen.values()
if line != [0.5, 0.0] or [round(value, 3) for value in whole] != [0.05, 0.026]:
    sys.exit(f"changed: {seen}")
PY
