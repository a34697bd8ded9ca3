"""A user's own network: in its own terms on any schedule, through a codec, from one yaml, and what the README says of it."""

import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pretend
import pytest
import test_pretend
import torch
from cases import some
from commands import exit_status
from torch import Tensor

import sdi_bench as sb
from sdi_bench import run, sweeps
from sdi_bench.coordinates import Epsilon, FlowVelocity, Parametrisation, Sample, Score, Velocity
from sdi_bench.models import Gaussian
from sdi_bench.models.network import TIMES
from sdi_bench.schedules import Karras, RectifiedFlow, Schedule, linear, scaled_linear
from sdi_bench.store import RunFolder

ROOT = Path(__file__).parent.parent
README = (ROOT / "sdi_bench/models/README.md").read_text()

MEAN, VARIANCE = {"a": (0.8, -0.5, 0.1), None: (0.0, 0.2, 0.0)}, {"a": (0.3, 0.05, 1.2), None: (0.9, 0.4, 2.0)}
EXACT = Gaussian.of({"a": (list(MEAN["a"]), list(VARIANCE["a"]))}, (list(MEAN[None]), list(VARIANCE[None])))

# -------------------------------------------------------------------------------- the oracle: formulas of its own throughout

BETAS = np.linspace(1e-4, 0.02, 1000)
LOG_SNR = np.array([math.log(bar / (1 - bar)) for bar in np.exp(np.cumsum(np.log1p(-BETAS)))])
OWN: dict[str, Schedule] = {"table": linear(), "flow": RectifiedFlow(), "karras": Karras(0.01, 50.0)}
OTHER: dict[str, Schedule] = {
    "the same": None,  # type: ignore[dict-item]
    "scaled_linear": scaled_linear(),
    "karras": Karras(0.05, 20.0),
    "shifted flow": RectifiedFlow(t_min=0.01, shift=3.0),
}
"""All within the range of each of OWN: a network is told nothing of what is below its lowest level."""
OUTPUT: dict[str, tuple[Parametrisation, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]]] = {
    "eps": (Epsilon(), lambda x0, eps, a, b: eps),
    "x0": (Sample(), lambda x0, eps, a, b: x0),
    "v": (Velocity(), lambda x0, eps, a, b: (a * eps - b * x0) / (a * a + b * b).sqrt()),
    "score": (Score(), lambda x0, eps, a, b: -eps / b),
    "flow": (FlowVelocity(), lambda x0, eps, a, b: eps - x0),
}


def sigma_of(own: str, times: str, told: Tensor) -> Tensor:
    """sigma from what a network is told."""
    if times == "sigma":
        return told
    if times == "c_noise":
        return (4 * told).exp()
    t = told / 1000 if times == "index" else told
    if own == "flow":
        return t / (1 - t)
    if own == "karras":
        return (0.01 ** (1 / 7) * (1 - t) + 50.0 ** (1 / 7) * t) ** 7
    return torch.from_numpy(np.exp(-np.interp((t * 1000).numpy(), np.arange(1000), LOG_SNR) / 2))


def posterior(own: str, times: str, scaled: bool, output: str) -> Callable[..., Tensor]:
    """The posterior of Gaussian data as a user would write a network down: x, t, prompts -> output, in float64 inside."""

    def forward(x: Tensor, t: Tensor, prompts: list[str | None]) -> Tensor:
        sigma = sigma_of(own, times, t.double())[:, None]
        a = torch.ones_like(sigma)
        if scaled and own == "table":
            a = 1 / (1 + sigma**2).sqrt()
        elif scaled and own == "flow":
            a = 1 / (1 + sigma)
        b = torch.where(sigma.isinf(), 1.0, a * sigma)
        mean, variance = (torch.tensor([law[p] for p in prompts], dtype=torch.float64) for law in (MEAN, VARIANCE))
        gap = (x.double() - a * mean) / (a**2 * variance + b**2)
        return OUTPUT[output][1](mean + a * variance * gap, b * gap, a, b).to(x.dtype)

    return forward


def network(own: str, times: str = "t", scaled: bool = True, output: str = "eps", dtype=torch.float32) -> sb.Network:
    forward, how = posterior(own, times, scaled, output), OUTPUT[output][0]
    return sb.Network(forward, (3,), how, dtype, ("a",), schedule=OWN[own], times=times, scaled=scaled)


