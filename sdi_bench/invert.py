"""python -m sdi_bench.invert: image -> noise -> image by DDIM inversion, and the error of the round trip.

  python -m sdi_bench.invert                                                        DDIM samples of the digits
  python -m sdi_bench.invert model=builtin prompt="owl, noto emoji" guidance.scale=3 inversion_scale=-3
  python -m sdi_bench.invert model=builtin image=mine.png prompt="a red sofa, side view" grid.n_levels=200

The errors are printed; arrays and a picture go to results/invert, unless output=FOLDER says where.
"""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from . import helps, pictures, require
from .command_line import conf_dir
from .compare import cell, clustering, distance, framed
from .draws import Item, PhiloxDraws, Purpose
from .explain import explain
from .guidance import gamma_said
from .measuring import Clusters, clustered
from .models import OwnSchedule
from .models.base import HasCodec, images_of
from .picture_files import of_shape, read
from .plans import built, parse_prompts, parse_seeds
from .predictor import Predictor
from .provenance import provenance
from .run import stoppable, warn_as
from .samplers import Ddim
from .samplers.ddim import round_trip
from .store import RunFolder, writable
from .words import quoted


def read_image(path: str, shape: tuple[int, ...]) -> Tensor:
    """A picture as [1, channels, height, width] in [-1, 1]. Raises ValueError, naming the field, if it does not fit."""
    try:
        pixels, remarks = read(Path(path))
    except ValueError as error:
        raise ValueError(f"image={path!r}: not a readable picture ({error})") from error
    fitting = of_shape(pixels, shape, f"image={path!r}")
    for remark in remarks:
        warnings.warn(f"image={path!r}: is {remark}", stacklevel=2)
    return torch.from_numpy(fitting.copy())[None]


def run(argv: Sequence[str]) -> None:
    """Compose, check, invert, show. Raises ValueError, naming the field, for bad input."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg: dict = OmegaConf.to_container(compose("invert", quoted(argv)), resolve=True)  # type: ignore[assignment]
    model, schedule, grid, guidance = (built(cfg[key]) for key in ("model", "schedule", "grid", "guidance"))
    schedule = schedule.of(model) if isinstance(schedule, OwnSchedule) else schedule
    require.number("inversion_scale", cfg["inversion_scale"])
    sampler = Ddim(grid, guidance)
    sampler.check(model, schedule)
    prompts = parse_prompts(cfg["prompt"], None, model.prompts)
    items = [Item(prompt, seed) for seed in parse_seeds(cfg["seeds"]) for prompt in prompts]
    for prompt in {*prompts, guidance.negative}:
        model.check_prompt(prompt)
    folder = Path(cfg["output"])
    writable(folder, "output")
    if cfg["image"] is not None:
        if len(prompts) != 1:
            raise ValueError(f'prompt={cfg["prompt"]!r}: say what the image shows, one prompt (or "")')
        items = [Item(prompts[0], 0)]
        latent = isinstance(model, HasCodec)
        source = read_image(cfg["image"], model.image_shape if latent else model.shape).to(cfg["device"])
        source = model.encode(source) if latent else source
    draws = PhiloxDraws(tuple(items), cfg["device"])
    net = Predictor(model, schedule, guidance, tuple(item.prompt for item in items), cfg["device"])
    if cfg["image"] is None:
        with torch.no_grad():
            *_, last = sampler.sample(net, draws)
        source = last.x0
    trip = round_trip(net, source, grid.levels(schedule), cfg["inversion_scale"])
    trip = trip._replace(source=images_of(model, trip.source), back=images_of(model, trip.back))
    arrays = {name: value.cpu().numpy() for name, value in trip._asdict().items()}
    show(arrays, items, clustered(items, model), draws, cfg, folder)
    RunFolder(folder).write_json("round_trip.provenance.json", provenance("sdi_bench.invert", argv))


def show(
    arrays: dict[str, np.ndarray], items: Sequence[Item], clusters: Clusters, draws: PhiloxDraws, cfg: dict, folder: Path
) -> None:
    """The table on the terminal; arrays and picture in the folder."""
    source, noise, back = arrays["source"], arrays["noise"], arrays["back"]
    gaps = np.sqrt(np.square(back - source).reshape(len(items), -1).mean(axis=1))
    whole = distance(back, source, clusters)
    low, high = whole.get("low", np.nan), whole.get("high", np.nan)
    mean = cell(whole["point"], low, high) if np.isfinite(high - low) else f"{gaps.mean():.3g}"
    print(f"n {len(items)}, gamma {gamma_said(cfg['guidance']):g} down, {cfg['inversion_scale']:g} up")
    print(f"round trip, rms pixel difference   mean {mean}   largest {gaps.max():.3g}")
    print(f"noise found                        mean {noise.mean():.3f}   std {noise.std():.3f}   (white noise: 0, 1)")
    if cfg["image"] is None:
        drawn = draws.normal(Purpose.INIT, 0, noise.shape[1:]).cpu().numpy()
        print(f"correlation with the noise the images came from   {np.corrcoef(noise.ravel(), drawn.ravel())[0, 1]:.3f}")
    print(*clustering(framed([{"measure": "round trip"} | whole])), sep="\n")
    RunFolder(folder).write_arrays("round_trip.npz", **arrays)
    rows = [pictures.name_of(item) for item in items][:8]
    few = {"image": source[:8], "noise / 2": noise[:8] / 2, "back": back[:8]} if source.ndim == 4 else arrays
    pictures.side_by_side(folder / "round_trip.png", few, rows, "image, noise found, image made from it")
    print("written:", folder / "round_trip.npz", folder / "round_trip.png", sep="\n  ")


def main() -> None:
    """Exit status 2 for bad input."""
    argv = sys.argv[1:]
    warn_as("sdi_bench.invert")
    if helps.asks(argv):
        named = [word for word in argv if word in helps.OF["invert"]]
        page = f"{helps.page(__doc__, 'invert')}\n\nSettings (conf/invert.yaml):\n\n{(conf_dir() / 'invert.yaml').read_text()}"
        print(helps.about(named, "invert") if named else page)
        return
    try:
        run(argv)
    except (ValueError, HydraException, OmegaConfBaseException) as error:
        print(f"sdi_bench.invert: {explain(error, argv, 'invert')}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    stoppable(main, "sdi_bench.invert")
