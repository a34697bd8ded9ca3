"""python -m analysis.deviations: what each deviation of the released SDI does, from the experiment `deviations`.

python -m sdi_bench.run experiment=deviations         # hours: samples, probes
python -m sdi_bench.evaluate experiment=deviations    # minutes: measures.csv, differences.csv, claims.csv
python -m analysis.deviations                         # seconds: kappa.csv, tables.txt, samples.png

What needs the runs (--runs) stays as it is without them: kappa.csv and samples.png.
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sdi_bench.compare import cell, clustering, spent, value
from sdi_bench.evaluate import TABLES, read_table
from sdi_bench.probes.base import evenly
from sdi_bench.store import write_whole

from .benchmark2d import block, pairs
from .figures.tiles import picture
from .runs import MissingRunError, Run, Runs, interval
from .text import lines
from .trained import Lines, draw_lines

FOLDER = Path(__file__).resolve().parent.parent / "results" / "deviations"

RELEASED = "released"

PROBED = {"kappa trained": "trained", "kappa builtin": "builtin"}
"""tier of the probe -> that of the pictures."""

SHOWN_T = (0.74, 0.5, 0.26)
"""Where the change of kappa is told, of what the probe measured."""

COMPARED = {"kd_effnet": "KD real", "rprec": "rprec", "sharpness": "sharpness", "saturation": "saturation"}
LEVELS = COMPARED | {"tclip": "tclip", "contrast": "contrast", "laplacian": "laplacian", "clipped": "clipped"}
"""measure -> how it is headed."""

SAMPLES = ("ddim", "ddim, codec", "sds", "sds, codec", "paper", RELEASED, "less codec", "less posterior")
"""The rows whose pictures are shown, where they are finished."""

N_SAMPLES = 12


def times(config: Mapping[str, Any]) -> list[float]:
    """t in [0, 1] of each place that a probe on a grid linear in t measured."""
    grid = config["sampler"]["grid"]
    span, n_steps = grid["t_max"] - grid["t_min"], grid["n_levels"] - 1
    return [grid["t_max"] - span * i / n_steps for i in evenly(n_steps, config["probe"]["n_levels"])]


def kappa_changes(run: Run) -> list[dict[str, Any]]:
    """at, kappa, t, sigma, rows (network rows an image), and means over items with 95 % intervals of

    `change`: rms(kappa - released) / rms(released).
    `of_8`: the error of eq. 8 of arXiv 2405.15891, rms in x0 units. `residual`: that less the released noise's.
    """
    items, arrays = run.probed
    names = list(run.config["probe"]["kappas"])
    k0, found = names.index(RELEASED), []

    def rms(x: np.ndarray) -> np.ndarray:
        return np.sqrt((x.astype(float) ** 2).reshape(len(x), -1).mean(axis=1))

    for place, t in enumerate(times(run.config)):
        kappas, residuals = arrays["kappa"][:, place], arrays["residual"][:, place]
        for k, name in enumerate(names):
            change = rms(kappas[:, k] - kappas[:, k0]) / rms(kappas[:, k0])
            told = {"change": change, "residual": residuals[:, k] - residuals[:, k0], "of_8": residuals[:, k]}
            about = {"at": run.row, "kappa": name, "t": round(t, 6), "sigma": float(arrays["sigma"][0, place])}
            for measure, values in told.items():
                cost = {"rows": float(arrays["rows"][:, place, k].mean())}
                found.append(about | {"measure": measure} | interval(values, items) | cost)
    return found


def prepare_kappas(runs: Runs) -> pd.DataFrame:
    """Of every finished probe: tier, and what kappa_changes says."""
    found: list[dict[str, Any]] = []
    for tier in PROBED:
        try:
            probed = runs.tier(tier)
        except MissingRunError:
            continue
        found += [{"tier": tier} | row for run in probed for row in kappa_changes(run)]
    return pd.DataFrame(found)


def kappa_table(rows: pd.DataFrame) -> str:
    """Of one tier: a line a switch and where x0 is from; the change of kappa and that of the residual at each t."""
    ts = sorted(rows["t"].unique(), reverse=True)
    parts = []
    for measure, title in (
        ("change", "rms of kappa's change over rms of the released kappa"),
        ("residual", "change of the error of eq. 8 (rms, x0 units); of released: what it is itself"),
    ):
        body = []
        for (at, kappa), some in rows.groupby(["at", "kappa"], sort=False):
            if measure == "change" and kappa == RELEASED:
                continue
            wanted = "of_8" if kappa == RELEASED else measure
            cells = {row["t"]: value(row) for row in some[some["measure"] == wanted].to_dict("records")}
            used = some[some["measure"] == measure]["rows"].mean()
            body.append([f"{kappa}, {at}", *(cells[t] for t in ts), f"{used:.1f}"])
        parts.append(f"{title}\n\n" + lines(["kappa", *(f"t {t:.2f}" for t in ts), "rows"], body))
    return "\n\n".join([*parts, f"± is half of a 95 % interval; n {rows['n'].iloc[0]}."])


def switches(tier: str, measures: pd.DataFrame, differences: pd.DataFrame, kappas: pd.DataFrame) -> str:
    """A line a row of a tier: kappa's change on DDIM's path, released less this row in pictures, LPIPS to it, rows an item."""
    probe = next(name for name, of in PROBED.items() if of == tier)
    known = kappas[(kappas["tier"] == probe) & (kappas["measure"] == "change")] if len(kappas) else kappas
    known = known[known["at"] == "on DDIM's path"] if len(known) else known
    changes = {(row["kappa"], round(row["t"], 2)): value(row) for row in known.to_dict("records")}
    gaps = {(row["a"], row["measure"]): row for row in differences.to_dict("records")}
    body = []
    for run, rows in measures.groupby("run", sort=False):
        if run == RELEASED:
            continue
        records = rows.to_dict("records")
        lpips = next((value(row) for row in records if row["measure"] == "lpips"), "-")
        shown = [flipped({str(key): value for key, value in gaps.get((run, name), {}).items()}) for name in COMPARED]
        at = [changes.get((run, t), "-") for t in SHOWN_T]
        body.append(
            [run, f"{records[0]['gamma']:g}", *at, *shown, lpips, f"{sum(spent(records[0])):.0f}", str(records[0]["n"])]
        )
    head = ["row", "gamma", *(f"kappa t {t:.2f}" for t in SHOWN_T), *COMPARED.values(), "LPIPS to released", "rows", "n"]
    return "\n".join([lines(head, [[str(cell) for cell in row] for row in body]), "", *clustering(differences)])


def flipped(row: Mapping[str, Any]) -> str:
    """A difference the other way round: b - a."""
    if pd.isna(row.get("point")):
        return "-"
    return cell(-row["point"], -row["high"], -row["low"])


def tables(measures: pd.DataFrame, differences: pd.DataFrame, claims: pd.DataFrame, kappas: pd.DataFrame) -> str:
    """All tables as text."""
    parts = []
    for tier, rows in measures.groupby("tier", sort=False) if len(measures) else ():
        own = differences[differences["tier"] == tier] if len(differences) else differences
        if RELEASED in set(rows["run"]):
            title = (
                f"{tier}: released less each row, the same items (kappa: of the row, against the released one, on DDIM's path)"
            )
            parts.append(f"{title}\n\n{switches(str(tier), rows, own, kappas)}")
        parts.append(f"{tier}: every row\n\n{block(rows, LEVELS)}")
    for later, rows in claims.groupby("later") if len(claims) else ():
        when = "asked when some measures were known" if later else "claims, written down before the runs"
        parts.append(f"{when}\n\n{pairs(rows)}")
    for tier, rows in kappas.groupby("tier", sort=False) if len(kappas) else ():
        parts.append(f"{tier}: each switch of the released noise taken back, at the same x0\n\n{kappa_table(rows)}")
    return "\n\n\n".join(parts) + "\n"


def draw_samples(runs: Sequence[Run], path: Path) -> None:
    """The same items in columns, the rows of SAMPLES below each other. runs: whole ones, of a tier."""
    known = {run.row: run for run in runs if run.row in SAMPLES}
    there = [known[row] for row in SAMPLES if row in known]
    items = there[0].images[0]
    chosen = [items[k] for k in np.linspace(0, len(items) - 1, N_SAMPLES).round().astype(int)]
    rows: Lines = [(f"{run.row}, γ {run.gamma:g}", [picture(run, item.prompt, item.seed) for item in chosen]) for run in there]
    draw_lines(rows, [str(item.prompt).replace("a ", "", 1) for item in chosen], path)


def main() -> None:
    """Tables and pictures beside the csv files."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.deviations", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--runs", type=Path, default=Path("results/deviations"), help="where the runs are")
    options = parser.parse_args()
    measures, differences, claims = (read_table(options.folder / f"{name}.csv") for name in TABLES)
    kappas = read_table(options.folder / "kappa.csv")
    if (options.runs / "index.json").exists():
        runs = Runs(options.runs)
        found = prepare_kappas(runs)
        if len(found):
            kappas = pd.concat([kappas[~kappas["tier"].isin(found["tier"])], found] if len(kappas) else [found])
            write_whole(options.folder / "kappa.csv", kappas.to_csv(index=False, float_format="%.6g").encode())
        whole = set(measures.get("results", ()))
        with suppress(MissingRunError):
            trained = [run for run in runs.tier("trained") if run.listed.folder.path.name in whole]
            draw_samples(trained, options.folder / "samples.png")
    text = tables(measures, differences, claims, kappas)
    write_whole(options.folder / "tables.txt", text.encode())
    print(text)


if __name__ == "__main__":
    main()
