"""Textured meshes to small pictures: a z-buffer with 4 x 4 samples a pixel, see-through surfaces peeled layer by layer."""

from dataclasses import dataclass
from inspect import unwrap
from io import StringIO
from pathlib import Path

import mapbox_earcut as earcut
import numpy as np
import trimesh
from jaxtyping import Float, Float64, UInt8
from numba import njit
from PIL import Image

from ..cameras import Camera
from ..world import SIZE

SAMPLES = 4
"""A side of a pixel."""
LAYERS = 12
"""Surfaces looked at behind one another, at most."""
LIFT = 0.1
"""Brightness of black before shading, so that its shape is seen."""
TEXTURE = 256
"""Pixels a side to which larger textures are reduced, so that 64-pixel pictures do not alias them."""


@dataclass(frozen=True)
class Part:
    """Triangles of one material: corners, texture coordinates (u right, v up; repeating), texture (sRGB, alpha; in [0, 1])."""

    corners: Float64[np.ndarray, "m 3 3"]
    uv: Float64[np.ndarray, "m 3 2"]
    texture: Float64[np.ndarray, "h w 4"]

    def texels(self, uv: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 4"]:
        """Colour and alpha at the texture coordinates."""
        height, width = self.texture.shape[:2]
        column, row = np.floor(uv[:, 0] % 1 * width).astype(int), np.floor(-uv[:, 1] % 1 * height).astype(int)
        return self.texture[np.minimum(row, height - 1), np.minimum(column, width - 1)]


def load(path: Path, rotation: Float[np.ndarray, "3 3"] = np.eye(3)) -> list[Part]:
    """The parts of an OBJ file with its materials, turned, centred on their bounding box, the farthest corner at radius 1."""
    text = convex(path.read_text(encoding="utf-8", errors="replace"))
    resolver = trimesh.resolvers.FilePathResolver(str(path))
    scene = trimesh.load_scene(StringIO(text), file_type="obj", resolver=resolver, process=False)
    meshes = [mesh for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh)]
    corners = [mesh.triangles.astype(float) @ rotation.T for mesh in meshes]
    centre = np.mean([np.min([c.min((0, 1)) for c in corners], 0), np.max([c.max((0, 1)) for c in corners], 0)], axis=0)
    radius = max(np.linalg.norm(c - centre, axis=-1).max() for c in corners)
    return [Part((c - centre) / radius, *paint(mesh)) for mesh, c in zip(meshes, corners, strict=True)]


def convex(text: str) -> str:
    """OBJ text with polygons that are not convex cut into triangles; readers take them for fans about their first corner."""
    lines = text.splitlines()
    points = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], dtype=float)
    polygons: dict[int, list[tuple[int, list[str]]]] = {}
    for i, line in enumerate(lines):
        if line.startswith("f ") and len(corners := line.split()[1:]) > 3:
            polygons.setdefault(len(corners), []).append((i, corners))
    for n, group in polygons.items():
        index = np.array([[int(corner.split("/")[0]) for corner in corners] for _, corners in group])
        ring = points[index - (index > 0)]
        fan = np.cross(ring[:, 1:-1] - ring[:, :1], ring[:, 2:] - ring[:, :1])
        normal = fan.sum(1)
        overlap = np.linalg.norm(fan, axis=-1).sum(1) - np.linalg.norm(normal, axis=-1)
        for k in np.flatnonzero(overlap > 0.001 * np.linalg.norm(normal, axis=-1)):
            flat = np.delete(ring[k], np.abs(normal[k]).argmax(), axis=1)
            i, corners = group[k]
            ears = earcut.triangulate_float64(flat, np.array([n], dtype=np.uint32)).reshape(-1, 3)
            lines[i] = "\n".join("f " + " ".join(corners[j] for j in ear) for ear in ears)
    return "\n".join(lines)


def paint(mesh: trimesh.Trimesh) -> tuple[Float64[np.ndarray, "m 3 2"], Float64[np.ndarray, "h w 4"]]:
    """Texture coordinates and texture of a mesh; its diffuse colour as a single texel where it has no picture."""
    material, uv = getattr(mesh.visual, "material", None), getattr(mesh.visual, "uv", None)
    if material is None:
        return np.zeros((len(mesh.faces), 3, 2)), np.array([[[0.7, 0.7, 0.7, 1.0]]])
    alpha = float(material.kwargs.get("d", [1])[0])
    if material.image is None or uv is None:
        return np.zeros((len(mesh.faces), 3, 2)), np.array([[[*material.diffuse[:3] / 255, alpha]]])
    image = material.image.convert("RGBA")
    image.thumbnail((TEXTURE, TEXTURE), Image.Resampling.BOX)
    return uv[mesh.faces], np.asarray(image) / 255 * [1, 1, 1, alpha]


