#!/usr/bin/env bash
# A function that Numba compiles fails at its first call when its module is imported under jaxtyping's import hook.
#
# Expected: the hook applies its checker to every function of a module (docstring of jaxtyping.install_import_hook), so that a
#   valid module runs as before, with its arguments checked. The module runs without the hook.
# What happens: the checker goes to the bottom of the list of decorators, as that docstring says, and so below `@njit`, which is
#   handed jaxtyping's wrapper and compiles that in place of the function. It fails: with `cache=True` as a TypeError that speaks
#   of pickling a weakref, without it as an UnsupportedBytecodeError about code that the user has not written.
# Versions: numba 0.68.1, jaxtyping 0.3.11, beartype 0.23.1, numpy 2.4.6.
# Why it matters here: test suites of array code import the package under that hook; a compiled kernel then fails in the tests and
#   nowhere else, with a message that names neither tool.
# What to do instead: hand Numba the bare function, `njit(inspect.unwrap(function))`; its arguments are then not checked.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numba==0.68.1 jaxtyping==0.3.11 beartype==0.23.1 numpy==2.4.6
for kind in cached plain unwrapped; do
  case $kind in
    cached) decorator="njit(cache=True)" ;;
    plain) decorator="njit" ;;
    unwrapped) decorator="lambda function: njit(unwrap(function))" ;;
  esac
  cat > "$work/$kind.py" <<PY
from inspect import unwrap

import numpy as np
from numba import njit


@($decorator)
def total(x: np.ndarray) -> float:
    found = 0.0
    for k in range(len(x)):
        found += x[k]
    return found
PY
done

cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import numpy as np
from jaxtyping import install_import_hook


def tried(function):
    try:
        return str(float(function(np.ones(3))))
    except Exception as error:
        print(f"  {type(error).__name__}: {str(error).strip().splitlines()[0][:90]}")
        return type(error).__name__


import cached
import plain

bare = [tried(module.total) for module in (cached, plain)]
print("without the hook:", *bare)
for module in ("cached", "plain"):
    del sys.modules[module]
with install_import_hook(["cached", "plain", "unwrapped"], "beartype.beartype"):
    import cached
    import plain
    import unwrapped
hooked = [tried(module.total) for module in (cached, plain, unwrapped)]
print("under the hook: cached {}, plain {}, unwrapped {}".format(*hooked))
if bare != ["3.0"] * 2 or hooked[0] != "TypeError" or hooked[1] not in ("UnsupportedBytecodeError", "TypingError") or hooked[2] != "3.0":
    sys.exit(f"changed: {bare}, {hooked}")
PY
