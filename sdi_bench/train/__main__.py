"""python -m sdi_bench.train: train a prior, save it as a folder that diffusers opens.

  python -m sdi_bench.train                                   64 x 64, everything: for a GPU
  python -m sdi_bench.train recipe=small minutes=30           32 x 32, furniture; the same command goes on where it stopped
  python -m sdi_bench.train recipe=tiny folder=trial device=cpu

The same command goes on where it was stopped.
"""

import sys
import time
from pathlib import Path

import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .. import helps, require
from ..command_line import conf_dir
from ..explain import explain
from ..models.trained import RECIPE
from ..plans import built
from ..provenance import keep, provenance
from ..run import stoppable
from ..store import writable
from ..texts import near_match
from ..words import quoted

SETTINGS = ("recipe", "folder", "device", "minutes")


def main() -> None:
    """Check, train, save. Exit status 2 for bad input, 3 where the time was up, 1 where the loss was not finite."""
    argv = sys.argv[1:]
    if helps.asks(argv):
        page = f"{helps.page(__doc__, 'train')}\n\nSettings (conf/train.yaml):\n\n{(conf_dir() / 'train.yaml').read_text()}"
        print(helps.about(["recipe"], "train") if "recipe" in argv else page)
        return
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = compose("train", quoted(argv), return_hydra_config=True)
        for word in argv:
            key = word.lstrip("+").split("=")[0].split(".")[0]
            if key not in SETTINGS:
                raise ValueError(f"{key}: no such setting; {near_match(key, SETTINGS)}")
        plain = OmegaConf.to_container(cfg.recipe, resolve=True)
        recipe = built(plain)
        device = cfg.device or ("cuda" if torch.cuda.is_available() else "cpu")
        if cfg.minutes is not None:
            require.number("minutes", cfg.minutes, above=0)
        folder = Path(cfg.folder or Path("trained") / cfg.hydra.runtime.choices.recipe)
        writable(folder, "folder")
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, TypeError) as error:
            raise ValueError(f"device={device!r}: not to be had here") from error
        told = folder / RECIPE
        said = yaml.safe_dump(plain, sort_keys=False, width=120, default_flow_style=None)
        if told.exists() and yaml.safe_load(told.read_text()) != plain:
            raise ValueError(f"folder={str(folder)!r}: holds a training by another recipe; give another folder, or remove it")
        told.write_text(said)
        keep(folder, provenance("sdi_bench.train", argv))
    except (ValueError, HydraException, OmegaConfBaseException) as error:
        print(f"sdi_bench.train: {explain(error, argv, 'train')}", file=sys.stderr)
        sys.exit(2)

    from . import parts, stages  # diffusers is slow to import
    from .fit import OutOfTimeError

    until = float("inf") if cfg.minutes is None else time.monotonic() + 60 * cfg.minutes
    try:
        codec = stages.train_codec(recipe, folder, device, until)
        pipe = stages.train_denoiser(recipe, codec, folder, device, until)
    except OutOfTimeError:
        print(f"the time is up; the same command goes on from {folder}")
        sys.exit(3)
    except FloatingPointError as error:
        print(
            f"sdi_bench.train: {error}; a lower recipe.train_denoiser.rate or recipe.train_codec.rate may do", file=sys.stderr
        )
        sys.exit(1)
    parts.save(pipe, folder / "pipeline")
    (folder / "pipeline" / RECIPE).write_text(said)
    print(f"written: {folder / 'pipeline'}\nto measure it: python -m sdi_bench.train.card {folder}")


if __name__ == "__main__":
    stoppable(main, "sdi_bench.train")
