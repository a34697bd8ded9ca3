"""Planted bugs in what the released SDI does otherwise than the paper; the test that must turn red."""

from mutants import Planted

RELEASED, IMAGE = "noise/released.py", "scenes/image.py"


def alone(switch: str) -> str:
    return f"test_released.py::test_two_targets_of_the_notebook_with_each_deviation_taken_back_alone[float64-{switch}]"


AS_IT_IS = alone("as released")

PLANTED = [
    Planted(AS_IT_IS, "guidance.py", "    return 1 + scale", "    return scale", "7.5 is taken for gamma"),
    Planted(
        AS_IT_IS,
        RELEASED,
        "net.guidance.gamma_of(self.guidance_scale)",
        "self.guidance_scale",
        "the inversion's scale is taken for gamma, the sampler's is not",
    ),
    Planted(AS_IT_IS, RELEASED, "* every + 1", "* every", "offset 0: levels 0, 100, ... for 1, 101, ..."),
    Planted(
        AS_IT_IS,
        RELEASED,
        "* n_train / self.n_steps).floor()",
        "* n_train / 30).floor()",
        "the paper's tau on the released levels",
    ),
    Planted(alone("levels"), RELEASED, "PAPER_TAU = 1 / 30", "PAPER_TAU = 1 / 10", "tau of the code"),
    Planted(AS_IT_IS, RELEASED, "full_like(like, index * unit)", "full_like(like, 0 * index * unit)", "-99 told as 0"),
    Planted(
        "test_released.py::test_all_in_single_precision_it_differs_by_its_own_rounding",
        RELEASED,
        "full_like(like, index * unit)",
        "full_like(like, 0 * index * unit)",
        "told as 0, three thousandths of kappa: a tolerance that lets rounding pass must not let this",
    ),
    Planted(
        alone("rolled"),
        RELEASED,
        "unit = net.model.per_timestep if self.rolled and",
        "unit = net.model.per_timestep if",
        "the first call cannot be taken back",
    ),
    Planted(AS_IT_IS, RELEASED, "expand(1 / sources[0].alpha_bar.sqrt() - 1, x0)", "0", "starts from a·x0, as DDIM does"),
    Planted(
        AS_IT_IS,
        RELEASED,
        "(1 + u) / u * (u - s)",
        "(u - s)",
        "DDIM's deviation, but in x of the source: right for small steps",
    ),
    Planted(
        alone("each_step"),
        RELEASED,
        "self.eta * expand(top.sigma, x0)",
        "self.eta * expand(top.b, x0)",
        "noise of eq. 11 in x, added to x_bar",
    ),
    Planted(
        AS_IT_IS, RELEASED, "kept * added + (kept - 1) * x0", "added", "kappa is added anew, but by the wrong level's sigma"
    ),
    Planted(
        alone("as_found"),
        RELEASED,
        "return Proposal(added / expand(top.sigma, x0))",
        "return Proposal(added / expand(step.dst.sigma, x0))",
        "kappa by the sigma of t, not of t + tau",
    ),
    Planted(AS_IT_IS, IMAGE, "images_of(model, x0).clamp(-1, 1)", "images_of(model, x0)", "not clamped between the two"),
    Planted(AS_IT_IS, IMAGE, "mean + std * draws", "mean + 0 * std * draws", "the mean of the posterior for a sample"),
    Planted(
        alone("posterior"),
        IMAGE,
        'if self.posterior == "mean":',
        'if self.posterior == "mode":',
        "a sample of the posterior for its mean",
    ),
    Planted(AS_IT_IS, IMAGE, "prompt and prompt + self.words", "prompt", "the view is not said"),
    Planted(
        AS_IT_IS,
        "samplers/released.py",
        "expand(torch.hypot(level.a, level.b), noise) * noise",
        "expand(level.b, noise) * noise",
        "starts from b·eps: b = .998",
    ),
    Planted(
        "test_released.py::test_the_notebook_s_levels",
        "samplers/released.py",
        "(int(t) if",
        "(round(t) if",
        "rounded, not truncated",
    ),
    Planted(
        AS_IT_IS, "update.py", "min(self.n_inner, self.n_steps - moments.n)", "self.n_inner", "25 steps to the last target"
    ),
    Planted(
        AS_IT_IS,
        "update.py",
        "size / gap[0].numel() if mean else size",
        "size",
        "the sum for the mean: only Adam's eps sees it",
    ),
    Planted(
        "test_evaluate.py::test_an_experiment_is_measured_tier_by_tier",
        "evaluate.py",
        'float(pair["gamma"] if pd.isna(gamma_b) else gamma_b)',
        'float(pair["gamma"])',
        "what is held against a row of another gamma is looked for at the row's own",
    ),
]
