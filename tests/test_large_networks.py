"""What large networks ask for: one in memory at a time, rows cut to what fits, text encoders out of the way."""

import gc
import math
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pretend
import pytest
import tiny_pipelines
import torch
from commands import exit_status
from pretend import DEVICE, Pretend
from torch import Tensor

import sdi_bench as sb
from sdi_bench import jobs, plans, run, sweeps
from sdi_bench.draws import items_of
from sdi_bench.jobs import Plan, Watch, clock, execute
from sdi_bench.models import DiffusersFolder, rows
from sdi_bench.models.checkpoints import adapted, opening
from sdi_bench.models.checkpoints.families.stable_diffusion import StableDiffusion
from sdi_bench.sampling import Job
from sdi_bench.schedules import scaled_linear
from sdi_bench.store import RunFolder

LITTLE = ["model=diffusers", "grid=linear", "grid.n_levels=2", "seeds=0", "prompt=", "reference=null", "metric=[]"]


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The main job in this process; its exit status."""
    return exit_status(monkeypatch, run.main, *words)


# ------------------------------------------------------------------------------------------------ one network at a time


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three checkpoints."""
    place = tmp_path_factory.mktemp("three")
    return [tiny_pipelines.save("pixel", place / name, beta_end=end) for name, end in (("a", 0.02), ("b", 0.03), ("c", 0.04))]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(folder, how many networks are alive then) of each that is read from disk."""
    found: list[tuple[str, int]] = []
    alive: list[weakref.ref] = []
    real = opening.loaded

    def counted(place: Path, *rest):
        pipe = real(place, *rest)
        alive.append(weakref.ref(pipe.unet))
        found.append((place.name, sum(each() is not None for each in alive)))
        return pipe

    monkeypatch.setattr(opening, "loaded", counted)
    beta_end = property(lambda self: str(self.pipe.scheduler.config.beta_end))
    monkeypatch.setattr(DiffusersFolder, "fingerprint", beta_end)  # the type checker of the tests asks for it in every call
    opening.opened.cache_clear()
    gc.collect()
    return found


@pytest.fixture
def summarised(monkeypatch: pytest.MonkeyPatch) -> list[list[list[plans.Plan]]]:
    """What would be measured and drawn."""
    found: list[list[list[plans.Plan]]] = []
    monkeypatch.setattr(sweeps, "summarise", lambda made, _: found.append(made) or True)
    return found


def swept(monkeypatch: pytest.MonkeyPatch, folders: list[Path], tmp_path: Path) -> int:
    """A sweep of two samplers over folders, the samplers first: the models come in turns."""
    paths = ",".join(map(str, folders))
    return command(monkeypatch, "-m", *LITTLE, "sampler=sds,ddim", f"model.path={paths}", f"results={tmp_path}")


@pytest.mark.slow
def test_a_sweep_over_checkpoints_has_one_open_at_a_time(three, opened, summarised, tmp_path, monkeypatch) -> None:
    """To be checked before the first call all three are opened, and the last of them stays open for its own jobs."""
    assert swept(monkeypatch, three, tmp_path) == 0
    assert [name for name, _ in opened] == ["a", "b", "c", "a", "b"]
    assert [alive for _, alive in opened] == [1] * 5
    assert len(list(tmp_path.glob("main/*/shards/*.npz"))) == 6
    (table,) = summarised
    assert [(plan.label.split()[0], Path(plan.label).name) for plan, *_ in table] == [
        (sampler, name) for sampler in ("sds", "ddim") for name in "abc"
    ]


def test_a_sweep_over_one_opens_it_once(three, opened, summarised, tmp_path, monkeypatch) -> None:
    assert swept(monkeypatch, three[:1], tmp_path) == 0
    assert opened == [("a", 1)]


@pytest.mark.parametrize(
    "bug",
    [
        pytest.param("plans keep their networks", marks=pytest.mark.slow),
        pytest.param("the last one is kept beside", marks=pytest.mark.slow),
        pytest.param("runs in the order of the table", marks=pytest.mark.slow),
    ],
)
def test_planted_hoarding_is_seen(bug: str, three, opened, summarised, tmp_path, monkeypatch) -> None:
    if bug == "plans keep their networks":
        monkeypatch.setattr(sweeps, "closed", lambda plan: plan)
    elif bug == "the last one is kept beside":
        monkeypatch.setattr(opening, "LAST", type("All", (list,), {"__contains__": lambda self, one: True})())
    else:
        monkeypatch.setattr(sweeps, "by_model", lambda runs: runs)
    assert swept(monkeypatch, three, tmp_path) == 0 and summarised
    assert len(opened) > 5 or max(alive for _, alive in opened) > 1


# ----------------------------------------------------------------------------------------------------- rows, cut to what fits


class Narrow(torch.nn.Module):
    """A network that looks at x, t and the prompt, and runs out of memory above `most` rows."""

    def __init__(self, most: int, says: type[RuntimeError] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.most, self.says, self.sizes = most, says, []

    def forward(self, x: Tensor, t: Tensor, prompts: Sequence[str | None]) -> Tensor:
        self.sizes.append(len(x))
        assert len(x) == len(t) == len(prompts)
        if len(x) > self.most:
            raise torch.cuda.OutOfMemoryError("pretended") if self.says is None else self.says("... can't allocate memory: ...")
        words = torch.tensor([len(prompt or "") / 9 for prompt in prompts], device=x.device)
        return self.conv(x) * (1 + t + words)[:, None, None, None]


ASKED = {"prompts": ["a", "bcd"], "seeds": [0, 1], "batch_size": 4}
GUIDED = sb.Ddim(sb.UniformT(3, t_max=0.9), sb.Guidance(2.0))


def whole() -> Tensor:
    return sb.sample(sb.Network(Narrow(8), (3, 8, 8)), GUIDED, **ASKED)


@pytest.mark.parametrize("says", [None, RuntimeError])
def test_out_of_memory_is_half_as_many_rows_from_then_on(says) -> None:
    """8 rows (four items, two conditions) are tried once; 4 do not fit either; the rest of the run is of 2 each. The sum of
    a row has no other rows in it: what differs is the order in which a kernel adds 27 numbers of float32.
    """
    network = Narrow(3, says)
    with pytest.warns(UserWarning, match="network.forward: out of memory at") as said:
        found = sb.sample(sb.Network(network, (3, 8, 8)), GUIDED, **ASKED)
    assert network.sizes == [8, 4] + [2] * 12
    assert [str(each.message).split("memory ")[1] for each in said] == [
        "at 8 rows; from now on 4 at a time",
        "at 4 rows; from now on 2 at a time",
    ]
    torch.testing.assert_close(found, whole(), rtol=1e-4, atol=1e-5)


def test_rows_are_cut_as_asked_and_what_does_not_divide_goes_last() -> None:
    network = Narrow(3)
    found = sb.sample(sb.Network(network, (3, 8, 8), max_rows=3), GUIDED, **ASKED)
    assert network.sizes == [3, 3, 2] * 3
    torch.testing.assert_close(found, whole(), rtol=1e-4, atol=1e-5)


def test_rows_put_together_in_the_wrong_order_are_seen(monkeypatch) -> None:
    def planted(self: rows.Rows, n: int, call: Callable[[slice], Tensor], most: int | None = None) -> Tensor:
        return torch.cat([call(slice(k, k + (most or n))) for k in range(0, n, most or n)][::-1])

    monkeypatch.setattr(rows.Rows, "__call__", planted)
    with pytest.raises(AssertionError, match="not close"):
        test_rows_are_cut_as_asked_and_what_does_not_divide_goes_last()


def test_where_one_row_does_not_fit_it_is_one_line() -> None:
    with (
        pytest.warns(UserWarning, match="from now on"),
        pytest.raises(ValueError, match=r"^network.forward: .*one row.* a dtype"),
    ):
        sb.sample(sb.Network(Narrow(0), (3, 8, 8)), GUIDED, **ASKED)
    with pytest.raises(RuntimeError, match="something else"):
        rows.Rows("", "")(2, lambda _: (_ for _ in ()).throw(RuntimeError("something else")))
    for wrong in (0, True):
        with pytest.raises(ValueError, match=r"network\.max_rows=.*: must be a whole number >= 1"):
            sb.Network(Narrow(1), (3, 8, 8), max_rows=wrong)


def test_a_codec_is_given_fewer_pictures_too() -> None:
    sizes = []

    class Vae(torch.nn.Module):
        def decode(self, z: Tensor) -> Tensor:
            sizes.append(len(z))
            if len(z) > 1:
                raise torch.cuda.OutOfMemoryError("pretended")
            return z * 2

        encode = decode

    codec, z = sb.Codec(Vae(), (3, 8, 8)), torch.randn(3, 3, 8, 8)
    with pytest.warns(UserWarning, match="network.codec: out of memory at 3 rows; from now on 1"):
        assert torch.equal(codec.decode(z), 2 * z)
    assert torch.equal(codec.encode(z), 2 * z) and sizes == [3, 1, 1, 1, 1, 1, 1]


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipelines.save("sd", tmp_path_factory.mktemp("tiny") / "sd")


def test_a_checkpoint_s_rows_are_cut_and_its_run_is_the_same_one(sd, tmp_path, monkeypatch) -> None:
    """The numbers are those of the uncut call but for float32's rounding, and so the run has the same name."""
    model, cut = DiffusersFolder.of(sd), DiffusersFolder.of(sd, max_rows=3)
    x, sizes, real = torch.randn(2, 4, 8, 8, dtype=torch.float64), [], model.network.forward
    monkeypatch.setattr(model.network, "forward", lambda sample, *a, **m: sizes.append(len(sample)) or real(sample, *a, **m))
    asked = (x, model.schedule.level(0.5), [[None, None], ["a", "bc"]])
    want, found = model.predict(*asked), cut.predict(*asked)
    assert sizes == [4, 3, 1]
    torch.testing.assert_close(found.eps, want.eps, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"model\.max_rows=0: must be a whole number"):
        DiffusersFolder.of(sd, max_rows=0)
    words = ["model=diffusers", f"model.path={sd}", "prompt=a", f"results={tmp_path}"]
    one, other = (sweeps.preflight([*words, f"model.max_rows={n}"])[0][0] for n in ("null", "3"))
    assert one.folder.path == other.folder.path and other.job.model.wanted.max_rows == 3


