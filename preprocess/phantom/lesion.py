"""Findings of the phantom: masses and calcifications, drawn in millimetres, added to pixels."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nlbs.preprocess.phantom.anatomy import Maps
from nlbs.preprocess.phantom.patient import Breast

Field = npt.NDArray[np.float32]

_SMALLEST_SIGMA_PX = 0.45  #: of a calcification


@dataclass(frozen=True)
class Mass:
    """A blob with lobes and, where it is malignant, spicules. Position as in ``phantom_anatomy``."""

    y_mm: float
    x_mm: float
    radius_mm: float
    contrast: float  #: stored values added at the centre
    edge_mm: float  #: width of the margin
    lobes: tuple[tuple[int, float, float], ...]  #: order, relative amplitude, phase
    spicules: tuple[tuple[float, float, float], ...]  #: angle, length from the centre in mm, width in mm

    @property
    def extent_mm(self) -> float:
        """Radius of the circle round the centre outside which nothing is changed."""
        body = self.radius_mm * (1 + sum(amplitude for _, amplitude, _ in self.lobes)) + self.edge_mm
        return max([body, *(length for _, length, _ in self.spicules)])


@dataclass(frozen=True)
class Calcification:
    """One bright dot."""

    y_mm: float
    x_mm: float
    diameter_mm: float
    contrast: float  #: stored values added at the centre

    def drawn_sigma_mm(self, spacing_mm: float) -> float:
        """Return the width at which the dot is drawn: a finer one than a pixel would fall between pixels."""
        return max(self.diameter_mm / 2.5, _SMALLEST_SIGMA_PX * spacing_mm)

    def window(self, shape: tuple[int, ...], spacing_mm: float) -> tuple[slice, slice]:
        """Return rows and columns of the pixels that the dot changes in an image of a left breast."""
        extent_mm = 3 * self.drawn_sigma_mm(spacing_mm)
        return _window(shape, self.y_mm, self.x_mm, extent_mm, spacing_mm)


@dataclass(frozen=True)
class Finding:
    """What is found in one image; nothing at all in most."""

    mass: Mass | None = None
    calcifications: tuple[Calcification, ...] = field(default=())


def draw_finding(breast: Breast, maps: Maps, nipple_x_mm: float, generator: np.random.Generator) -> Finding:
    """Return the finding of a breast with a cancer or a false positive, as one of its views shows it."""
    radius_mm = (breast.mass_radius_mm or 6.0) * float(generator.normal(1, 0.05))
    y_mm, x_mm = _draw_place(maps, nipple_x_mm - breast.finding_depth_mm, radius_mm, generator)
    mass = None
    if breast.mass_radius_mm is not None:
        draw = _draw_malignant if breast.cancer else _draw_benign
        mass = draw(y_mm, x_mm, radius_mm, generator)
    calcifications: tuple[Calcification, ...] = ()
    if breast.calcified and breast.cancer:
        calcifications = _draw_cluster(y_mm, x_mm, 0.8 * radius_mm + 2, generator)
    elif breast.calcified:
        calcifications = _draw_coarse(y_mm, x_mm, generator)
    return Finding(mass, calcifications)


def add_finding(pixels: Field, finding: Finding, spacing_mm: float) -> None:
    """Add a finding to an image, float32, (H, W), in place."""
    if finding.mass is not None:
        _add_mass(pixels, finding.mass, spacing_mm)
    for dot in finding.calcifications:
        _add_dot(pixels, dot, spacing_mm)


def _draw_place(
    maps: Maps, x_mm: float, radius_mm: float, generator: np.random.Generator
) -> tuple[float, float]:
    """A place near the depth ``x_mm`` where there is room, rather in the gland than outside it."""
    room = (maps.skin > radius_mm + 5) & (maps.muscle < 0.02) & (maps.x > radius_mm + 4)
    likelihood = np.exp(maps.gland - ((maps.x - x_mm) / 4) ** 2 / 2) * room
    total = likelihood.sum(dtype=np.float64)
    # A breast too small for the mass: the place with most tissue round it.
    if total == 0:
        index = int(np.argmax(np.minimum(maps.skin, maps.x) - 100 * maps.muscle))
    else:
        index = int(np.searchsorted(np.cumsum(likelihood, dtype=np.float64), generator.random() * total))
    return float(maps.y.flat[index]), float(maps.x.flat[index])


def _draw_malignant(y_mm: float, x_mm: float, radius_mm: float, generator: np.random.Generator) -> Mass:
    lobes = tuple((k, float(generator.uniform(0.04, 0.12)), _angle(generator)) for k in (2, 3, 4, 5))
    spicules = tuple(
        (
            _angle(generator),
            radius_mm * float(generator.uniform(1.3, 2.4)),
            float(generator.uniform(0.25, 0.6)),
        )
        for _ in range(int(generator.integers(10, 22)))
    )
    contrast, edge = generator.uniform(380, 520), radius_mm * generator.uniform(0.45, 0.75)
    return Mass(y_mm, x_mm, radius_mm, float(contrast), float(edge), lobes, spicules)


def _draw_benign(y_mm: float, x_mm: float, radius_mm: float, generator: np.random.Generator) -> Mass:
    lobes = tuple((k, float(abs(generator.normal(0, 0.03))), _angle(generator)) for k in (2, 3))
    contrast, edge = generator.uniform(150, 240), generator.uniform(0.9, 1.5)
    return Mass(y_mm, x_mm, radius_mm, float(contrast), float(edge), lobes, ())


def _draw_cluster(
    y_mm: float, x_mm: float, radius_mm: float, generator: np.random.Generator
) -> tuple[Calcification, ...]:
    """8 to 25 fine dots, 2 to 6 pixels of a full-size image across."""
    count = int(generator.integers(8, 26))
    places = generator.normal(0, radius_mm / 2, (count, 2)).clip(-1.2 * radius_mm, 1.2 * radius_mm)
    diameters = generator.uniform(0.19, 0.56, count)
    contrasts = generator.uniform(350, 800, count)
    return tuple(
        Calcification(y_mm + float(dy), x_mm + float(dx), float(diameter), float(contrast))
        for (dy, dx), diameter, contrast in zip(places, diameters, contrasts, strict=True)
    )


def _draw_coarse(y_mm: float, x_mm: float, generator: np.random.Generator) -> tuple[Calcification, ...]:
    """2 to 5 round dots of 1 to 2.5 mm: typically benign."""
    count = int(generator.integers(2, 6))
    return tuple(
        Calcification(
            y_mm + float(generator.normal(0, 4)),
            x_mm + float(generator.normal(0, 4)),
            float(generator.uniform(1.0, 2.5)),
            float(generator.uniform(450, 700)),
        )
        for _ in range(count)
    )


def _angle(generator: np.random.Generator) -> float:
    return float(generator.uniform(0, 2 * np.pi))


def _add_mass(pixels: Field, mass: Mass, spacing_mm: float) -> None:
    window = _window(pixels.shape, mass.y_mm, mass.x_mm, mass.extent_mm, spacing_mm)
    dy, dx = _offsets(window, mass.y_mm, mass.x_mm, spacing_mm)
    distance, angle = np.hypot(dy, dx), np.arctan2(dy, dx)
    border = mass.radius_mm * (1 + sum(a * np.cos(k * angle + phase) for k, a, phase in mass.lobes))
    inside = _smooth_step((border - distance) / mass.edge_mm + 0.5)
    # A ball is thickest in the middle.
    dome = 0.6 + 0.4 * np.sqrt(np.clip(1 - (distance / (1.3 * mass.radius_mm)) ** 2, 0, 1))
    added = mass.contrast * inside * dome
    for towards, length, width in mass.spicules:
        along = dy * np.sin(towards) + dx * np.cos(towards)
        across = dy * np.cos(towards) - dx * np.sin(towards)
        taper = np.clip(1 - distance / length, 0, 1) * (along > 0)
        line = 0.6 * mass.contrast * taper**0.7 * np.exp(-((across / (width * (0.5 + taper))) ** 2))
        added = np.maximum(added, line)  # a sum would make a star of the centre
    pixels[window] += added.astype(np.float32)


def _add_dot(pixels: Field, dot: Calcification, spacing_mm: float) -> None:
    sigma_mm = dot.drawn_sigma_mm(spacing_mm)
    contrast = (
        dot.contrast * (dot.diameter_mm / 2.5 / sigma_mm) ** 2
    )  # the same absorption, spread over a pixel
    window = dot.window(pixels.shape, spacing_mm)
    dy, dx = _offsets(window, dot.y_mm, dot.x_mm, spacing_mm)
    # Flatter than a Gaussian, as a solid grain is.
    added = contrast * np.exp(-(((dy**2 + dx**2) / (2 * sigma_mm**2)) ** 2))
    pixels[window] += added.astype(np.float32)


def _window(
    shape: tuple[int, ...], y_mm: float, x_mm: float, extent_mm: float, spacing_mm: float
) -> tuple[slice, slice]:
    """Rows and columns of an image within ``extent_mm`` of a place."""
    rows, columns = (
        slice(
            min(max(int(np.floor((centre - extent_mm) / spacing_mm)), 0), size),
            min(max(int(np.ceil((centre + extent_mm) / spacing_mm)) + 1, 0), size),
        )
        for centre, size in zip((y_mm, x_mm), shape, strict=True)
    )
    return rows, columns


def _offsets(
    window: tuple[slice, slice], y_mm: float, x_mm: float, spacing_mm: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How far below and beside a place the centre of each pixel of a window lies, in mm."""
    y = (np.arange(window[0].start, window[0].stop) + 0.5) * spacing_mm - y_mm
    x = (np.arange(window[1].start, window[1].stop) + 0.5) * spacing_mm - x_mm
    dy, dx = np.meshgrid(y, x, indexing="ij")
    return dy, dx


def _smooth_step(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """0 below 0, 1 above 1, ``3 t^2 - 2 t^3`` between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
