"""Cameras, the renderer and the ground-truth meshes, on boxes whose every face has its own colour."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdi_bench.data.cameras import DISTANCE, VIEWS, Camera
from sdi_bench.data.meshes import open_meshes

RED, GREEN, BLUE, YELLOW, PINK, CYAN = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)
RED8 = (255, 0, 0)
FACES = {"+x": RED, "-x": GREEN, "+y": BLUE, "-y": YELLOW, "+z": PINK, "-z": CYAN}


def square(axis: str, at: float, size: float = 1) -> list[tuple[float, ...]]:
    """Corners of a square across an axis ("+z") at a distance, counterclockwise when seen from outside."""
    k, sign = "xyz".index(axis[1]), 1 if axis[0] == "+" else -1
    corners = [(-size, -size), (size, -size), (size, size), (-size, size)][::sign]
    out = np.zeros((4, 3))
    out[:, k], out[:, (k + 1) % 3], out[:, (k + 2) % 3] = sign * at, *zip(*corners, strict=True)
    return [tuple(c) for c in out]


def write(folder: Path, squares: list[tuple[list[tuple[float, ...]], str]], materials: dict[str, str]) -> Path:
    """An OBJ file of squares, each with a material, u to the right and v up along its corners."""
    mtl = "\n".join(f"newmtl {name}\n{text}" for name, text in materials.items())
    (folder / "a.mtl").write_text(mtl)
    lines, n = ["mtllib a.mtl", "vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1"], 0
    for corners, name in squares:
        lines += ["v " + " ".join(map(str, c)) for c in corners]
        lines += [f"usemtl {name}", "f " + " ".join(f"{n + j + 1}/{j % 4 + 1}" for j in range(len(corners)))]
        n += len(corners)
    (folder / "a.obj").write_text("\n".join(lines) + "\n")
    return folder / "a.obj"


def kd(colour: tuple[float, ...], alpha: float = 1) -> str:
    return f"Kd {' '.join(map(str, colour))}\nd {alpha}"


def picture(path: Path, camera: Camera = VIEWS[0], lit: bool = False) -> np.ndarray:
    pytest.importorskip("trimesh"), pytest.importorskip("numba")
    from sdi_bench.data.build.render import load, render

    shaded, own = render(load(path), camera)
    alpha = own[..., 3:] / 255
    return shaded if lit else np.round(own[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    return write(tmp_path, [(square(a, 1), a) for a in FACES], {a: kd(c) for a, c in FACES.items()})


@pytest.mark.parametrize(
    ("camera", "face"),
    [
        (Camera(0, 0), "+z"),
        (Camera(90, 0), "+x"),
        (Camera(180, 0), "-z"),
        (Camera(-90, 0), "-x"),
        (Camera(0, 90), "+y"),
        (Camera(0, -90), "-y"),
    ],
)
def test_each_side_is_seen_from_its_own_angle(box: Path, camera: Camera, face: str) -> None:
    seen = picture(box, camera)
    assert tuple(seen[32, 32]) == tuple(255 * c for c in FACES[face])
    assert (seen[0] == 255).all() and (seen[:, 0] == 255).all()


def test_three_quarter_views_show_the_right_side_where_it_is(box: Path) -> None:
    seen = picture(box, Camera(45, 20))
    assert tuple(seen[40, 22]) == (255, 0, 255) and tuple(seen[40, 42]) == (255, 0, 0) and tuple(seen[14, 32]) == (0, 0, 255)


def test_light_changes_brightness_only_and_white_stands_out_from_white(box: Path, tmp_path: Path) -> None:
    lit = picture(box, Camera(0, 0), lit=True)[32, 32]
    assert lit[0] == lit[2] > 150 and lit[1] < 30
    white = write(tmp_path, [(square("+z", 1), "w")], {"w": kd((1, 1, 1))})
    assert 200 < picture(white, lit=True)[32, 32, 0] < 245
    inside_out = write(tmp_path, [(square("+z", 1)[::-1], "w")], {"w": kd((1, 1, 1))})
    assert (picture(inside_out, lit=True) == picture(white, lit=True)).all()


def test_the_nearer_surface_hides_the_farther_in_whatever_order_they_come(tmp_path: Path) -> None:
    materials = {"red": kd(RED), "blue": kd(BLUE)}
    both = [(square("+z", 0.5, 0.4), "red"), (square("+z", -0.5), "blue")]
    for squares in (both, both[::-1]):
        seen = picture(write(tmp_path, squares, materials), Camera(0, 0))
        assert tuple(seen[32, 32]) == (255, 0, 0) and tuple(seen[32, 18]) == (0, 0, 255)


def test_see_through_surfaces_blend_front_to_back(tmp_path: Path) -> None:
    materials = {"red": kd(RED, 0.5), "green": kd(GREEN, 0.5), "blue": kd(BLUE)}
    squares = [(square("+z", -0.5), "blue"), (square("+z", 0.5), "red"), (square("+z", 0), "green")]
    seen = picture(write(tmp_path, squares, materials), Camera(0, 0))[32, 32]
    assert np.abs(seen - 255 * np.array([0.5, 0.25, 0.25])).max() <= 1
    seen = picture(write(tmp_path, squares[1:2], materials), Camera(0, 0))[32, 32]
    assert np.abs(seen - 255 * np.array([1, 0.5, 0.5])).max() <= 1


def test_a_texture_lands_the_right_way_up_and_its_alpha_cuts_holes(tmp_path: Path) -> None:
    texels = np.array([[(255, 0, 0, 255), (0, 255, 0, 255)], [(0, 0, 255, 255), (0, 0, 0, 0)]], dtype=np.uint8)
    Image.fromarray(texels).save(tmp_path / "t.png")
    seen = picture(write(tmp_path, [(square("+z", 1), "t")], {"t": "Kd 1 1 1\nmap_Kd t.png"}), Camera(0, 0))
    corners = [tuple(seen[r, c]) for r in (22, 42) for c in (22, 42)]
    assert corners == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def test_polygons_need_not_be_convex(tmp_path: Path) -> None:
    # an L whose fan about the first corner would fill the notch
    ell = [(0, 1, 0), (-1, 1, 0), (-1, -1, 0), (1, -1, 0), (1, 0, 0), (0, 0, 0)]
    for k in range(len(ell)):
        seen = picture(write(tmp_path, [(ell[k:] + ell[:k], "red")], {"red": kd(RED)}), Camera(0, 0))
        assert [tuple(seen[r, c]) for r in (22, 42) for c in (22, 42)] == [RED8, (255, 255, 255), RED8, RED8]


def test_textures_are_mapped_in_perspective(tmp_path: Path) -> None:
    texels = np.zeros((1, 256, 3), dtype=np.uint8)
    texels[:, 128:] = 255
    Image.fromarray(texels).save(tmp_path / "t.png")
    camera = Camera(-60, 0)
    path = write(tmp_path, [(square("+z", 0), "t")], {"t": "Kd 1 1 1\nmap_Kd t.png"})
    column = camera.project(np.zeros(3), 64, 64)[0]
    row = picture(path, camera)[32, :, 0].astype(float)
    dark = np.flatnonzero(row < 128)
    # the texture's middle, at the world's origin, falls in the picture's middle although the far half looks smaller
    assert column == 32 and abs(dark.max() + 1 - 32) <= 1


def test_edges_are_smoothed(box: Path) -> None:
    red = picture(box, Camera(0, 0))[:, :, 1]
    edge = red[(red > 0) & (red < 255)]
    assert len(edge) > 50


def test_the_unit_sphere_just_fits() -> None:
    assert pytest.approx(1 / math.sin(math.radians(20))) == DISTANCE
    for camera in (*VIEWS, Camera(123, -45)):
        # the tangent from the camera to the sphere, straight up, meets the upper edge of the picture
        up, back = camera.axes[1:]
        touch = np.sin(np.radians(20)) * back + np.cos(np.radians(20)) * up
        assert camera.project(touch, 64, 64)[:2] == pytest.approx([32, 0], abs=1e-9)
        assert np.linalg.norm(camera.position) == pytest.approx(DISTANCE)


def test_rays_matrix_and_projection_agree() -> None:
    camera = Camera(70, 35)
    origins, directions = camera.rays(6, 10)
    points = origins + 2.5 * directions
    column, row, depth = np.moveaxis(camera.project(points, 6, 10), -1, 0)
    assert np.allclose(column, np.arange(10) + 0.5) and np.allclose(row, np.arange(6)[:, None] + 0.5)
    assert np.allclose(np.linalg.norm(directions, axis=-1), 1)
    seen = points @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    assert np.allclose(-seen[..., 2], depth) and (np.diff(seen[0, :, 0]) > 0).all() and (np.diff(seen[:, 0, 1]) < 0).all()
    assert np.allclose(camera.axes @ camera.axes.T, np.eye(3)) and np.linalg.det(camera.axes) == pytest.approx(1)


def test_view_words() -> None:
    words = [Camera(a, 20).view for a in (0, 59, -59, 60, 90, 120, 121, 180, 225, 270, 315, 361)]
    assert words == ["front"] * 3 + ["side"] * 3 + ["back"] * 3 + ["side"] + ["front"] * 2
    assert Camera(180, 61).view == "overhead" and Camera(180, 60).view == "back"
    assert [camera.view for camera in VIEWS] == ["front", "front", "side", "back", "back", "back", "side", "front", "overhead"]


@pytest.mark.parametrize(("azimuth", "elevation"), [(math.nan, 0), (0, 91), (0, -90.5), (0, math.inf)])
def test_a_camera_refuses_angles_that_are_none(azimuth: float, elevation: float) -> None:
    with pytest.raises(ValueError, match=r"(azimuth|elevation)="):
        Camera(azimuth, elevation)


def test_the_ground_truth_meshes_open_and_fill_the_unit_sphere() -> None:
    meshes = open_meshes()
    assert len(meshes) >= 18
    for name, mesh in meshes.items():
        radius = np.linalg.norm(mesh.vertices, axis=-1).max()
        assert mesh.vertices.dtype == np.float64 and 0.97 < radius < 1 + 1e-4, name
        assert np.allclose(mesh.vertices.min(0) + mesh.vertices.max(0), 0, atol=0.05), name
        assert mesh.faces.min() == 0 and mesh.faces.max() == len(mesh.vertices) - 1, name
        assert mesh.colours.shape == mesh.vertices.shape and mesh.colours.dtype == np.uint8 and mesh.concept, name


def test_colour_words_name_plain_colours() -> None:
    pytest.importorskip("trimesh"), pytest.importorskip("numba")
    from sdi_bench.data.build.objects import colour_word

    plain = {
        "red": (200, 30, 30),
        "green": (30, 140, 40),
        "blue": (30, 60, 190),
        "white": (240, 240, 240),
        "black": (20, 20, 20),
    }
    plain |= {"brown": (120, 75, 40), "yellow": (240, 210, 30), "gray": (130, 130, 130), "orange": (240, 130, 20)}
    for word, rgb in plain.items():
        assert colour_word(np.array([rgb] * 3 + [(255, 0, 255)], dtype=np.uint8)) == word


def test_recorded_names_and_fronts_are_of_use() -> None:
    pytest.importorskip("trimesh"), pytest.importorskip("numba")
    from sdi_bench.data.build.objects import LICENCES, about_y, table

    fronts, names = table("fronts.csv"), table("names.csv")
    assert set(fronts.values()) == {"90", "270", "none"} and {key.split("/")[0] for key in fronts} <= set(LICENCES)
    assert all(concept == concept.strip().lower() != "" for concept in names.values())
    # what pointed to -x points to the front after a turn by 90 degrees
    assert np.allclose(about_y(90) @ [-1, 0, 0], [0, 0, 1])
