"""No tensor without a device: every sampler, kappa and scene on a device that is none, and how often the host waits for it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import family_rows
import numpy as np
import pretend
import pytest
import torch
from cases import some
from families import Family, each, families
from hydra import compose, initialize_config_dir
from pretend import DEVICE, Pretend
from torch import Tensor

from sdi_bench import sweeps
from sdi_bench.command_line import conf_dir, options
from sdi_bench.draws import Item
from sdi_bench.models import DiffusersFolder, Network
from sdi_bench.models.checkpoints.families import KINDS
from sdi_bench.models.checkpoints.folder import Wanted
from sdi_bench.plans import built
from sdi_bench.predictor import Cost
from sdi_bench.samplers import Sampler
from sdi_bench.sampling import Job
from sdi_bench.schedules import RectifiedFlow, scaled_linear

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
FLAT = {
    **{
        name: [f"sampler={name}"]
        for name in options("sampler")
        if name not in ("sds_dreamfusion", "lucid_dreamer", "vsd", "esd", "sdi_released", "dds", "pds")
    },
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
    for noise in ("fresh", "inversion", "interval", "held")
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
            job = Job(network(), sampler, RectifiedFlow() if words == ["sampler=rfds"] else scaled_linear(), DEVICE)
            job.check(ITEMS)
            for state in job.states(ITEMS, Cost()):
                assert pretend.marked(state.x0) and pretend.marked(state.eps)
            states = device.copies, device.waits
            assert pretend.marked(job.pictures(state))
        found.append(states)
    (c0, w0), (c1, w1) = found
    return (c1 - c0) / (many - few), (w1 - w0) / (many - few)


def folder(family: Family, device: Pretend, patch: pytest.MonkeyPatch) -> DiffusersFolder:
    """A tiny pipeline whose parts are on the device; what diffusers' own network does inside itself is not counted."""
    pipe = family_rows.opened(family).pipe
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            pretend.install(part.requires_grad_(False))
    model = KINDS[type(pipe).__name__](pipe, torch.float32, DEVICE, {}, Wanted(**family.settings))
    real = model.network.forward

    def forward(*args: Any, **more: Any) -> Any:
        before = device.copies, device.waits
        out = real(*args, **more)
        device.copies, device.waits = before
        return out

    patch.setattr(model.network, "forward", forward)
    return model


def table() -> str:
    """Of every sampler, kappa and scene on a network, and of sdi on every family of checkpoints."""
    rows = {name: counts(words) for name, words in (FLAT | SOLID).items()}
    for family in families():
        with pytest.MonkeyPatch.context() as patch:
            rows[f"sdi on {family.name}"] = family_counts(family, patch)
    lines = [f"{name:32}{copies:8.2f}{waits:8.2f}" for name, (copies, waits) in rows.items()]
    return "\n".join([f"{'a step of':32}{'copies':>8}{'waits':>8}", *lines])


@pytest.mark.parametrize("name", some(3, FLAT))
def test_a_step_waits_once_at_most_and_copies_four_times(name: str) -> None:
    copies, waits = counts(FLAT[name])
    assert waits <= 1 and copies <= 4, (copies, waits)


@pytest.mark.parametrize("name", some(2, SOLID))
def test_in_3d_it_waits_three_times_at_most_and_copies_eight_times(name: str) -> None:
    copies, waits = counts(SOLID[name])
    assert waits <= 3 and copies <= 8, (copies, waits)


def family_counts(family: Family, patch: pytest.MonkeyPatch) -> tuple[float, float]:
    """(copies, waits) a step of sdi on a checkpoint, of four items."""
    patch.setattr(DiffusersFolder, "fingerprint", "tiny")  # the type checker of the tests asks for it in every call
    found = []
    for n in (4, 6):
        sampler = made("sampler=sdi", "sampler.noise.n_steps=2", f"grid.n_levels={n}")
        with Pretend() as device:
            model = folder(family, device, patch)
            items = [replace(item, seed=seed) for item in family.items for seed in (0, 1)]
            job = Job(model, sampler, model.schedule, DEVICE)
            for state in job.states(items, Cost()):
                assert pretend.marked(state.x0)
            found.append((device.copies, device.waits))
            assert pretend.marked(job.pictures(state))
    (c0, w0), (c1, w1) = found
    return (c1 - c0) / 2, (w1 - w0) / 2


@each("SDXL", "FLUX.1 dev", "Qwen-Image", "HunyuanDiT")
def test_a_checkpoint_is_asked_without_waiting(family: Family, monkeypatch) -> None:
    copies, waits = family_counts(family, monkeypatch)
    assert waits <= 1 and copies <= 4, (copies, waits)


@pytest.mark.parametrize("name", options("probe"))
def test_probes_measure_there_too(name: str) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        words = ["sampler=sdi", f"probe={name}", "grid.n_levels=4", "grid.t_max=0.95"]
        cfg = sweeps.plain(compose("config", words), True)
    with Pretend():
        job = Job(network(), built(cfg["sampler"]), scaled_linear(), DEVICE)
        probe = built(cfg["probe"])
        try:
            probe.check(job)
        except ValueError as error:
            pytest.skip(str(error))
        found = probe.measure(job, ITEMS, Cost())
    assert all(isinstance(array, np.ndarray) for array in found.values())


SOME = ("sdi", "ism", "ddpm", "own times", "perp_neg", "voxel inversion")


@pytest.mark.parametrize("name", [n if n in SOME else pytest.param(n, marks=pytest.mark.slow) for n in (*FLAT, *SOLID)])
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


if __name__ == "__main__":
    about = (
        f"{__doc__}\nCopies to the device, and waits of the host for it, a step: python tests/test_pretend.py writes this.\n"
    )
    text = f"{about}Of a checkpoint what diffusers' network does inside itself is not counted.\n\n{table()}\n"
    (Path(__file__).parents[1] / "results" / "pipelines" / "traffic.txt").write_text(text)
    print(text)
