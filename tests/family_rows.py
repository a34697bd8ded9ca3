"""Our sampling beside the pipeline's own, for every family of checkpoints, on tiny pipelines with random weights.

    python tests/family_rows.py        writes results/pipelines/families.csv and .txt

The pipeline's call, with its own defaults but for the guidance scale and ten steps, from the same first latents. What is
allowed is float32: its unit roundoff times what the pipeline's own path makes of errors in its states, measured on the spot,
times ROUNDINGS. In the planted column a convention of ours is broken: it must be far beyond.
"""

import inspect
import sys
import tempfile
import warnings
from functools import cache, wraps
from pathlib import Path
from typing import Any

import diffusers
import pandas as pd
import pytest
import torch
from families import Family, families
from torch import Tensor

import sdi_bench as sb
from sdi_bench.draws import PhiloxDraws, Purpose
from sdi_bench.models import DiffusersFolder
from sdi_bench.predictor import Cost
from sdi_bench.sampling import Job

diffusers.utils.logging.set_verbosity_error()
U32 = 2.0**-24
NUDGE = 2.0**-14
"""Relative to the largest value of a state; well above float32's own rounding, so that growth is seen and not rounding."""
ROUNDINGS = 50
"""Of a state and its prediction per step, in both: some tens of operations, and a network's answer to other last bits."""

HOME = tempfile.TemporaryDirectory(prefix="families-")


@cache
def opened(family: Family) -> DiffusersFolder:
    """Its tiny pipeline, saved and opened."""
    folder = Path(HOME.name) / family.name.replace("/", "-")
    family.make().save_pretrained(folder)
    return DiffusersFolder.of(folder, **family.settings)


def ours(family: Family, gamma: float) -> Tensor:
    """The last latents."""
    model = opened(family)
    model.forget() if hasattr(model, "forget") else None
    job = Job(model, family.sampler(sb.Guidance(gamma)), model.schedule)
    job.check(family.items)
    *_, last = job.states(family.items, Cost())
    return job.left(last)


def theirs(family: Family, gamma: float, nudge: float = 0.0) -> Tensor:
    """The last latents of the pipeline's own call."""
    return called(family, gamma, nudge, "latent")[0]


def called(family: Family, gamma: float, nudge: float, output: str) -> tuple[Tensor, Any]:
    """(the last latents of the pipeline's own call, its images).

    nudge: every state is moved by so much of its largest value, signs at random. output: as the call's output_type.
    """
    model = opened(family)
    pipe = family.pipe(model)
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    kept, pipe.scheduler = pipe.scheduler, scheduler
    pipe.set_progress_bar_config(disable=True)
    draws = PhiloxDraws(family.items)
    x = draws.normal(Purpose.INIT, 0, model.shape)
    if float(getattr(scheduler, "init_noise_sigma", 1.0)) == 1:  # by another the call multiplies
        x = sb.Own(family.n).levels(model.schedule)[0].b * x
    x = family.pack(model, x.float())
    noises = [draws.normal(Purpose.KAPPA, k, (1, *model.shape)).mean(1).float() for k in range(1, family.n)]
    noises = [family.pack(model, noise) for noise in [*noises, 0 * noises[0]]]
    signs = torch.Generator().manual_seed(0)
    states: list[Tensor] = []
    step = scheduler.step

    @wraps(step)
    def moved(*args: Any, **more: Any) -> Any:
        out = step(*args, **{**more, "return_dict": True})
        sign = torch.randint(0, 2, out.prev_sample.shape, generator=signs) * 2 - 1
        out.prev_sample = out.prev_sample + nudge * sign * out.prev_sample.abs().max()
        states.append(out.prev_sample)
        return out if more.get("return_dict", True) else out.to_tuple()

    scheduler.step = moved
    asked = inspect.signature(type(pipe).__call__).parameters
    try:
        told: dict[str, Any] = {"prompt": [str(item.prompt) for item in family.items]} if "prompt" in asked else {}
        told |= {"latents": x} if "latents" in asked else {}
        size = {name: getattr(model.wanted, name) for name in ("height", "width") if getattr(model.wanted, name) is not None}
        options = {"num_inference_steps": family.n, "output_type": output, **told, **size, **family.call(gamma)}
        with warnings.catch_warnings(), torch.no_grad(), pytest.MonkeyPatch.context() as patch:
            warnings.simplefilter("ignore")
            drawn = "randn_tensor"  # where the scheduler draws noise, and calls that take no latents their first ones
            patch.setattr(sys.modules[type(scheduler).__module__], drawn, lambda *args, **more: noises.pop(0), raising=False)
            if "latents" not in asked:
                patch.setattr(sys.modules[type(pipe).__module__], drawn, lambda *args, **more: x)
            images = pipe(**options).images
            images = family.shown(images) if output == "pt" else images
    finally:
        pipe.scheduler = kept
    return family.unpack(model, states[-1]).double(), images


def row(family: Family, gamma: float) -> dict[str, Any]:
    """One line of the table; deviations are of the largest value of the pipeline's last latents."""
    want, *others = (theirs(family, gamma, share * NUDGE) for share in (0.0, 1.0, -1.0))
    size = float(want.abs().max())

    def gap(found: Tensor) -> float:
        return float((found - want).abs().max()) / size

    allowed = ROUNDINGS * U32 * max(map(gap, others)) / NUDGE
    deviation = gap(ours(family, gamma))
    with pytest.MonkeyPatch.context() as patch:
        family.plant(patch)
        planted = gap(ours(family, gamma))
    model = opened(family)
    return {
        "family": family.name,
        "pipeline": type(model.pipe).__name__,
        "scheduler": type(model.pipe.scheduler).__name__,
        "gamma": gamma,
        "deviation": deviation,
        "tolerance": allowed,
        "margin": allowed / deviation if deviation else float("inf"),
        "planted": family.why,
        "planted deviation": planted,
    }


def is_red(line: dict[str, Any]) -> bool:
    """Is it not what the pipeline does, or does it not see the planted bug?"""
    return not (line["deviation"] <= line["tolerance"] and line["planted deviation"] > 3 * line["tolerance"])


def page(table: pd.DataFrame) -> str:
    """The table to read."""
    lines = [
        f"{'family':24}{'gamma':>6} {'deviation':>10} {'tolerance':>10} {'margin':>7} {'planted':>8}  planted: what is broken"
    ]
    for one in table.to_dict("records"):
        lines.append(
            f"{one['family']:24}{one['gamma']:6g} {one['deviation']:10.1e} {one['tolerance']:10.1e} {one['margin']:7.3g} "
            f"{one['planted deviation']:8.1e}  {one['planted']}"
        )
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Write the table. Exit status 1 if a row is red."""
    rows = [row(family, gamma) for family in families() for gamma in family.gammas]
    table = pd.DataFrame(rows)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "families.csv", index=False, float_format="%.3g")
    bad = sum(map(is_red, rows))
    text = f"{page(table)}\n\n{len(table)} rows of {table['family'].nunique()} families, {bad} of them red\n"
    (folder / "families.txt").write_text(f"{__doc__}\n{text}")
    print(text)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main(Path(__file__).parents[1] / "results" / "pipelines")