# ------------------------------------------------------------------------------------------------- nothing finite, text, device


def shard_of(network: sb.Network, tmp_path: Path, n: int, batch_size: int) -> list[str]:
    """What failed of a run of n items."""
    job = Job(network, sb.Ddim(sb.UniformT(3, t_max=0.9), sb.Guidance(1.0)), scaled_linear())
    config = {"overwrite": False, "metric": {}}
    return execute(Plan("ddim", job, tuple(items_of([None], range(n))), {}, RunFolder(tmp_path / "run"), config, batch_size))


def overflowing(rows: Callable[[Tensor], Tensor], by: float = math.nan) -> sb.Network:
    """A network that returns `by` for some rows; NaN is what float16 makes of inf - inf."""
    return sb.Network(lambda x, t, prompts: torch.where(rows(x)[:, None, None, None], x.new_tensor(by), x), (3, 8, 8))


@pytest.mark.parametrize(("n", "batch_size", "after"), [(4, 2, 2), (1, 1, 1), (3, 1, 2)])
def test_a_network_that_gives_nothing_finite_fails_its_shard_in_a_line(n: int, batch_size: int, after: int, tmp_path) -> None:
    (said,) = shard_of(overflowing(lambda x: x[:, 0, 0, 0] < math.inf), tmp_path, n, batch_size)
    assert f"not finite, for all of the first {after} items: its precision overflows; dtype=bfloat16" in said
    assert "\n" not in said and not list(tmp_path.rglob("shards/*.npz"))


