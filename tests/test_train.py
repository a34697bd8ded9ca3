"""Training a prior: the whole path on a tiny configuration, each part against an oracle, and what ships."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from commands import exit_status
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rounding import U32

import sdi_bench as sb
from sdi_bench.command_line import conf_dir
from sdi_bench.data.shipped import HERE
from sdi_bench.data.world import World
from sdi_bench.draws import Item, PhiloxDraws
from sdi_bench.models import DiffusersFolder
from sdi_bench.models.patches import Patches, haar
from sdi_bench.models.trained import Trained, trained
from sdi_bench.noise import Zero
from sdi_bench.predictor import Cost, Predictor
from sdi_bench.probes import Kappas
from sdi_bench.sampling import Job
from sdi_bench.train import __main__ as command
from sdi_bench.train import card, fit, parts, stages
from sdi_bench.train.recipe import Domain, Recipe, Text, Training, Unet, Vae
from sdi_bench.verify import cached
from sdi_bench.verify.rows import U, Worst

PROMPT = "a brown sofa, side view"


def train(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> int:
    """The command in this process; its exit status."""
    return exit_status(monkeypatch, command.main, "recipe=tiny", f"folder={folder}", "device=cpu", *words)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny training, finished: 20 steps each."""
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        assert train(patch, folder) == 0
    return folder


