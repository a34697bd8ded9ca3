"""python -m analysis.benchmark2d: the tables and figures of the 2D benchmark, from its committed csv files alone.

python -m sdi_bench.run experiment=benchmark2d         # hours: samples
python -m sdi_bench.evaluate experiment=benchmark2d    # minutes: measures.csv, differences.csv, claims.csv
python -m analysis.benchmark2d                         # seconds: tables.txt, gamma.png, kappa.png
"""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.lines import Line2D

from sdi_bench.compare import clustering, spent, value
from sdi_bench.evaluate import TABLES, read_table
from sdi_bench.plotting.style import legend, look, panels, save, told, whiskers
from sdi_bench.plotting.style import lines as curves
from sdi_bench.store import write_whole

from .text import lines, titled

matplotlib.use("Agg")

FOLDER = Path(__file__).resolve().parent.parent / "results" / "benchmark2d"

LOOK = {
    "contrast": "contrast",
    "sharpness": "sharpness",
    "laplacian": "laplacian",
    "spectrum": "spectrum",
    "saturation": "saturation",
    "clipped": "clipped",
}
"""measure -> how it is headed."""

BLOCKS = {
    "test": {
        "distances between laws (32 x 32, one item for each of 2,048 val pictures)": {
            "fd_effnet": "FD real",
            "fd_effnet_ddim": "FD ddim",
            "kd_effnet": "KD real",
            "kd_effnet_ddim": "KD ddim",
            "precision": "precision",
            "recall": "recall",
            "density": "density",
            "coverage": "coverage",
        },
        "text": {"rprec": "rprec", "tclip": "tclip", "view": "view"},
        "look (log ratio to real pictures of the same captions; spectrum: dB)": LOOK,
        "each item against the same item of ddim": {"lpips": "LPIPS", "ssim": "SSIM", "psnr": "PSNR", "rms": "rms"},
    },
    "seeds": {
        "16 prompts, 4 seeds each: text and look": {
            "rprec": "rprec",
            "tclip": "tclip",
            "contrast": "contrast",
            "sharpness": "sharpness",
            "laplacian": "laplacian",
            "spectrum": "spectrum",
            "saturation": "saturation",
        },
        "16 prompts, 4 seeds each: pairs with ddim of 200 levels, diversity": {
            "lpips": "LPIPS",
            "ssim": "SSIM",
            "psnr": "PSNR",
            "same_content": "same content",
            "diversity": "diversity",
            "vendi": "Vendi",
        },
    },
    "test256": {
        "the first 256 of them, with guidance and without: sdi too": {
            "kd_effnet": "KD real",
            "rprec": "rprec",
            "tclip": "tclip",
            "contrast": "contrast",
            "sharpness": "sharpness",
            "saturation": "saturation",
            "novelty": "novelty",
            "lpips": "LPIPS to ddim",
        }
    },
    "floor": {
        "ddim on other seeds: what no sampler can be told to beat": {
            "fd_effnet": "FD real",
            "kd_effnet": "KD real",
            "precision": "precision",
            "recall": "recall",
            "rprec": "rprec",
            "sharpness": "sharpness",
        }
    },
}
"""tier -> title -> measure -> how it is headed."""

CURVES = ("kd_effnet", "rprec", "sharpness", "saturation")
"""The measures that are drawn over guidance."""


