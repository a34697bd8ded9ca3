# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # SDS and SDI on latents, by hand
#
# The usual exercise of a course on diffusion: take a text-to-image network, make a *latent* the parameter, and optimise it
# with score distillation until it decodes to what the prompt says. Here it is written out, held against the package, and then
# broken in the ways in which it usually breaks. The network is the miniature Stable Diffusion that ships: latents of 8 x 8 x 8,
# pictures of 32 x 32. What is seen here is seen of this network, one prompt and two seeds; it is no benchmark (`04_benchmark`).

# %%
import os
import sys
import tempfile
import warnings
from pathlib import Path

QUICK = os.environ.get("SDI_BENCH_QUICK") == "1"  # hardly any steps
sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "analysis").is_dir())))
folder = tempfile.TemporaryDirectory()  # all that is written goes there
os.chdir(folder.name)

warnings.filterwarnings("ignore", message="IProgress not found")  # no bars are drawn here

import numpy as np
import torch
from IPython.display import Image, display

import sdi_bench as sb
from sdi_bench.draws import PhiloxDraws, Purpose, items_of
from sdi_bench.levels import Level
from sdi_bench.metrics.saturation import beyond, chroma
from sdi_bench.metrics.sharpness import high_frequency_share
from sdi_bench.models.trained import trained
from sdi_bench.pictures import side_by_side
from sdi_bench.update import Adam, OneMinusAlphaBar, SigmaWeight, UnitWeight

model = trained()
prompt, seeds = "a gray armchair, front view", [0, 1]
n_steps, n_levels = (6, 4) if QUICK else (120, 40)

rows: list[int] = []  # what goes through the network from here on
meter = model.module.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))

# %% [markdown]
# ## The loss, by hand
#
# A step of SDS (arXiv 2209.14988): draw a time and a noise, add the noise to the latent, ask the network which noise it sees,
# and step by *predicted minus added*,
#
#     grad = w(t) · [ none + gamma·(told - none) - noise ],      w = 1 - alpha_bar
#
# where `told` is the prediction with the prompt and `none` the one without. Nothing below is the package's but the network
# (`model.predict`) and `draws`: it stands where you would write `torch.randn` and `torch.rand`, so that the package can be
# given the same numbers.

# %%
alpha_bar = model.pipe.scheduler.alphas_cumprod.double()
items = tuple(items_of([prompt], seeds))
conds = [[None] * len(items), [prompt] * len(items)]
latents, by_hand, spent = {}, {}, {}
for gamma in (7.5, 25.0):
    draws = PhiloxDraws(items)
    z = draws.normal(Purpose.INIT, 0, model.shape).requires_grad_()
    adam = torch.optim.Adam([z], lr=0.1)
    for step in range(1, n_steps + 1):
        t = 20 + (961 * draws.uniform(Purpose.TIME, step)).long()  # any of 20 ... 980
        a, b = alpha_bar[t].sqrt()[:, None, None, None], (1 - alpha_bar[t]).sqrt()[:, None, None, None]
        noise = draws.normal(Purpose.KAPPA, step, model.shape)
        with torch.no_grad():
            none, told = model.predict(a * z + b * noise, Level(a.flatten(), b.flatten(), t / 1000), conds).eps
        grad = b**2 * (none + gamma * (told - none) - noise)
        adam.zero_grad()
        (grad * z).sum().backward()  # of which the gradient is `grad`
        adam.step()
    latents[gamma] = z.detach()
    by_hand[gamma] = model.decode(latents[gamma]).numpy()
    spent[f"SDS, {gamma}, by hand"] = sum(rows) / len(items)
    rows.clear()

# %% [markdown]
# ## The same by the package
#
# Time, noise, guidance, update: a line each, and they are what the rest of this notebook changes. The latents have been
# through some hundred steps of a float32 network, and yet:

# %%
random_t, adam = sb.RandomT(n_steps, whole=True), Adam(lr=0.1, n_inner=1, weight=OneMinusAlphaBar())
made = {}
for gamma in (7.5, 25.0):
    sampler = sb.Distillation(random_t, noise=sb.Fresh(), guidance=sb.Guidance(gamma), update=adam)
    made[f"SDS, {gamma}"] = sb.sample(model, sampler, [prompt], seeds).numpy()
    gap = abs(made[f"SDS, {gamma}"] - by_hand[gamma]).max()
    print(f"guidance {gamma}: largest difference of a pixel {gap:.1e}, of a range of 2")
    assert gap < 1e-3
    spent[f"SDS, {gamma}"] = sum(rows) / len(items)
    rows.clear()

# %% [markdown]
# ## What goes wrong: guidance
#
# Beside real pictures of the prompt and DDIM at 7.5. The measures are three: *chroma*, the largest less the smallest channel
# (0 is gray); *fine*, the share of power at high frequencies (less is blurred); *apart*, how far the two seeds' pictures are
# from each other (rms, of a range of 2).

