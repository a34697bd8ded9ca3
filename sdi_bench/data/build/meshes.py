"""The ground-truth meshes: CC0 models of many kinds, made lighter where they are heavy, textures baked into vertex colours."""

import tempfile
from pathlib import Path

import numpy as np
import pyfqmr
from jaxtyping import Float64, UInt8
from scipy.spatial import cKDTree

from ..meshes import STEPS, Mesh
from ..shipped import HERE, seal
from .objects import Model, catalogue
from .render import Part, load

CHOSEN = (
    "teddyBear",
    "sofa2",
    "armchair2",
    "sillaBlanca",
    "lbDesk",
    "pianoAQueue",
    "deer",
    "caballito",
    "forkLift",
    "motorbike",
    "cartoon_biplane",
    "cactus",
    "fireExtinguisher",
    "wheelbarrow",
    "cupcake",
    "hotDog",
    "headphones",
    "toiletsUnit",
    "kitchenaid",
    "desklamp",
    "slippers",
    "electricGuitar",
)
"""Keys in the library BlendSwap-CC-0."""
TRIANGLES = 2500
"""A mesh, about; lighter models are kept as they are."""


def write_meshes(sh3f: Path) -> None:
    """Write meshes.npz and its checksum, from the folder that holds the .sh3f files."""
    arrays: dict[str, np.ndarray] = {}
    index = []
    with tempfile.TemporaryDirectory() as folder:
        models = {model.key: model for model in catalogue(sh3f, Path(folder)) if model.library == "BlendSwap-CC-0"}
        for key in sorted(CHOSEN, key=lambda key: (models[key].concept, key)):
            mesh = bake(models[key])
            name = mesh.concept.replace(" ", "_")
            index.append((name, mesh.instance, mesh.concept))
            arrays |= {
                f"{name}/vertices": np.round((mesh.vertices + 1) * (STEPS / 2)).astype(np.uint16),
                f"{name}/faces": mesh.faces.astype(np.uint16 if len(mesh.vertices) <= 2**16 else np.uint32),
                f"{name}/colours": mesh.colours,
            }
    np.savez_compressed(HERE / "meshes.npz", allow_pickle=False, index=np.array(index), **arrays)
    seal("meshes.npz")


def bake(model: Model) -> Mesh:
    """One mesh of all parts; corners of one place and one colour are one vertex."""
    parts = load(model.path, model.rotation)
    share = min(1.0, TRIANGLES / sum(len(part.corners) for part in parts))
    baked = [lighter(part, share) for part in parts]
    corners, colours = (np.concatenate(arrays) for arrays in zip(*baked, strict=True))
    corners /= np.maximum(np.linalg.norm(corners, axis=-1, keepdims=True), 1)
    corners = np.round((corners + 1) * (STEPS / 2)) * (2 / STEPS) - 1
    rows, index = np.unique(np.concatenate([corners, colours], axis=1), axis=0, return_inverse=True)
    faces = index.reshape(-1, 3)
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(1)]
    used, faces = np.unique(faces, return_inverse=True)
    rows, faces = rows[used], faces.reshape(-1, 3)
    return Mesh(rows[:, :3], faces, rows[:, 3:].astype(np.uint8), model.instance, model.concept)


def lighter(part: Part, share: float) -> tuple[Float64[np.ndarray, "k 3"], UInt8[np.ndarray, "k 3"]]:
    """Corners and their colours, three a triangle, of the part with about this share of its triangles."""
    corners = part.corners.reshape(-1, 3)
    colours = np.round(255 * part.texels(part.uv.reshape(-1, 2))[:, :3]).astype(np.uint8)
    if share == 1:
        return corners, colours
    points, index = np.unique(np.round(corners, 6), axis=0, return_inverse=True)
    work = pyfqmr.Simplify()
    work.setMesh(points, index.reshape(-1, 3))
    work.simplify_mesh(target_count=round(share * len(part.corners)), aggressiveness=3, preserve_border=True)
    points, faces, _ = work.getMesh()
    corners = points[faces].reshape(-1, 3).astype(float)
    return corners, colours[cKDTree(part.corners.reshape(-1, 3)).query(corners)[1]]


def parts(mesh: Mesh) -> list[Part]:
    """For `render`: every face in the mean colour of its corners."""
    colours = mesh.colours[mesh.faces].mean(1) / 255
    texture = np.concatenate([colours, np.ones((len(colours), 1))], axis=1)[None]
    u = (np.arange(len(colours)) + 0.5) / len(colours)
    return [Part(mesh.vertices[mesh.faces], np.stack([np.stack([u, u], 1)] * 3, axis=1), texture)]