def samplers() -> dict[str, sb.Ddim | sb.Distillation]:
    # below t = 1, since sigma is infinite there on a flow; guided, so that both conditions are asked
    grid, guidance = sb.UniformT(6, t_max=0.93, t_min=0.02), sb.Guidance(2.0)
    loop = sb.Annealed(grid)
    return {
        "sdi": sb.Distillation(loop, sb.Inversion(-2.0), guidance),
        "own t": sb.Distillation(sb.RandomT(5, 0.05, 0.9), sb.Fresh(), guidance),
    }


def apart(net: sb.Network, schedule: Schedule | None) -> float:
    """The largest difference between samples of a network and of the exact model, over all samplers; relative above 1."""
    found = []
    for sampler in samplers().values():
        wanted = sb.sample(EXACT, sampler, ["a"], range(4), schedule=schedule or net.schedule)
        made = sb.sample(net, sampler, ["a"], range(4), schedule=schedule)
        found.append(float((made - wanted).abs().max() / wanted.abs().max().clamp(min=1)))
    return max(found)


CASES = [
    (own, times, scaled, output)
    for own in OWN
    for times in TIMES
    for scaled in (True, False)
    for output in OUTPUT
    if output != "flow" or own == "flow"
]
U32, U64 = 2.0**-24, 2.0**-53
GROWTH = 2e3
"""By which a path may enlarge one rounding of the network's: by sigma (50 at most) in x0 = x_bar - sigma·eps or 1/sigma (100)
in eps = (x_bar - x0) / sigma, by guidance (3), and from step to step. 500 is the most seen, in either precision."""


@pytest.mark.parametrize(
    ("own", "times", "scaled", "output"),
    some(9, CASES),
)
def test_the_posterior_written_as_a_network_gives_the_exact_samples(own: str, times: str, scaled: bool, output: str) -> None:
    for k, schedule in enumerate(OTHER.values()):
        if (CASES.index((own, times, scaled, output)) - k) % len(OTHER) == 0:
            assert apart(network(own, times, scaled, output), schedule) <= GROWTH * U32
        assert apart(network(own, times, scaled, output, torch.float64), schedule) <= GROWTH * U64


class Hidden:
    """A schedule of the user's own, of which nothing is known but what every schedule has."""

    def __init__(self, inside: Schedule) -> None:
        self.inside, self.n_train, self.lowest, self.highest = inside, inside.n_train, inside.lowest, inside.highest

    def level(self, t):
        return self.inside.level(t)

    def at_sigma(self, sigma):
        return self.inside.at_sigma(sigma)


@pytest.mark.parametrize("own", OWN)
def test_any_schedule_will_do_as_its_own(own: str) -> None:
    net = sb.Network(posterior(own, "t", True, "score"), (3,), Score(), torch.float64, ("a",), schedule=Hidden(OWN[own]))
    assert apart(net, OTHER["scaled_linear"]) <= GROWTH * U64


@pytest.mark.parametrize(
    "bug", ["a rounded timestep", "the schedule ignored", "x as it is", "levels of the table for the flow"]
)
def test_planted_bugs_are_seen(bug: str, monkeypatch) -> None:
    own = "flow" if "flow" in bug else "table"
    if bug == "a rounded timestep":
        real = sb.Network.told
        monkeypatch.setattr(sb.Network, "told", lambda self, level: real(self, level).round())
    elif bug == "the schedule ignored":
        monkeypatch.setattr(sb.Network, "told", lambda self, level: level.t * self.schedule.n_train)
    elif bug == "x as it is":
        monkeypatch.setattr(sb.Network, "handed", lambda self, level: (None, level))
    net = network(own, "index")
    if bug == "levels of the table for the flow":
        object.__setattr__(net, "schedule", linear())
    with pytest.raises(AssertionError):
        assert apart(net, OTHER["karras"]) <= GROWTH * U32


@pytest.mark.parametrize("schedule", [scaled_linear, linear])
def test_levels_of_the_own_table_are_told_as_whole_numbers_and_others_are_not_rounded(schedule) -> None:
    net = sb.Network(lambda x, t, prompts: x, (2,), schedule=schedule(), times="index")
    entries = torch.arange(1000, dtype=torch.float64)
    assert torch.equal(net.told(net.schedule.level(entries / 1000)), entries)
    between = net.told(net.schedule.level((entries[:-1] + 0.37) / 1000))
    assert torch.allclose(between, entries[:-1] + 0.37, atol=1e-9, rtol=0)
    at = Karras().at_sigma(torch.tensor([1e-4, 1e4], dtype=torch.float64))
    assert net.told(at).tolist() == [0, 999]  # outside the trained range t stays at its end


