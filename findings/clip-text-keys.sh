#!/usr/bin/env bash
# A CLIP text encoder made and saved by transformers 5 opens in transformers 4 with every weight random.
#
# Expected: `save_pretrained` promises a folder that `from_pretrained` reads again (docstring of
#   PreTrainedModel.save_pretrained), and the folder's config.json and the class name are the same in both versions.
# What happens: transformers 5.23.0 writes the tensors of a CLIPTextModel that was made there without the prefix `text_model.`.
#   transformers 4.57.6 then finds none of them, draws all of them at random and only logs a warning: no error, and another
#   text encoder at each opening. An encoder that 5.23.0 itself read from an old file is saved under the old names again, so
#   the class, the config and the version do not tell which of the two kinds a folder is.
# Versions: transformers 5.23.0 (writes), 4.57.6 (reads), torch 2.13.0.
# Why it matters here: latent text-to-image models keep their text encoder in such a folder. With random text weights sampling
#   and score distillation still run, and give pictures that have nothing to do with the prompt.
# What to do instead: open with `output_loading_info=True` and refuse a folder with missing keys; for readers of transformers 4,
#   put the prefix back in the file.
set -euo pipefail
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 5.23.0 4.57.6; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 "transformers==$version"
done

"$work/5.23.0/bin/python" - "$work" <<'PY'
import sys
import torch
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel

work = sys.argv[1]
torch.manual_seed(0)
sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, max_position_embeddings=4)
model = CLIPTextModel(CLIPTextConfig(vocab_size=16, bos_token_id=14, eos_token_id=15, **sizes)).eval()
model.save_pretrained(f"{work}/text_encoder")
with safe_open(f"{work}/text_encoder/model.safetensors", "pt") as file:
    names = sorted(file.keys())
torch.save(model(torch.tensor([[14, 2, 3, 15]])).last_hidden_state.detach(), f"{work}/embedding.pt")
print(f"5.23.0 wrote {len(names)} tensors, the first is {names[0]}")
if len(names) != 20 or names[0] != "embeddings.position_embedding.weight":
    sys.exit(f"changed: transformers 5.23.0 wrote {names}")
PY

"$work/4.57.6/bin/python" - "$work" <<'PY'
import sys
import torch
from transformers import CLIPTextModel

work = sys.argv[1]
written = torch.load(f"{work}/embedding.pt")
embeddings = []
for _ in range(2):
    model, info = CLIPTextModel.from_pretrained(f"{work}/text_encoder", output_loading_info=True)
    embeddings.append(model.eval()(torch.tensor([[14, 2, 3, 15]])).last_hidden_state.detach())
weights = len(list(model.parameters()))
errors = [(a - b).abs().max().item() for a, b in ((embeddings[0], written), (embeddings[1], written), embeddings)]
print(f"4.57.6 drew {len(info['missing_keys'])} of {weights} weights at random and raised nothing")
print("largest difference of an embedding: {:.2f} and {:.2f} to the written one, {:.2f} between two openings".format(*errors))
if len(info["missing_keys"]) != weights or min(errors) < 0.1:
    sys.exit(f"changed: {len(info['missing_keys'])} of {weights} weights missing, differences {errors}")
PY

"$work/4.57.6/bin/python" - "$work" <<'PY'
import sys
from transformers import CLIPTextModel

CLIPTextModel.from_pretrained(f"{sys.argv[1]}/text_encoder").save_pretrained(f"{sys.argv[1]}/old")
PY
"$work/5.23.0/bin/python" - "$work" <<'PY'
import sys
from safetensors import safe_open
from transformers import CLIPTextModel

CLIPTextModel.from_pretrained(f"{sys.argv[1]}/old").save_pretrained(f"{sys.argv[1]}/again")
with safe_open(f"{sys.argv[1]}/again/model.safetensors", "pt") as file:
    names = sorted(file.keys())
print(f"5.23.0 reading an old folder and saving it wrote {names[0]}")
if not all(name.startswith("text_model.") for name in names):
    sys.exit(f"changed: transformers 5.23.0 saved an old folder as {names}")
PY
