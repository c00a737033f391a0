"""Where things are in one view of a phantom breast: outline, nipple, muscle, gland, vessels.

Lengths are millimetres, points are (y, x) with y down the image and x from the chest wall towards
the nipple: the picture of a left breast. A right breast is mirrored once its pixels are drawn.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from nlbs.preprocess.phantom.patient import Breast

FIELD_MM = 3062 * 0.09409090909091  #: height of the detector of a GE Senographe Essential
GRID_MM = 1.0  #: pixels of the maps, which are smooth and enlarged to the image
_STEP_MM = 0.3  #: between points of an outline

Field = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Muscle:
    """The pectoral muscle of an MLO view: the corner between the image's top and the chest wall."""

    top_mm: float  #: width at the top edge of the image
    length_mm: float  #: extent down the chest wall
    bend: float  #: 1 is straight, less bulges towards the nipple


@dataclass(frozen=True)
class Anatomy:
    """Outline and position of everything in one view."""

    outline: Points  #: float64, (N, 2), y and x along the skin from top to bottom
    nipple: tuple[float, float]
    gland_centre: tuple[float, float]
    gland_radii: tuple[float, float]
    muscle: Muscle | None
    vessels: tuple[tuple[tuple[float, float], ...], ...]  #: control points of Bézier curves


@dataclass(frozen=True)
class Maps:
    """An anatomy as pictures on the grid of :data:`GRID_MM`, each float32, (H, W)."""

    y: Field  #: mm, of the centre of a grid cell
    x: Field
    skin: Field  #: mm below the skin, negative in air
    muscle: Field  #: 0 to 1, share of muscle
    gland: Field  #: how much likelier gland is here than elsewhere, in standard deviations; 0 at most


def draw_anatomy(breast: Breast, view: str, generator: np.random.Generator) -> Anatomy:
    """Return the anatomy of a breast in a view, "CC" or "MLO"."""
    if view == "CC":
        outline, nipple = _cc_outline(breast, generator)
        extent = breast.half_height_mm
        muscle = None
    else:
        outline, nipple, top_mm = _mlo_outline(breast, generator)
        extent = 0.85 * breast.half_height_mm
        muscle = Muscle(
            top_mm=top_mm * generator.uniform(0.5, 0.8),
            length_mm=nipple[0] * generator.uniform(0.75, 1.1),
            bend=generator.uniform(0.75, 1.1),
        )
    # In MLO the gland rises from the nipple towards the armpit.
    tilt = generator.normal(-0.22 if view == "MLO" else -0.08, 0.06)
    centre = (nipple[0] + tilt * extent, nipple[1] * generator.normal(0.52, 0.03))
    radii = (extent * generator.normal(0.50, 0.04), nipple[1] * generator.normal(0.40, 0.03))
    return Anatomy(
        outline=_with_nipple(outline, nipple, generator),
        nipple=nipple,
        gland_centre=centre,
        gland_radii=radii,
        muscle=muscle,
        vessels=_vessels(nipple, extent, generator),
    )


def draw_maps(anatomy: Anatomy, width_mm: float) -> Maps:
    """Return the maps of an anatomy for an image :data:`FIELD_MM` high and ``width_mm`` wide."""
    rows, columns = round(FIELD_MM / GRID_MM), round(width_mm / GRID_MM)
    y, x = np.meshgrid(
        (np.arange(rows) + 0.5) * FIELD_MM / rows,
        (np.arange(columns) + 0.5) * width_mm / columns,
        indexing="ij",
    )
    skin = _depth_below(anatomy.outline, np.stack((y, x), axis=-1))
    muscle = np.zeros_like(y)
    if anatomy.muscle is not None:
        shape = anatomy.muscle
        border = shape.top_mm * np.clip(1 - y / shape.length_mm, 0, None) ** shape.bend
        across = shape.length_mm / np.hypot(shape.length_mm, shape.top_mm)
        muscle = 1 / (1 + np.exp(-(border - 1 - x) * across / 1.1))
    (cy, cx), (ry, rx) = anatomy.gland_centre, anatomy.gland_radii
    gland = -1.3 * (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2)
    gland -= 4 * np.exp(-np.clip(skin, 0, None) / 4)  # fat under the skin
    gland -= 1.5 * np.exp(-x / 10)  # fat before the chest wall
    y32, x32, skin32, muscle32, gland32 = (
        field.astype(np.float32) for field in (y, x, skin, muscle, np.maximum(gland, -12))
    )
    return Maps(y=y32, x=x32, skin=skin32, muscle=muscle32, gland=gland32)


