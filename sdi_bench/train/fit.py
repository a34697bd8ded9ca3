"""The loop: AdamW, an average of the weights, snapshots. What a step draws depends on its number alone, so a run that was
stopped goes on as if it had not been: on a CPU with as many threads, to the last bit.
"""

import csv
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .recipe import Training

LOGGED = 50
"""Steps of which the mean loss is a line of the log."""

SNAPSHOT = 120.0
"""Seconds between two snapshots."""


class OutOfTimeError(Exception):
    """The time was up; the next run goes on from the snapshot."""


def generator_of(step: int, purpose: int, device: str) -> torch.Generator:
    """The draws of a step."""
    return torch.Generator(device).manual_seed(step * 16 + purpose)


@contextmanager
def averaged(module: nn.Module, mean: dict[str, Tensor]) -> Iterator[None]:
    """Inside, the module has its averaged weights."""
    own = {key: value.clone() for key, value in module.state_dict().items()}
    module.load_state_dict(mean)
    module.eval()
    try:
        yield
    finally:
        module.load_state_dict(own)
        module.train()


def fit(
    module: nn.Module,
    loss: Callable[[int], Tensor],
    settings: Training,
    folder: Path,
    name: str,
    device: str,
    until: float = float("inf"),
    show: Callable[[int], dict[str, float]] | None = None,
) -> None:
    """Minimise loss(step) and leave the averaged weights in the module.

    folder: of the snapshot <name>.pt and the log <name>.csv (samples, loss, seconds, and what `show` measures on the averaged
    weights at each snapshot). until: time.monotonic() at which to stop. Raises OutOfTimeError then, and FloatingPointError if
    the loss is not finite.
    """
    snapshot, log = folder / f"{name}.pt", folder / f"{name}.csv"
    optimizer = torch.optim.AdamW(module.parameters(), settings.rate, (0.9, 0.99), weight_decay=settings.decay, fused=True)
    mean = deepcopy(module.state_dict())
    first, spent, rows = 0, 0.0, list[dict[str, float]]()
    if snapshot.exists():
        kept: dict[str, Any] = torch.load(snapshot, map_location=device, weights_only=True)
        module.load_state_dict(kept["module"])
        optimizer.load_state_dict(kept["optimizer"])
        mean, first, spent, rows = kept["mean"], kept["step"], kept["seconds"], kept["rows"]
    module.train()
    began = saved = time.monotonic()
    losses: list[Tensor] = []

    def keep(step: int) -> None:
        with averaged(module, mean):
            found = show(step) if show is not None else {}
        if rows:
            rows[-1] |= found
        state: dict[str, Any] = {"module": module.state_dict(), "mean": mean, "optimizer": optimizer.state_dict()}
        state |= {"step": step, "seconds": spent + time.monotonic() - began, "rows": rows}
        torch.save(state, snapshot.with_suffix(".new"))
        snapshot.with_suffix(".new").replace(snapshot)
        write_log(log, rows)

    with tqdm(
        total=settings.n_steps * settings.batch, initial=first * settings.batch, desc=name, unit="img", mininterval=1.0
    ) as bar:
        for step in range(first, settings.n_steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.rate_at(step)
            with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=settings.dtype == "bfloat16"):
                value = loss(step)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            decay = min(settings.ema, (1 + step) / (10 + step))
            weights = module.state_dict()
            with torch.no_grad():
                torch._foreach_lerp_(list(mean.values()), [weights[key] for key in mean], 1 - decay)
            losses.append(value.detach())
            if len(losses) == LOGGED or step == settings.n_steps - 1:
                level = float(torch.stack(losses).mean())
                if not math.isfinite(level):
                    raise FloatingPointError(f"{name}: the loss is not finite after {step * settings.batch} pictures")
                seconds = spent + time.monotonic() - began
                rows.append({"samples": (step + 1) * settings.batch, "loss": level, "seconds": seconds})
                bar.set_postfix(loss=f"{level:.4f}")
                losses.clear()
                if time.monotonic() - saved > SNAPSHOT or time.monotonic() > until or step == settings.n_steps - 1:
                    keep(step + 1)
                    saved = time.monotonic()
                    if saved > until and step < settings.n_steps - 1:
                        raise OutOfTimeError
            bar.update(settings.batch)
    module.load_state_dict(mean)
    module.eval().requires_grad_(False)


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """The log as csv; columns that some lines lack are empty there."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)
