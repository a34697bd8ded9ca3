"""Power of the samples at each spatial frequency, and beside it the difference to DDIM's on the same items."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..measuring import rounded
from ..metrics.spectrum import bands, decibel
from ..sizes import by_size
from .rows import Row, Rows, estimates, listed
from .style import legend, lines, look, panels


def power_of(row: Row) -> tuple[list, np.ndarray] | None:
    """(items, power [items, bands]) of what has not diverged, of objects the mean over views; None without pictures."""
    items, parts = row.pictures
    found = []
    for images in parts:
        if images.ndim not in (4, 5) or images.dtype == object or min(images.shape[-2:]) < 4:
            return None
        flat = rounded(images.reshape(-1, *images.shape[-3:]))
        power = by_size(bands, flat)
        found.append(power.reshape(len(images), -1, power.shape[1]).mean(axis=1))
    power = np.concatenate(found)
    kept = np.isfinite(power).all(axis=1)
    return ([item for item, k in zip(items, kept, strict=True) if k], power[kept]) if kept.any() else None


def prepare(rows: Rows) -> pd.DataFrame:
    """gamma, run, what, band (cycles a shorter side), point, low, high, in dB. what: `power`, 10 log10 of the mean power;
    `difference`, to that of the run it is held against (`against`), on the items that both have, paired.

    Raises ValueError where there are no pictures.
    """
    found = []
    known = {id(row): power_of(row) for row in rows.rows}
    for row in [row for gamma in rows.gammas for row in rows.at(gamma)]:
        mine, base = known[id(row)], rows.baseline(row)
        if mine is None:
            continue
        items, power = mine
        about = {"gamma": row.gamma, "run": row.label, "against": base.label if base else ""}
        made = {"power": estimates(lambda k, p=power: decibel(p[k].mean(axis=0)), items)}  # type: ignore[misc]
        other = known[id(base)] if base else None
        if other is not None and other[1].shape[1] == power.shape[1]:
            both = [item for item in items if item in set(other[0])]
            a, b = power[[items.index(item) for item in both]], other[1][[other[0].index(item) for item in both]]
            if both:
                made["difference"] = estimates(
                    lambda k, a=a, b=b: decibel(a[k].mean(axis=0)) - decibel(b[k].mean(axis=0)),  # type: ignore[misc]
                    both,
                )
        for what, values in made.items():
            found += [about | {"what": what, "band": k + 1} | value for k, value in enumerate(values)]
    if not found:
        raise ValueError(
            "the samples are points, not pictures, or none is finite; model=builtin, digits, diffusers make pictures"
        )
    return pd.DataFrame(found)


def draw(table: pd.DataFrame, rows: Rows) -> Figure:
    """Above the power, below the paired difference, a column a guidance scale; bands are 95 % intervals."""
    gammas = sorted(table["gamma"].unique())
    figure, axes = panels(2, len(gammas), width=max(3.4, 6.8 / len(gammas)), sharex=True, sharey="row")
    styles = look(list(dict.fromkeys(table["run"])))
    for j, gamma in enumerate(gammas):
        for i, what in enumerate(("power", "difference")):
            axis = axes[i][j]
            some = table[(table["gamma"] == gamma) & (table["what"] == what)]
            lines(axis, some, "band", styles)
            axis.tick_params(labelsize=8)
        against = ", ".join(dict.fromkeys(table[(table["gamma"] == gamma) & (table["against"] != "")]["against"]))
        axes[0][j].set_title(f"γ {gamma:g}", fontsize=9)
        axes[1][j].axhline(0, color="0.6", linewidth=0.8, zorder=0)
        axes[1][j].set_title(f"paired difference to {against}" if against else "", fontsize=8)
        axes[1][j].set_xlabel("frequency (cycles a shorter side)", fontsize=8)
    axes[0][0].set_ylabel("power of the samples (dB)", fontsize=8)
    axes[1][0].set_ylabel("difference (dB)", fontsize=8)
    legend(figure, [axis for line in axes for axis in line])
    return figure


def caption(table: pd.DataFrame) -> str:
    """What is seen, in a sentence."""
    fine = table[(table["what"] == "difference") & (table["band"] > table["band"].max() / 2)]
    mean = {str(run): float(line["point"].mean()) for run, line in fine.groupby("run", sort=False)}
    said = f"; in the upper half of the frequencies, less the run it is held against: {listed(mean, ' dB')}" if mean else ""
    return f"Power of the samples by spatial frequency, rounded to 8 bits as files are{said}."
