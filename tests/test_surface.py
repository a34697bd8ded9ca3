"""CFD's noise on an object's surface, against projections of its texels into the picture; what it does where there is none."""

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import sdi_bench as sb
from sdi_bench.data.cameras import Camera
from sdi_bench.draws import Draws, PhiloxDraws, Purpose, items_of
from sdi_bench.levels import Level, Step
from sdi_bench.models.base import Conds, Prediction
from sdi_bench.noise import Consistent, Fixed, FixedPoint, Held, Kappa, Last, Surface
from sdi_bench.noise.surface import Painted, pixels_of
from sdi_bench.predictor import Predictor
from sdi_bench.samplers import Distillation, RandomT, State
from sdi_bench.scenes import Pixels, Scene, View, Voxel
from sdi_bench.scenes.volume import ends_of
from sdi_bench.schedules import scaled_linear
from sdi_bench.update import Adam

SIZE, RESOLUTION, RADIUS = 16, 16, 0.7


class OneHot:
    """Channel k of an item has 1 in texel k, and 0 in the others and on the plane: of a linear kappa its matrix."""

    def normal(self, purpose: Purpose, step: int, shape: tuple[int, ...]) -> Tensor:
        made = torch.eye(*shape) if purpose == Purpose.TEXTURE else torch.zeros(shape)
        return made.to(torch.float64)[None]

    def uniform(self, purpose: Purpose, step: int) -> Tensor:
        raise AssertionError


def net_of(n: int = 1) -> Predictor:
    return Predictor(sb.Empirical.of(), scaled_linear(), sb.Guidance(1.0), ("3",) * n)


def proposed(
    noise: Kappa, draws: Draws, n: int, shape: tuple[int, ...], index: int = 1, net: Predictor | None = None
) -> Tensor:
    net = net or net_of(n)
    x0 = torch.zeros(n, *shape, dtype=torch.float64)
    step = Step(net.level(0.8), net.level(0.5), index)
    return noise.propose(x0, step, Last(x0), net, draws).kappa


def ends(points: np.ndarray, hits: np.ndarray) -> tuple[Tensor, Tensor]:
    """As a scene tells them, of one item; what does not hit ends far off."""
    far = np.where(hits[..., None], points, 1e3)
    return torch.tensor(far).movedim(-1, 0)[None], torch.tensor(hits, dtype=torch.float64)[None]


def ball(camera: Camera, size: int = SIZE, radius: float = RADIUS) -> tuple[Tensor, Tensor]:
    """Where the rays of a camera meet a ball about the origin, in closed form, and whether they do."""
    origins, through = camera.rays(size, size)
    middle = -(origins * through).sum(-1)
    beneath = radius**2 - (origins**2).sum(-1) + middle**2
    points = origins + (middle - np.sqrt(np.maximum(beneath, 0)))[..., None] * through
    return ends(points, beneath > 0)


def directions(resolution: int) -> np.ndarray:
    """Of all texels: on a cube's sides x = 1, x = -1, y = 1, ..., by rows; the two other axes in cyclic order, turned along."""
    line = (2 * np.arange(resolution) + 1) / resolution - 1
    v, u = np.meshgrid(line, line, indexing="ij")
    sides = []
    for axis in range(3):
        for sign in (1, -1):
            side = np.empty((resolution, resolution, 3))
            side[..., axis], side[..., (axis + 1) % 3], side[..., (axis + 2) % 3] = sign, sign * u, sign * v
            sides.append(side.reshape(-1, 3))
    return np.concatenate(sides)


