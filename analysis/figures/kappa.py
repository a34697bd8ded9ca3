"""What each kappa looks like: against DDIM's noise, the image and the object's place, and as noise (the paper's figure 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator

from sdi_bench.plotting.style import legend, look, over_sigma, panels, save, told

from ..runs import Runs, interval
from ..text import prior_of

SHOWN = {
    "to DDIM's noise": "cosine to DDIM's noise",
    "to x0": "cosine to x0, less its mean",
    "in the object": "energy in the object\nover its share of pixels",
    "size": "rms (white: 1)",
    "neighbours": "correlation of\nneighbouring pixels",
    "kurtosis": "excess kurtosis",
    "tilt": "low- over high-frequency\npower (log2)",
}
"""measure -> how it is headed."""


@dataclass(frozen=True)
class Kappa:
    """tiers: of the probe `trajectory`, of pictures; a row of panels each. rows: of the tier, which noises are shown."""

    tiers: Sequence[str]
    rows: Sequence[str]

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """tier, row, sigma, measure, point, low, high, n. A sampler that adds no noise is measured by its prediction, eps.

        The object is where the run's own last x0 is more than 0.1 off white; only where that is all of no picture.
        """
        found = []
        for tier in self.tiers:
            all_runs = {run.row: run for run in runs.tier(tier)}
            reference = all_runs["ddim"].probed[1]["eps"].astype(float)
            for row in self.rows:
                items, arrays = all_runs[row].probed
                name = "eps" if np.isnan(arrays["kappa"]).all() else "kappa"
                noises, images = arrays[name].astype(float), arrays["x0"].astype(float)
                mask = (np.abs(images[:, -1] - 1) > 0.1).any(axis=1)
                for place in range(1, noises.shape[1]):  # no step leads to the start
                    about = {"tier": tier, "row": row, "sigma": float(arrays["sigma"][0, place])}
                    # x0 before the step, which kappa was added to; DDIM's eps where the step led
                    values = measures(
                        noises[:, place], images[:, place] - arrays["update"][:, place], reference[:, place], mask
                    )
                    found += [about | {"measure": key} | interval(value, items) for key, value in values.items()]
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """A column a measure, lines over the noise level."""
        shown = [name for name in SHOWN if name in set(table["measure"])]
        figure, axes = panels(len(self.tiers), len(shown), width=2.0, height=2.5)
        styles = look(self.rows)
        for line, tier in zip(axes, self.tiers, strict=True):
            for axis, measure in zip(line, shown, strict=True):
                some = table[(table["tier"] == tier) & (table["measure"] == measure)]
                if some.empty:
                    axis.set_axis_off()
                    continue
                for row, rows in some.groupby("row", sort=False):
                    axis.plot(rows["sigma"], rows["point"], label=told(row), **styles[str(row)])
                over_sigma(axis.xaxis)
                if tier != self.tiers[-1]:
                    axis.set_xlabel("")
                axis.xaxis.set_major_locator(LogLocator())
                if measure == "size":
                    axis.set_yscale("log")
                    axis.set_yticks([0.1, 1, 10, 100, 1000], ["0.1", "1", "10", "100", "1000"])
                    axis.minorticks_off()
                axis.tick_params(labelsize=7)
                axis.set_title(f"{prior_of(tier)}:\n{SHOWN[measure]}", fontsize=7)
        legend(figure, axes[0])
        save(figure, path)


def measures(noise: np.ndarray, x0: np.ndarray, ddim: np.ndarray, mask: np.ndarray) -> Mapping[str, np.ndarray]:
    """Each of SHOWN for noise [items, c, h, w] at one level; [items] each. mask: [items, h, w].

    neighbours: the correlation of pixels side by side; white noise has 0. kurtosis: of a Gaussian 0. tilt: log2 of the mean
    power below half of Nyquist's frequency over the mean above; white 0.
    """
    n = len(noise)
    flat = noise.reshape(n, -1)
    centred = x0.reshape(n, -1) - x0.reshape(n, -1).mean(axis=1, keepdims=True)
    size = np.sqrt((flat**2).mean(axis=1))
    energy = (noise**2).mean(axis=1)
    found = {"to DDIM's noise": cosine(flat, ddim.reshape(n, -1)), "to x0": cosine(flat, centred), "size": size}
    share = mask.mean(axis=(1, 2))
    if ((share > 0) & (share < 1)).all():
        found["in the object"] = (energy * mask).sum(axis=(1, 2)) / energy.sum(axis=(1, 2)) / share
    off = noise - noise.mean(axis=(2, 3), keepdims=True)
    variance = (off**2).mean(axis=(1, 2, 3))
    beside = (off[..., 1:] * off[..., :-1]).mean(axis=(1, 2, 3)) + (off[:, :, 1:] * off[:, :, :-1]).mean(axis=(1, 2, 3))
    found["neighbours"] = beside / 2 / variance
    found["kurtosis"] = (off**4).mean(axis=(1, 2, 3)) / variance**2 - 3
    power = (np.abs(np.fft.fft2(off)) ** 2).mean(axis=1)
    radius = np.hypot(np.fft.fftfreq(noise.shape[2])[:, None], np.fft.fftfreq(noise.shape[3])[None, :])
    low, high = (radius > 0) & (radius <= 0.25), radius > 0.25
    found["tilt"] = np.log2(power[:, low].mean(axis=1) / power[:, high].mean(axis=1))
    return found


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[items, d] twice -> [items]."""
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