def test_what_diverges_singly_or_through_its_sampler_is_counted_as_it_was(tmp_path) -> None:
    """Half of the items by the network; or all, but through numbers that no network is asked for in its range."""
    assert not shard_of(overflowing(lambda x: x[:, 0, 0, 0] > 0), tmp_path / "some", 8, 4)
    lost = np.isnan(np.load(*(tmp_path / "some").rglob("shards/*.npz"))["images"]).any(axis=(1, 2, 3))
    assert 0 < lost.sum() < 8
    calls = []
    grows = sb.Network(lambda x, t, prompts: calls.append(1) or x * (1e9 if len(calls) == 1 else math.nan), (3, 8, 8))
    assert not shard_of(grows, tmp_path / "all", 2, 2) and list((tmp_path / "all").rglob("shards/*.npz"))


@pytest.mark.parametrize("bug", ["large numbers are the network's", "one item is enough"])
def test_a_watch_that_is_too_strict_is_seen(bug: str, tmp_path, monkeypatch) -> None:
    if bug == "one item is enough":
        monkeypatch.setattr(Watch, "look", lambda self: bool(self.x0.isfinite().all()) or 1 / 0)
    else:
        monkeypatch.setattr(jobs, "BLOWN", math.inf)
    with pytest.raises(AssertionError):
        test_what_diverges_singly_or_through_its_sampler_is_counted_as_it_was(tmp_path)