# %%
made["data"] = model.data([prompt] * len(items), np.random.default_rng(0)).numpy()
samplers = {
    "DDIM, 7.5": sb.Ddim(sb.UniformT(n_levels), sb.Guidance(7.5)),
    "SDS, 1": sb.Distillation(random_t, noise=sb.Fresh(), guidance=sb.Guidance(1.0), update=adam),
}
for name, sampler in samplers.items():
    made[name] = sb.sample(model, sampler, [prompt], seeds).numpy()
    spent[name] = sum(rows) / len(items)
    rows.clear()
shown = ["data", "DDIM, 7.5", "SDS, 1", "SDS, 7.5", "SDS, 25.0"]
side_by_side(Path("guidance.png"), {name: made[name] for name in shown}, ["seed 0", "seed 1"], f"{prompt}: guidance")
display(Image("guidance.png"))
for name in shown:
    x = made[name]
    apart = np.sqrt(((x[0] - x[1]) ** 2).mean())
    print(f"{name:10}  chroma {chroma(x).mean():.3f}  fine {high_frequency_share(x).mean():.3f}  apart {apart:.2f}")

# %% [markdown]
# Guidance 1 gives the prompt's average, gray and blurred. At 7.5 there is an armchair, darker and with more colour than the
# prompt asks for, and nearly the same for both seeds. At 25 the colour is stronger still and spills beside the chair:
# over-saturation. (That SDS at 7.5 is washed out, as is often said of large networks, is not what is seen here.)
#
# ## What goes wrong: weight and learning rate
#
# Four times guidance 7.5. Adam divides each gradient by its running size, so `w(t)` changes no step's length, only which
# times have a say: `sigma` runs from 0.14 to 13, and a few noisy draws decide; with `1 - alpha_bar` or 1 all count alike.
# A learning rate moves each number by about that much a step, so 0.02 is not there yet when the steps end.

# %%
updates = {
    "w = 1": Adam(lr=0.1, n_inner=1, weight=UnitWeight()),
    "w = sigma": Adam(lr=0.1, n_inner=1, weight=SigmaWeight()),
    "lr = 0.02": Adam(lr=0.02, n_inner=1, weight=OneMinusAlphaBar()),
}
for name, update in updates.items():
    sampler = sb.Distillation(random_t, noise=sb.Fresh(), guidance=sb.Guidance(7.5), update=update)
    made[name] = sb.sample(model, sampler, [prompt], seeds).numpy()
    spent[name] = sum(rows) / len(items)
    rows.clear()
columns = {"as above": made["SDS, 7.5"]} | {name: made[name] for name in updates}
side_by_side(Path("update.png"), columns, ["seed 0", "seed 1"], f"{prompt}: weight and learning rate")
display(Image("update.png"))
for name, x in columns.items():
    print(f"{name:10}  chroma {chroma(x).mean():.3f}  fine {high_frequency_share(x).mean():.3f}")

# %% [markdown]
# ## What goes wrong: a gradient through the network
#
# Written as a loss, `w/2·|eps - noise|²`, and without `no_grad`, autograd multiplies *predicted minus added* by the network's
# Jacobian. SDS leaves that out on purpose. With it, the same steps at guidance 7.5 lead elsewhere, and each also pays for a
# pass backwards.

# %%
draws = PhiloxDraws(items)
z = draws.normal(Purpose.INIT, 0, model.shape).requires_grad_()
descent = torch.optim.Adam([z], lr=0.1)
for step in range(1, n_steps + 1):
    t = 20 + (961 * draws.uniform(Purpose.TIME, step)).long()
    a, b = alpha_bar[t].sqrt()[:, None, None, None], (1 - alpha_bar[t]).sqrt()[:, None, None, None]
    noise = draws.normal(Purpose.KAPPA, step, model.shape)
    none, told = model.predict(a * z + b * noise, Level(a.flatten(), b.flatten(), t / 1000), conds).eps
    loss = (b**2 / 2 * (none + 7.5 * (told - none) - noise) ** 2).sum()
    descent.zero_grad()
    loss.backward()
    descent.step()
made["through the network"] = model.decode(z.detach()).numpy()
spent["through the network"] = sum(rows) / len(items)
rows.clear()

# %% [markdown]
# ## What goes wrong: a scale in another convention
#
# threestudio's plain branch computes `told + s·(told - none)`, which is guidance `s + 1`: its 7.5 is 8.5 here, in eq. 3 of
# arXiv 2405.15891 and in diffusers. A copied number is off by one, and by no error that a program could report.

# %%
theirs = sb.Guidance(7.5, convention="threestudio")
stack = torch.stack([none, told]).detach()
assert torch.allclose(theirs.combine(stack), stack[1] + 7.5 * (stack[1] - stack[0]))
print(f"threestudio's {theirs.scale} is guidance {theirs.gamma}")
made["threestudio's 7.5"] = sb.sample(
    model, sb.Distillation(random_t, noise=sb.Fresh(), guidance=theirs, update=adam), [prompt], seeds
).numpy()
spent["threestudio's 7.5"] = sum(rows) / len(items)
rows.clear()
columns = {"as above": made["SDS, 7.5"]} | {name: made[name] for name in ("through the network", "threestudio's 7.5")}
side_by_side(Path("slips.png"), columns, ["seed 0", "seed 1"], f"{prompt}: two slips")
display(Image("slips.png"))
for name, x in columns.items():
    print(f"{name:20} rms difference to guidance 7.5: {np.sqrt(((x - made['SDS, 7.5']) ** 2).mean()):.3f}")

