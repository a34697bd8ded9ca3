"""python -m analysis.cheap: what SDI loses for fewer network rows, from the experiment `cheap`.

python -m sdi_bench.run experiment=cheap         # hours: samples
python -m sdi_bench.evaluate experiment=cheap    # minutes: measures.csv, differences.csv, claims.csv
python -m analysis.cheap                         # seconds: tables.txt, frontier.png; residual.csv, .txt and .png of its probes
"""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from sdi_bench.compare import ROW_USES, value
from sdi_bench.evaluate import TABLES, read_table
from sdi_bench.plotting.style import FIXED, captioned, kind_of, legend, look, panels, plain, save, whiskers
from sdi_bench.store import write_whole

from .benchmark2d import block, pairs
from .runs import MissingRunError, Runs, interval
from .text import lines

matplotlib.use("Agg")

FOLDER = Path(__file__).resolve().parent.parent / "results" / "cheap"

BASELINE, UNIT = "sdi", "sds"
"""What all are held against, and the row whose cost is 1."""

COLUMNS = {
    "kd_effnet": "KD real",
    "rprec": "rprec",
    "tclip": "tclip",
    "contrast": "contrast",
    "sharpness": "sharpness",
    "saturation": "saturation",
    "lpips": "LPIPS to sdi",
}
"""measure -> how it is headed."""

OF_OBJECTS = {
    "rprec": "rprec",
    "named": "named",
    "view": "view",
    "contrast": "contrast",
    "sharpness": "sharpness",
    "saturation": "saturation",
    "to_shape": "PSNR",
    "silhouette": "IoU",
}
"""The same of the tier of 3D."""

TITLES = {
    "built-in": "built-in prior, guidance 7.5",
    "trained": "trained prior, guidance 7.5",
    "objects": "3D, trained prior, guidance 1",
}

SHOWN = {"kd_effnet": "KD to real pictures", "rprec": "retrieval", "sharpness": "sharpness"}
"""The measures of the figure, of which differences are claimed."""

SHOWN_OF_OBJECTS = {"to_shape": "PSNR to the true shape, dB", "rprec": "retrieval", "sharpness": "sharpness"}


PROBED = {"residual digits": "digits, exact", "residual built-in": "built-in prior", "residual trained": "trained prior"}
"""The tiers that ask many kappas at the same x0."""

WAYS = {"ahead": "inversion, asked ahead", "Heun": "inversion, Heun"}
"""What a way is called, where the probe has a shorter name."""


def prepare_residuals(runs: Runs) -> pd.DataFrame:
    """tier, way, n_steps (NaN: it has none), rows, and of each measure point, low, high: `residual` of eq. 8 in x0 units,
    `next`, how far eq. 10's next x0 is from DDIM's, and `size` of kappa; means over levels and items.
    """
    found = []
    for tier in PROBED:
        with suppress(MissingRunError):
            (run,) = runs.tier(tier)
            items, arrays = run.probed
            for k, name in enumerate(run.config["probe"]["kappas"]):
                way, _, n = name.partition(", ")
                about = {
                    "tier": tier,
                    "way": WAYS.get(way, way),
                    "n_steps": float(n or "nan"),
                    "rows": arrays["rows"][:, :, k].mean(),
                }
                for measure in ("residual", "next", "size"):
                    found.append(about | {"measure": measure} | interval(arrays[measure][:, :, k].mean(axis=1), items))
    return pd.DataFrame(found)


def residual_tables(residuals: pd.DataFrame) -> str:
    """All of them as text."""
    parts = [f"{PROBED[str(tier)]}\n\n{residual_table(rows)}" for tier, rows in residuals.groupby("tier", sort=False)]
    return "\n\n\n".join(parts) + "\n"


def residual_table(rows: pd.DataFrame) -> str:
    """Of one tier: a line a way and number of steps."""
    body = []
    for name, some in rows.groupby(["way", "n_steps"], sort=False, dropna=False):
        cells = {row["measure"]: value(row) for row in some.to_dict("records")}
        text = ", ".join(f"{part}".removesuffix(".0") for part in name if part == part)
        body.append([text, f"{some['rows'].iloc[0]:.1f}", *(cells[measure] for measure in ("residual", "next", "size"))])
    return lines(["way, steps", "rows", "residual", "next x0 to DDIM's", "size"], body)


def draw_residuals(table: pd.DataFrame, path: Path) -> None:
    """The residual of eq. 8 over the rows that finding the noise costs, a panel a model."""
    tiers = [tier for tier in PROBED if (table["tier"] == tier).any()]
    figure, ((*axes,),) = panels(1, len(tiers), width=3.6, height=3.2)
    shown = table[(table["measure"] == "residual") & np.isfinite(table["point"])]
    styles = look(list(dict.fromkeys(shown["way"])))
    for axis, tier in zip(axes, tiers, strict=True):
        for way, some in shown[shown["tier"] == tier].groupby("way", sort=False):
            if some["rows"].max() == 0:
                axis.axhline(some["point"].iloc[0], color=styles[way]["color"], linestyle=":", linewidth=1.2, label=way)
            else:
                axis.errorbar(some["rows"], some["point"], yerr=whiskers(some), label=way, **styles[way])
        axis.set(xscale="log", yscale="log", xlabel="network rows to find the noise")
        axis.set_title(PROBED[tier], fontsize=9)
        for each in (axis.xaxis, axis.yaxis):
            plain(each)
    axes[0].set_ylabel("residual of eq. 8 (x0 units)")
    legend(figure, axes)
    captioned(
        figure,
        "How well each way solves eq. 8 for how many network rows, at the x0 of DDIM's own path, guidance 1; the mean over ten "
        "levels, bars are 95 % intervals. Dotted: no network row asked.",
    )
    save(figure, path)


