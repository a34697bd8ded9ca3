#!/usr/bin/env bash
# Once a text encoder has been asked for its hidden states, it can no longer be pickled or written by torch.save.
#
# Expected: the argument `output_hidden_states` of a model's forward is documented as whether the hidden states of all layers
#   are returned: it changes what this one call returns. Models can be pickled; PyTorch's tutorial on saving and loading models
#   shows `torch.save(model, path)` for a whole module.
# What happens: the first call with `output_hidden_states=True` puts a forward hook on every layer and on every attention, and
#   leaves them there. The hooks are local functions, which pickle refuses: "Can't pickle local object". Calls without hidden
#   states leave none, and a copy made by copy.deepcopy carries them on. transformers says of its decorator `capture_outputs`
#   that hooks are installed once, at the first request, but not that the model is another object for pickle from then on.
# Versions: transformers 5.23.0, torch 2.13.0.
# Why it matters here: Stable Diffusion XL and 3 ask for hidden states in every encoding of a prompt, Stable Diffusion with
#   `clip_skip`. Such a text encoder can be sent to worker processes before the first picture and not after; and a check of a
#   model by its hooks, or by its pickled bytes, differs between before and after.
# What to do instead: write the state_dict or use `save_pretrained`; send a folder's name to workers, or start them before the
#   first call.
set -euo pipefail
export HF_HUB_OFFLINE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 transformers==5.23.0

"$work/venv/bin/python" - <<'PY'
import copy
import io
import pickle
import sys
import torch
from transformers import CLIPTextConfig, CLIPTextModel

sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=1, max_position_embeddings=4)
model = CLIPTextModel(CLIPTextConfig(vocab_size=16, bos_token_id=14, eos_token_id=15, **sizes)).eval()
tokens = torch.tensor([[14, 2, 3, 15]])


def state(model):
    """Number of forward hooks, and what pickle and torch.save say."""
    said = []
    for write in (pickle.dump, torch.save):
        try:
            write(model, io.BytesIO())
            said.append("written")
        except (AttributeError, pickle.PicklingError) as error:
            said.append(str(error))
    return sum(len(module._forward_hooks) for module in model.modules()), *said


seen = {"made": state(model)}
model(tokens)
seen["after a plain call"] = state(model)
model(tokens, output_hidden_states=True)
seen["after a call for hidden states"] = state(model)
seen["a copy of it"] = state(copy.deepcopy(model))
model(tokens)
seen["after another plain call"] = state(model)
for when, (hooks, pickled, saved) in seen.items():
    print(f"{when}: {hooks} hooks; pickle and torch.save: {pickled if pickled == saved else (pickled, saved)}")
before, after = list(seen.values())[:2], list(seen.values())[2:]
if any(each != (0, "written", "written") for each in before):
    sys.exit(f"changed: before hidden states were asked for: {before}")
if any(hooks != 4 or "local object" not in pickled or "local object" not in saved for hooks, pickled, saved in after):
    sys.exit(f"changed: after hidden states were asked for: {after}")
PY