def test_its_own_schedule_is_sampled_on_unless_another_is_said() -> None:
    seen: list[float] = []
    net = sb.Network(lambda x, t, prompts: seen.extend(t.tolist()) or 0 * x, (2,), schedule=Karras(0.1, 9.0), times="sigma")
    sb.sample(net, sb.Ddim(sb.Own(3)))
    assert seen == pytest.approx([9.0, ((9 ** (1 / 7) + 0.1 ** (1 / 7)) / 2) ** 7, 0.1])
    seen.clear()
    sb.sample(net, sb.Ddim(sb.UniformT(2, t_max=0.5, t_min=0.2)), schedule=RectifiedFlow())
    assert seen == pytest.approx([1.0, 0.25])


def test_a_network_that_would_be_told_infinity_is_refused() -> None:
    for own, times, scaled in (
        ("karras", "t", True),
        ("flow", "sigma", True),
        ("flow", "c_noise", True),
        ("table", "t", False),
    ):
        net = network(own, times, scaled, "x0")
        with pytest.raises(ValueError, match="grid: starts at sigma = infinity"):
            sb.sample(net, sb.Ddim(sb.UniformT(4)), ["a"], schedule=RectifiedFlow())
    for own in ("flow", "table"):
        assert (
            sb.sample(network(own, "t", True, "x0"), sb.Ddim(sb.UniformT(4)), ["a"], schedule=RectifiedFlow()).isfinite().all()
        )


def test_settings_that_do_not_fit_are_told_in_a_line() -> None:
    def forward(x: Tensor, t: Tensor, prompts: object) -> Tensor:
        return x

    with pytest.raises(ValueError, match=r"^network.schedule=TableSchedule: not one on which FlowVelocity .*RectifiedFlow"):
        sb.Network(forward, (3,), FlowVelocity(), schedule=linear())
    with pytest.raises(ValueError, match=r"^network.times='steps': must be one of t, index, sigma, c_noise"):
        sb.Network(forward, (3,), times="steps")
    with pytest.raises(ValueError, match=r"^network.device='cuda:99': not to be had here"):
        sb.Network(forward, (3,), device="cuda:99")
    with pytest.raises(ValueError, match=r"^codec.scaling_factor=0.0: must be a finite number > 0"):
        sb.Codec(None, (3, 8, 8), 0.0)


def test_the_fingerprint_is_of_the_weights_and_of_how_they_are_read() -> None:
    def made(seed: int = 0, **how: object) -> str:
        torch.manual_seed(seed)
        return sb.Network(torch.nn.Conv2d(3, 3, 1), (3, 4, 4), **how).fingerprint  # type: ignore[arg-type]

    prints = [made(), made(1), made(times="sigma"), made(schedule=linear()), made(parametrisation=Sample())]
    assert len(set(prints)) == len(prints) and made() == prints[0] and len(prints[0]) == 64
    assert made(fingerprint="mine") == "mine"
    assert sb.Network(lambda x, t, prompts: x, (3,)).fingerprint == ""


# ------------------------------------------------------------------------------------------------------- codecs and devices


def test_a_codec_is_what_diffusers_does_with_its_autoencoder() -> None:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = AutoencoderKL(**blocks, block_out_channels=(8, 8), norm_num_groups=4, scaling_factor=0.3, shift_factor=0.2).eval()
    net = sb.Network(lambda x, t, prompts: 0.1 * x, (4, 4, 6), codec=sb.Codec(vae, (3, 8, 12)))
    net.try_out(None)
    latents, images = torch.randn(2, 4, 4, 6).double(), torch.randn(2, 3, 8, 12).double()
    with torch.no_grad():
        assert torch.allclose(net.decode(latents), vae.decode(latents.float() / 0.3 + 0.2).sample.double(), atol=1e-5)
        assert torch.allclose(
            net.encode(images), (vae.encode(images.float()).latent_dist.mode() - 0.2).double() * 0.3, atol=1e-5
        )
    assert sb.sample(net, sb.Ddim(sb.UniformT(3)), seeds=[0, 1]).shape == (2, 3, 8, 12)
    for shape, said in (
        ((3, 8, 8), r"network.codec.decode of \[1, 4, 4, 6\]: gives \[1, 3, 8, 12\], must give \[1, 3, 8, 8\]"),
    ):
        with pytest.raises(ValueError, match=said):
            sb.Network(net.forward, (4, 4, 6), codec=sb.Codec(vae, shape)).try_out(None)