def test_text_encoders_wait_on_the_host_and_are_lent_to_the_device(sd, monkeypatch) -> None:
    """On a device that is none. The numbers are those of a pipeline that is there as a whole; each prompt is encoded once."""
    plain = StableDiffusion(DiffusersFolder.of(sd).pipe, torch.float32, "cpu", {})
    want = sb.sample(plain, GUIDED, **ASKED)
    monkeypatch.setattr(DiffusersFolder, "fingerprint", "tiny")
    monkeypatch.setattr(opening, "state_of", lambda pipe: [])
    pipe = tiny_pipelines.sd()
    encoder, asked = pipe.text_encoder, []
    before = [(id(tensor), tensor._version) for tensor in encoder.state_dict(keep_vars=True).values()]
    model = StableDiffusion(pipe, torch.float32, DEVICE, {})
    model._known["offload_text"] = True
    real = type(pipe).encode_prompt

    def encode_prompt(self, **more: Any) -> Any:
        asked.append(more["prompt"])
        assert all(pretend.marked(tensor) for tensor in encoder.parameters())
        return real(self, **more)

    monkeypatch.setattr(type(pipe), "encode_prompt", encode_prompt)
    with Pretend():
        for part in (pipe.unet, pipe.vae):
            pretend.install(part.requires_grad_(False))
        found = sb.sample(model, GUIDED, **ASKED)
        assert asked == ["", "a", "bcd"] and not any(pretend.marked(each) for kept in model.kept.values() for each in kept)
        sb.sample(model, GUIDED, ["e"])
        assert asked == ["", "a", "bcd", "e"]  # a later prompt
    assert before == [(id(tensor), tensor._version) for tensor in encoder.state_dict(keep_vars=True).values()]
    assert not any(pretend.marked(tensor) for tensor in encoder.state_dict(keep_vars=True).values())
    torch.testing.assert_close(found, want, rtol=1e-6, atol=1e-6)


def test_where_text_encoders_cannot_wait_it_is_one_line(sd, three) -> None:
    with pytest.raises(ValueError, match=r"^model\.offload_text=true: keeps text encoders from the memory of an accelerator"):
        DiffusersFolder.of(sd, offload_text=True)
    with pytest.raises(ValueError, match=r"^model\.offload_text=true: a DDPMPipeline has no text encoder"):
        DiffusersFolder.of(three[0], offload_text=True)
    with pytest.raises(ValueError, match=r"model.switches has enable_model_cpu_offload"):
        adapted.check_offload_text(tiny_pipelines.sd(), "cuda", (adapted.OFFLOAD,))


class Pretend32(Pretend):
    """The device has no float64, as MPS."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_function__(func, types, args, kwargs)
        for tensor in pretend.tensors(out):
            if pretend.marked(tensor) and tensor.dtype == torch.float64:
                raise TypeError(f"{func.__name__}: no float64 there")
        return out


def test_a_network_on_a_device_without_float64_is_sampled_from_the_host(sd, monkeypatch) -> None:
    monkeypatch.setattr(DiffusersFolder, "fingerprint", "tiny")
    want = sb.sample(StableDiffusion(tiny_pipelines.sd(), torch.float32, "cpu", {}), GUIDED, **ASKED)
    pipe = tiny_pipelines.sd()
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        pretend.install(part.requires_grad_(False))
    with Pretend32():
        found = sb.sample(StableDiffusion(pipe, torch.float32, DEVICE, {}), GUIDED, **ASKED, device="cpu")
        torch.testing.assert_close(found, want, rtol=1e-6, atol=1e-6)
        own = sb.sample(sb.Network(pretend.install(Narrow(8)), (3, 8, 8), device=DEVICE), GUIDED, **ASKED, device="cpu")
        torch.testing.assert_close(own, whole(), rtol=1e-6, atol=1e-6)
        with pytest.raises(TypeError, match="no float64 there"):  # a state there is seen
            sb.sample(sb.Network(pretend.install(Narrow(8)), (3, 8, 8), device=DEVICE), GUIDED, **ASKED)


def test_a_sampler_on_mps_is_refused_in_a_line_and_a_network_there_is_asked_from_the_host(
    tmp_path, monkeypatch, capsys
) -> None:
    with pytest.raises(ValueError, match=r"^device='mps': has no float64.*device=cpu.*model.device=mps"):
        sb.sample(sb.Network(Narrow(8), (3, 8, 8)), GUIDED, device="mps")
    assert command(monkeypatch, "model=digits", "device=mps:0", f"results={tmp_path}") == 2
    assert "device='mps:0': has no float64" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"^device='nowhere': not to be had here"):
        sb.sample(sb.Network(Narrow(8), (3, 8, 8)), GUIDED, device="nowhere")


def test_a_sample_is_made_on_the_network_s_device_and_comes_back(monkeypatch) -> None:
    with Pretend() as device:
        found = sb.sample(sb.Network(pretend.install(Narrow(8)), (3, 8, 8), device=DEVICE), GUIDED, **ASKED)
        assert not pretend.marked(found) and found.dtype == torch.float64
        there = device.waits
        sb.sample(sb.Network(pretend.install(Narrow(8)), (3, 8, 8), device=DEVICE), GUIDED, **ASKED, device="cpu")
        assert device.waits - there > there  # each step comes back then
    torch.testing.assert_close(found, whole(), rtol=1e-6, atol=1e-6)


def test_seconds_end_once_the_device_is_done(monkeypatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append("cuda"))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    assert [clock(device) > 0 for device in ("cpu", "cuda:1", "mps", "meta")] == [True] * 4
    assert waited == ["cuda", "mps"]
