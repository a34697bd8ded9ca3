#!/usr/bin/env bash
# Under hydra/job_logging=disabled, transformers no longer says that it drew missing weights at random.
#
# Expected: Hydra's manual (configuring Hydra / logging) offers `override hydra/job_logging: disabled` to turn off the logging
#   that Hydra configures. transformers warns through its own logger, with a handler of its own, when weights are missing from a
#   checkpoint ("newly initialized", "MISSING"), and that warning should go on to reach the terminal.
# What happens: the option `disabled` tells Python's logging.config to disable all loggers that exist by then. A library that was
#   imported before the application started is among them, and all its warnings are lost: a text encoder of which one tensor is
#   missing from the file opens with random numbers in its place and without a word. With `none`, which configures nothing, or
#   with Hydra's default, the warning is shown.
# Versions: hydra-core 1.3.8, transformers 5.23.0, torch 2.13.0.
# Why it matters here: benchmarks turn Hydra's log files off, and a checkpoint with missing weights is the fault that makes all
#   numbers wrong without an error.
# What to do instead: `override hydra/job_logging: none` (and hydra/hydra_logging: none), or open with output_loading_info=True.
set -euo pipefail
export HF_HUB_OFFLINE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 transformers==5.23.0 hydra-core==1.3.8
mkdir "$work/conf"
printf 'folder: null\n' > "$work/conf/config.yaml"
cat > "$work/make.py" <<'PY'
import sys

from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

folder = sys.argv[1]
sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, max_position_embeddings=4)
CLIPTextModel(CLIPTextConfig(vocab_size=16, bos_token_id=14, eos_token_id=15, **sizes)).save_pretrained(folder)
tensors = load_file(f"{folder}/model.safetensors")
tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("token_embedding.weight")}
save_file(tensors, f"{folder}/model.safetensors", metadata={"format": "pt"})
PY
cat > "$work/app.py" <<'PY'
import hydra
from transformers import CLIPTextModel


@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(cfg):
    model, told = CLIPTextModel.from_pretrained(cfg.folder, output_loading_info=True)
    print("missing:", sorted(told["missing_keys"]))


main()
PY
"$work/env/bin/python" "$work/make.py" "$work/encoder" 2> /dev/null
cd "$work"
run() {
  "$work/env/bin/python" app.py "folder=$work/encoder" "hydra/job_logging=$1" hydra.output_subdir=null hydra.run.dir=. 2>&1
}
for kind in default none disabled; do
  said=$(run "$kind")
  grep -q "token_embedding" <<< "$(grep "^missing" <<< "$said")" || { echo "changed: nothing is missing"; exit 1; }
  warned=$(grep -v "^missing" <<< "$said" | grep -ciE "newly initialized|MISSING" || true)
  echo "hydra/job_logging=$kind: $warned lines of warning"
  case $kind in
    disabled) [ "$warned" = 0 ] || { echo "changed: the warning is shown"; exit 1; } ;;
    *) [ "$warned" -gt 0 ] || { echo "changed: no warning"; exit 1; } ;;
  esac
done