def test_a_network_runs_on_its_own_device() -> None:
    seen: list[str] = []

    def forward(x: Tensor, t: Tensor, prompts: object) -> Tensor:
        seen.extend((str(x.device), str(t.device)))
        return x

    with pretend.Pretend():
        net = sb.Network(forward, (3,), schedule=Karras(), device=pretend.DEVICE)
        for t in (torch.tensor([0.5]), torch.tensor([0.2, 0.4])):
            found = net.predict(torch.ones(2, 3, dtype=torch.float64), net.schedule.level(t), [["a", "b"], [None] * 2])
            assert not pretend.marked(found.x0) and found.x0.dtype == torch.float64
    assert seen == [pretend.DEVICE] * 4


HOW = {"table": "index", "flow": "t", "karras": "c_noise"}


@pytest.mark.parametrize("name", ["ddim", "sdi", "own times"])
@pytest.mark.parametrize("own", OWN)
def test_told_in_its_own_terms_no_step_waits_for_the_device(own: str, name: str, monkeypatch) -> None:
    def network() -> sb.Network:
        return sb.Network(pretend.install(test_pretend.Net()), (3, 8, 8), schedule=OWN[own], times=HOW[own])

    monkeypatch.setattr(test_pretend, "network", network)
    copies, waits = test_pretend.counts(test_pretend.FLAT[name])
    assert waits <= 1 and copies <= 4, (copies, waits)


# -------------------------------------------------------------------------------------------------------- the command line


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The main job in this process; its exit status."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    return exit_status(monkeypatch, run.main, *words)


BAD = """
import sdi_bench as sb, torch
from sdi_bench.coordinates import FlowVelocity
from sdi_bench.schedules import cosine

def shape(): return sb.Network(lambda x, t, prompts: x[:, :2], (3, 8, 8), schedule=cosine())
def nan(): return sb.Network(lambda x, t, prompts: x * torch.nan, (3, 8, 8))
def arguments(): return sb.Network(lambda x, t: x, (3, 8, 8))
def channels(): return sb.Network(lambda x, t, prompts: torch.nn.Conv2d(4, 4, 1)(x), (3, 8, 8))
def fit(): return sb.Network(lambda x, t, prompts: x, (3, 8, 8), FlowVelocity(), schedule=cosine())
def none(): return None
def file(): return torch.load("nowhere.pt")
class Halves:
    image_shape = (3, 16, 16)
    def decode(self, z): return z
    def encode(self, x): return x
def codec(): return sb.Network(lambda x, t, prompts: x, (3, 8, 8), codec=Halves())
def sigma(): return sb.Network(lambda x, t, prompts: x, (3, 8, 8), schedule=cosine(), times="log_sigma")
"""

SAID = {
    "bad.shape": r"network.forward: gave a tensor \[2, 2, 8, 8\], must give a tensor of the shape of x, \[2, 3, 8, 8\]",
    "bad.nan": r"network.forward, asked with x \[2, 3, 8, 8\] .*: gives numbers that are not finite",
    "bad.arguments": r"network.forward, asked with .*times=t.*: fails, TypeError",
    "bad.channels": r"network.forward, asked with x \[2, 3, 8, 8\] in torch.float32.*: fails, RuntimeError: .*channels",
    "bad.fit": r"model._target_=bad.fit: network.schedule=TableSchedule: .*FlowVelocity.*use RectifiedFlow",
    "bad.none": r"model=None: must be a Denoiser",
    "bad.file": r"model._target_=bad.file: FileNotFoundError: .*nowhere.pt.*, line \d+\)",
    "bad.codec": r"network.codec.decode of \[1, 3, 8, 8\]: gives \[1, 3, 8, 8\], must give \[1, 3, 16, 16\]",
    "bad.sigma": r"model._target_=bad.sigma: network.times='log_sigma': must be one of t, index, sigma, c_noise",
    "bad.shap": r"model._target_=bad.shap: there is no such thing; did you mean shape",
    "bat.shape": r"model._target_=bat.shape: there is no such thing; bat.py must be where the command is started, .*PYTHONPATH",
}


@pytest.mark.parametrize("target", SAID)
def test_what_is_wrong_with_a_network_is_one_line(target: str, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "bad.py").write_text(BAD)
    (tmp_path / "mine" / "model" / "bad.yaml").write_text(f"_target_: {target}\n")
    monkeypatch.delitem(sys.modules, "bad", raising=False)
    words = ["--config-dir", str(tmp_path / "mine"), "model=bad", "prompt=a", f"results={tmp_path}", "reference=null"]
    assert command(monkeypatch, *words) == 2
    said = capsys.readouterr()
    assert re.search(SAID[target], said.err) and said.err.count("\n") == 1 and not said.out
    assert not (tmp_path / "main").exists()


