"""How near an object is to one of which the truth is known, in the eight views around it that the built-in world has."""

import math
import re
from abc import abstractmethod
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy
from jaxtyping import Float

from ..data.cameras import VIEWS
from ..data.meshes import Mesh, open_meshes
from ..data.world import SIZE, World
from ..features import lpips
from ..features.effnet import PREPROCESSING, features
from ..features.views import VIEWS as SIDES
from ..features.views import views as seen_from
from ..models.shapes import Shapes
from ..stats import Statistic
from .base import Context, Metric, UndefinedError, blank, mean_known
from .view import ASKED

ANGLES = tuple(camera.azimuth for camera in VIEWS[:8])
"""Azimuths of the views that are compared, in degrees."""

N_POINTS = 4096
"""On a surface, about."""

FINE = 8
"""One point of so many is looked at to find the azimuth."""

WHITE = 0.95
"""A pixel with a channel below this shows the object."""

Views = Float[np.ndarray, "views 3 h w"]
KnownViews = Float[np.ndarray, "shapes views 3 h w"]


@cache
def trained(concept: str, size: int) -> Float[np.ndarray, "shapes 8 3 h w"]:
    """The views of the built-in world's training objects of this name."""
    world = World.open().where("train", "object")
    table = world.table[world.around & (world.table["concept"] == concept)]
    found = world.rows(table.sort_values(["instance", "azimuth"]).index.to_numpy()).pixels(size)
    return found.reshape(-1, len(ANGLES), *found.shape[1:])


@cache
def named_in(prompt: str) -> str | None:
    """The training object that a prompt names, the longest of its names: "a gray coffee table" is one of those, no table."""
    table = World.open().where("train", "object").table
    known = sorted(set(table["concept"]), key=lambda name: (-len(name), name))
    return next((name for name in known if re.search(rf"\b{re.escape(name)}\b", prompt)), None)


def truths(context: Context, prompt: str | None) -> Float[np.ndarray, "shapes 8 3 h w"]:
    """The views of all that a prompt can mean: the shapes that the model is made of, else the training objects it names.

    Raises UndefinedError if there are none.
    """
    if isinstance(context.model, Shapes):
        return context.model.truths.numpy()
    size = context.images.shape[-1]
    name = named_in(prompt) if prompt is not None else None
    if name is None or SIZE % size:
        raise UndefinedError("the prompts name no training object of the built-in world")
    return trained(name, size)


@dataclass(frozen=True)
class Known(Metric):
    """A measure of an object's views against those of the known object nearest to it, by mean squared difference over all.

    of_an_object: an object of which no pixel is to be seen is left out. The others are distances to the truth, and it is far.
    """

    of_an_object = False

    @abstractmethod
    def score(self, views: Views, known: KnownViews, nearest: int) -> float:
        """The measure. views: [8, 3, h, w]; known: [shapes, 8, 3, h, w]."""

    def statistic(self, context: Context) -> Statistic:
        context.rgb()
        sights, values = context.around(), np.full(len(context.images), np.nan)
        for k in np.unique(sights.objects):
            rows = np.flatnonzero(sights.objects == k)
            place = {float(sights.azimuths[row]): row for row in rows}
            here = [angle for angle in ANGLES if angle in place]
            if not here:
                continue
            views = context.images[[place[angle] for angle in here]]
            if self.of_an_object and not shown(views).any():
                continue
            known = truths(context, context.prompts[rows[0]])[:, [ANGLES.index(angle) for angle in here]]
            values[rows] = self.score(views, known, int(gaps(views, known).mean(1).argmin()))
        return mean_known(values, "no picture from an angle of the built-in world's shows an object")


def gaps(views: Views, known: KnownViews) -> Float[np.ndarray, "shapes views"]:
    """Mean squared difference of each view to that of each shape."""
    return np.square(views - known).mean((2, 3, 4))


def psnr(a: Views, b: Views) -> float:
    """10·log10(4 / mean squared difference), in dB; at most 106."""
    return float(-10 * np.log10(max(float(np.square(a - b).mean()), 1e-10) / 4))