def _cc_outline(breast: Breast, generator: np.random.Generator) -> tuple[Points, tuple[float, float]]:
    """Half a superellipse, fuller on the outer side (up in the image)."""
    depth, half = breast.depth_mm, breast.half_height_mm
    centre = FIELD_MM / 2 + generator.normal(0, 4)
    power = 2 / generator.uniform(2.1, 2.5)
    lean = generator.normal(0.03, 0.03)  # of the nipple's height towards one side
    phases = generator.uniform(0, 2 * np.pi, 2)
    angle = np.linspace(-np.pi / 2, np.pi / 2, 2000)
    wave = 1 + 0.012 * np.sin(2 * angle + phases[0]) + 0.008 * np.sin(3 * angle + phases[1])
    x = depth * np.cos(angle).clip(0) ** power * wave
    y = centre + half * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * wave
    y += lean * half * np.cos(angle) ** 2
    # Beyond the chest wall the outline runs on, so that distances to it are right up to the edge.
    points = np.column_stack((y, x))
    ends = [(points[0, 0] - 1, -30.0)], [(points[-1, 0] + 1, -30.0)]
    outline = _resampled(np.concatenate((ends[0], points, ends[1])))
    nipple_y = centre + lean * half
    return outline, (float(nipple_y), float(depth * wave[1000]))


def _mlo_outline(breast: Breast, generator: np.random.Generator) -> tuple[Points, tuple[float, float], float]:
    """A hanging breast below the armpit, in most images with some belly below the fold."""
    depth = 1.06 * breast.depth_mm
    nipple_y = min(1.35 * breast.half_height_mm, 150) * generator.normal(1, 0.04)
    drop = min(0.62 * breast.half_height_mm, 74) * generator.normal(1, 0.03)
    top = depth * generator.uniform(0.5, 0.7)
    belly = generator.uniform(5, 14) if generator.random() < 0.6 else -12.0
    fold = nipple_y + drop
    points = [
        (-25, top * 0.99),
        (0.08 * nipple_y, top * generator.normal(1.0, 0.02)),
        (0.32 * nipple_y, top + (depth - top) * generator.uniform(0.30, 0.46)),
        (0.65 * nipple_y, top + (depth - top) * 0.74),
        (nipple_y, depth),
        (nipple_y + 0.55 * drop, 0.84 * depth),
        (nipple_y + 0.93 * drop, 0.46 * depth),
        (fold, max(0.13 * depth, belly + 3)),
        (fold + 6, belly),
        (fold + 30, belly * 0.8),
        (fold + 80, belly * 1.1),
        (fold + 140, belly),
    ]
    control = np.array(points)
    chord = np.concatenate(([0], np.cumsum(np.sqrt(np.linalg.norm(np.diff(control, axis=0), axis=1)))))
    outline = CubicSpline(chord, control)(np.linspace(0, chord[-1], 4000))
    return _resampled(outline), (float(nipple_y), float(depth)), float(top)


def _with_nipple(outline: Points, nipple: tuple[float, float], generator: np.random.Generator) -> Points:
    """Add the nipple's bump, unless it is out of profile."""
    height = generator.uniform(2.5, 5.0) if generator.random() < 0.7 else 0.0
    along = np.linalg.norm(outline - np.asarray(nipple), axis=1)
    bump = height * np.exp(-((along / generator.uniform(4.5, 6)) ** 3))
    return _resampled(outline + bump[:, None] * _normals(outline))


def _vessels(
    nipple: tuple[float, float], extent: float, generator: np.random.Generator
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """A few Bézier curves from the chest wall towards the skin round the nipple."""
    paths = []
    for _ in range(int(generator.integers(2, 6))):
        start = nipple[0] + generator.uniform(-0.9, 0.7) * extent
        end = nipple[0] + generator.uniform(-0.6, 0.6) * extent
        bend = generator.normal(0, 0.15, 2) * extent
        points = (
            (start, -3.0),
            (start + bend[0], 0.35 * nipple[1]),
            (end + bend[1], 0.6 * nipple[1]),
            (end, generator.uniform(0.7, 0.85) * nipple[1]),
        )
        paths.append(tuple((float(y), float(x)) for y, x in points))
    return tuple(paths)


def _depth_below(outline: Points, points: Points) -> Points:
    """Distance of points (..., 2) to the nearest point of the outline, negative on its outer side."""
    # Larger leaves than the default: a quarter faster on points this regular.
    _, nearest = cKDTree(outline, leafsize=32).query(points)
    offset = points - outline[nearest]
    distance = np.linalg.norm(offset, axis=-1)
    along = np.sum(offset * _normals(outline)[nearest], axis=-1)
    # Near the skin the component along the normal is exact, where the distance to samples is not.
    return cast(Points, np.where(distance > 4 * _STEP_MM, np.copysign(distance, -along), -along))


def _normals(outline: Points) -> Points:
    """Unit vectors (N, 2) that point out of the breast of an outline drawn from top to bottom."""
    tangent = np.gradient(outline, axis=0)
    normal = np.column_stack((-tangent[:, 1], tangent[:, 0]))
    return cast(Points, normal / np.linalg.norm(normal, axis=1, keepdims=True))


def _resampled(outline: Points) -> Points:
    """The same curve with points at even steps."""
    length = np.concatenate(([0], np.cumsum(np.linalg.norm(np.diff(outline, axis=0), axis=1))))
    at = np.linspace(0, length[-1], max(2, round(length[-1] / _STEP_MM)))
    return np.column_stack([np.interp(at, length, outline[:, axis]) for axis in (0, 1)])