def plane(camera: Camera, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """The same for a square in front of the origin, at z = 0.4, with edges of 1.2."""
    origins, through = camera.rays(size, size)
    points = origins + ((0.4 - origins[..., 2]) / through[..., 2])[..., None] * through
    return ends(points, np.abs(points[..., :2]).max(-1) < 0.6)


def on_ball() -> np.ndarray:
    along = directions(RESOLUTION)
    return RADIUS * along / np.linalg.norm(along, axis=1, keepdims=True)


def on_plane() -> np.ndarray:
    """Where each texel is on the whole plane; what looks the other way is put far off."""
    along = directions(RESOLUTION)
    return np.where(along[:, 2:] > 0, 0.4 * along / along[:, 2:], 1e6)


def facing(camera: Camera, points: np.ndarray) -> np.ndarray:
    """cos of the angle between the camera's ray and a ball's normal; below 0 on the far side."""
    back = camera.position - points
    return (back * points).sum(1) / np.linalg.norm(points, axis=1) / np.linalg.norm(back, axis=1)


def matrix(ends: tuple[Tensor, Tensor]) -> np.ndarray:
    """kappa = matrix·z: [pixels, texels]."""
    n = 6 * RESOLUTION**2
    kappa = proposed(Surface(resolution=RESOLUTION).over(lambda: ends), OneHot(), 1, (n, SIZE, SIZE))
    return kappa[0].flatten(1).T.numpy()


def sets(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Which texels, at these points, are projected into which pixel: [pixels, texels], true or false."""
    column, row, _ = np.moveaxis(np.floor(camera.project(points, SIZE, SIZE)), -1, 0)
    row, column = (np.where((side >= 0) & (side < SIZE), side, -SIZE * SIZE) for side in (row, column))
    return np.arange(SIZE * SIZE)[:, None] == row * SIZE + column


def inner(opacity: Tensor) -> np.ndarray:
    """Pixels all whose neighbours are on the object too."""
    return functional.max_pool2d(-opacity, 3, 1, 1).flatten().numpy() < 0


VIEWS = [Camera(0.0, 0.0), Camera(25.0, 10.0), Camera(-30.0, -20.0)]


@pytest.mark.parametrize("shape", [ball, plane])
def test_one_picture_is_white_and_of_unit_variance(shape: Callable[[Camera], tuple[Tensor, Tensor]]) -> None:
    """cov = matrix·matrix^T is the identity: a texel is in one pixel alone, and n of them are divided by sqrt(n)."""
    for camera in VIEWS:
        made = matrix(shape(camera))
        covered = made.any(1)
        assert inner(shape(camera)[1]).sum() <= covered.sum() <= (shape(camera)[1] > 0).sum() + 4 * SIZE
        # sums of at most some hundred squares of 1/sqrt(n)
        np.testing.assert_allclose(made @ made.T, np.diag(covered.astype(float)), rtol=0, atol=1e-13)


def test_two_views_share_what_both_see_of_the_same_texels() -> None:
    """cov(kappa_p, kappa'_q) = n_pq/sqrt(n_p·n'_q), the texels counted by projecting them, on a plane, into both pictures.

    The corners of pixels are means of four points, which on a plane seen aslant are off by some thousandths of a pixel: texels
    so near to an edge may be counted on its other side (a fiftieth of them), and their pixels are left out.
    """
    found = []
    for camera in VIEWS:
        ours, (_, opacity), on = matrix(plane(camera)), plane(camera), on_plane()
        theirs, within = sets(camera, on), inner(opacity)
        same = within & ((ours > 0) == theirs).all(1)
        assert same.sum() > 0.6 * within.sum() > 20
        off = ((ours > 0) != theirs)[within].any(0)
        column, row, _ = np.moveaxis(camera.project(on[off], SIZE, SIZE), -1, 0)
        edge = np.minimum(np.abs(column - column.round()), np.abs(row - row.round()))
        assert off.sum() < 0.04 * theirs[within].sum() and edge.max(initial=0) < 0.03
        found.append((ours[same], theirs[same].astype(float)))
    for (ours, theirs), (others, their_others) in combinations(found, 2):
        n, n_other = theirs.sum(1), their_others.sum(1)
        want = theirs @ their_others.T / np.sqrt(np.outer(n, n_other))
        assert want.max() > 0.5
        np.testing.assert_allclose(ours @ others.T, want, rtol=0, atol=1e-14)


def test_each_texel_of_a_ball_is_seen_where_it_is() -> None:
    for camera in VIEWS:
        points, opacity = ball(camera)
        owner = pixels_of(points[0], opacity[0], SIZE, SIZE, RESOLUTION).numpy()
        column, row, _ = np.moveaxis(camera.project(on_ball(), SIZE, SIZE), -1, 0)
        steep, seen = facing(camera, on_ball()), owner >= 0
        assert (steep[seen] > 0).all() and seen[steep > 0.6].all()  # none of the far side; all but the rim
        gap = np.maximum(np.abs(column - owner % SIZE - 0.5), np.abs(row - owner // SIZE - 0.5)) - 0.5
        # half a pixel's chord beneath the ball, .07²/8/.7, seen at 45 degrees, is a fiftieth of a pixel; at the rim, all of it
        assert gap[seen & (steep > 0.7)].max() < 0.05 and gap[seen].max() < 0.5


def test_views_share_the_less_the_further_they_are_apart() -> None:
    first = matrix(ball(Camera(0.0, 0.0)))
    shared = []
    for azimuth in (0, 5, 15, 45, 90):
        other = matrix(ball(Camera(float(azimuth), 0.0)))
        shared.append(float(((first @ other.T) ** 2).sum() / first.any(1).sum()))  # of the first's variance, told by the other
    assert shared[0] == pytest.approx(1) and all(a > b for a, b in pairwise(shared)) and shared[-1] < 0.1
    opposite = matrix(ball(Camera(180.0, 0.0)))
    assert (first @ opposite.T == 0).all()


def test_of_two_parts_on_one_ray_from_the_origin_the_outer_has_the_texel() -> None:
    """The right half of the picture shows the left half's part of a ball once more, nearer to the origin or farther away."""
    points, opacity = (part[0] for part in ball(Camera(0.0, 0.0)))
    half, columns = SIZE // 2, torch.arange(SIZE)
    sides = (columns < half - 2, columns >= half)  # a gap between them, so that no pixel spans both
    for scale in (0.6, 1.2):
        twice = torch.cat([points[..., :half], scale * points[..., :half]], 2)
        solid = torch.cat([opacity[:, :half]] * 2, 1)
        both, ours, theirs = (pixels_of(twice, solid * side, SIZE, SIZE, RESOLUTION) for side in (sides[0] | sides[1], *sides))
        first, second = (ours, theirs) if scale < 1 else (theirs, ours)
        assert ((ours >= 0) & (theirs >= 0)).sum() > 50
        assert torch.equal(both, torch.where(first >= 0, first, second))


def test_its_law_with_real_draws() -> None:
    """Mean 0, variance 1 and no correlation between channels, items and pixels: 200 items of 3 x 256 numbers."""
    n = 200
    draws = PhiloxDraws(tuple(items_of(["3"], range(n))))
    points, opacity = ball(VIEWS[1])
    kappa = proposed(
        Surface(resolution=8).over(lambda: (points.expand(n, -1, -1, -1), opacity.expand(n, -1, -1))), draws, n, (3, 16, 16)
    )
    values = kappa.flatten(1).numpy()
    assert abs(values.mean()) < 4 / values.size**0.5 and abs(values.var() - 1) < 4 * (2 / values.size) ** 0.5
    within, across = np.corrcoef(values.T), np.corrcoef(values)
    for found, size in ((within, n), (across, values.shape[1])):
        rest = found[~np.eye(len(found), dtype=bool)]
        # a correlation of independent numbers has standard deviation 1/sqrt(size)
        assert abs(rest.std() * size**0.5 - 1) < 0.1 and np.abs(rest).max() < 6 / size**0.5


def test_a_share_of_it_is_new_at_every_step_whatever_was_kept() -> None:
    noise, draws = Surface(gamma=0.3, resolution=4), PhiloxDraws(tuple(items_of(["3"], range(2))))
    want, walking = draws.normal(Purpose.TEXTURE, 0, (1, 96)), net_of(2)
    painted = noise.over(lambda: tuple(part.expand(2, *part.shape[1:]) for part in ball(VIEWS[0])))
    for index in range(1, 5):
        want = 0.7**0.5 * want + 0.3**0.5 * draws.normal(Purpose.TEXTURE, index, (1, 96))
        assert torch.equal(noise.texture(index, 1, draws, {}), want)  # from nothing: as when a run is resumed
        kept = proposed(painted, draws, 2, (1, SIZE, SIZE), index, walking)
        assert torch.equal(kept, proposed(painted, draws, 2, (1, SIZE, SIZE), index, net_of(2)))
    assert torch.equal(Surface(resolution=4).texture(9, 1, draws, {}), draws.normal(Purpose.TEXTURE, 0, (1, 96)))


def test_a_latent_pixel_has_the_texels_of_its_pixels() -> None:
    """Rays twice as dense as the noise: on a plane, seen straight, the same corners."""
    camera = Camera(0.0, 0.0)
    fine, coarse = plane(camera, 2 * SIZE), plane(camera)
    owners = [pixels_of(points[0], opacity[0], SIZE, SIZE, RESOLUTION) for points, opacity in (fine, coarse)]
    kept = torch.tensor(inner(coarse[1]))
    for pixel in kept.nonzero()[:, 0]:
        assert torch.equal(owners[0] == pixel, owners[1] == pixel)


# ------------------------------------------------------------------------------------------------------------- in a sampler


class Grey:
    """A model of pictures that believes in one."""

    shape = (3, SIZE, SIZE)
    prompts: tuple[str, ...] = ()
    fingerprint = ""

    def check_prompt(self, prompt: str | None) -> None:
        """Anything goes."""

    def predict(self, x: Tensor, level: Level, conds: Conds) -> Prediction:
        a, b = (value.reshape(-1, 1, 1, 1) for value in (level.a, level.b))
        return Prediction(torch.zeros_like(x)[None], (x / b)[None] + 0 * a)


SCENE = Voxel(resolutions=[9], spread=2.0, smooth=0.0, n_samples=9)


def states(noise: Kappa, scene: Scene, seeds: Sequence[int], n_steps: int = 2) -> list[State]:
    draws = PhiloxDraws(tuple(items_of(["a"], seeds)))
    net = Predictor(Grey(), scaled_linear(), sb.Guidance(1.0), ("a",) * len(seeds))
    made = Distillation(RandomT(n_steps), noise, scene=scene, update=Adam())
    made.check(net.model, net.schedule)
    return list(made.sample(net, draws))


def test_a_step_sees_the_noise_of_its_own_object_from_its_own_side() -> None:
    """And where there is none, the plane's; an item alone has the same bits, and so has a walk that goes on from a state."""
    noise = Surface(resolution=16)
    both = states(noise, SCENE, [0, 1])
    for row, seed in enumerate((0, 1)):
        draws = PhiloxDraws(tuple(items_of(["a"], [seed])))
        alone = states(noise, SCENE, [seed])
        for before, after, of_two in zip(alone, alone[1:], both[1:], strict=False):
            assert after.kappa is not None and of_two.kappa is not None and before.params is not None
            assert torch.equal(after.kappa[0], of_two.kappa[row])
            view = SCENE.view(draws, after.index)
            look = SCENE.look(before.params, view, SIZE, SIZE)
            owner = pixels_of(ends_of(look, view)[0].double(), look.opacity[0].double(), SIZE, SIZE, 16)
            z = draws.normal(Purpose.TEXTURE, 0, (3, 6 * 16**2))[0]
            want = draws.normal(Purpose.KAPPA, 0, (3, SIZE, SIZE))[0].flatten(1)
            for pixel in owner[owner >= 0].unique():
                mine = z[:, owner == pixel]
                want[:, pixel] = mine.sum(1) / mine.shape[1] ** 0.5
            assert 30 < len(owner.unique()) < SIZE * SIZE
            torch.testing.assert_close(after.kappa[0].flatten(1), want, rtol=0, atol=1e-14)


def test_the_ends_of_rays_are_where_the_camera_sees_that_depth() -> None:
    params = SCENE.init(Grey(), PhiloxDraws(tuple(items_of(["a"], [0]))), 1)
    camera = Camera(70.0, 35.0)
    look = SCENE.look(params, View.of([camera]), 6, 8)
    points = ends_of(look, View.of([camera]))[0].movedim(0, -1).double().numpy()
    column, row, depth = np.moveaxis(camera.project(points, 6, 8), -1, 0)
    # float32 in pixels and units of length
    np.testing.assert_allclose(column, np.arange(8)[None] + 0.5 + 0 * row, atol=1e-5)
    np.testing.assert_allclose(row, np.arange(6)[:, None] + 0.5 + 0 * row, atol=1e-5)
    np.testing.assert_allclose(depth, look.depth[0], atol=1e-5)


def test_within_another_kappa_it_lies_on_the_object_too() -> None:
    plain, inside = (states(noise, SCENE, [0])[-1].kappa for noise in (Surface(resolution=16), Held(Surface(resolution=16), 1)))
    assert plain is not None and inside is not None and torch.equal(plain, inside)
    walked = FixedPoint(Surface(resolution=16), n_steps=1).over(lambda: ball(VIEWS[0]))
    assert isinstance(walked, FixedPoint) and isinstance(walked.init, Painted)


def test_a_picture_has_no_surface_and_there_it_is_the_plane_s() -> None:
    for scene in (Pixels(),):
        for gamma in (0.0, 0.4):
            pairs = zip(states(Surface(gamma), scene, [0, 1]), states(Consistent(gamma), scene, [0, 1]), strict=True)
            assert all(torch.equal(one.x0, other.x0) for one, other in pairs)


def test_cfd_s_noise_of_the_plane_is_refused_in_3d() -> None:
    with pytest.raises(ValueError, match=r"noise=Consistent: .*same from all sides.*2501.05445.*surface"):
        states(Consistent(), SCENE, [0])
    states(Fixed(), SCENE, [0])
    with pytest.raises(ValueError, match=r"noise.resolution=0"):
        Surface(resolution=0)
