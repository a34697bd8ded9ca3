"""python -m analysis.claims: what the paper holds, against what was measured. Writes claims.csv and claims.txt.

Reads conf/claims.yaml (criteria, fixed before the runs were measured), results/published/verify.txt, claims.csv of the
experiments that were evaluated, and the probes of the experiment `understanding`; runs=, output=: folders, by default
results/understanding. Probes whose runs are not here keep the rows that the table in the output folder has of them.
"""

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from sdi_bench.command_line import conf_dir
from sdi_bench.compare import cell
from sdi_bench.draws import Item
from sdi_bench.measuring import clustered
from sdi_bench.stats import UNTOLD, difference, holm, verdict
from sdi_bench.store import write_whole
from sdi_bench.texts import near_match

from .plot import FOLDER
from .runs import MissingRunError, Runs
from .text import lines

RESULTS = FOLDER.parent


def outcome(said: str, expects: str) -> str:
    """holds, does not hold or not distinguishable, from a verdict of stats.verdict; equality stands on an equivalence test."""
    held = said.startswith(("equal", "differs, by less")) if expects == "equal" else said == expects
    if said == UNTOLD:
        return "not measured"
    return "holds" if held else "not distinguishable" if said == "not distinguishable" else "does not hold"


def identities(names: Sequence[str], proven: str) -> list[dict[str, Any]]:
    """Rows of verify.txt: by construction, and proven numerically. Raises ValueError for a row that is not there."""
    found = []
    for name in names:
        line = next((line.split() for line in proven.splitlines() if line.startswith(f"{name} ")), None)
        if line is None:
            raise ValueError(f"identity={name}: no such row of verify.txt")
        held = "by construction" if line[1] == "holds" else "does not hold"
        about = {"on": "exact models", "what": name, "measure": "deviation over tolerance", "outcome": held}
        found.append(about | {"point": float(line[2]) / float(line[3]), "n": int(line[4])})
    return found


def prior(experiment: str, tier: str) -> str:
    """The model of a tier of an experiment that judged claims."""
    return "digits" if "digits" in tier else "trained" if experiment == "trained" else "builtin"


def evaluated(experiment: str, says: str, results: Path) -> list[dict[str, Any]]:
    """Rows of an experiment's claims.csv. Raises ValueError if it has none of that name."""
    path = results / experiment / "claims.csv"
    frame = pd.read_csv(path) if path.is_file() else pd.DataFrame({"claim": []})
    rows = frame[frame["claim"] == says].to_dict("records")
    if not rows:
        raise ValueError(f"{path}: no claim {says!r}; run python -m sdi_bench.evaluate experiment={experiment}")
    found = []
    for row in rows:
        about: dict[str, Any] = {"on": prior(experiment, row["tier"]), "expects": row["expected"]}
        about |= {"what": f"{row['a']} - {row['b']}, γ {row['gamma']:g}", "measure": row["measure"]}
        if isinstance(row.get("verdict"), str):
            about |= {key: row[key] for key in ("point", "low", "high", "verdict")} | {"p": row["p_holm"]}
            about["outcome"] = outcome(row["verdict"], row["expected"])
        else:
            about |= {"outcome": "not measured", "verdict": row.get("undefined")}
        found.append(about)
    return found


def values(runs: Runs, tier: str, side: Mapping[str, str], gamma: float, array: str, log: bool) -> dict[Item, float]:
    """item -> the mean over places of a probe's array, of one kappa where it has several. Raises ValueError.

    log: of its logarithm, of at least 1e-12: what is below is rounding.
    """
    run = next((run for run in runs.tier(tier) if run.row == side["row"] and run.gamma == gamma), None)
    if run is None:
        raise ValueError(f"{tier}: no finished run {side['row']!r} at gamma {gamma:g}")
    items, arrays = run.probed
    found = arrays[array]
    if "kappa" in side:
        names = list(run.config["probe"]["kappas"])
        if side["kappa"] not in names:
            raise ValueError(f"{tier}: kappa={side['kappa']!r}: {near_match(side['kappa'], names)}")
        found = found[:, :, names.index(side["kappa"])]
    means = (np.log(np.maximum(found, 1e-12)) if log else found).mean(axis=1)
    return dict(zip(items, means.tolist(), strict=True))


def asked(said: Mapping[str, Any], tier: str, other: Mapping[str, str]) -> dict[str, Any]:
    """What a row is about: on, what, measure, expects."""
    names = [side.get("kappa", side["row"]) for side in (said["a"], other)]
    about = {
        "on": {"guided": "builtin"}.get(tier.split()[-1], tier.split()[-1]),
        "what": f"{names[0]} - {names[1]}, γ {float(said.get('gamma', 1.0)):g}",
    }
    return about | {"measure": f"log {said['array']}" if said.get("log") else said["array"], "expects": said["expects"]}