def block(rows: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """The runs of a tier in lines, some measures in columns, cost at the end."""
    body = []
    for _, group in rows.groupby(["gamma", "run"], sort=False):
        records = group.to_dict("records")
        cells, first = {row["measure"]: value(row) for row in records}, records[0]
        used = "/".join(f"{rows:.4g}" for rows in spent(first))
        lost = f"{first['diverged']}/{first['n']}"
        body.append(
            [
                first["run"],
                f"{first['gamma']:g}",
                *(cells.get(name, "-") for name in columns),
                used,
                f"{first['seconds']:.2f}",
                lost,
            ]
        )
    told = lines(["run", "gamma", *columns.values(), "rows c/u/inv/oth", "s/image", "diverged"], body)
    return "\n".join([told, "", *clustering(rows[rows["measure"].isin(list(columns))])])


def best(measures: pd.DataFrame, by: str) -> dict[str, float]:
    """run -> the gamma of the tier `tune` where the measure is lowest."""
    tune = measures[(measures["tier"] == "tune") & (measures["measure"] == by)].dropna(subset=["point"])
    lowest = tune.sort_values("point").drop_duplicates("run")
    return dict(zip(lowest["run"], lowest["gamma"], strict=True))


def pairs(frame: pd.DataFrame) -> str:
    """Differences, a line each."""
    body = []
    for row in frame.to_dict("records"):
        p = "-" if pd.isna(row.get("p_holm")) else f"{row['p_holm']:.2g}"
        about = [row[key] for key in ("claim",) if key in row]
        said = next((row[key] for key in ("verdict", "undefined") if isinstance(row.get(key), str)), "-")
        expected = [row["expected"]] if "expected" in row else []
        effect = "-" if pd.isna(row.get("effect")) or math.isinf(row["effect"]) else f"{row['effect']:.2f}"
        body.append(
            [*about, f"{row['a']} - {row['b']}", f"{row['gamma']:g}", row["measure"], value(row), effect, p, said, *expected]
        )
    claim = ["claim"] if "claim" in frame else []
    told = lines(
        [*claim, "a - b", "gamma", "measure", "difference", "effect", "p (Holm)", "verdict", *(["claimed"] if claim else [])],
        body,
    )
    return "\n".join([told, "", *clustering(frame)])


def tables(measures: pd.DataFrame, differences: pd.DataFrame, claims: pd.DataFrame) -> str:
    """All tables as text."""
    parts = []
    test = measures[measures["tier"] == "test256"]
    chosen = {run: gamma for run, gamma in best(measures, "kd_effnet").items() if run in set(test["run"])}
    for tier, blocks in BLOCKS.items():
        for title, shown in blocks.items():
            rows = measures[measures["tier"] == tier]
            if len(rows):
                parts.append(f"{tier}: {title}\n\n{block(rows.sort_values('gamma', kind='stable'), shown)}")
    if chosen:
        found = {run: test[(test["run"] == run) & (test["gamma"] == gamma)] for run, gamma in chosen.items()}
        own = pd.concat(list(found.values()))
        said = ", ".join(f"{run} {gamma:g}{'' if len(found[run]) else ' (not run on these)'}" for run, gamma in chosen.items())
        columns = {
            "kd_effnet": "KD real",
            "rprec": "rprec",
            "sharpness": "sharpness",
            "saturation": "saturation",
        }
        body = block(own, columns) if len(own) else "none of these gammas was run on the test prompts"
        parts.append(f"own best gamma, chosen on the tuning prompts by KD to real tuning pictures: {said}\n\n{body}")
    if len(claims):
        ordered = claims.sort_values(["claim", "gamma"], kind="stable")
        parts.append(f"claims of arXiv 2405.15891, on the built-in prior\n\n{pairs(ordered)}")
    if len(differences):
        for name, rows in differences.groupby("tier", sort=False):
            parts.append(f"{name}: differences from ddim at the same gamma\n\n{pairs(rows)}")
    return "\n\n\n".join(parts) + "\n"


def prepare_curves(measures: pd.DataFrame) -> pd.DataFrame:
    """The tier `tune`: run, gamma, measure, point, low, high; runs at a single gamma are no curve."""
    tune = measures[(measures["tier"] == "tune") & measures["measure"].isin(list(CURVES))]
    tune = tune[tune.groupby("run")["gamma"].transform("nunique") > 1]
    return tune[["run", "gamma", "measure", "point", "low", "high"]].sort_values("gamma")


def draw_curves(table: pd.DataFrame, path: Path) -> None:
    """Each measure over gamma, a line a sampler with its interval."""
    figure, (axes,) = panels(1, len(CURVES), width=3.0, height=3.0)
    table = table.assign(run=table["run"].map(told))
    styles = look(sorted(table["run"].unique()))
    for axis, measure in zip(axes, CURVES, strict=True):
        curves(axis, table[table["measure"] == measure], "gamma", styles)
        axis.set_xscale("log")
        ticks = sorted(table["gamma"].unique())
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        axis.tick_params(labelsize=8)
        axis.set_xlabel("guidance γ", fontsize=9)
        axis.set_title(titled(measure), fontsize=9)
        if measure in ("sharpness", "saturation"):
            axis.axhline(0, color="gray", linewidth=0.7)
    legend(figure, axes)
    save(figure, path)


def prepare_kappas(differences: pd.DataFrame) -> pd.DataFrame:
    """Every sampler and kappa less ddim in the tier `seeds`: run, gamma, measure, point, low, high."""
    some = differences[
        (differences["tier"] == "seeds") & differences["measure"].isin(["sharpness", "saturation", "rprec", "lpips"])
    ]
    return some.rename(columns={"a": "run"})[["run", "gamma", "measure", "point", "low", "high"]].dropna(subset="point")


def draw_kappas(table: pd.DataFrame, path: Path) -> None:
    """A line a run, its difference from ddim with interval, in its sampler's colour; a panel a measure; hollow: more gamma."""
    measures, gammas = list(dict.fromkeys(table["measure"])), sorted(table["gamma"].unique())
    runs = list(dict.fromkeys(table["run"]))[::-1]
    size = {"width": 2.9, "height": 0.26 * len(runs) + 1.0}
    figure, (axes,) = panels(1, len(measures), **size, sharey=True)
    styles = {run: look([run])[run] for run in runs}
    for axis, measure in zip(axes, measures, strict=True):
        for row in table[table["measure"] == measure].to_dict("records"):
            run, k = str(row["run"]), gammas.index(row["gamma"])
            face = "white" if k else styles[run]["color"]
            style = styles[run] | {"markerfacecolor": face, "linestyle": "none", "elinewidth": 1}
            at = runs.index(run) + 0.17 * (0.5 * (len(gammas) - 1) - k) * 2
            axis.errorbar(row["point"], at, xerr=whiskers(pd.DataFrame([row])), **style)
        axis.axvline(0, color="gray", linewidth=0.7)
        axis.set_title(f"{titled(measure)},\nless ddim's", fontsize=9)
        axis.set_yticks(range(len(runs)), runs, fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="y", linewidth=0.3)
    shape: dict[str, Any] = {"color": "0.4", "marker": "o", "linestyle": "none", "markersize": 4}
    faces = ["0.4", *["white"] * (len(gammas) - 1)]
    marks = [
        Line2D([], [], label=f"guidance γ {gamma:g}", markerfacecolor=face, **shape)
        for gamma, face in zip(gammas, faces, strict=True)
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), fontsize=8, frameon=False)
    save(figure, path)


def main() -> None:
    """Tables and figures beside the csv files."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.benchmark2d", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    measures, differences, claims = (read_table(folder / f"{name}.csv") for name in TABLES)
    text = tables(measures, differences, claims)
    write_whole(folder / "tables.txt", text.encode())
    draw_curves(prepare_curves(measures), folder / "gamma.png")
    if len(differences):
        draw_kappas(prepare_kappas(differences), folder / "kappa.png")
    print(text)


if __name__ == "__main__":
    main()
