"""The trained folder that ships, opened by other releases of diffusers and transformers. Not a test: run it by hand.

    python tests/benchmarks/releases.py FOLDER

Makes a virtual environment there for each row (1 GB each, from the package index) and opens the folder in it without sdi_bench.
A row says how many weights are not what the folder's files hold, whether the tokens are ours, and how far what the text
encoder, the pipeline's DDIM (10 steps, guidance 3, from our noise) and the codec give is from what sdi_bench gives, over the
largest value. Exit status 1 if a weight, a token or a number differs.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROWS = (
    ("diffusers==0.30.0", "transformers==4.44.2", "huggingface_hub==0.25.2"),
    ("diffusers==0.35.2", "transformers==4.57.6", "huggingface_hub==0.36.2"),
    ("diffusers==0.39.0", "transformers==4.57.6", "huggingface_hub==0.36.2"),
    ("diffusers==0.42.1", "transformers==5.23.0", "huggingface_hub==2.4.0"),
)
PROMPTS = ["a gray chair, side view", "Two  green PLANTS, 315 degrees", "", "a café's sofa & 12 lamps; " * 6]
N, SCALE = 10, 3.0
MEASURED = ("hidden", "latents", "decoded")
TOLERANCE = 1e-5
"""Of the largest value. Rounding to float32, 6e-8, grows to 8e-7 over the ten steps; the smallest fault that was met, a last
step that ends at the table's first entry, makes 1.6e-2.
"""


def tokens_of(pipe: Any) -> np.ndarray:
    """As the pipeline asks for them."""
    asked = {"padding": "max_length", "max_length": pipe.tokenizer.model_max_length, "truncation": True}
    return np.array(pipe.tokenizer(PROMPTS, **asked).input_ids)


def ours() -> dict[str, np.ndarray]:
    """What sdi_bench gives, and the noise that it started from."""
    from sdi_bench import Ddim, Guidance, Leading
    from sdi_bench.draws import PhiloxDraws, Purpose, items_of
    from sdi_bench.models.trained import trained
    from sdi_bench.predictor import Cost
    from sdi_bench.sampling import Job

    model, sampler = trained(), Ddim(Leading(N, offset=1), Guidance(SCALE))
    items = items_of(PROMPTS, [0])
    *_, last = Job(model, sampler, model.schedule).states(items, Cost())
    noise = sampler.grid.levels(model.schedule)[0].b * PhiloxDraws(items).normal(Purpose.INIT, 0, model.shape)
    hidden = torch.cat([model.encode_text(prompt)[0] for prompt in PROMPTS])
    found = {"noise": noise.float(), "hidden": hidden, "latents": last.x0, "decoded": model.decode(last.x0)}
    return {name: value.numpy() for name, value in found.items()} | {"tokens": tokens_of(model.pipe)}


@torch.no_grad()
def probe(folder: Path, given: Path, written: Path) -> None:
    """What this environment's libraries give."""
    from diffusers import StableDiffusionPipeline
    from safetensors.torch import load_file

    want = np.load(given)
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False)
    other = 0
    for part in ("text_encoder", "unet", "vae"):
        files = {}
        for path in (folder / part).glob("*.safetensors"):
            files |= {name.removeprefix("text_model."): value for name, value in load_file(path).items()}
        held = {name.removeprefix("text_model."): value for name, value in getattr(pipe, part).named_parameters()}
        other += sum(name not in files or not torch.equal(files[name].to(value.dtype), value) for name, value in held.items())
        other += len(files.keys() - held.keys())
    embeddings = pipe.encode_prompt(PROMPTS, "cpu", 1, False)[0]
    latents = torch.from_numpy(want["noise"])
    asked = {"guidance_scale": SCALE, "num_inference_steps": N, "latents": latents, "output_type": "latent"}
    found = {
        "hidden": embeddings,
        "latents": pipe(PROMPTS, **asked).images,
        "decoded": pipe.vae.decode(torch.from_numpy(want["latents"]).float() / pipe.vae.config.scaling_factor).sample,
    }
    np.savez(written, other=other, tokens=tokens_of(pipe), **{name: value.numpy() for name, value in found.items()})


def row(pins: tuple[str, ...], folder: Path, home: Path) -> tuple[str, bool]:
    """A line of the table, and whether all is well."""
    place = home / "-".join(pins[:2]).replace("==", "-")
    python = place / "bin" / "python"
    if not (place / "whole").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", f"torch=={torch.__version__.split('+')[0]}", *pins], check=True)
        (place / "whole").touch()
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    written = place / "found.npz"
    told = subprocess.run(
        [python, __file__, home, "--folder", folder, "--probe", written], env=alone, stderr=subprocess.PIPE, text=True
    )
    if told.returncode:
        raise RuntimeError(f"{pins}: {told.stderr[-2000:]}")
    want, found = np.load(home / "ours.npz"), np.load(written)
    gaps = {name: float(np.abs(found[name] - want[name]).max() / np.abs(want[name]).max()) for name in MEASURED}
    same = np.array_equal(found["tokens"], want["tokens"])
    cells = [
        *(pin.split("==")[1] for pin in pins),
        str(found["other"]),
        "ours" if same else "others",
        *(f"{gap:.1e}" for gap in gaps.values()),
    ]
    well = found["other"] == 0 and same and max(gaps.values()) <= TOLERANCE
    return f"| {' | '.join(cells)} | {'' if well else 'WRONG'} |", well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="where the environments go")
    parser.add_argument("--folder", type=Path, help="another folder than the one that ships")
    parser.add_argument("--probe", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.probe:
        probe(given.folder, given.home / "ours.npz", given.probe)
        return
    from sdi_bench.data.shipped import HERE

    home, folder = given.home.resolve(), (given.folder or HERE / "trained").resolve()
    home.mkdir(parents=True, exist_ok=True)
    np.savez(home / "ours.npz", **ours())
    columns = ("diffusers", "transformers", "huggingface_hub", "other weights", "tokens", *MEASURED, "")
    print(f"| {' | '.join(columns)} |\n| {' | '.join(['---'] * len(columns))} |")
    all_well = True
    for pins in ROWS:
        line, well = row(pins, folder, home)
        print(line, flush=True)
        all_well &= well
    sys.exit(not all_well)


if __name__ == "__main__":
    main()