def test_diffusers_itself_opens_what_was_trained_and_samples(made: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(made / "pipeline", local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    draw = torch.Generator().manual_seed(0)
    images = pipe(PROMPT, num_inference_steps=3, guidance_scale=3.0, output_type="np", generator=draw).images
    assert images.shape == (1, 32, 32, 3)
    assert np.isfinite(images).all() and images.std() > 0
    names = {"codec.csv", "codec.png", "denoiser.csv", "samples.png", "recipe.yaml", "pipeline"}
    assert names <= {path.name for path in made.iterdir()}
    weights = list((made / "pipeline").rglob("*.safetensors"))
    assert len(weights) == 3
    sizes = sum(p.numel() for part in (pipe.unet, pipe.text_encoder, pipe.vae) for p in part.parameters())
    assert sum(path.stat().st_size for path in weights) < 2 * sizes + 2**17  # float16, and the headers


def test_cached_kappa_is_ddim_on_what_was_trained(made: Path) -> None:
    """V1a and V1b, as sdi_bench.verify judges them."""
    model = DiffusersFolder.of(made / "pipeline", dtype="float64")
    items = (Item(PROMPT, 0), Item("a blue bed", 1))
    net = Predictor(model, model.schedule, sb.Guidance(3.0), tuple(item.prompt for item in items))
    at, step_by_step, whole = cached.Setting("trained", net, PhiloxDraws(items), sb.UniformT(6)), Worst(), Worst()
    states, dual = cached.paths(at.net, at.draws, at.grid)
    for src, dst in zip(states, states[1:], strict=False):
        cached.local(at, src, dst, step_by_step)
    for ours, theirs, bound in zip(dual, states, cached.amplification(at), strict=True):
        for got, expected in zip(cached.coordinates_of(ours), cached.coordinates_of(theirs), strict=True):
            whole.compare("trained", got, expected, bound * U)
    assert step_by_step.deviation < 16 and whole.deviation < cached.ROUNDINGS


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_with_the_same_bits(made: Path, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(fit, "LOGGED", 10)
    shutil.copytree(made / "tokenizer", tmp_path / "tokenizer")  # its ties are broken at random; here it goes on, too
    stops = 0
    while train(monkeypatch, tmp_path, "minutes=1e-9") == 3:
        assert f"goes on from {tmp_path}" in capsys.readouterr().out
        stops += 1
    assert stops == 2  # after 10 of 20 steps, twice
    for name in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"):
        one, same = ((folder / "pipeline" / f"{name}.safetensors").read_bytes() for folder in (made, tmp_path))
        assert one == same, name


def test_another_recipe_does_not_go_on_in_the_same_folder(made: Path, monkeypatch, capsys) -> None:
    assert train(monkeypatch, made, "recipe.text.width=64") == 2
    assert f"folder='{made}': holds a training by another recipe; give another folder" in capsys.readouterr().err


BAD = {
    "recipe=huge": "recipe=huge: there are full, pixels, small, tiny",
    "epochs=3": "epochs: no such setting",
    "minutes=0": "minutes=0: must be a finite number > 0",
    "device=tpu": "device='tpu': not to be had here",
    "recipe.pictures.size=48": "recipe.pictures.size=48: must be 64, 32 or 16",
    "recipe.pictures.concepts=[sofaa]": "'sofaa' is no concept of the training pictures; did you mean 'sofa'",
    "recipe.pictures.concepts=[cactus]": "recipe.pictures.concepts=['cactus']: there are no val pictures of these",
    "recipe.pictures.concepts=[]": "recipe.pictures.concepts=[]: there are no train pictures of these",
    "recipe.unet.attention=[true]": "recipe.unet.attention: 1 for 2 resolutions",
    "recipe.unet.attention=[false,false]": "recipe.unet.attention: no resolution looks at the text",
    "recipe.unet.channels=[12,32]": "recipe.unet.channels=[12, 32]: 12 is no multiple of the norm's 8 groups",
    "recipe.text.n_words=10": "recipe.text.n_words=10: must be a whole number >= 514",
    "recipe.train_codec.n_samples=0": "n_samples=0: must be a whole number >= 1",
    "recipe.train_denoiser.dtype=fp8": "dtype='fp8': must be bfloat16 or float32",
    "recipe.codec.channels=[8,8,8,8,8,8]": "recipe.pictures.size=32: must be a multiple of 64",
}


def test_a_rate_that_is_too_high_is_one_line(monkeypatch, tmp_path, capsys) -> None:
    assert train(monkeypatch, tmp_path, "recipe.train_codec.rate=1e30", "recipe.train_codec.warmup=0") == 1
    assert "the loss is not finite after" in (said := capsys.readouterr().err.splitlines()[-1]) and "rate" in said


@pytest.mark.parametrize("word", BAD)
def test_a_bad_setting_is_one_line(word: str, monkeypatch, tmp_path, capsys) -> None:
    assert train(monkeypatch, tmp_path, word) == 2
    error = capsys.readouterr().err.strip()
    assert BAD[word] in error and "\n" not in error
    assert not list(tmp_path.iterdir())


def recipe_of(name: str) -> Recipe:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", [f"recipe={name}"]).recipe, resolve=True)
    found = instantiate(plain, _convert_="all")
    assert isinstance(found, Recipe)
    return found


@pytest.mark.parametrize("path", sorted((conf_dir() / "recipe").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_makes_networks_that_fit_each_other(path: Path) -> None:
    recipe = recipe_of(path.stem)
    words = parts.tokenizer(recipe.text, ["a red sofa"])
    codec, unet, text = parts.codec(recipe), parts.unet(recipe), parts.text_encoder(recipe.text, words)
    x = torch.zeros(1, 3, recipe.pictures.size, recipe.pictures.size)
    with torch.no_grad():
        z = codec.encode(x).latent_dist.mode()
        assert z.shape[1:] == recipe.shape
        hidden = text(stages.tokens(words, ["a red sofa"], "cpu")).last_hidden_state
        assert hidden.shape == (1, recipe.text.n_tokens, recipe.text.width)
        assert unet(z, torch.tensor([3]), hidden).sample.shape == z.shape
        assert codec.decode(z).sample.shape == x.shape
    n_weights = sum(p.numel() for part in (codec, unet, text) for p in part.parameters())
    assert 2 * n_weights < 15 * 2**20  # what ships is float16


# ------------------------------------------------------------------------------------------------------------------ parts


@pytest.mark.parametrize("k", [2, 4, 8])
def test_patches_are_an_isometry(k: int) -> None:
    assert torch.allclose(haar(k) @ haar(k).T, torch.eye(k, dtype=torch.float64), atol=1e-15)
    codec = Patches(k).double()
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = codec.encode(x).latent_dist.mode()
    assert z.shape == (2, 3 * k * k, 16 // k, 16 // k)
    # the basis is rounded to float32: by u of each entry, so by u·k of its norm, and a row's entries add up to k at most
    off = U32 * k * float(x.abs().max()) + 1e-14
    torch.testing.assert_close(z.square().sum(), x.square().sum(), rtol=2 * U32 * k, atol=0)
    torch.testing.assert_close(codec.decode(z).sample, x, rtol=0, atol=2 * k * off)
    torch.testing.assert_close(z[:, 0], k * torch.nn.functional.avg_pool2d(x[:, :1], k)[:, 0], rtol=0, atol=off)


@pytest.mark.slow
def test_a_pipeline_on_pixels_opens_in_diffusers(monkeypatch, tmp_path) -> None:
    """recipe=pixels on the tiny sizes: no autoencoder, sdi_bench's patches in its place."""
    words = ["recipe=pixels", "recipe.pictures.domain=object", "recipe.pictures.concepts=[sofa]", "recipe.text.n_words=600"]
    sizes = [
        "recipe.unet.channels=[16,32]",
        "recipe.unet.attention=[false,true]",
        "recipe.unet.head=16",
        "recipe.unet.groups=8",
    ]
    short = ["recipe.train_denoiser.n_samples=16", "recipe.train_denoiser.batch=8", "recipe.text.width=32"]
    assert train(monkeypatch, tmp_path, *words, *sizes, *short) == 0
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "pipeline", local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe.vae, Patches)
    assert pipe(PROMPT, num_inference_steps=2, output_type="np").images.shape == (1, 32, 32, 3)
    model = DiffusersFolder.of(tmp_path / "pipeline")
    assert model.shape == (12, 16, 16) and model.image_shape == (3, 32, 32)  # type: ignore[attr-defined]
    pixels = torch.from_numpy(World.open().where("val", "object").pixels(32)[:3]).double()
    # float32: sums of four products, values up to 2, there and back, and a scaling: some 40 roundings of 1
    torch.testing.assert_close(model.decode(model.encode(pixels)), pixels, rtol=0, atol=40 * U32)  # type: ignore[attr-defined]


def test_words_of_the_captions_are_a_token_each_and_vocabulary_and_merges_say_the_same(tmp_path) -> None:
    from transformers import CLIPTokenizer

    words = parts.tokenizer(Text(n_words=1024), [s for row in stages.sayings(Domain(32, "object").of("train")) for s, _ in row])
    said = "a brown wardrobe, overhead view"
    assert words.tokenize(said) == [f"{word}</w>" for word in ("a", "brown", "wardrobe", ",", "overhead", "view")]
    words.save_pretrained(tmp_path)
    parts.save_words(words, tmp_path)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    merges = [tuple(line.split(" ")) for line in (tmp_path / "merges.txt").read_text().splitlines()[1:]]
    old = CLIPTokenizer(vocabulary, merges, model_max_length=24)
    for text in (said, "a zebra, 315 degrees", ""):
        assert old(text).input_ids == words(text).input_ids


def test_captions_are_drawn_as_often_as_they_should() -> None:
    said = [(("a", 0.6), ("b", 0.4)), (("c", 1.0),)]
    words = parts.tokenizer(Text(n_words=600), ["a b c"])
    data = stages.Captioned(torch.arange(2.0)[:, None], said, words, "cpu")
    n, draw = 20_000, torch.Generator().manual_seed(0)
    rows, ids = data.batch(n, 0.1, draw)
    numbers = {word: stages.tokens(words, [word], "cpu")[0] for word in ("a", "b", "c", "")}
    share = {word: float((ids == number).all(1).double().mean()) for word, number in numbers.items()}
    expected = {"a": 0.5 * 0.6 * 0.9, "b": 0.5 * 0.4 * 0.9, "c": 0.5 * 0.9, "": 0.1}
    for word, p in expected.items():
        assert abs(share[word] - p) < 5 * (p * (1 - p) / n) ** 0.5  # standard errors
    of_first = (ids == numbers["a"]).all(1) | (ids == numbers["b"]).all(1)
    assert bool((rows[of_first, 0] == 0).all())


def test_the_loss_that_is_infinite_stops_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fit, "LOGGED", 2)
    net = torch.nn.Linear(1, 1)
    with pytest.raises(FloatingPointError):
        fit.fit(net, lambda step: net.weight.sum() + float("inf"), Training(64, 8, dtype="float32"), tmp_path, "bad", "cpu")


@pytest.mark.parametrize("bug", [None, "eps is learned", "sign", "timestep off by one"])
def test_the_loss_is_zero_for_the_exact_denoiser_alone(bug: str | None) -> None:
    """Of a single latent z: v = (a·x - z) / b is known at every x. And planted bugs in what is learned."""
    z = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    data = stages.Captioned(z, [[("a", 1.0)]], parts.tokenizer(Text(n_words=600), ["a"]), "cpu")
    alphas = torch.linspace(0.99, 0.01, 100)

    def exact(x: torch.Tensor, t: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        at = alphas[(t + (bug == "timestep off by one")).clamp(max=99)]
        a, b = (part.sqrt().reshape(-1, 1, 1, 1) for part in (at, 1 - at))
        v = (a * x - z) / b
        return {"eps is learned": (x - a * z) / b, "sign": -v}.get(bug or "", v)

    loss = float(stages.v_loss(exact, data, alphas, 256, 0.1, torch.Generator().manual_seed(0)))
    assert loss < 1e-9 if bug is None else loss > 1e-4  # float32: 6e-8, divided by b >= 0.1, squared


def test_an_angle_is_said_of_pictures_around_an_object_only() -> None:
    world = Domain(32, "object").of("train")
    said = stages.sayings(world)
    for row, around, azimuth in zip(said, world.around, world.table["azimuth"], strict=True):
        assert sum(share for _, share in row) == pytest.approx(1)
        assert any(text.endswith(f", {azimuth:.0f} degrees") for text, _ in row) == around
    assert not any("degrees" in text for row in stages.sayings(Domain(32, "emoji").of("train"))[:100] for text, _ in row)


def regression(folder: Path, settings: Training, until: float = float("inf")) -> torch.nn.Linear:
    """y = x·W by `fit`: convex, so the answer is known."""
    net, truth = torch.nn.Linear(3, 2), torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    torch.nn.init.zeros_(net.weight)
    torch.nn.init.zeros_(net.bias)

    def loss(step: int) -> torch.Tensor:
        x = torch.randn(settings.batch, 3, generator=fit.generator_of(step, 0, "cpu"))
        return torch.nn.functional.mse_loss(net(x).float(), x @ truth.T)

    fit.fit(net, loss, settings, folder, "line", "cpu", until)
    return net


def test_the_loop_finds_a_known_minimum(tmp_path) -> None:
    settings = Training(n_samples=64_000, batch=64, rate=0.05, warmup=10, ema=0.9, decay=0.0, dtype="float32")
    net = regression(tmp_path, settings)
    assert torch.allclose(net.weight, torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]), atol=1e-3)
    log = (tmp_path / "line.csv").read_text().splitlines()
    assert log[0] == "samples,loss,seconds" and len(log) == 1 + 1000 // fit.LOGGED


def test_the_kept_weights_are_the_average(tmp_path, monkeypatch) -> None:
    """EMA by its own recursion over the weights that the optimiser had after each step."""
    monkeypatch.setattr(fit, "LOGGED", 1)
    settings = Training(n_samples=64 * 6, batch=64, rate=0.05, warmup=0, ema=0.5, decay=0.0, dtype="float32")
    seen: list[torch.Tensor] = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW,
        "step",
        lambda self, *a: (step(self, *a), seen.append(self.param_groups[0]["params"][0].detach().clone()))[0],
    )
    net, mean = regression(tmp_path, settings), torch.zeros(2, 3)
    for k, weight in enumerate(seen):
        decay = min(0.5, (1 + k) / (10 + k))
        mean = decay * mean + (1 - decay) * weight
    assert len(seen) == 6
    off = 2 * 3 * len(seen) * U32 * float(torch.stack(seen).abs().max())  # three roundings a step, in both of them
    torch.testing.assert_close(net.weight.detach(), mean, rtol=0, atol=off)


def test_a_loss_that_is_not_finite_stops_and_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fit, "LOGGED", 2)
    net = torch.nn.Linear(1, 1)
    with pytest.raises(FloatingPointError, match="bad: the loss is not finite after"):
        fit.fit(net, lambda step: net.weight.sum() * float("nan"), Training(64, 8, dtype="float32"), tmp_path, "bad", "cpu")
    assert not (tmp_path / "bad.pt").exists()


def test_the_rate_rises_and_falls() -> None:
    settings = Training(n_samples=1000, batch=10, rate=2.0, warmup=9)
    rates = [settings.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and max(rates) == pytest.approx(2.0, rel=0.03) and rates[-1] < 0.01
    assert np.argmax(rates) == 9


# ------------------------------------------------------------------------------------------------------------- what ships


def test_a_folder_that_the_list_of_sums_does_not_name_is_refused(monkeypatch) -> None:
    from sdi_bench.models import trained as module

    monkeypatch.setattr(module, "sums", lambda: {"world/00.webp": ""})
    with pytest.raises(ValueError, match="trained: not in SHA256SUMS"):
        module.ours.__wrapped__()


@pytest.fixture(scope="module")
def shipped() -> Trained:
    return trained(prompts=[PROMPT])


def test_what_ships_opens_in_diffusers_as_it_is() -> None:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(HERE / "trained", local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    asked = {"num_inference_steps": 10, "guidance_scale": 3.0, "generator": torch.Generator().manual_seed(0)}
    images = pipe([PROMPT, "a green plant"], output_type="np", **asked).images
    assert images.shape == (2, 32, 32, 3) and images.min() < 0.6
    corners = images[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.mean() > 0.9  # furniture stands on white


def test_what_ships_was_made_by_the_recipe_small() -> None:
    made = yaml.safe_load((HERE / "trained" / "recipe.yaml").read_text())
    assert instantiate(made, _convert_="all") == recipe_of("small")
    weights = sum(path.stat().st_size for path in (HERE / "trained").rglob("*.safetensors"))
    assert weights < 15 * 2**20


def test_what_ships_denoises_unseen_pictures(shipped: Trained) -> None:
    """Its x0 is nearer to an unseen picture's latent than the data's mean, than the noisy latent, than with other words."""
    world = Domain(32, "object", shipped.concepts).of("val")
    some = world.rows(np.arange(0, len(world), 9))
    z = shipped.encode(torch.from_numpy(some.pixels(32)).double())
    said = list(some.table["caption"])
    eps = torch.randn(z.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def errors(t: float, words: list[str]) -> tuple[float, float, float]:
        level = shipped.schedule.level(torch.tensor([t], dtype=torch.float64))
        x = level.a.reshape(-1, 1, 1, 1) * z + level.b.reshape(-1, 1, 1, 1) * eps
        with torch.no_grad():
            x0 = shipped.predict(x, level, [words]).x0[0]
        apart = [x0 - z, z.mean(0) - z, x / level.a - z]
        return tuple(float(part.square().mean()) for part in apart)  # type: ignore[return-value]

    for t in (0.2, 0.5, 0.7):
        own, mean, noisy = errors(t, said)
        assert own < 0.7 * min(mean, noisy)
    assert errors(0.9, said)[0] < errors(0.9, said[::-1])[0]


def test_prompts_must_name_what_it_knows(shipped: Trained) -> None:
    shipped.check_prompt("two green sofas and a thing, from the side")
    for prompt in ("a dog, side view", "the street", "a wall"):  # hot dog, street lamp, wall cabinet
        with pytest.raises(ValueError, match="it names none of the 55 things"):
            shipped.check_prompt(prompt)
    shipped.check_prompt(None)
    with pytest.raises(ValueError, match="prompt='owl, twemoji emoji': it names none of the 55 things"):
        shipped.check_prompt("owl, twemoji emoji")
    with pytest.raises(ValueError, match="did you mean 'sofa'"):
        shipped.check_prompt("a red soffa")


def test_it_is_measured_against_the_same_pictures_as_the_builtin_prior(shipped: Trained) -> None:
    from sdi_bench.models.builtin import local

    prompts = [PROMPT, "a green cactus", "a purple armchair, front view", None]
    pair = [model.data(prompts, np.random.default_rng(0)) for model in (shipped, local(size=32))]
    assert torch.equal(*pair)
    assert shipped.unseen([PROMPT]) and not shipped.unseen(["a green cactus"])


def test_kappas_are_probed_at_the_latents_of_real_pictures(shipped: Trained) -> None:
    probe = Kappas(kappas={"zero": Zero()}, at="data", n_levels=2, pictures=True)
    job = Job(shipped, sb.Ddim(sb.UniformT(4)), shipped.schedule)
    probe.check(job)
    found = probe.measure(job, [Item(PROMPT, 0)], Cost())
    pixels = shipped.decode(torch.from_numpy(found["x0"][0, :1]).double()).numpy()
    real = np.stack([World.open().where("val").pixels(32)[World.open().where("val").table["caption"] == PROMPT]])[0]
    assert np.square(pixels - real).mean(axis=(1, 2, 3)).min() ** 0.5 < 0.1  # but for the codec one of the val pictures


def test_bad_settings_of_the_model_name_the_field(made: Path, tmp_path) -> None:
    def refused(match: str, **settings: Any) -> None:
        with pytest.raises(ValueError, match=match):
            trained(**settings)

    refused("model.size=64: this model makes pictures of 32 pixels", size=64)
    refused("model.path='/none': no such folder", path="/none")
    refused("model.prompts='a sofa': must be a list", prompts="a sofa")
    shutil.copytree(made / "pipeline", tmp_path / "copy")
    (tmp_path / "copy" / "recipe.yaml").unlink()
    refused("not made by sdi_bench.train .no recipe.yaml.; use model=diffusers", path=tmp_path / "copy")


@pytest.mark.slow
def test_a_card_is_written_for_what_was_trained(made: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["card", str(made), "--n", "18", "--gammas", "1", "2", "--machine", "a test"])
    monkeypatch.setattr(card, "N_LEVELS", 3)
    card.main()
    text = (made / "pipeline" / "README.md").read_text()
    assert text in capsys.readouterr().out
    command = f"`python -m sdi_bench.train recipe=tiny folder={made} device=cpu`"
    model = "`model=trained model.path=path/of/this/folder model.size=32`"
    for said in ("DDIM of 3 levels", "n = 18", "Machine: a test", "| denoiser | 160 |", "18 tuning captions", command, model):
        assert said in text, said
    table = {line.split(" | ")[0][2:]: line.split(" | ")[1:] for line in text.splitlines() if line.startswith("| ")}
    head = table["pictures"]
    held = "held-out pictures"
    real = "training pictures, same names and views"
    assert table[held][head.index("kd_effnet")] == "-" and float(table[real][head.index("copies |")].split()[0]) == 1.0
    assert float(table[f"{real}, through the codec"][head.index("copies |")].split()[0]) > 0.7  # 0.95 of all training pictures
    assert table[real][head.index("novelty")].startswith("0.000")
    assert (made / "pipeline" / "curves.png").exists() and (made / "pipeline" / "samples.png").exists()
    monkeypatch.setattr(sys, "argv", ["card", str(made / "none")])
    with pytest.raises(SystemExit):
        card.main()
    assert "no finished training; run python -m sdi_bench.train first" in capsys.readouterr().err


def test_training_pictures_of_the_same_name_and_side_are_drawn() -> None:
    seen, held = Domain(32, "object").of("train"), Domain(32, "object", ["bed", "glass", "sofa"]).of("val")
    found, asked = card.alike(seen, held, 60).table, held.table
    assert [found["concept"][k] for k in range(60)] == [asked["concept"][k % len(asked)] for k in range(60)]
    sofas = [k for k in range(60) if found["concept"][k] == "sofa"]
    assert [found["view"][k] for k in sofas] == [asked["view"][k % len(asked)] for k in sofas]
    assert found["instance"].nunique() > asked["instance"].nunique()


def test_the_time_is_looked_at(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fit, "LOGGED", 2)
    settings = Training(n_samples=64 * 10, batch=64, dtype="float32")
    with pytest.raises(fit.OutOfTimeError):
        regression(tmp_path, settings, time.monotonic())
    assert torch.load(tmp_path / "line.pt", weights_only=True)["step"] == 2
    regression(tmp_path, settings)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"recipe\.text\.heads=3: must divide the width, 32"):
        Text(width=32, heads=3)
    with pytest.raises(ValueError, match=r"recipe\.unet\.head=24: must divide the channels, 32"):
        Unet([32], [True], head=24)
    with pytest.raises(ValueError, match="must be a list of whole numbers"):
        Vae([0, 8])