@dataclass(frozen=True)
class ToShape(Known):
    """PSNR of the eight views to the nearest known object's."""

    unit = "dB"
    ideal = math.inf

    def score(self, views: Views, known: KnownViews, nearest: int) -> float:
        return psnr(views, known[nearest])


@dataclass(frozen=True)
class ShapeLpips(Known):
    """LPIPS (AlexNet) of the eight views to the nearest known object's, the mean."""

    unit = "LPIPS"
    ideal = 0.0
    preprocessing = "lpips-alex"

    def score(self, views: Views, known: KnownViews, nearest: int) -> float:
        return float(lpips.distance(np.ascontiguousarray(views), np.ascontiguousarray(known[nearest])).mean())


@dataclass(frozen=True)
class Silhouette(Known):
    """Intersection over union of the object's pixels and the nearest known object's, the mean over the eight views."""

    unit = "IoU"
    ideal = 1.0

    def score(self, views: Views, known: KnownViews, nearest: int) -> float:
        a, b = shown(views), shown(known[nearest])
        union = (a | b).sum((1, 2))
        some = union > 0  # where neither is to be seen there is nothing to compare
        return float(((a & b).sum((1, 2))[some] / union[some]).mean()) if some.any() else math.nan


@dataclass(frozen=True)
class Mixed(Known):
    """Share of the eight views that are nearer to another known object's than to those of the object nearest on the whole."""

    unit = "share of views"
    ideal = 0.0
    of_an_object = True

    def score(self, views: Views, known: KnownViews, nearest: int) -> float:
        return float((gaps(views, known).argmin(0) != nearest).mean())


def blended(views: Views, known: KnownViews) -> Views:
    """The convex blend of the known objects that is nearest to the views by squared difference, one for all of them."""
    columns, target = known.reshape(len(known), -1).T, views.reshape(-1)
    heavy = 1e3 * math.sqrt(len(target))  # shares that do not add up to one cost more than any picture can
    weights = scipy.optimize.nnls(np.vstack([columns, np.full(len(known), heavy)]), np.append(target, heavy))[0]
    return np.tensordot(weights / weights.sum(), known, 1)


@dataclass(frozen=True)
class ToBlend(Known):
    """PSNR of the eight views to the convex blend of the known objects that is nearest to them on the whole.

    Near ToShape for one of the objects; above it for an average of some. Of objects on a chain of blends it does not depend on
    how many there are.
    """

    unit = "dB"
    ideal = math.inf

    def score(self, views: Views, known: KnownViews, nearest: int) -> float:
        return psnr(views, blended(views, known))


@dataclass(frozen=True)
class Parted(Known):
    """How much nearer each view is to a blend of its own than to the one blend for all: whether the views are of one thing."""

    unit = "dB"
    ideal = 0.0
    of_an_object = True

    def score(self, views: Views, known: KnownViews, nearest: int) -> float:
        own = np.concatenate([blended(views[k : k + 1], known[:, k : k + 1]) for k in range(len(views))])
        return psnr(views, own) - psnr(views, blended(views, known))


def cloud(mesh: Mesh, n: int) -> Float[np.ndarray, "n 3"]:
    """Points spread evenly over a mesh, always the same ones."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    rng = np.random.Generator(np.random.Philox(0))
    face = rng.choice(len(areas), n, p=areas / areas.sum())
    u, v = np.sqrt(rng.random((n, 1))), rng.random((n, 1))
    return (1 - u) * a[face] + u * (1 - v) * b[face] + u * v * c[face]


def apart(a: Float[np.ndarray, "n 3"], b: Float[np.ndarray, "m 3"]) -> float:
    """Mean distance of the points of each to the nearest of the other, the mean of both ways (Chamfer distance)."""
    return float(scipy.spatial.KDTree(b).query(a)[0].mean() + scipy.spatial.KDTree(a).query(b)[0].mean()) / 2


def turned(points: Float[np.ndarray, "n 3"], azimuth: float) -> Float[np.ndarray, "n 3"]:
    """Turned about the vertical axis by so many degrees, as a camera's azimuth counts."""
    a = math.radians(azimuth)
    return points @ np.array([[math.cos(a), 0.0, -math.sin(a)], [0.0, 1.0, 0.0], [math.sin(a), 0.0, math.cos(a)]])