def render(parts: list[Part], camera: Camera) -> tuple[UInt8[np.ndarray, "64 64 3"], UInt8[np.ndarray, "64 64 4"]]:
    """The picture, lit, on white; and the surfaces' own colours, unlit, with alpha. Samples are averaged as sRGB values."""
    side = SIZE * SAMPLES
    corners = np.concatenate([part.corners for part in parts])
    part_of = np.repeat(np.arange(len(parts)), [len(part.corners) for part in parts])
    first = np.searchsorted(part_of, np.arange(len(parts)))
    screen = camera.project(corners, side, side)
    # whole 1/256ths of a sample make the edge functions exact: no cracks, and the same samples on every machine
    screen[..., :2], screen[..., 2] = np.round(screen[..., :2] * 256), 1 / screen[..., 2]
    shade = brightness(corners, camera)[:, None]
    lit, own = np.zeros((2, side, side, 3))
    light, limit = np.ones((side, side, 1)), np.full((side, side), np.inf)
    for _ in range(LAYERS):
        face, inverse, weights = nearest(screen, limit)
        seen = face >= 0
        if not seen.any():
            break
        hit, weight = face[seen], weights[seen][:, :, None]
        texel = np.empty((len(hit), 4))
        for i in np.unique(part_of[hit]):
            here = part_of[hit] == i
            texel[here] = parts[i].texels((weight[here] * parts[i].uv[hit[here] - first[i]]).sum(1))
        colour, alpha = np.split(texel, [3], axis=1)
        lit[seen] += light[seen] * alpha * (LIFT + (1 - LIFT) * colour) * shade[hit]
        own[seen] += light[seen] * alpha * colour
        light[seen] *= 1 - alpha
        limit = np.where(seen & (light[..., 0] > 0.01), inverse * (1 - 1e-6), 0)
    alpha = pixels(1 - light)
    own = np.concatenate([pixels(own) / np.maximum(alpha, 1e-9), alpha], axis=-1)
    return whole(pixels(lit + light)), whole(own)


def pixels(samples: Float64[np.ndarray, "rows columns c"]) -> Float64[np.ndarray, "64 64 c"]:
    """The mean of each pixel's samples."""
    return samples.reshape(SIZE, SAMPLES, SIZE, SAMPLES, -1).mean((1, 3))


def whole(values: Float64[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    """[0, 1] -> 0..255."""
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)


def brightness(corners: Float64[np.ndarray, "m 3 3"], camera: Camera) -> Float64[np.ndarray, "m"]:
    """Two-sided: 0.45, up to 0.35 from a lamp at the camera, up to 0.15 from the sky: white still stands out from white."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-30)
    towards = camera.position - corners.mean(1)
    facing = (normal * towards).sum(-1) / np.linalg.norm(towards, axis=-1)
    return 0.45 + 0.35 * np.abs(facing) + 0.075 * (1 + np.where(facing < 0, -1, 1) * normal[:, 1])


def walk(screen, limit):  # type: ignore[no-untyped-def]
    """Face, 1/depth and weights of its corners where a sample first meets a surface farther than 1/limit; face -1: nowhere.

    screen: corners as column and row in 1/256 of a sample, and 1/depth, [m, 3, 3]. limit: [h, w]; 0 leaves a sample out.
    """
    height, width = limit.shape
    face, inverse, weights = np.full((height, width), -1), np.zeros((height, width)), np.zeros((height, width, 3))
    for t in range(len(screen)):
        (x0, y0, w0), (x1, y1, w1), (x2, y2, w2) = screen[t]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        for row in range(max(0, int(min(y0, y1, y2) // 256)), min(height, int(max(y0, y1, y2) // 256) + 1)):
            y = row * 256 + 128
            for column in range(max(0, int(min(x0, x1, x2) // 256)), min(width, int(max(x0, x1, x2) // 256) + 1)):
                x = column * 256 + 128
                a = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) / area
                b = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / area
                c = ((x0 - x) * (y1 - y) - (x1 - x) * (y0 - y)) / area
                if a >= 0 and b >= 0 and c >= 0:
                    w = a * w0 + b * w1 + c * w2
                    if inverse[row, column] < w < limit[row, column]:
                        face[row, column], inverse[row, column] = t, w
                        weights[row, column] = a * w0 / w, b * w1 / w, c * w2 / w
    return face, inverse, weights


nearest = njit(unwrap(walk))
