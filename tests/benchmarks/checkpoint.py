"""What a checkpoint's pictures cost: ddim, sds and sdi beside bare calls of its network.

    python tests/benchmarks/checkpoint.py --made tiny-sdxl                      tiny, with random weights made on the spot
    python tests/benchmarks/checkpoint.py --made sd21 --dtype bfloat16          as large as Stable Diffusion 2.1, random weights
    python tests/benchmarks/checkpoint.py --path CHECKPOINT --device cuda --dtype bfloat16 --batch 1 8 32 --compile

A run and as many bare calls of the network, with the inputs of that run, alternate; times are those of the fastest of the
rounds and end with the device's work. `outside` is the time of a call that is not the network's, without what a batch costs
once (its text); on a GPU it hides behind the network's as long as the device has work. `memory`: the most that the process held
(of a GPU: that PyTorch held there) and the weights.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import sdi_bench as sb
from sdi_bench.draws import items_of
from sdi_bench.models import DiffusersFolder
from sdi_bench.predictor import Cost
from sdi_bench.samplers import Sampler
from sdi_bench.sampling import Job

SAMPLERS: dict[str, Callable[[int], Sampler]] = {
    "ddim": lambda n: sb.Ddim(sb.UniformT(n), sb.Guidance(7.5)),
    "sds": lambda n: sb.Distillation(sb.Annealed(sb.UniformT(n, t_max=0.97)), sb.Fresh(), sb.Guidance(7.5)),
    "sdi": lambda n: sb.Distillation(sb.Annealed(sb.UniformT(n, t_max=0.97)), sb.Inversion(), sb.Guidance(7.5)),
}


def sd21(dtype: torch.dtype) -> Any:
    """A pipeline of the sizes of Stable Diffusion 2.1 (its config.json), but for its text encoder and codec, which are tiny."""
    import tiny_pipelines
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    sizes = {"block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024}
    torch.set_default_dtype(dtype)
    unet = UNet2DConditionModel(sample_size=64, use_linear_projection=True, **sizes)
    torch.set_default_dtype(torch.float32)
    from transformers import CLIPTextConfig, CLIPTextModel

    ends = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    text = {"hidden_size": 1024, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    more = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return StableDiffusionPipeline(
        vae=tiny_pipelines.vae(),
        text_encoder=CLIPTextModel(CLIPTextConfig(vocab_size=514, **text, **ends)),
        tokenizer=tiny_pipelines.tokenizer(),
        unet=unet.eval(),
        scheduler=DDIMScheduler(**tiny_pipelines.TABLE),
        **more,
    )


def made(name: str, folder: Path, dtype: torch.dtype) -> Path:
    """A pipeline made on the spot, as a folder."""
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import tiny_pipelines

    pipe = sd21(dtype) if name == "sd21" else tiny_pipelines.MAKERS[name.removeprefix("tiny-")]()
    pipe.save_pretrained(folder)
    return folder


class Watched:
    """A network whose calls are timed; their inputs are kept."""

    def __init__(self, network: Any, wait: Callable[[], None]) -> None:
        self.real, self.wait = network.forward, wait
        self.seconds, self.calls = 0.0, []
        network.forward = self

    def __call__(self, *args: Any, **more: Any) -> Any:
        self.wait()
        began = time.perf_counter()
        out = self.real(*args, **more)
        self.wait()
        self.seconds += time.perf_counter() - began
        self.calls.append((args, more))
        return out


def measured(model: Any, name: str, n: int, batch: int, rounds: int, device: str) -> tuple[int, float, float, float]:
    """(calls, seconds of a run, of bare calls, of a call without its network's)."""
    items = items_of(["a cat"], range(batch))

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    def run(n: int) -> float:
        job = Job(model, SAMPLERS[name](n), model.schedule, device)
        wait()
        began = time.perf_counter()
        for _ in job.states(items, Cost()):
            pass
        wait()
        return time.perf_counter() - began

    run(n)  # texts, kernels
    real, outside, kept = model.network.forward, {}, []
    for levels in (n, 3 * n):
        for _ in range(rounds):
            watched = Watched(model.network, wait)
            spent = run(levels) - watched.seconds
            model.network.forward = real
            calls, least = len(watched.calls), outside.get(levels, (0, float("inf")))[1]
            outside[levels] = calls, min(least, spent)
        kept = watched.calls if levels == n else kept
    runs, bare = [], []
    for _ in range(rounds):
        runs.append(run(n))
        wait()
        began = time.perf_counter()
        with torch.no_grad():
            for args, more in kept:
                model.network(*args, **more)
        wait()
        bare.append(time.perf_counter() - began)
    (few, short), (many, long) = outside.values()
    return len(kept), min(runs), min(bare), (long - short) / (many - few)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--path", type=Path, help="a diffusers folder")
    which.add_argument("--made", choices=["tiny-sd", "tiny-sdxl", "tiny-sd3", "sd21"], help="random weights, made on the spot")
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--levels", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    said = parser.parse_args()
    print(f"{'':6}{'dtype':>10}{'batch':>6}{'calls':>6}{'run, s':>9}{'bare, s':>9}{'ratio':>7}{'outside a call, ms':>20}"
          f"{'images a minute':>17}")  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        for dtype in said.dtype:
            folder = said.path or made(said.made, Path(place) / f"{said.made}-{dtype}", getattr(torch, dtype))
            model = DiffusersFolder.of(folder, dtype, said.device)
            if said.compile:
                model.network.forward = torch.compile(model.network.forward)
            for batch in said.batch:
                for name in said.samplers:
                    calls, run, bare, outside = measured(model, name, said.levels, batch, said.rounds, said.device)
                    print(f"{name:6}{dtype:>10}{batch:6}{calls:6}{run:9.3f}{bare:9.3f}{run / bare:7.3f}"
                          f"{1e3 * outside:20.3f}{60 * batch / run:17.2f}", flush=True)  # fmt: skip
            weights = sum(p.numel() * p.element_size() for p in model.network.parameters()) / 2**20
            held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            if said.device.startswith("cuda"):
                held = torch.cuda.max_memory_allocated() / 2**20
            print(f"memory: {held:.0f} MB at most, weights of the network {weights:.0f} MB")


if __name__ == "__main__":
    main()
