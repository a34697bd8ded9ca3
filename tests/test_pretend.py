"""No tensor without a device: every sampler, kappa and scene on a device that is none, and how often the host waits for it."""

from collections.abc import Sequence

import pretend
import pytest
import torch
from hydra import compose, initialize_config_dir
from pretend import DEVICE, Pretend
from torch import Tensor

from sdi_bench import sweeps
from sdi_bench.command_line import conf_dir, options
from sdi_bench.draws import Item
from sdi_bench.models import Network
from sdi_bench.plans import built
from sdi_bench.predictor import Cost
from sdi_bench.samplers import Sampler
from sdi_bench.sampling import Job
from sdi_bench.schedules import scaled_linear

ITEMS = (Item("a", 0), Item("b", 1), Item("a", 2))


class Net(torch.nn.Module):
    """A network that looks at x, t and the prompt."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.words = torch.nn.Parameter(torch.randn(3, 3))

    def forward(self, x: Tensor, t: Tensor, prompts) -> Tensor:
        words = torch.stack([self.words[len(prompt or "") % 3] for prompt in prompts])
        return self.conv(x) + (words * t[:, None])[:, :, None, None]


def network() -> Network:
    return Network(pretend.install(Net()), (3, 8, 8))


def made(*words: str) -> Sampler:
    """The sampler of a configuration."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = sweeps.plain(compose("config", ["guidance.scale=3", "grid.t_max=0.95", *words]), True)
    return built(cfg["sampler"])


IN_3D = ["update@sampler.update=adam_step", "scene.n_samples=6", "scene.n_views=4"]
SMALLER = {"voxel": ["scene.resolutions=[6]"], "factorised": ["scene.resolution=6"], "image": []}
FREE = ("fresh", "fixed", "inversion", "interval", "zero", "fixed_point", "gradient")
"""Kappas that a camera may move under."""

FLAT = {
    **{name: [f"sampler={name}"] for name in options("sampler") if name != "sds_dreamfusion"},
    **{name: ["sampler=sds", f"noise@sampler.noise={name}"] for name in options("noise") if name != "exact_root"},
    "perp_neg": ["sampler=sdi", "guidance=perp_neg", "guidance.negative=b"],
    "t_min": ["sampler=sdi", "sampler.noise.t_min=0.2"],
    "no tau": ["sampler=sdi", "sampler.noise.tau=null"],
    "as printed": ["sampler=sdi", "sampler.noise.literal_entropy=true"],
    "gradient descent": ["sampler=sdi", "update@sampler.update=gradient"],
    "pixels": ["sampler=sdi", "scene=pixels", "update@sampler.update=adam_step"],
    "mlp": ["sampler=sdi", "scene=coordinate_mlp", "update@sampler.update=adam_step"],
    "own times": ["sampler=sdi", "+sampler.timeline.n_steps=99", "sampler.timeline._target_=sdi_bench.samplers.RandomT",
                  "~sampler.timeline.grid"],
}  # fmt: skip
SOLID = {
    f"{scene} {noise}": ["sampler=sds", f"scene={scene}", f"noise@sampler.noise={noise}", *IN_3D, *SMALLER[scene]]
    for scene in ("voxel", "factorised")
    for noise in ("fresh", "inversion", "interval")
}


def steps(words: Sequence[str], n: int) -> Sampler:
    """The sampler of a configuration, of n states."""
    if "own times" in FLAT and words == FLAT["own times"]:
        return made(*words, f"sampler.timeline.n_steps={n - 1}")
    return made(*words, f"grid.n_levels={n}")


def counts(words: Sequence[str], few: int = 4, many: int = 8) -> tuple[float, float]:
    """(copies, waits) a step."""
    found = []
    for n in (few, many):
        sampler = steps(words, n)
        with Pretend() as device:
            job = Job(network(), sampler, scaled_linear(), DEVICE)
            job.check(ITEMS)
            for state in job.states(ITEMS, Cost()):
                assert pretend.marked(state.x0) and pretend.marked(state.eps)
            states = device.copies, device.waits
            assert pretend.marked(job.pictures(state))
        found.append(states)
    (c0, w0), (c1, w1) = found
    return (c1 - c0) / (many - few), (w1 - w0) / (many - few)


def table() -> str:
    """Copies to the device and waits of the host a step, of every sampler and kappa."""
    lines = [f"{'':20}{'copies':>8}{'waits':>8}"]
    for name, words in (FLAT | SOLID).items():
        copies, waits = counts(words)
        lines.append(f"{name:20}{copies:8.2f}{waits:8.2f}")
    return "\n".join(lines)


@pytest.mark.parametrize("name", FLAT)
def test_a_step_waits_once_at_most_and_copies_four_times(name: str) -> None:
    copies, waits = counts(FLAT[name])
    assert waits <= 1 and copies <= 4, (copies, waits)


@pytest.mark.parametrize("name", SOLID)
def test_in_3d_it_waits_three_times_at_most_and_copies_eight_times(name: str) -> None:
    copies, waits = counts(SOLID[name])
    assert waits <= 3 and copies <= 8, (copies, waits)


@pytest.mark.parametrize("name", [*FLAT, *SOLID])
def test_the_pictures_are_those_of_the_host(name: str) -> None:
    sampler = steps((FLAT | SOLID)[name], 5)
    *_, want = Job(Network(Net(), (3, 8, 8)), sampler, scaled_linear()).states(ITEMS, Cost())
    with Pretend():
        *_, found = Job(network(), sampler, scaled_linear(), DEVICE).states(ITEMS, Cost())
        x0 = found.x0.cpu()
    assert torch.allclose(x0, want.x0, rtol=1e-9, atol=1e-9)


def test_the_device_is_seen() -> None:
    with Pretend() as device:
        x = torch.ones(2, device=DEVICE)
        assert x.device == torch.device(DEVICE) and (x + 1).sum().device == torch.device(DEVICE)
        assert float(torch.ones(2).sum()) == 2 and (device.copies, device.waits) == (0, 0)
        assert float(x.sum()) == 2 and device.waits == 1
        assert bool(x.any()) and device.waits == 2
        assert x.tolist() == [1, 1] and x.cpu().numpy().tolist() == [1, 1] and device.waits == 4
        assert x[x > 0].shape == (2,) and device.waits == 5
        assert (x * torch.tensor(2.0)).device == torch.device(DEVICE) and device.copies == 0
        torch.ones(3).to(DEVICE)
        torch.tensor([1.0], device=DEVICE)
        assert device.copies == 2
        for wrong in (lambda: x + torch.ones(2), lambda: torch.stack([x, torch.ones(2)]), lambda: x.numpy()):
            with pytest.raises((RuntimeError, TypeError), match=r"two devices|numpy"):
                wrong()


@pytest.mark.parametrize("plant", ["an .item() in every step", "a tensor of the host"])
def test_planted_traffic_is_seen(plant: str, monkeypatch) -> None:
    from sdi_bench.noise import fresh

    real = fresh.Fresh.propose

    def planted(self, x0, *rest):
        found = real(self, x0, *rest)
        if plant == "a tensor of the host":
            return found._replace(kappa=found.kappa + torch.zeros(3, 8, 8, dtype=torch.float64))
        return found._replace(kappa=found.kappa * (1 + 0 * float(x0.mean()) + 0 * float(x0.std())))

    monkeypatch.setattr(fresh.Fresh, "propose", planted)
    with pytest.raises(AssertionError if plant[:2] == "an" else RuntimeError):
        test_a_step_waits_once_at_most_and_copies_four_times("sds")
