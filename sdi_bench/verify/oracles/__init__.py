"""V8: every sampler and every kappa against a closed-form recursion of mean and variance on Gaussian data.

No moment is estimated: basis draws (basis.py) give mean and variance of the library's run to rounding. To add a sampler or
a kappa, write its oracle in recursions.py; `missing` names the yamls that have none.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

from ...grids import UniformLogSigma, UniformT
from ...schedules import Karras, RectifiedFlow, scaled_linear
from ..cases import SCHEDULES
from ..rows import Row, Worst
from . import limits, nonlinear, recursions, relatives
from .gaussians import ORACLES, Affine, Case, Claim, Law, deviation, oracle

__all__ = [
    "ORACLES",
    "Affine",
    "Case",
    "Claim",
    "deviation",
    "missing",
    "nonlinear",
    "oracle",
    "recursions",
    "relatives",
    "rows",
]

TURN = np.array([[0.8, -0.6], [0.6, 0.8]])
LAWS = {
    "narrow class": (Law(np.array([1.0]), np.array([0.25])), Law(np.array([0.0]), np.array([1.0])), np.eye(1)),
    "wide class": (Law(np.array([-1.0]), np.array([1.5])), Law(np.array([0.0]), np.array([0.8])), np.eye(1)),
    "two dimensions": (
        Law(np.array([1.0, -0.5]), np.array([0.25, 0.1])),
        Law(np.array([0.0, 0.2]), np.array([1.0, 0.5])),
        TURN,
    ),
}
"""Class, marginal, and the eigenvectors they share."""


def missing(conf_dir: Path) -> list[str]:
    """The yamls of samplers and noises without an oracle, as "noise/foo"; names that start with "_" are shared bases."""
    names = [f"{group}/{path.stem}" for group in ("sampler", "noise") for path in sorted((conf_dir / group).glob("*.yaml"))]
    return [name for name in names if name not in ORACLES and not name.split("/")[1].startswith("_")]


def cases(full: bool) -> list[Case]:
    """Gaussians, schedules, grids and gammas."""
    if not full:
        return [
            Case("narrow class, scaled_linear, 1", *LAWS["narrow class"], scaled_linear(), UniformT(12), 1.0),
            Case("narrow class, edm, 7.5", *LAWS["narrow class"], Karras(), UniformLogSigma(12), 7.5),
            Case("two dimensions, flow, 7.5", *LAWS["two dimensions"], RectifiedFlow(), UniformT(10, 0.98, 0.05), 7.5),
        ]
    return [
        Case(f"{law}, {schedule}, {gamma}", *LAWS[law], SCHEDULES[schedule](), UniformT(20, 0.8, 0.02), gamma)
        for law, schedule, gamma in product(LAWS, SCHEDULES, (0.0, 1.0, 7.5))
    ]


@np.errstate(over="ignore", invalid="ignore")
def claims_of(cases: list[Case]) -> tuple[Worst, Worst]:
    """Every claim of every oracle: those on moments, and the others."""
    moments, others = Worst(), Worst()
    for case, (name, claims) in product(cases, ORACLES.items()):
        for claim in claims(case):
            setting = f"{name}, {claim.setting}, {case.name}"
            if isinstance(claim, Affine):
                moments.add(setting, deviation(case, claim))
            else:
                others.compare(setting, claim.got, claim.expected, claim.unit)
    return moments, others


def rows(full: bool) -> Iterator[Row]:
    """V8a to V8e."""
    moments, others = claims_of(cases(full))
    yield moments.row(
        "V8a",
        "Gaussian data: mean and std of x0 follow the recursion of every sampler and kappa; in units of the tolerance",
        "eq. 10",
        1.0,
        "mean 1e-11·S; std 1e-11·std + sqrt(rows)·1e-12·S; S the largest |mean| + std so far; 1e-12 = 9·u·sigma·(2·gamma - 1)",
    )
    yield others.row(
        "V8b",
        "Adam = torch.optim.Adam; Anderson finds the root; gradient and mean of draws on a mixture; in units of the tolerance",
        "eq. 8, eq. 10",
        1.0,
        "1e-11 of the size; Anderson 1000·u/d^q, the conditioning of q differences",
    )
    yield limits.dense_grids(full).row(
        "V8c",
        "std on dense grids: SDS s/sqrt(2), K draws s/sqrt(2K), steps l s·sqrt(l/2), constant rho s·sqrt((1+rho)/2), "
        "DDIM and DDPM s; order 1 to 0.1, extrapolated limit to 0.5 %",
        "eq. 10",
        1.0,
        "limits, not identities: second-order terms left at 50 to 200 levels",
    )
    yield limits.contraction(full).row(
        "V8d",
        "a full SDI step contracts: src = dst by s/sqrt(s² + sigma²) for exact inversion, n steps tend to it (and src > dst, "
        "guided); order 1 to 0.15, extrapolated limit to 2 %",
        "eq. 10, eq. 11",
        1.0,
        "limits, not identities: second-order terms left at 100 to 400 steps, largest at gamma_inv = 7.5",
    )
    yield limits.spread(full).row(
        "V8e",
        "no gamma of the inversion keeps spread: equal variances collapse alike for 7.5, 1, 0, -7.5, only the point differs; "
        "entropy h leaves h·s (to 3 %), as printed in eq. 11 nothing",
        "eq. 11",
        1.0,
        "collapse: as V8a; limits: second-order terms left at 25 to 100 levels",
    )