@cache
def only_mesh(prompt: str) -> Float[np.ndarray, "n 3"] | None:
    """Points on the one training object that a prompt can mean; None if there are several, or its mesh does not ship."""
    table = World.open().where("train", "object").table
    instances = set(table["instance"][table["concept"] == named_in(prompt)])
    return next((cloud(mesh, N_POINTS) for mesh in open_meshes().values() if {mesh.instance} == instances), None)


@dataclass(frozen=True)
class Chamfer(Metric):
    """Distance of an object's surface to the mesh of the one training object that its prompt can mean.

    The mean of how far its points are from the mesh's nearest and the mesh's from its, at the azimuth where that is least, of
    those a multiple of 5 degrees. No object gets 0: its points are where rays end in a field that is soft by about a pixel, and
    the mesh's are all over it, inside as well; so it is read against what a field fitted to the true views gets. In radii of
    the world. Prompts that can mean several objects are left out.
    """

    unit = "radii"
    ideal = 0.0

    def statistic(self, context: Context) -> Statistic:
        context.rgb()
        sights, values = context.around(), np.full(len(context.images), np.nan)
        if sights.surface is None:
            raise UndefinedError("the samples are pictures alone, without the objects they show")
        for k in np.unique(sights.objects):
            rows = np.flatnonzero(sights.objects == k)
            known = only_mesh(context.prompts[rows[0]] or "")
            if known is not None:
                values[rows] = self.best(sights.surface(int(k)), known)
        return mean_known(values, "no prompt names a single training object whose mesh ships")

    def best(self, points: Float[np.ndarray, "n 3"], known: Float[np.ndarray, "m 3"]) -> float:
        """The distance; as far as the world is wide for an object that is not there."""
        if not len(points):
            return 2.0
        some = points[:: -(-len(points) // N_POINTS)]
        few, fewer = some[::FINE], known[::FINE]
        return apart(turned(some, min(range(0, 360, 5), key=lambda azimuth: apart(turned(few, azimuth), fewer))), known)


def shown(images: Float[np.ndarray, "*n 3 h w"]) -> np.ndarray:
    """Which pixels show the object, not the white behind it."""
    return np.any(images < WHITE, axis=-3)


@dataclass(frozen=True)
class Floaters(Metric):
    """Share of an object's pixels that hang together with less than the largest part of its picture; data have some too.

    Pictures that show nothing are left out.
    """

    unit = "share of the object"

    def statistic(self, context: Context) -> Statistic:
        context.rgb()
        context.around()
        return mean_known(np.array([loose(mask) for mask in shown(context.images)]), "no picture shows an object")


def loose(mask: np.ndarray) -> float:
    """The share of pixels outside the largest part; pixels that touch at a corner hang together. NaN where there are none."""
    parts, n = scipy.ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    return float(1 - sizes.max() / sizes.sum()) if n else math.nan


@dataclass(frozen=True)
class Janus(Metric):
    """Share of the pictures from behind that look like a front, by the view classifier: a second face. Data: CARD.md.

    Backs that show nothing are left out.
    """

    unit = "share of backs"
    preprocessing = PREPROCESSING

    def statistic(self, context: Context) -> Statistic:
        context.colour_pictures()
        asked = [ASKED.search(prompt or "") for prompt in context.prompts]
        behind = np.array([match is not None and match[1] == "back" for match in asked])
        if not behind.any():
            raise UndefinedError("no prompt asks for the back")
        fronts = seen_from(features(context.images)) == SIDES.index("front")
        counts = behind & ~blank(context.images) & shown(context.images).any((1, 2))
        return mean_known(np.where(counts, fronts, math.nan), "no back shows an object")