def test_without_a_word_a_network_is_sampled_on_its_own_schedule_and_another_on_that(tmp_path, monkeypatch) -> None:
    (tmp_path / "told.py").write_text(
        "import sdi_bench as sb\nfrom sdi_bench.schedules import Karras\n"
        "def own(path=None, width=0.2): return sb.Network(lambda x, t, prompts: 0 * x, (3, 8, 8), schedule=Karras(0.1, 9.0))\n"
        "def none(path=None, width=0.2): return sb.Network(lambda x, t, prompts: 0 * x, (3, 8, 8))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def schedule(*words: str) -> tuple[Schedule, str]:
        ((plan, reference),) = sweeps.preflight(["prompt=3", *words, f"results={tmp_path}"])
        assert plan.job.schedule is reference.job.schedule
        return plan.job.schedule, plan.config["schedule"]["_target_"]

    mine = ["model=digits"]  # a yaml with another target, whose settings that takes
    assert schedule(*mine, "model._target_=told.own") == (Karras(0.1, 9.0), "sdi_bench.models.OwnSchedule")
    assert schedule(*mine, "model._target_=told.own", "schedule=edm") == (Karras(), "sdi_bench.schedules.Karras")
    for words in (
        [*mine, "model._target_=told.none"],
        ["model=digits"],
        [*mine, "model._target_=told.own", "schedule=scaled_linear"],
    ):
        found, target = schedule(*words)
        assert target == "sdi_bench.schedules.scaled_linear"
        assert torch.equal(found.level(0.3).a, scaled_linear().level(0.3).a)


def test_schedule_own_is_the_models_and_refused_where_it_has_none(monkeypatch, tmp_path, capsys) -> None:
    assert command(monkeypatch, "model=digits", "schedule=own", "seeds=0", f"results={tmp_path}") == 2
    assert "schedule=own: Empirical has no schedule of its own; choose scaled_linear" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------- what the README shows


def block(language: str, has: str) -> str:
    """The one code block of the README in this language with this text in it."""
    (found,) = (text for text in re.findall(rf"```{language}\n(.*?)```", README, flags=re.S) if has in text)
    return str(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder, as the README has it."""
    place = tmp_path_factory.mktemp("user")
    (place / "mine" / "model").mkdir(parents=True)
    module = block("python", "# mine/mynet.py")
    assert len([line for line in module.splitlines() if line and line[0] != "#"]) <= 10
    (place / "mine" / "mynet.py").write_text(module)
    (place / "mine" / "model" / "mynet.yaml").write_text(block("yaml", "mynet.make"))
    return place


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True)


def test_the_readmes_network_is_sampled_in_python(folder: Path) -> None:
    said = block("python", "from mynet import make")
    done = python(folder / "mine", "-c", said + "\nprint(tuple(images.shape), bool(images.isfinite().all()))")
    assert done.stdout.strip() == "(2, 3, 48, 48) True", done.stderr


def test_the_readmes_yaml_is_a_sweep_with_numbers(folder: Path) -> None:
    program, *words = shlex.split(block("bash", "--config-dir mine"), comments=True)
    assert program == "python"
    done = python(folder, *words)
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "results" / "main").glob("sweep-*.csv")
    table = pd.read_csv(path)
    runs = table[table["run"].isin(["sds", "sdi", "ddim"])]
    assert set(runs["measure"]) == {"contrast", "sharpness", "spectrum", "saturation", "clipped", "lpips", "to_reference"}
    assert runs["point"].notna().all() and not runs["diverged"].any()
    assert '"ddim-200", for nobody knows the data of this model' in done.stdout and "sdi_bench.doctor" in done.stdout
    assert done.stdout.count("nobody knows") == 1

    def pictures(run: str) -> np.ndarray:
        name = runs_of[run]
        shards = sorted((folder / "results" / "main" / name / "shards").glob("*.npz"))
        found = np.concatenate([np.load(shard)["images"] for shard in shards])  # no codec: as it was sampled
        return np.round((found.clip(-1, 1) + 1) * 127.5) / 127.5 - 1

    runs_of = dict(zip(table["run"], table["folder"], strict=True))
    spread = {run: pictures(run).reshape(16, -1).std(axis=1).mean() for run in ("sds", "ddim-200")}
    found = float(runs.query("run == 'sds' and measure == 'contrast'")["point"].iloc[0])
    assert found == pytest.approx(math.log(spread["sds"] / spread["ddim-200"]), rel=1e-9)
    config = RunFolder(folder / "results" / "main" / runs_of["sds"]).read_config()
    assert config["schedule"] == {"_target_": "sdi_bench.models.OwnSchedule"} and len(config["fingerprint"]) == 64
