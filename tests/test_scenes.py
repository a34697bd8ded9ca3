"""Scenes: cameras, rendering and gradients against oracles of their own; what a sampler may and may not do with them."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import sdi_bench as sb
from sdi_bench.data.cameras import DISTANCE, FIELD_OF_VIEW, VIEWS, Camera
from sdi_bench.draws import PhiloxDraws, items_of
from sdi_bench.guidance import PerpNeg
from sdi_bench.levels import Level
from sdi_bench.models.base import Conds, Prediction
from sdi_bench.sampling import Job
from sdi_bench.scenes import Around, CoordinateMlp, Factorised, Image, Pixels, Rendered, Scene, View, Voxel, Wording, surface
from sdi_bench.scenes.volume import Volume, lens
from sdi_bench.schedules import scaled_linear
from sdi_bench.update import Adam, FullStep

SIZE = 8
SHAPE = (3, SIZE, SIZE)


class Pictures:
    """A model of pictures that believes in one: x0 is the same whatever x is."""

    shape = SHAPE
    prompts: tuple[str, ...] = ()
    fingerprint = ""

    def __init__(self, image: Callable[[str | None], Tensor]) -> None:
        self.image = image
        self.asked: list[str | None] = []

    def check_prompt(self, prompt: str | None) -> None:
        """Anything goes."""

    def predict(self, x: Tensor, level: Level, conds: Conds) -> Prediction:
        self.asked += conds[0]
        x0 = torch.stack([torch.stack([self.image(prompt) for prompt in prompts]) for prompts in conds])
        a, b = (value.reshape(-1, 1, 1, 1) for value in (level.a, level.b))
        return Prediction(x0, (x - a * x0) / b)


class Codec(Pictures):
    """Latents: the mean over 2 x 2 pixels, times two."""

    shape = (3, SIZE // 2, SIZE // 2)
    image_shape = SHAPE

    def encode(self, images: Tensor) -> Tensor:
        return 2 * functional.avg_pool2d(images, 2)

    def decode(self, latents: Tensor) -> Tensor:
        return latents.repeat_interleave(2, -1).repeat_interleave(2, -2) / 2


WHITE = Pictures(lambda prompt: torch.ones(SHAPE, dtype=torch.float64))
SMALL: dict[str, Any] = {"n_samples": 6, "smooth": 0.0, "n_views": 4, "dtype": torch.float64}
FIELDS: list[Volume] = [
    Voxel(resolutions=[5], **SMALL),
    Voxel(resolutions=[3, 5], **SMALL),
    Factorised(resolution=5, n_components=2, **SMALL),
]
TRACED: list[Scene] = [*FIELDS, CoordinateMlp(5, 4), Pixels()]
BOTH = View.of([Camera(30.0, 20.0), Camera(200.0, -35.0)])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def some(scene: Scene, seed: int = 0) -> Tensor:
    """Parameters of two items that are not special."""
    params = scene.init(WHITE, PhiloxDraws(tuple(items_of([None], [0, 1]))), 2).to(torch.float64)
    return params + 0.5 * draw(*params.shape, seed=seed)


def named(scene: Scene) -> str:
    return f"{type(scene).__name__}{list(getattr(scene, 'resolutions', []))}"


each = pytest.mark.parametrize("scene", TRACED, ids=named)
fields = pytest.mark.parametrize("scene", FIELDS, ids=named)


# ---------------------------------------------------------------------------------------------------------------- cameras


def test_axes_are_those_of_the_packed_pictures_cameras() -> None:
    cameras = [*VIEWS, Camera(-77.0, -90.0), Camera(123.0, 61.0)]
    want = np.stack([camera.axes for camera in cameras])
    np.testing.assert_allclose(View.of(cameras).axes.numpy(), want, rtol=0, atol=4e-16)


def test_the_lens_is_the_packed_pictures_lens() -> None:
    """A point of a ray, turned into the world, is projected back to the middle of the pixel that the ray belongs to."""
    points, delta, hits = lens(SIZE, SIZE, 5, torch.float64, torch.device("cpu"))
    rows, columns = np.divmod(np.flatnonzero(hits.numpy()), SIZE)
    for camera in (VIEWS[3], Camera(-50.0, 66.0)):
        world = (points @ View.of([camera]).axes[0]).numpy()
        column, row, depth = np.moveaxis(camera.project(world, SIZE, SIZE), -1, 0)
        np.testing.assert_allclose(column, np.broadcast_to(columns[:, None] + 0.5, column.shape), atol=1e-12)
        np.testing.assert_allclose(row, np.broadcast_to(rows[:, None] + 0.5, row.shape), atol=1e-12)
        assert (np.diff(depth) > 0).all()  # from the near side to the far
    # samples are midpoints of equal parts of the chord inside the unit sphere
    ends = torch.stack([points[:, 0] - (points[:, 1] - points[:, 0]) / 2, points[:, -1] + (points[:, 1] - points[:, 0]) / 2])
    torch.testing.assert_close(ends.norm(dim=-1), torch.ones(2, len(points), dtype=torch.float64))
    torch.testing.assert_close((points[:, 1] - points[:, 0]).norm(dim=-1), delta)


def test_rendered_views_are_the_packed_angles_and_all_come() -> None:
    draws = PhiloxDraws(tuple(items_of([None], range(50))))
    views = [Rendered().draw(draws, step) for step in (1, 2, 3)]
    known = {(camera.azimuth, camera.elevation) for camera in VIEWS[:8]}
    assert {(c.azimuth, c.elevation) for view in views for c in view.cameras} == known
    assert len({tuple(view.azimuth.tolist()) for view in views}) == 3  # another at each step


def test_cameras_around_keep_within_their_bounds_and_azimuth_tells_nothing_of_elevation() -> None:
    draws = PhiloxDraws(tuple(items_of([None], range(400))))
    view = Around([-90, 30], [0, 45]).draw(draws, 7)
    assert view.azimuth.min() >= -90 and view.azimuth.max() <= 30 and view.elevation.min() >= 0 and view.elevation.max() <= 45
    assert abs(np.corrcoef(view.azimuth, view.elevation)[0, 1]) < 4 / math.sqrt(400)
    assert abs(float(view.azimuth.mean()) + 30) < 4 * 120 / math.sqrt(12 * 400)


def test_wording() -> None:
    say = Wording("{prompt}, {view} view, {azimuth} degrees").of
    assert say("a chair", Camera(-40.0, 20.0)) == "a chair, front view, 315 degrees"
    assert say("a chair", Camera(100.0, 20.0)) == "a chair, side view, 90 degrees"
    assert say("a chair", Camera(0.0, 70.0)) == "a chair, overhead view, 0 degrees"
    assert say("a chair", Camera(359.0, 0.0)) == "a chair, front view, 0 degrees"
    assert say(None, Camera(0.0, 0.0)) is None


# -------------------------------------------------------------------------------------------------------------- rendering


class Ball(Voxel):
    """Constant density and colour inside a ball; the field is a function, no grid. The transparent rest is in the formula."""

    radius = 0.6
    density = 3.0
    colour = 0.25

    centre = (0.0, 0.0, 0.0)

    def field(self, params: Tensor, points: Tensor) -> Tensor:
        inside = (points - torch.tensor(self.centre).to(points)).norm(dim=-1) < self.radius
        raw = math.log(math.expm1(self.density / self.sharpness)) - self.bias  # softplus backwards
        tau = torch.where(inside, raw, -1e3)
        return torch.stack([tau, *[torch.full_like(tau, 2 * math.atanh(self.colour))] * 3], dim=1)


def test_compositing_of_a_ball_of_constant_density() -> None:
    """opacity = 1 - exp(-density·chord), colour mixed with white; a chord is known to within one sample's length."""
    size, n = 33, 4000
    look = Ball(n_samples=n, dtype=torch.float64).look(draw(1, 1), View.of([Camera(70.0, 10.0)]), size, size)
    unit = 2 * math.tan(math.radians(FIELD_OF_VIEW / 2)) / size
    k = torch.arange(size, dtype=torch.float64) - size // 2
    slope = (unit * k[:, None]).square() + (unit * k).square()
    off = DISTANCE**2 * slope / (1 + slope)  # squared distance of the ray from the centre
    chord = 2 * (Ball.radius**2 - off).clamp(min=0).sqrt()
    want = 1 - torch.exp(-Ball.density * chord)
    error = 2 * Ball.density * 2 / n  # a sample's length at each end of the chord
    torch.testing.assert_close(look.opacity[0], want, rtol=0, atol=error)
    torch.testing.assert_close(look.image[0, 1], 1 - want * (1 - Ball.colour), rtol=0, atol=error)
    # through the middle: the mean of an exponential law cut off at the far side of the ball; beside it, the far end
    length, rate = 2 * Ball.radius, Ball.density
    into = 1 / rate - (length + 1 / rate) * math.exp(-rate * length)
    want_depth = DISTANCE - Ball.radius + into / (1 - math.exp(-rate * length))
    assert float(look.depth[0, size // 2, size // 2]) == pytest.approx(want_depth, abs=4 * error)
    assert float(look.depth[0, 0, 0]) == DISTANCE + 1


def test_a_full_sphere_is_exact_with_any_number_of_samples() -> None:
    """opacity = 1 - exp(-density·chord): what absorbs evenly does not depend on how a ray is cut."""

    class Full(Ball):
        radius = 2.0

    size = 9
    middle = size // 2
    for n in (1, 3, 8):
        look = Full(n_samples=n, dtype=torch.float64).look(draw(1, 1), View.of([Camera(30.0, 0.0)]), size, size)
        want = 1 - math.exp(-Ball.density * 2)
        assert float(look.opacity[0, middle, middle]) == pytest.approx(want, abs=1e-12)
        assert float(look.image[0, 0, middle, middle]) == pytest.approx(1 - want * (1 - Ball.colour), abs=1e-12)


def test_points_of_a_surface_lie_on_it() -> None:
    """Of a ball beside the middle: a picture, a ray or a camera the wrong way round puts them elsewhere."""

    class Hard(Ball):
        density, radius, centre = 400.0, 0.4, (0.3, 0.2, 0.1)

    points = surface(Hard(n_samples=400, dtype=torch.float64), draw(1, 1))
    assert len(points) > 1000
    from_centre = points - np.array(Hard.centre)
    # a sample is 2/400 long; the rays that touch the rim stop within a chord of 1/400
    assert np.abs(np.linalg.norm(from_centre, axis=1) - Hard.radius).max() < 0.02
    assert np.abs(from_centre.mean(0)[[0, 2]]).max() < 0.03  # seen from all around


def test_what_is_near_hides_what_is_far() -> None:
    """A field that is red towards +Z and blue behind looks red from the front and blue from the back."""

    class Halves(Voxel):
        def field(self, params: Tensor, points: Tensor) -> Tensor:
            z = points[..., 2].sign()
            return torch.stack([torch.full_like(z, 6.0), 9 * z, torch.full_like(z, -9.0), -9 * z], dim=1)

    look = Halves(n_samples=40, dtype=torch.float64).look(draw(2, 1), View.of([Camera(0.0, 0.0), Camera(180.0, 0.0)]), 9, 9)
    front, back = look.image[:, :, 4, 4]
    assert front[0] > 0.99 and front[2] < -0.99 and back[0] < -0.99 and back[2] > 0.99
    assert abs(float(look.depth[0, 4, 4]) - (DISTANCE - 1)) < 0.05


def test_voxels_are_read_where_they_stand() -> None:
    """Density on one grid point is seen at that place of the world: x right, y up, z towards the viewer at azimuth 0."""
    r = 9
    scene = Voxel(resolutions=[r], n_samples=64, bias=-20.0, dtype=torch.float64)
    for place in ((0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.5)):
        grid = torch.zeros(1, 4, r, r, r, dtype=torch.float64)
        x, y, z = (round((value + 1) / 2 * (r - 1)) for value in place)
        grid[0, 0, z, y, x] = 60.0
        for camera in (Camera(0.0, 0.0), Camera(90.0, 0.0), Camera(40.0, 30.0)):
            opacity = scene.look(grid.flatten(1), View.of([camera]), 65, 65).opacity[0]
            row, column = (float((opacity.sum(d) * (torch.arange(65) + 0.5)).sum() / opacity.sum()) for d in (1, 0))
            want = camera.project(np.array(place), 65, 65)
            assert (column, row) == pytest.approx(tuple(want[:2]), abs=0.3)


@each
@pytest.mark.parametrize("latents", [False, True])
def test_pull_is_the_gradient_by_finite_differences(scene: Scene, latents: bool) -> None:
    model = Codec(WHITE.image) if latents else WHITE
    params, view = some(scene), BOTH if isinstance(scene, Volume) else None
    seen = scene.see(params, view, model)
    assert seen.x0.shape == (2, *model.shape) and seen.x0.dtype == torch.float64
    slope = draw(*seen.x0.shape, seed=1)
    pulled = seen.pull(slope)
    direction, h = draw(*params.shape, seed=2), 1e-5
    if isinstance(scene, CoordinateMlp):
        direction[:, : 2 * scene.n_waves] = 0  # the frequencies are not optimised
    ahead, behind = (scene.see(params + sign * h * direction, view, model).x0 for sign in (1, -1))
    moved = float((slope * (ahead - behind)).sum()) / (2 * h)
    # central differences: h² of the third derivative, and 1e-16 / h of rounding
    assert moved == pytest.approx(float((pulled * direction).sum()), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", ["smooth", "sparse", "solid"])
def test_penalties_are_pulled_with_the_picture(name: str) -> None:
    given: dict[str, Any] = SMALL | {"resolutions": [5], name: 0.3}
    scene, plain = Voxel(**given), Voxel(**SMALL | {"resolutions": [5]})
    params, slope, direction, h = some(scene), draw(2, *SHAPE, seed=1), draw(2, scene.n_params, seed=2), 1e-5

    def penalty(values: Tensor) -> float:
        opacity = scene.look(values, BOTH, SIZE, SIZE).opacity
        grid = values.reshape(2, 4, 5, 5, 5)
        rough = sum((np.diff(grid.numpy(), axis=axis) ** 2).sum() for axis in (2, 3, 4))
        return 0.3 * float({"smooth": rough, "sparse": opacity.sum(), "solid": (opacity * (1 - opacity)).sum()}[name])

    extra = scene.see(params, BOTH, WHITE).pull(slope) - plain.see(params, BOTH, WHITE).pull(slope)
    moved = (penalty(params + h * direction) - penalty(params - h * direction)) / (2 * h)
    assert moved == pytest.approx(float((extra * direction).sum()), rel=1e-6)


@each
def test_rows_do_not_touch_each_other(scene: Scene) -> None:
    params, slope = some(scene), draw(2, *SHAPE, seed=1)
    together = scene.see(params, BOTH if isinstance(scene, Volume) else None, WHITE)
    pulled = together.pull(slope)
    for i in (0, 1):
        view = View(BOTH.azimuth[i : i + 1], BOTH.elevation[i : i + 1]) if isinstance(scene, Volume) else None
        alone = scene.see(params[i : i + 1], view, WHITE)
        torch.testing.assert_close(alone.x0[0], together.x0[i], rtol=0, atol=1e-14)
        torch.testing.assert_close(alone.pull(slope[i : i + 1])[0], pulled[i], rtol=0, atol=1e-12)
    broken = params.clone()
    broken[0] = math.nan
    seen = scene.see(broken, BOTH if isinstance(scene, Volume) else None, WHITE)
    assert torch.equal(seen.x0[1], together.x0[1]) and torch.isfinite(seen.pull(slope)[1]).all()


# -------------------------------------------------------------------------------------------------------------- optimising


def adam(scene: Scene, n_levels: int = 61, noise: sb.Fresh | sb.Inversion | None = None) -> sb.Distillation:
    grid = sb.UniformT(n_levels, t_max=0.98, t_min=0.1)
    return sb.Distillation(sb.Annealed(grid), noise or sb.Fresh(), scene=scene, update=Adam(lr=0.1, n_inner=1, beta2=0.99))


def test_a_field_comes_to_look_like_what_the_model_believes_of_each_view() -> None:
    """The model knows each view of a ball, red towards +Z and blue behind; told the wrong angles, no field can please it."""

    class Halves(Ball):
        density = 20.0

        def field(self, params: Tensor, points: Tensor) -> Tensor:
            raw, side = super().field(params, points), points[..., 2].sign()
            return torch.stack([raw[:, 0], 4 * side, 0 * side - 4, -4 * side], dim=1)

    scene = Voxel(resolutions=[14], n_samples=24, smooth=0.0, n_views=8, wording=Wording("{prompt}, {azimuth}"))
    truth = Halves(n_samples=200, n_views=8, dtype=torch.float64).around(draw(1, 1), scene.orbit, (SIZE, SIZE))[0]

    def gap(order: int) -> float:
        model = Pictures(lambda prompt: truth[order * int(str(prompt).split()[-1]) // 45])
        job = Job(model, adam(scene, 301), scaled_linear())
        *_, last = job.states(items_of(["it"], [0]), sb.predictor.Cost())
        assert set(model.asked) == {f"it, {angle}" for angle in range(0, 360, 45)}
        assert last.kappa is not None and not last.x0.requires_grad
        return float((job.pictures(last)[0] - truth).square().mean().sqrt())

    assert gap(order=1) < 0.05
    assert gap(order=0) > 0.3  # every side its front


@each
def test_resumed_is_the_same_to_the_last_bit(scene: Scene) -> None:
    model = Pictures(lambda prompt: torch.zeros(SHAPE, dtype=torch.float64))
    job = Job(model, adam(scene, 12, sb.Inversion(guidance_scale=1.0)), scaled_linear())
    items = items_of(["it"], [0, 1])
    states = list(job.states(items, sb.predictor.Cost()))
    again = list(job.states(items, sb.predictor.Cost(), states[5]))
    assert [state.index for state in again] == [state.index for state in states[6:]]
    for one, other in zip(again, states[6:], strict=True):
        assert one.params is not None and other.params is not None
        assert torch.equal(one.params, other.params) and torch.equal(one.x0, other.x0) and torch.equal(one.eps, other.eps)


def test_in_two_dimensions_the_first_prediction_is_where_it_starts() -> None:
    states = list(Job(WHITE, adam(Image(), 3), scaled_linear()).states(items_of([None], [0]), sb.predictor.Cost()))
    assert states[0].params is states[0].x0 and torch.equal(states[0].x0[0], torch.ones(SHAPE, dtype=torch.float64))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Voxel(resolutions=[]), r"scene.resolutions=\[\]"),
        (lambda: Voxel(resolutions=[1]), "scene.resolutions=1"),
        (lambda: Voxel(n_samples=0), "scene.n_samples=0"),
        (lambda: Voxel(sharpness=0.0), "scene.sharpness=0.0"),
        (lambda: Voxel(smooth=-1.0), "scene.smooth=-1.0"),
        (lambda: Voxel(elevation=91.0), "scene.elevation=91.0"),
        (lambda: Factorised(n_components=0), "scene.n_components=0"),
        (lambda: Factorised(resolution=1), "scene.resolution=1"),
        (lambda: Around([0, 400]), r"scene.cameras.azimuths=\[0, 400\]"),
        (lambda: Around(elevations=[30, 20]), r"scene.cameras.elevations=\[30, 20\]"),
        (lambda: Wording("{prompt} {side}"), "scene.wording.text"),
        (lambda: Wording("a {view} view"), "scene.wording.text"),
        (lambda: Wording("{prompt"), "scene.wording.text"),
        (lambda: Pixels(-1.0), "scene.spread=-1.0"),
        (lambda: CoordinateMlp(0), "scene.n_hidden=0"),
        (lambda: CoordinateMlp(frequency=0.0), "scene.frequency=0.0"),
    ],
)
def test_bad_settings_are_named(build: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build()


def test_what_a_field_cannot_do_is_said_before_anything_is_computed() -> None:
    schedule, field = scaled_linear(), Voxel()
    for noise in (sb.Previous(), sb.Mixed(), sb.FixedPoint(init=sb.Previous())):
        sampler = sb.Distillation(sb.Annealed(sb.UniformT(5, t_max=0.98)), noise, scene=field, update=Adam())
        with pytest.raises(ValueError, match=r"sec\. 4"):
            sampler.check(WHITE, schedule)
    with pytest.raises(ValueError, match="update=full: Voxel"):
        sb.Distillation(sb.Annealed(sb.UniformT(5)), scene=field, update=FullStep()).check(WHITE, schedule)
    with pytest.raises(ValueError, match="three colours"):
        sb.Distillation(sb.Annealed(sb.UniformT(5)), scene=field, update=Adam()).check(sb.Empirical.of(), schedule)
    sb.Distillation(sb.Annealed(sb.UniformT(5)), sb.Fixed(), scene=field, update=Adam()).check(WHITE, schedule)


def test_perpendicular_negatives_are_told_the_other_sides() -> None:
    model = Pictures(lambda prompt: torch.ones(SHAPE, dtype=torch.float64))
    asked: list[list[str | None]] = []
    predict = model.predict

    def spy(x: Tensor, level: Level, conds: Conds) -> Prediction:
        asked.append([prompts[0] for prompts in conds])
        return predict(x, level, conds)

    model.predict = spy  # type: ignore[method-assign]
    sampler = replace(adam(FIELDS[0], 40), guidance=PerpNeg(2.0))
    for _ in Job(model, sampler, scaled_linear()).states(items_of(["it"], [0]), sb.predictor.Cost()):
        pass
    sides = {"front": ("side", "back"), "side": ("front", "back"), "back": ("front", "side")}
    want = {(None, *(f"it, {side} view" for side in (here, *away))) for here, away in sides.items()}
    assert {tuple(conds) for conds in asked} == want
