"""Planted bugs in 3D: one line of the library changed; the test that must turn red."""

from mutants import Planted

VOLUME, SCENES, FIELDS = "scenes/volume.py", "test_scenes.py::", "test_fields.py::"

PLANTED = [
    Planted(
        SCENES + "test_a_full_sphere_is_exact_with_any_number_of_samples",
        VOLUME,
        "torch.exp(tau - tau.cumsum(-1))",
        "torch.exp(-tau.cumsum(-1))",
        "a sample stands in its own light: with many of them pictures are only a little paler",
    ),
    Planted(
        SCENES + "test_voxels_are_read_where_they_stand",
        VOLUME,
        "@ view.axes.to(params)\n        raw = self.field(params, world)",
        "@ view.axes.to(params).mT\n        raw = self.field(params, world)",
        "cameras turn the other way, consistently: objects come out mirrored and look fine",
    ),
    Planted(
        SCENES + "test_compositing_of_a_ball_of_constant_density",
        VOLUME,
        "(2 * half / n_samples)",
        "(half / n_samples)",
        "half the chord: the same as half the density",
    ),
    Planted(
        SCENES + "test_compositing_of_a_ball_of_constant_density",
        VOLUME,
        "+ (1 - opacity)[:, None]",
        "- (1 - opacity)[:, None]",
        "black behind the object: only what is solid stays right",
    ),
    Planted(
        SCENES + "test_compositing_of_a_ball_of_constant_density",
        VOLUME,
        "DISTANCE - (weights * points[..., 2])",
        "DISTANCE + (weights * points[..., 2])",
        "depth of the far side: pictures do not show it",
    ),
    Planted(
        SCENES + "test_voxels_are_read_where_they_stand",
        VOLUME,
        "functional.grid_sample(grid, places, align_corners=True)",
        "functional.grid_sample(grid, places, align_corners=False)",
        "the grid is wider by one cell than the sphere it stands for",
    ),
    Planted(
        SCENES + "test_penalties_are_pulled_with_the_picture",
        VOLUME,
        "slope.narrow(dim, 1, n).add_(step, alpha=2)",
        "slope.narrow(dim, 1, n).add_(step, alpha=1)",
        "a smoothness gradient that is none of any penalty still smooths",
    ),
    Planted(
        SCENES + "test_penalties_are_pulled_with_the_picture",
        "scenes/base.py",
        "[torch.ones_like(penalty) for penalty in penalties]",
        "[torch.zeros_like(penalty) for penalty in penalties]",
        "penalties are computed and not applied",
    ),
    Planted(
        SCENES + "test_axes_are_those_of_the_packed_pictures_cameras",
        "scenes/cameras.py",
        "-a.sin() * e.sin(), e.cos()",
        "a.sin() * e.sin(), e.cos()",
        "no rotation any more, seen only from the sides",
    ),
    Planted(
        SCENES + "test_wording",
        "scenes/cameras.py",
        "STEP * round(camera.azimuth / STEP) % 360",
        "STEP * int(camera.azimuth / STEP) % 360",
        "the words for a view lag behind it by up to 45 degrees; right at the packed angles",
    ),
    Planted(
        SCENES + "test_points_of_a_surface_lie_on_it",
        "scenes/base.py",
        "solid = look.opacity[0].cpu().numpy() > 0.5",
        "solid = look.opacity[0].cpu().numpy()[:, ::-1] > 0.5",
        "the mask of the object in the mirror: what stands in the middle stays right",
    ),
    Planted(
        SCENES + "test_points_of_a_surface_lie_on_it",
        "scenes/base.py",
        "along[:, None] * directions[solid]",
        "along[:, None] * directions[::-1, ::-1][solid]",
        "rays of the picture upside down",
    ),
    Planted(
        SCENES + "test_points_of_a_surface_lie_on_it",
        "scenes/base.py",
        "View.of([camera])",
        "View.of([type(camera)(-camera.azimuth, camera.elevation)])",
        "seen from one side, put on the other: what stands in the middle stays right",
    ),
    Planted(
        FIELDS + "test_an_object_s_surface_is_that_of_its_own_field",
        "jobs.py",
        "for chunk in self.chunks for i in range(len(chunk))]\n        chunk, i = places[k]",
        "for chunk in self.chunks for i in range(len(chunk))]\n        chunk, i = places[k - 1]",
        "each object's surface is that of the one before",
    ),
    Planted(
        FIELDS + "test_an_average_of_known_shapes_is_told_from_a_mixture_of_their_views",
        "metrics/known.py",
        "heavy = 1e3 * math.sqrt(len(target))",
        "heavy = 0.0",
        "shares that do not add up to one: a paler object counts as nearer",
    ),
    Planted(
        FIELDS + "test_a_killed_field_goes_on_with_the_same_bits",
        "jobs.py",
        "memory = Moments(int(found",
        "memory = None and Moments(int(found",
        "Adam forgets at every interruption: the object only looks a little different",
    ),
    Planted(
        FIELDS + "test_a_surface_is_held_against_its_mesh_at_the_best_azimuth",
        "metrics/known.py",
        "min(range(0, 360, 5),",
        "min(range(0, 5, 5),",
        "an object that faces another way counts as another shape",
    ),
    Planted(
        "test_guidance.py::test_weights_by_azimuth_are_threestudio_s",
        "guidance.py",
        "return Blend.of(side, back, r), (side, front), (decay(1, -0.606, r), decay(1, 0.967, r))",
        "return Blend.of(side, back, r), (side, front), (decay(1, -0.606, 1 - r), decay(1, 0.967, r))",
        "the side's weight runs the wrong way behind the object: right half way",
    ),
]
