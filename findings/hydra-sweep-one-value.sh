#!/usr/bin/env bash
# In a Hydra sweep over the options of a group, a setting of theirs is refused with one value and accepted with two.
#
# Expected: Hydra's manual (running your app / multi-run) says that `--multirun` runs the application once for each combination,
#   each with its own composed configuration. So `-m shape=circle,disc shape.radius=2` should be the two jobs
#   `shape=circle shape.radius=2` and `shape=disc shape.radius=2`, both of which run.
# What happens: before any job is composed, Hydra composes the defaults with every override that is not a sweep, and there the
#   default option (here one without a radius) refuses it: "Could not override 'shape.radius'". With two values the setting is a
#   sweep, is left to the jobs, and runs; also with the same value twice, which makes each job two times.
# Versions: hydra-core 1.3.8, omegaconf 2.3.1.
# Why it matters here: samplers have settings of their own (the steps of an inversion, a temperature), and to compare two that
#   share one, at a value, against a default that lacks it is the everyday sweep.
# What to do instead: in a sweeper, write a single value twice and drop the repeated jobs; or let the default have the setting.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet hydra-core==1.3.8 omegaconf==2.3.1
mkdir -p "$work/conf/shape"
printf 'defaults:\n  - shape: square\n' > "$work/conf/config.yaml"
printf 'side: 1\n' > "$work/conf/shape/square.yaml"
printf 'radius: 1\n' > "$work/conf/shape/circle.yaml"
printf 'radius: 5\n' > "$work/conf/shape/disc.yaml"
cat > "$work/app.py" <<'PY'
import hydra


@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(cfg):
    print("ran", dict(cfg.shape))


main()
PY
cd "$work"
run() { "$work/env/bin/python" app.py "$@" hydra.output_subdir=null hydra.job.chdir=false 2>&1 || true; }

one=$(run -m shape=circle,disc shape.radius=2)
two=$(run -m shape=circle,disc shape.radius=2,3)
twice=$(run -m shape=circle,disc shape.radius=2,2)
alone="$(run shape=circle shape.radius=2) $(run shape=disc shape.radius=2)"
echo "alone:            $(grep -o "ran" <<< "$alone" | wc -l) jobs ran"
echo "-m, one value:    $(grep -c "^ran" <<< "$one" || true) jobs ran; $(grep -m1 "Could not override" <<< "$one" || true)"
echo "-m, two values:   $(grep -c "^ran" <<< "$two" || true) jobs ran"
echo "-m, one of twice: $(grep -c "^ran" <<< "$twice" || true) jobs ran"
[ "$(grep -o "ran {" <<< "$alone" | wc -l)" = 2 ] || { echo "changed: the jobs alone do not run"; exit 1; }
grep -q "Could not override 'shape.radius'" <<< "$one" || { echo "changed: one value is accepted"; exit 1; }
[ "$(grep -c "^ran" <<< "$two")" = 4 ] || { echo "changed: two values do not make four jobs"; exit 1; }
[ "$(grep -c "^ran" <<< "$twice")" = 4 ] || { echo "changed: the same value twice does not make four jobs"; exit 1; }