def prices(measures: pd.DataFrame) -> pd.DataFrame:
    """tier, run, price: network rows an image, of all uses, over those of sds."""
    uses = [f"rows_{use}" for use in ROW_USES if f"rows_{use}" in measures]
    rows = measures.drop_duplicates(["tier", "run"]).set_index(["tier", "run"])[uses].sum(axis=1)
    return rows.div(rows.xs(UNIT, level="run"), level="tier").rename("price").reset_index()


def tables(measures: pd.DataFrame, differences: pd.DataFrame, claims: pd.DataFrame) -> str:
    """All tables as text."""
    parts = []
    for tier, rows in measures.groupby("tier", sort=False):
        price = prices(rows).sort_values("price", kind="stable")
        order = {run: place for place, run in enumerate(price["run"])}
        rows = rows.assign(place=rows["run"].map(order)).sort_values("place", kind="stable")
        parts.append(f"{TITLES[str(tier)]}\n\n{block(rows, OF_OBJECTS if tier == 'objects' else COLUMNS)}")
        cost = "\n".join(f"{run:20}  {times:.2f}" for run, times in zip(price["run"], price["price"], strict=True))
        parts.append(f"{tier}: network rows, those of {UNIT} being 1\n\n{cost}")
    for title, frame in (("claims, written down before the runs", claims), (f"differences from {BASELINE}", differences)):
        for tier, rows in frame.groupby("tier", sort=False) if len(frame) else ():
            parts.append(f"{tier}: {title}\n\n{pairs(rows)}")
    return "\n\n\n".join(parts) + "\n"


def draw(measures: pd.DataFrame, differences: pd.DataFrame, margins: pd.Series, path: Path) -> None:
    """Differences from ten-step SDI: a line of panels a tier, a column a measure, what is dearer below; grey is the margin."""
    found = differences.merge(prices(measures).rename(columns={"run": "a"}), on=["tier", "a"])
    tiers = list(dict.fromkeys(found["tier"]))
    figure, axes = panels(len(tiers), len(SHOWN), width=3.9, height=2.6)
    for line, tier in zip(axes, tiers, strict=True):
        here = found[found["tier"] == tier].sort_values("price", kind="stable")
        names = {run: f"{run} ({price:.2f})" for run, price in zip(here["a"], here["price"], strict=True)}
        shown = SHOWN_OF_OBJECTS if tier == "objects" else SHOWN
        for axis, (measure, title) in zip(line, shown.items(), strict=True):
            axis.axvspan(-margins[measure], margins[measure], color="0.92", zorder=0)
            axis.axvline(0, color="0.5", linewidth=0.7)
            for place, run in enumerate(names):
                kind = kind_of(run) or "sdi"  # of so many steps
                about: dict[str, Any] = {"color": FIXED[kind][0], "marker": FIXED[kind][1], "markersize": 4.5, "linewidth": 0.9}
                some = here[(here["a"] == run) & (here["measure"] == measure)]
                axis.errorbar(some["point"], [place] * len(some), xerr=whiskers(some), **about)
            axis.set_ylim(len(names) - 0.5, -0.5)
            axis.set_yticks(range(len(names)), list(names.values()) if axis is line[0] else [""] * len(names))
            axis.set_title(f"{TITLES[tier].split(',')[0]}: {title}", fontsize=9)
            axis.set_xlabel("less that of ten-step SDI", fontsize=8)
            axis.tick_params(labelsize=8)
    captioned(
        figure,
        "What SDI with fewer network rows differs by from ten-step inversion in every step, on the same items; in brackets its "
        "rows, those of SDS being 1. Bars: 95 % intervals of the paired difference; within the grey band it counts as equal.",
    )
    save(figure, path)


def main() -> None:
    """Tables and figure beside the csv files."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.cheap", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--runs", type=Path, default=Path("results/cheap"), help="where the runs with a probe are")
    options = parser.parse_args()
    measures, differences, claims = (read_table(options.folder / f"{name}.csv") for name in TABLES)
    residuals = read_table(options.folder / "residual.csv")
    if (options.runs / "index.json").exists() and len(found := prepare_residuals(Runs(options.runs))):
        residuals = pd.concat([residuals[~residuals["tier"].isin(found["tier"])], found] if len(residuals) else [found])
        write_whole(options.folder / "residual.csv", residuals.to_csv(index=False, float_format="%.6g").encode())
    if len(residuals):
        draw_residuals(residuals, options.folder / "residual.png")
        write_whole(options.folder / "residual.txt", residual_tables(residuals).encode())
    text = tables(measures, differences, claims)
    write_whole(options.folder / "tables.txt", text.encode())
    margins = differences.dropna(subset=["margin"]).drop_duplicates("measure").set_index("measure")["margin"]
    draw(measures, differences[differences["b"] == BASELINE], margins, options.folder / "frontier.png")
    print(text)


if __name__ == "__main__":
    main()
