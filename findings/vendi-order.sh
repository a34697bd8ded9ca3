#!/usr/bin/env bash
# The Vendi score of features is the same for every order q.
#
# Expected: `vendi.score_X(X, q=...)` is the Vendi score of order q (arXiv 2310.12952, "Cousins of the Vendi Score": the
#   exponential of the Renyi entropy of order q of the eigenvalues of K / n), as `score_K` and `score_dual` are.
# What happens: `score_X` takes q and hands 1 on. `score_dual`, which is meant to give the same number faster when there are
#   fewer features than pictures, does read q, so which of two equivalent functions one calls changes the result.
# Versions: vendi-score 0.0.3, numpy 2.4.6, scipy 1.17.1, scikit-learn 1.9.1.
# Why it matters here: the order says whether rare or frequent modes count, which is what a study of lost modes varies; a flat
#   curve over q reads as "all modes equally frequent".
# What to do instead: `score_K(X @ X.T, q=q)` on normalised features, or `score_dual`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet vendi-score==0.0.3 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1

"$work/venv/bin/python" - <<'PY'
import sys
import numpy as np
from vendi_score import vendi

features = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])  # two modes with shares 3/4 and 1/4
right = {0.5: (0.75**0.5 + 0.25**0.5) ** 2, 1: 0.75**-0.75 * 0.25**-0.25, 2: 1 / (0.75**2 + 0.25**2), "inf": 1 / 0.75}
for q, value in right.items():
    seen = vendi.score_X(features, q=q), vendi.score_dual(features, q=q), vendi.score_K(features @ features.T, q=q)
    print("q={:>3}: score_X {:.4f}, score_dual {:.4f}, score_K {:.4f}, in closed form {:.4f}".format(q, *seen, value))
    if not np.allclose(seen, (right[1], value, value), rtol=1e-6):
        sys.exit(f"changed: q={q} gave {seen}")
PY