# %% [markdown]
# ## What goes wrong: decoding
#
# The latents of guidance 25 are larger than the encoder's own of real pictures, and the decoder answers with values beyond
# its range of [-1, 1]. Clip them before they become bytes, or they wrap around; and divide latents by the VAE's
# `scaling_factor`, as `model.decode` does, or all contrast is that much too high.

# %%
z = latents[25.0]
real = model.encode(torch.from_numpy(made["data"]))
print(f"rms of latents: {z.square().mean().sqrt():.2f}, of real pictures' {real.square().mean().sqrt():.2f}")
print(f"values beyond [-1, 1]: {beyond(by_hand[25.0]).mean():.0%}, in real pictures {beyond(made['data']).mean():.0%}")
with torch.no_grad():
    undivided = model.pipe.vae.decode(z.float()).sample.double().numpy()
wrapped = np.floor(127.5 * (by_hand[25.0] + 1)) % 256 / 127.5 - 1  # what `.astype(np.uint8)` makes of it
columns = {"clipped": by_hand[25.0], "wrapped": wrapped, "not divided by the scaling factor": undivided}
side_by_side(Path("decoding.png"), columns, ["seed 0", "seed 1"], f"{prompt}: the same latents, guidance 25")
display(Image("decoding.png"))

# %% [markdown]
# ## What goes wrong: random times
#
# To the last step a random time may be a noisy one, at which the network sees little of the picture and answers with the
# prompt's average under guidance. Let t fall instead (`Annealed`; it starts from the first prediction, as DDIM does), and the
# last steps are about detail. All else as above, noise drawn anew included.

# %%
made["SDS, t falls"] = sb.sample(
    model,
    sb.Distillation(sb.Annealed(sb.UniformT(n_steps)), noise=sb.Fresh(), guidance=sb.Guidance(7.5), update=adam),
    [prompt],
    seeds,
).numpy()
spent["SDS, t falls"] = sum(rows) / len(items)
rows.clear()

# %% [markdown]
# ## SDI: t falls, and the noise is found
#
# SDI (arXiv 2405.15891) asks for the noise that belongs to the picture there is, by DDIM inversion at the negative guidance.
# As the authors' notebook has it: 40 levels, 25 steps of Adam to each target, inversion in at most 10 steps.

# %%
made["SDI"] = sb.sample(
    model,
    sb.Distillation(
        sb.Annealed(sb.UniformT(n_levels)),
        noise=sb.Inversion(guidance_scale=-7.5),
        guidance=sb.Guidance(7.5),
        update=Adam(lr=0.1, n_inner=25),
    ),
    [prompt],
    seeds,
).numpy()
spent["SDI"] = sum(rows) / len(items)
rows.clear()
shown = ["data", "DDIM, 7.5", "SDS, 7.5", "SDS, t falls", "SDI"]
side_by_side(Path("times.png"), {name: made[name] for name in shown}, ["seed 0", "seed 1"], f"{prompt}: times and noise")
display(Image("times.png"))
for name in shown:
    x = made[name]
    apart = np.sqrt(((x[0] - x[1]) ** 2).mean())
    print(f"{name:12}  chroma {chroma(x).mean():.3f}  fine {high_frequency_share(x).mean():.3f}  apart {apart:.2f}")

# %% [markdown]
# ## What it costs
#
# Network rows an image: one image through the network once, two a guided prediction. DDIM is the cheapest by far, and in 2D
# it is what there is to beat; score distillation is for parameters that are no picture, such as a 3D field.

# %%
meter.remove()
for name, n in spent.items():
    print(f"{name:20} {n:5.0f} rows")

# %% [markdown]
# ## Exercises
#
# 1. Replace `sb.Fresh()` by `sb.Previous()` with falling t and `update` left away (a full step to the target). Which sampler
#    is that, and to how many digits? (`01_equivalence`)
# 2. Write the inversion by hand, ten steps of `x_bar + (sigma_next - sigma)·eps` from the lowest level up, and hold it
#    against `sb.Inversion(entropy=0.0, tau=0.0)`.
# 3. SDI at `guidance_scale=7.5` and 0 instead of -7.5: what becomes of the picture? (`03_guidance_and_inversion`)
# 4. At which learning rate do SDS's two seeds stay as far apart as DDIM's, and what do the pictures look like there?
# 5. Average the noise, `sb.Fresh(n_avg=16)`: what does each of the three measures do?
# 6. Run eight seeds and six prompts before you believe any sentence above; then see how it is done with intervals in
#    `04_benchmark`.
