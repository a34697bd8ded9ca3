#!/usr/bin/env bash
# With several pictures per prompt, Sana, HunyuanDiT and Lumina 2 give the prompts' embeddings and their masks in other orders.
#
# Expected: docstrings: `num_images_per_prompt` is the "number of images that should be generated per prompt", and the mask is
#   the "attention mask for text embeddings", so that row i of the one belongs to row i of the other. PixArt-Sigma's does.
# What happens: of prompts 0 and 1, two pictures each, the embeddings come as 0 0 1 1 and the masks as 0 1 0 1. The second
#   picture of prompt 0 is masked as prompt 1 is, and the first of prompt 1 as prompt 0: one looks at padding, of the other the
#   end of the prompt is cut off. One prompt, one picture per prompt, or prompts of the same number of tokens are not affected.
#   Known upstream for other pipelines (diffusers issue 13634 for Lumina, pull request 14147 for Qwen-Image).
# Versions: diffusers 0.42.1, transformers 5.23.0, torch 2.13.0.
# Why it matters here: many pictures of each of many prompts are what prompt adherence and diversity are measured on; of two
#   prompts with two pictures each, two are made from another conditioning than is recorded, and nothing fails.
# What to do instead: repeat the prompts, `[p for p in prompts for _ in range(n)]`, and leave num_images_per_prompt at 1.
set -euo pipefail
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 diffusers==0.42.1 transformers==5.23.0

"$work/venv/bin/python" - <<'PY'
import sys
from string import ascii_lowercase
import torch
from diffusers import HunyuanDiTPipeline, Lumina2Pipeline, PixArtSigmaPipeline, SanaPipeline
from transformers import BertConfig, BertModel, BertTokenizer, Gemma2Config, Gemma2Model, GemmaTokenizer
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

torch.manual_seed(0)
words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *ascii_lowercase]
sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
gemma = dict(
    tokenizer=GemmaTokenizer({word: i for i, word in enumerate(words)}, []),
    text_encoder=Gemma2Model(Gemma2Config(vocab_size=len(words), **sizes, num_key_value_heads=1, head_dim=8)).eval(),
)
pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -1.0) for letter in "▁" + ascii_lowercase)]
t5 = T5EncoderModel(T5Config(vocab_size=len(pieces), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)).eval()
letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ascii_lowercase, *("##" + letter for letter in ascii_lowercase)]
bert = BertModel(BertConfig(vocab_size=len(letters), **sizes)).eval()
rest = dict(vae=None, transformer=None, scheduler=None)  # only the text is encoded
pipes = {
    "PixArt-Sigma": PixArtSigmaPipeline(tokenizer=T5TokenizerFast(pieces, extra_ids=0), text_encoder=t5, **rest),
    "Sana": SanaPipeline(**gemma, **rest),
    "Lumina 2": Lumina2Pipeline(**gemma, **rest),
    "HunyuanDiT": HunyuanDiTPipeline(
        tokenizer=BertTokenizer({letter: i for i, letter in enumerate(letters)}),
        text_encoder=bert,
        **rest,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ),
}
prompts = ["cat", "two large dogs"]
expected = {name: ([0, 0, 1, 1], [0, 1, 0, 1]) for name in pipes} | {"PixArt-Sigma": ([0, 0, 1, 1], [0, 0, 1, 1])}


def encoded(name, prompt, n):
    """Embeddings and masks."""
    length = 77 if name == "HunyuanDiT" else 300
    settings = dict(do_classifier_free_guidance=False, max_sequence_length=length)
    found = pipes[name].encode_prompt(prompt, num_images_per_prompt=n, device=torch.device("cpu"), **settings)
    return (found[0], found[2]) if name == "HunyuanDiT" else found[:2]


with torch.no_grad():
    for name in pipes:
        single = encoded(name, prompts, 1)
        seen = tuple(
            [min((0, 1), key=lambda i: (row - alone[i]).abs().max().item()) for row in rows]
            for rows, alone in zip(encoded(name, prompts, 2), single)
        )
        tokens = single[1].sum(-1).tolist()
        print(f"{name:12}: prompts of {tokens} tokens; embeddings are of prompts {seen[0]}, masks of prompts {seen[1]}")
        if tokens[0] >= tokens[1] or seen != expected[name]:
            sys.exit(f"changed: {name} gave {seen} for prompts of {tokens} tokens")
PY
