"""Where no recursion of moments holds: Adam, Anderson acceleration, and data that are not Gaussian."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ...draws import PhiloxDraws, Purpose, items_of
from ...grids import steps_of
from ...guidance import Guidance
from ...noise import FixedPoint, Fresh, Gradient, Last
from ...predictor import Predictor
from ...samplers import Annealed, Distillation, RandomT
from ...update import Adam, OneMinusAlphaBar
from .. import cases
from ..rows import U
from .basis import fixed_uniform
from .gaussians import Affine, Case, Claim, Equal, of_states, oracle


@oracle("sampler/sds_dreamfusion")
def sds_dreamfusion(case: Case) -> Iterator[Claim]:
    """Random t; full steps have the recursion V' = d²·(V + sigma²) from V = 1, Adam is repeated with torch.optim."""
    timeline = RandomT(12, 0.02, 0.98)
    states = [(0 * case.cond.mean, 1.0 + 0 * case.cond.mean)]
    for i in range(1, timeline.n_steps + 1):
        noise = float(case.schedule.level(0.02 + 0.96 * fixed_uniform(Purpose.TIME, i)).sigma)
        d, c = case.denoiser(noise)
        states.append((d * states[-1][0] + c, d**2 * (states[-1][1] + noise**2)))
    yield Affine("full steps", Distillation(timeline, Fresh(), case.guidance), of_states(states, case.cond.mean))

    lr, gamma, draws = 0.05, 100.0, PhiloxDraws(tuple(items_of(["c"], range(8))))
    sampler = Distillation(timeline, Fresh(), Guidance(gamma), update=Adam(lr, n_inner=1, weight=OneMinusAlphaBar()))
    got = case.run(sampler, draws, 8)
    basis = torch.from_numpy(case.basis)
    x0 = draws.normal(Purpose.INIT, 0, case.model.shape).requires_grad_()
    path, optimiser = [x0.detach().clone()], torch.optim.Adam([x0], lr)
    for i in range(1, timeline.n_steps + 1):
        sigma = case.schedule.level(0.02 + 0.96 * draws.uniform(Purpose.TIME, i)).sigma[:, None]
        kappa = draws.normal(Purpose.KAPPA, i, (1, *case.model.shape))[:, 0]
        A, B = map(torch.from_numpy, case.eps(sigma.numpy(), gamma))
        eps = (A * ((x0.detach() + sigma * kappa) @ basis) - B) @ basis.T
        x0.grad = sigma**2 / (1 + sigma**2) * (eps - kappa)
        optimiser.step()
        path.append(x0.detach().clone())
    yield Equal("Adam", got, torch.stack(path) @ basis, 1e-11)


def anderson(case: Case) -> Iterator[Claim]:
    """With q distinct slopes, q + 1 evaluations and a memory of q find the root of eq. 8 from anywhere: d·kappa = A·x0 - B.

    The gaps are a sum of q powers of 1 - d, told apart by differences as small as d^q: their rounding is divided by that.
    """
    dim = len(case.cond.mean)
    draws = PhiloxDraws(tuple(items_of(["c"], range(4))))
    noise, net, basis = FixedPoint(Fresh(), n_steps=dim + 1, memory=dim), case.predictor(4), torch.from_numpy(case.basis)
    for step in steps_of(case.grid.levels(case.schedule))[::4]:
        x0 = draws.normal(Purpose.INIT, step.index, case.model.shape)
        kappa = noise.propose(x0, step, Last(x0), net, draws).kappa @ basis
        sigma = float(step.src.sigma)
        (A, B), (d, _) = (tuple(map(torch.from_numpy, pair)) for pair in (case.eps(sigma), case.denoiser(sigma)))
        root = (A * (x0 @ basis) - B) / d
        yield Equal(f"Anderson, sigma={sigma:.3g}", kappa, root, 1000 * U / d.abs().min() ** dim * root.abs().max())


def posterior(x_bar: Tensor, sigma: Tensor, centres: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of x0 given x_bar, for equally likely isotropic Gaussians: [batch, dim], [batch, dim, dim]."""
    spread = sigma**2 + width**2
    w = (-(x_bar[:, None] - centres).square().sum(2) / (2 * spread)).softmax(1)
    means = (sigma**2 * centres + width**2 * x_bar[:, None]) / spread
    mean = torch.einsum("bn,bni->bi", w, means)
    cov = torch.einsum("bn,bni,bnj->bij", w, means - mean[:, None], means - mean[:, None])
    return mean, cov + sigma**2 * width**2 / spread * torch.eye(x_bar.shape[1], dtype=torch.float64)


def guided_posterior(x_bar: Tensor, sigma: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """The guided D and its slope times sigma², for class "a" of the suite's mixture; Cov/sigma² is the slope of D."""
    data = cases.mixture()
    own = torch.tensor([label == "a" for label in data.labels])
    cond, marginal = (posterior(x_bar, sigma, centres, data.widths[:1]) for centres in (data.centres[own], data.centres))
    return gamma * cond[0] + (1 - gamma) * marginal[0], gamma * cond[1] + (1 - gamma) * marginal[1]


def averaged(case: Case) -> Iterator[Claim]:
    """On a mixture: x0' = D(x0 + sigma'·mean of K draws), which is not the mean of K predictions."""
    draws = PhiloxDraws(tuple(items_of(["a"], range(4))))
    sampler = Distillation(Annealed(case.grid), Fresh(n_avg=3), case.guidance)
    net = Predictor(cases.mixture(), case.schedule, case.guidance, ("a",) * 4)
    states = list(sampler.sample(net, draws))
    for before, after in zip(states, states[1:], strict=False):
        x_bar = before.x0 + after.level.sigma * draws.normal(Purpose.KAPPA, after.index, (3, 2)).sum(1) / 3
        expected = guided_posterior(x_bar, after.level.sigma, case.gamma)[0]
        unit = 1e-11 * (1 + x_bar.abs().max())
        yield Equal(f"n_avg on a mixture, step {after.index}", after.x0, expected, unit)


def descended(case: Case) -> Iterator[Claim]:
    """On a mixture: kappa <- kappa + lr·(Cov/sigma²)·(eps - kappa), the slope of eps - kappa in kappa being -Cov/sigma²."""
    draws = PhiloxDraws(tuple(items_of(["a"], range(4))))
    net = Predictor(cases.mixture(), case.schedule, case.guidance, ("a",) * 4)
    for step in steps_of(case.grid.levels(case.schedule))[::4]:
        sigma, x0 = step.src.sigma, draws.normal(Purpose.INIT, step.index, (2,))
        kappa = draws.normal(Purpose.KAPPA, step.index, (1, 2))[:, 0]
        got = Gradient(Fresh(), n_steps=2, lr=0.5).propose(x0, step, Last(x0), net, draws).kappa
        for _ in range(2):
            x_bar = x0 + sigma * kappa
            mean, cov = guided_posterior(x_bar, sigma, case.gamma)
            kappa = kappa + 0.5 / sigma**2 * torch.einsum("bij,bj->bi", cov, (x_bar - mean) / sigma - kappa)
        yield Equal(f"gradient on a mixture, sigma={float(sigma):.3g}", got, kappa, 1e-11 * (1 + kappa.abs().max()))
