"""Wall time of a 50-level run over that of as many bare network calls at the same batch. Not a test: run it by hand.

    python tests/benchmarks/loop_overhead.py

The network is one of diffusers' UNets, or (--network matmul) a stack of float32 matrix products, which leaves nothing of the
interpreter in the caches: the worst case. Both are sized to the milliseconds asked for. Runs and bare calls alternate, pair by
pair, so that a machine whose speed drifts does not decide the ratio; the median of the pairs is what to quote. Where pairs
scatter widely, the time of a run over the time inside the network's calls of that same run says the same with less noise; it
leaves out what the loop does to the network's caches.
"""

import argparse
import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

import sdi_bench as sb
from sdi_bench.bench import LEVELS, SHAPE, stack
from sdi_bench.draws import items_of
from sdi_bench.predictor import Cost
from sdi_bench.samplers import Sampler
from sdi_bench.sampling import Job
from sdi_bench.schedules import scaled_linear

Forward = Callable[[Tensor, Tensor, Sequence[str | None]], Tensor]


def matmul() -> Iterator[Forward]:
    """Ever deeper stacks of matrix products."""
    yield from (stack(int(1.2**k)) for k in itertools.count())


def unet() -> Iterator[Forward]:
    """Ever wider UNets."""
    from diffusers import UNet2DModel

    for width in itertools.count(8, 8):
        model = UNet2DModel(
            sample_size=SHAPE[-1],
            in_channels=SHAPE[0],
            out_channels=SHAPE[0],
            block_out_channels=(width, 2 * width),
            layers_per_block=1,
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        ).eval()
        yield lambda x, t, prompts, model=model: model(x, 1000 * t, return_dict=False)[0]


def network(kind: Callable[[], Iterator[Forward]], milliseconds: float, batch: int) -> sb.Network:
    """The first of a kind that takes as long."""
    x, t = torch.randn(batch, *SHAPE), torch.zeros(batch)
    with torch.no_grad():
        return sb.Network(next(f for f in kind() if seconds(f, x, t, [None] * batch) >= milliseconds / 1000), SHAPE)


def seconds(call: Callable[..., object], *words: object, repeats: int = 5) -> float:
    """The median time of a call."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call(*words)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def ratio(net: sb.Network, sampler: Sampler, batch: int, pairs: int) -> tuple[list[float], list[float]]:
    """Pair by pair: run over bare calls, and run over the time inside its own calls."""
    inside = 0.0

    def timed(x: Tensor, t: Tensor, prompts: Sequence[str | None]) -> Tensor:
        nonlocal inside
        began = time.perf_counter()
        out = forward(x, t, prompts)
        inside += time.perf_counter() - began
        return out

    forward, net = net.forward, dataclasses.replace(net, forward=timed)
    job, items = Job(net, sampler, scaled_linear()), items_of([None], range(batch))
    x, t = torch.randn(batch, *SHAPE), torch.zeros(batch)

    def bare() -> None:
        with torch.no_grad():
            for _ in range(LEVELS):
                forward(x, t, [None] * batch)

    def whole() -> None:
        for _ in job.states(items, Cost()):
            pass

    over_bare, over_inside = [], []
    for _ in range(pairs):
        inside = 0.0
        run = seconds(whole, repeats=1)
        over_bare.append(run / seconds(bare, repeats=1))
        over_inside.append(run / inside)
    return over_bare, over_inside


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=["unet", "matmul"], default="unet")
    parser.add_argument("--ms", type=float, default=5.0, help="time of a network call")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=25)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # waking threads is the noisiest part of a call of milliseconds
    net = network({"unet": unet, "matmul": matmul}[options.network], options.ms, options.batch)
    grid = sb.UniformT(LEVELS)
    x, t = torch.randn(options.batch, *SHAPE), torch.zeros(options.batch)
    with torch.no_grad():
        call = seconds(net.forward, x, t, [None] * options.batch, repeats=50)
    print(f"a bare call takes {1000 * call:.1f} ms at batch {options.batch}, {LEVELS} levels, 1 thread")
    for name, sampler in (("ddim", sb.Ddim(grid)), ("sds", sb.Distillation(sb.Annealed(grid)))):
        both = ratio(net, sampler, options.batch, options.pairs)
        for what, ratios in zip(("bare calls", "its own calls"), both, strict=True):
            low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
            print(f"{name:5s} run / {what}: median {middle:.3f}, from {low:.3f} to {high:.3f} ({len(ratios)} pairs)")


if __name__ == "__main__":
    main()
