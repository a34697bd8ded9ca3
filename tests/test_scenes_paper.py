"""experiment=3d_paper pulls on opacity as hard as the released code does at the start, beside its pull towards the targets."""

import re
from pathlib import Path

import pytest
import torch

from sdi_bench.data.cameras import Camera
from sdi_bench.scenes import View, Voxel

SAID = (Path(__file__).parent.parent / "conf" / "experiment" / "3d_paper.yaml").read_text()
WEIGHTS = {name: float(value) for name, value in re.findall(r"(sparse|solid): ([\d.]+)", SAID)}
N_PIXELS, N_LATENTS = 512 * 512, 4 * 64 * 64


def released(name: str, opacity: torch.Tensor) -> torch.Tensor:
    """The released penalties (threestudio, `training_step`), N_LATENTS times: its pull towards the targets is a mean."""
    if name == "sparse":
        return 0.15 * N_LATENTS * (opacity**2 + 0.01).sqrt().mean()
    inside = opacity.clamp(1e-3, 1 - 1e-3)
    return 0.1 * N_LATENTS * -(inside * inside.log() + (1 - inside) * (1 - inside).log()).mean()


@pytest.mark.parametrize("name", ["sparse", "solid"])
def test_penalties_weigh_as_much_as_the_released_ones_at_the_start(name: str) -> None:
    """Seen at 64 pixels, where a pixel stands for 64 of the 512's."""
    n = 64
    scene = Voxel(resolutions=[32], n_samples=64, dtype=torch.float64)
    params = torch.zeros(1, scene.n_params, dtype=torch.float64, requires_grad=True)
    opacity = scene.look(params, View.of([Camera(0.0, 20.0)]), n, n).opacity
    ours = WEIGHTS[name] * {"sparse": opacity, "solid": opacity * (1 - opacity)}[name].sum() * N_PIXELS / n**2
    mine, theirs = (torch.autograd.grad(one, params, retain_graph=True)[0] for one in (ours, released(name, opacity)))
    assert float(mine.norm() / theirs.norm()) == pytest.approx(1, abs=0.02)  # weights of two digits
    assert float((mine * theirs).sum() / mine.norm() / theirs.norm()) > 0.99
