#!/usr/bin/env bash
# Under jaxtyping's import hook a function that is defined within another gets a new checker each time the outer one runs.
#
# Expected: the hook costs something once for each function of a module, when the module is imported, and a check for each call;
#   with its checks switched off (`jaxtyping.config.update("jaxtyping_disable", True)`, or JAXTYPING_DISABLE) nearly nothing.
# What happens: it decorates nested functions too (closures, callbacks), and their decorators run whenever the outer function does:
#   two functions of the same signature are written as text and compiled, and beartype writes and compiles a checker for each.
#   That is about a millisecond a closure, and it is done as well when checks are switched off, which is asked only in the call.
# Versions: jaxtyping 0.3.11, beartype 0.23.1, numpy 2.4.6.
# Why it matters here: samplers are loops around a closure that asks the network. A numerical test suite took two to four times as
#   long under the hook, and switching the checks off did not help.
# What to do instead: let the hook pass over nested functions (replace `jaxtyping.jaxtyped`, which it looks up by name, by one that
#   hands back what has "<locals>" in its __qualname__), or mark those with typing.no_type_check.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet jaxtyping==0.3.11 beartype==0.23.1 numpy==2.4.6
cat > "$work/walk.py" <<'PY'
import numpy as np


def flat(x: np.ndarray) -> np.ndarray:
    return x + 1


def nested(x: np.ndarray) -> np.ndarray:
    def ask(y: np.ndarray) -> np.ndarray:
        return y + 1

    return ask(x)
PY

cd "$work"
"$work/venv/bin/python" - <<'PY'
import builtins
import sys
import time

import jaxtyping
import numpy as np

with jaxtyping.install_import_hook("walk", "beartype.beartype"):
    import walk

CALLS, compiled, real = 100, 0, builtins.compile


def counting(*args, **kwargs):
    global compiled
    compiled += 1
    return real(*args, **kwargs)


builtins.compile = counting
x, found = np.ones(3), {}
for off in (False, True):
    jaxtyping.config.update("jaxtyping_disable", off)
    for function in (walk.flat, walk.nested):
        function(x)
        compiled, began = 0, time.perf_counter()
        for _ in range(CALLS):
            function(x)
        found[function.__name__, off] = compiled / CALLS
        took = (time.perf_counter() - began) / CALLS * 1e6
        print(f"{function.__name__:7} checks {'off' if off else 'on ':3}: compiled {compiled / CALLS:g} times a call, {took:.0f} us a call")
flat, nested = ([found[name, off] for off in (False, True)] for name in ("flat", "nested"))
if flat != [0, 0] or min(nested) < 1:
    sys.exit(f"changed: {flat}, {nested}")
PY