def others(said: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """What `a` is compared with."""
    return said["b"] if isinstance(said["b"], list) else [said["b"]]


def probed(said: Mapping[str, Any], runs: Runs) -> list[dict[str, Any]]:
    """Paired differences of a probe's array, a row for each tier and each `b`; p-values by Holm over these rows."""
    found, gaps = [], []
    for tier in said["tiers"]:
        for other in others(said):
            gamma, log = float(said.get("gamma", 1.0)), bool(said.get("log", False))
            about = asked(said, tier, other)
            a, b = (values(runs, tier, side, gamma, said["array"], log) for side in (said["a"], other))
            items = [item for item in a if item in b]
            pair = np.array([a[item] for item in items]), np.array([b[item] for item in items])
            if not np.isfinite(pair).all():
                lost = int((~np.isfinite(pair)).any(axis=0).sum())
                found.append(about | {"outcome": "not measured", "verdict": f"{lost} of {len(items)} items not finite"})
                continue
            gap = difference(*pair, clustered(items).labels)
            found.append(about | gap.estimate._asdict() | {"n": len(items), "p": gap.p})
            gaps.append((found[-1], gap))
    told = [pair for pair in gaps if not np.isnan(pair[1].p)]
    for row, _ in gaps:
        row |= {"verdict": UNTOLD, "outcome": "not measured"}
    for (row, gap), p in zip(told, holm(np.array([gap.p for _, gap in told])), strict=True):
        row["p"], row["verdict"] = p, verdict(gap, said.get("margin"), p)
        row["outcome"] = outcome(row["verdict"], said["expects"])
    return found


COLUMNS = ("claim", "where", "on", "what", "measure", "n", "point", "low", "high", "p", "verdict", "expects", "outcome")


@dataclass(frozen=True)
class Part:
    """A part of a claim. rows: makes its rows, or raises ValueError. asked: of a probe, what each of them is about."""

    rows: Callable[[], list[dict[str, Any]]]
    asked: Sequence[dict[str, Any]] = ()


def parts(claim: Mapping[str, Any], runs: Runs, results: Path) -> Iterator[Part]:
    """An identity's part, one for each experiment that judged the claim, and for each whose probes do."""
    if "identity" in claim:
        yield Part(partial(identities, claim["identity"], (results / "published" / "verify.txt").read_text()))
    for experiment, says in claim.get("evaluated", {}).items():
        yield Part(partial(evaluated, experiment, says, results))
    if "probe" in claim:
        probes = [(claim["probe"], runs)]
        probes += [(claim["probe"] | also, Runs(results / name)) for name, also in claim.get("also", {}).items()]
        for said, there in probes:
            wanted = [asked(said, tier, other) for tier in said["tiers"] for other in others(said)]
            yield Part(partial(probed, said, there), wanted)


def table(claims: Sequence[Mapping[str, Any]], runs: Runs, results: Path, earlier: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row for each test of each claim. Of probes whose runs are not here, the rows that an earlier table has of the very same
    comparisons; what cannot be decided otherwise says why.
    """
    found: list[dict[str, Any]] = []
    for claim in claims:
        about = {"claim": claim["says"], "where": claim["where"]}
        for part in parts(claim, runs, results):
            try:
                rows = part.rows()
            except ValueError as why:
                rows = before(earlier, [about | one for one in part.asked]) if isinstance(why, MissingRunError) else []
                if not rows:
                    rows = [{"outcome": "not measured", "what": str(why).replace(f"{results}/", "")}]
            found += [about | row for row in rows]
    return pd.DataFrame(found).reindex(columns=list(COLUMNS))


def before(earlier: pd.DataFrame | None, asked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of an earlier table about these; none unless all are there."""
    if earlier is None:
        return []
    found = []
    for about in asked:
        same = np.logical_and.reduce([earlier[key] == value for key, value in about.items()])
        found += [{str(key): value for key, value in row.items()} for row in earlier[same].to_dict("records")]
    if len(found) != len(asked):
        return []
    print(f"no runs here, as it was before: {asked[0]['claim']}, on {', '.join(dict.fromkeys(one['on'] for one in asked))}")
    return found


def text(frame: pd.DataFrame) -> str:
    """The claims to read: each in a line, its tests below."""
    parts = []
    for (says, where), rows in frame.groupby(["claim", "where"], sort=False):
        body = []
        for row in rows.to_dict("records"):
            number = "-"
            if pd.notna(row["point"]):
                number = f"{row['point']:.2g}" if pd.isna(row["low"]) else cell(row["point"], row["low"], row["high"])
            asked = row["expects"] if isinstance(row["expects"], str) else "-"
            body.append(
                [str(row[key]) if pd.notna(row[key]) else "-" for key in ("outcome", "on", "what", "measure")] + [number, asked]
            )
        head = "\n".join(textwrap.wrap(f"{says}  ({where})", 120))
        parts.append(f"{head}\n\n{lines(['outcome', 'on', 'a - b', 'measure', 'difference', 'claimed'], body)}")
    return "\n\n\n".join(parts) + "\n"


def main() -> None:
    """Exit status 2 for bad input."""
    words = {word.partition("=")[0]: word.partition("=")[2] for word in sys.argv[1:]}
    try:
        if {"-h", "--help"} & set(words):
            print(__doc__)
            return
        for key in words:
            if key not in ("runs", "output"):
                raise ValueError(f"{key}: no such setting; {near_match(key, ['runs', 'output'])}")
        runs = Runs(Path(words.get("runs", FOLDER)))
        output = Path(words.get("output", runs.folder))
        known = output / "claims_table.csv"
        earlier = pd.read_csv(known) if known.is_file() else None
        frame = table(yaml.safe_load((conf_dir() / "claims.yaml").read_text()), runs, RESULTS, earlier)
        write_whole(output / "claims_table.csv", frame.to_csv(index=False, float_format="%.6g").encode())
        write_whole(output / "claims.txt", text(frame).encode())
        print(text(frame))
    except ValueError as error:
        print(f"analysis.claims: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
