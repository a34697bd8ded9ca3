"""TensorBoard, by its own library: a sweep's settings and measures side by side, and its pictures. Extra `tensorboard`."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from .compare import settings_in


def write(folder: Path, frame: pd.DataFrame, runs: Mapping[str, Path]) -> Path:
    """The runs of a table of measures (compare.tidy) as events, those of an earlier table replaced; returns the folder.

    runs: where each is, by its label. A run has its settings as hyperparameters, each measure's point, low and high, network
    rows and seconds an image, and samples.png if there is one.
    """
    from torch.utils.tensorboard import SummaryWriter

    for label, path in runs.items():
        rows = frame[frame["run"] == label]
        first = rows.iloc[0]
        place = folder / path.name
        shutil.rmtree(place, ignore_errors=True)
        settings = {key: plain(first[key]) for key in settings_in(frame) if not pd.isna(first[key])}
        known = rows.dropna(subset=["point"])
        points = dict(zip(known["measure"], known["point"].astype(float), strict=True))
        with SummaryWriter(str(place)) as writer:
            writer.add_hparams(settings, {f"measures/{name}": point for name, point in points.items()}, run_name=".")
            for row in known.dropna(subset=["low", "high"]).to_dict("records"):
                for end in ("low", "high"):
                    writer.add_scalar(f"{end}/{row['measure']}", float(row[end]))
            for name in ("rows_conditional", "rows_unconditional", "rows_inversion", "rows_other", "seconds", "diverged"):
                writer.add_scalar(f"cost/{name}", float(first[name]))
            if (path / "samples.png").is_file():
                with Image.open(path / "samples.png") as picture:
                    writer.add_image("samples", np.asarray(picture.convert("RGB")), dataformats="HWC")
    return folder


def plain(value: object) -> float | str:
    """A setting as TensorBoard takes it."""
    return float(value) if isinstance(value, int | float | np.number) else str(value)
