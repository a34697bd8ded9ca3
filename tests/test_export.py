"""Exported objects: a ball's mesh, normals and depth against what a ball has; the files; bad input."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sdi_bench import export, run
from sdi_bench.data.cameras import DISTANCE, Camera
from sdi_bench.scenes import View, Voxel


class Ball(Voxel):
    """Density falls with the distance r from the middle, sharpness·softplus(30·(0.8 - r)); red towards +X, else blue."""

    def field(self, params: Tensor, points: Tensor) -> Tensor:
        raw = 30 * (0.8 - points.norm(dim=-1)) - self.bias
        red = torch.where(points[..., 0] > 0, 9.0, -9.0).to(points)
        return torch.stack([raw, red, torch.full_like(red, -9.0), -red], dim=1)


def ball() -> tuple[Ball, Tensor]:
    return Ball(n_samples=400, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)


def test_normals_and_depth_of_a_ball() -> None:
    scene, params = ball()
    for camera in (Camera(0.0, 0.0), Camera(70.0, 35.0)):
        view = View.of([camera])
        look = scene.look(params, view, 33, 33)
        normals = scene.normals(params, view, look)[0]
        assert normals[:, 16, 16].tolist() == pytest.approx([0, 0, 1], abs=1e-6)  # towards the camera
        solid = look.opacity[0] > 0.5
        assert bool((normals.norm(dim=0)[solid] - 1 < 1e-9).all()) and not normals[:, ~solid].any()
        # where a ray ends in the ball, outward is away from the middle: the end, in the camera's axes, scaled to length 1
        rows, columns = np.nonzero(solid.numpy())
        rays = np.stack(camera.rays(33, 33)[1] @ camera.axes.T, axis=0)[rows, columns]
        depth = look.depth[0].numpy()[rows, columns]
        ends = np.array([0, 0, DISTANCE]) + rays * (depth / -rays[:, 2])[:, None]
        want = ends / np.linalg.norm(ends, axis=1, keepdims=True)
        np.testing.assert_allclose(normals.numpy()[:, rows, columns].T, want, atol=2e-3)  # differences over 1/32 curve a little
        assert float(look.depth[0, 16, 16]) < DISTANCE - 0.6


def test_the_mesh_of_a_ball() -> None:
    pytest.importorskip("trimesh"), pytest.importorskip("skimage")
    scene, params = ball()
    found = export.mesh(scene, params, level=10.0, resolution=48)
    radii = np.linalg.norm(found.vertices, axis=1)
    radius = 0.8 - np.log(np.expm1(10 / scene.sharpness)) / 30  # there density is 10
    np.testing.assert_allclose(radii, radius, atol=4e-3)  # read linearly between points 2/47 apart
    assert found.is_watertight and found.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)  # outward
    red, blue = found.visual.vertex_colors[:, 0], found.visual.vertex_colors[:, 2]
    assert (red[found.vertices[:, 0] > 0.1] > 250).all() and (blue[found.vertices[:, 0] < -0.1] > 250).all()
    with pytest.raises(ValueError, match=r"level=500\.0: the object's density is at most"):
        export.mesh(scene, params, level=500.0, resolution=16)


def test_the_mesh_stands_as_the_field_does() -> None:
    """A single dense point off every axis is found at its place of the world."""
    pytest.importorskip("trimesh"), pytest.importorskip("skimage")
    scene = Voxel(resolutions=[9], bias=-20.0, dtype=torch.float64)
    grid = torch.zeros(1, 4, 9, 9, 9, dtype=torch.float64)
    grid[0, 0, 2, 4, 7] = 60.0  # z, y, x
    found = export.mesh(scene, grid.flatten(1), level=100.0, resolution=65)
    assert found.vertices.mean(0).tolist() == pytest.approx([0.75, 0.0, -0.5], abs=0.01)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Any:
    """A run of two small objects."""
    place = tmp_path_factory.mktemp("export")
    words = [
        "experiment=3d",
        "model=shapes",
        "prompt=[shape]",
        "grid.n_levels=40",
        "scene.resolutions=[10]",
        "scene.n_samples=8",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["run", *words, "seeds=0..1", "metric=[contrast]", f"results={place}"])
        run.main()
    return next(place.glob("3d/*/shards")).parent


def test_files(finished, capsys) -> None:
    export.main([str(finished), "item=1", "n_views=3", "size=16", "mesh=false"])
    (place,) = (finished / "export").glob("shape-1-*")
    assert str(place) in capsys.readouterr().out
    assert sorted(path.name for path in place.iterdir()) == sorted(
        [*("colour", "depth", "normals"), *("colour.gif", "depth.gif", "normals.gif")]
    )
    assert [path.name for path in sorted((place / "depth").iterdir())] == ["000.png", "001.png", "002.png"]


def test_meshes_are_read_back(finished) -> None:
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("skimage")
    export.main([str(finished), "n_views=2", "size=16", "resolution=32", "level=1.0"])
    for kind in ("ply", "glb"):
        (place,) = (finished / "export").glob("shape-0-*")
        found = trimesh.load(place / f"mesh.{kind}", force="mesh")
        assert len(found.faces) > 50 and np.abs(found.vertices).max() <= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "folder: name one finished run"),
        (["/nowhere"], "folder='/nowhere': is no finished run"),
        (["RUN", "item=2"], "item=2: must be a number from 0 to 1"),
        (["RUN", "size=0"], "size=0: must be a whole number >= 2"),
        (["RUN", "level=0"], "level=0: must be a finite number > 0"),
        (["RUN", "sise=5"], "sise: no such setting; did you mean size?"),
    ],
)
def test_bad_input_is_one_line(finished, capsys, words, said) -> None:
    with pytest.raises(SystemExit) as stop:
        export.main([str(finished) if word == "RUN" else word for word in words] + ["mesh=false"])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and said in error and error.count("\n") == 1
