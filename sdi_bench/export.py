"""python -m sdi_bench.export: a finished 3D run's objects as turntables, depth, normals and meshes.

  python -m sdi_bench.export results/3d/<run>
  python -m sdi_bench.export results/3d/<run> item=[0,3] size=256 n_views=96 output=films
  python -m sdi_bench.export results/3d/<run> mesh=false          pictures alone, which need no extra

Files go to the folder export/ of the run, unless output=FOLDER says where.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from jaxtyping import Float
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from torch import Tensor

from . import pictures, require
from .command_line import conf_dir
from .data.cameras import DISTANCE
from .explain import explain
from .jobs import slug
from .plans import built
from .provenance import provenance
from .run import stoppable
from .scenes import View, Volume
from .store import RunFolder, writable, write_whole
from .trust import settings_of
from .words import quoted


def sights(
    scene: Volume, params: Float[Tensor, "one n"], views: View, size: int
) -> dict[str, Float[np.ndarray, "views 3 h w"]]:
    """Colour, depth (near is bright), normals (red: right, green: up, blue: towards the camera) from each view, in [-1, 1]."""
    found: dict[str, list[np.ndarray]] = {"colour": [], "depth": [], "normals": []}
    for k in range(len(views.azimuth)):
        view = View(views.azimuth[k : k + 1], views.elevation[k : k + 1])
        look = scene.look(params, view, size, size)
        found["colour"].append(look.image[0].numpy())
        found["depth"].append((DISTANCE - look.depth[0]).clamp(-1, 1).expand(3, -1, -1).numpy())
        found["normals"].append(scene.normals(params, view, look)[0].numpy())
    return {name: np.stack(frames) for name, frames in found.items()}


def mesh(scene: Volume, params: Float[Tensor, "one n"], level: float, resolution: int) -> Any:
    """The surface where density is `level`, a trimesh.Trimesh with a colour at each vertex; +Y up, front to +Z.

    Colours are bytes as they are shown (sRGB), which is what .ply and .obj hold; for .glb see `glb`.
    Raises ValueError, naming the field, if the object has no such surface.
    """
    import trimesh
    from skimage.measure import marching_cubes

    edge = torch.linspace(-1, 1, resolution, dtype=params.dtype)
    places = torch.cartesian_prod(edge, edge, edge)
    raw = torch.cat([scene.field(params, part[None])[0, 0] for part in places.split(2**18)])
    density = scene.per_length(raw).reshape(resolution, resolution, resolution).numpy()
    density[[0, -1]] = density[:, [0, -1]] = density[:, :, [0, -1]] = 0  # closed at the border
    if not density.max() > level:
        raise ValueError(f"level={level!r}: the object's density is at most {density.max():.3g}")
    vertices, faces, _, _ = marching_cubes(density, level, gradient_direction="ascent")
    vertices = vertices * (2 / (resolution - 1)) - 1
    colours = torch.tanh(scene.field(params, torch.from_numpy(vertices).to(params)[None])[0, 1:].T / 2)
    found = trimesh.Trimesh(
        vertices, faces, vertex_colors=((colours + 1) * 127.5).round().to(torch.uint8).numpy(), process=False
    )
    if found.volume < 0:
        found.invert()
    return found


def glb(surface: Any) -> bytes:
    """A mesh as glTF 2.0, where colours at vertices are linear in light (3.7.2.1), and what has no material shines as metal.

    trimesh would write the bytes that are shown, without a material; here they are float32, linear by IEC 61966-2-1, on a
    matt surface.
    """
    import trimesh

    shown = surface.visual.vertex_colors[:, :3] / 255
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4).astype(np.float32)
    bare = trimesh.Trimesh(surface.vertices, surface.faces, vertex_attributes={"linear": linear}, process=False)

    def dress(tree: dict[str, Any]) -> None:
        tree["materials"] = [{"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}]
        for part in tree["meshes"][0]["primitives"]:
            part["attributes"]["COLOR_0"] = part["attributes"].pop("_linear")
            part["material"] = 0

    made = bare.export(file_type="glb", tree_postprocessor=dress)
    assert isinstance(made, bytes)
    return made


def export(folder: Path, settings: dict[str, Any]) -> list[Path]:
    """Write the files; returns their folders. Raises ValueError, naming the field."""
    for name in ("size", "n_views", "resolution"):
        require.count(name, settings[name], least=2)
    require.number("elevation", settings["elevation"], at_least=-90, at_most=90)
    require.number("level", settings["level"], above=0)
    if settings["mesh"] and not (find_spec("trimesh") and find_spec("skimage")):
        raise ValueError(
            "mesh=true: needs the extra: pip install -c constraints.txt -e '.[mesh]'; mesh=false writes pictures alone"
        )
    if not (folder / "shards").is_dir():
        raise ValueError(f"folder={str(folder)!r}: is no finished run")
    run = RunFolder(folder)
    config = settings_of(run, settings["modules"], "folder")
    scene = built(config["sampler"]["scene"]) if "scene" in config["sampler"] else None
    if not isinstance(scene, Volume):
        raise ValueError(f"folder={str(folder)!r}: its samples are images, no fields; run with scene=voxel")
    chunks = run.chunks()
    items = [item for chunk in chunks for item in chunk]
    params = np.concatenate([run.read_params(chunk) for chunk in chunks])
    chosen = settings["item"] if isinstance(settings["item"], list) else [settings["item"]]
    for k in chosen:
        if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k < len(items):
            raise ValueError(f"item={k!r}: must be a number from 0 to {len(items) - 1}")
    output = Path(settings["output"] or folder / "export")
    writable(output, "output")
    made = []
    for k in chosen:
        place = output / slug(items[k])
        place.mkdir(exist_ok=True)
        psi, views = torch.from_numpy(params[k : k + 1]), View.orbit(settings["n_views"], settings["elevation"])
        with torch.no_grad():
            for name, frames in sights(scene, psi, views, settings["size"]).items():
                turns = [f"{pictures.name_of(items[k])}\n{name}, {azimuth:.0f}°" for azimuth in views.azimuth]
                pictures.turntable(place / f"{name}.gif", frames, turns, scale=1)
                (place / name).mkdir(exist_ok=True)
                for i, frame in enumerate(frames):
                    Image.fromarray(pictures.eight_bit(frame)).save(place / name / f"{i:03}.png")
            if settings["mesh"]:
                surface = mesh(scene, psi, settings["level"], settings["resolution"])
                surface.export(place / "mesh.ply")
                write_whole(place / "mesh.glb", glb(surface))
        made.append(place)
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Check, write, say where. Exit status 2 for bad input."""
    argv = sys.argv[1:] if argv is None else argv
    folders, words = [word for word in argv if "=" not in word], [word for word in argv if "=" in word]
    if {"-h", "--help"} & set(argv):
        print(f"{__doc__}\nSettings (conf/export.yaml):\n\n{(conf_dir() / 'export.yaml').read_text()}")
        return
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            settings = OmegaConf.to_container(compose("export", quoted(words)), resolve=True)
        assert isinstance(settings, dict)
        if len(folders) != 1:
            raise ValueError("folder: name one finished run, as results/3d/<run>")
        made = export(Path(folders[0]), {str(key): value for key, value in settings.items()})
        RunFolder(made[0].parent).write_json("export.provenance.json", provenance("sdi_bench.export", argv))
        print("written:", *made, sep="\n  ")
    except (ValueError, HydraException, OmegaConfBaseException) as error:
        print(f"sdi_bench.export: {explain(error, words, 'export')}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    stoppable(main, "sdi_bench.export")
