"""Pixels of one phantom image, and the truth about what they show."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import special

from nlbs.preprocess.phantom.anatomy import FIELD_MM, Anatomy, Maps, Muscle, draw_anatomy, draw_maps
from nlbs.preprocess.phantom.lesion import Finding, add_finding, draw_finding
from nlbs.preprocess.phantom.patient import Breast
from nlbs.preprocess.phantom.texture import converging, power_law, ridges, vessels

Field = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint16]

#: Mean exponents of the power spectrum by view.
TEXTURE_EXPONENTS = {"CC": 3.17, "MLO": 3.30}
LARGEST_VALUE = 4095  #: of 12 bits
LABEL_VALUE = 3800  #: of the burned-in view label
LABEL_SHARE = 0.4  #: of the images

# Stored values read off a GE Senographe image: a flat breast of 2000 to 3000 whose rim, equalised
# by the maker's processing, rises to 2050 within 3 mm of the skin.
_RIM_MM = 2.6
_SKIN_VALUE, _SKIN_LINE, _FAT_RISE, _FAT_RISE_MM = 2050, 90, 190, 4.0
_DEPTH_RISE, _DEPTH_RISE_MM = 90, 45.0
_GLAND_VALUE, _GLAND_TEXTURE, _FAT_TEXTURE, _MUSCLE_TEXTURE = 230, 95, 28, 25
_MUSCLE_VALUE, _MUSCLE_RISE = 2590, 260
_NOISE_VALUE = 22.0  #: standard deviation of the quantum noise at the full 0.094 mm
_FULL_SPACING_MM = 0.09409090909091
_COARSEST_STRUCTURE_MM = 34.0
#: Strands: distance in samples of ``converging``, thickness relative to it, stored values added.
_STRANDS = ((44, 0.05, 75), (26, 0.09, 60), (12, 0.12, 40), (12, 0.12, 40))
_FINE_GRID_MM = 0.2  #: of strands and vessels, which need no finer pixels


@dataclass(frozen=True)
class View:
    """Everything that one image shows, before it has pixels."""

    breast: Breast
    view: str  #: "CC" or "MLO"
    anatomy: Anatomy
    finding: Finding
    texture_exponent: float
    label: bool  #: has a view label burned in, away from the breast


@dataclass(frozen=True)
class Drawing:
    """One image, and what was measured while it was drawn."""

    pixels: Pixels  #: uint16, (rows, columns), 12 bits, air = 0
    spacing_mm: float
    density: float  #: share of fibroglandular tissue in the breast, muscle left out


def spacing_of(rows: int) -> float:
    """Return the pixel spacing in mm of an image of so many rows: the detector keeps its size."""
    return FIELD_MM / rows


def draw_view(breast: Breast, view: str, width_mm: float, generator: np.random.Generator) -> View:
    """Return what an image of a breast shows, on a detector ``width_mm`` wide."""
    anatomy = draw_anatomy(breast, view, generator)
    finding = Finding()
    if breast.cancer or breast.false_positive:
        finding = draw_finding(breast, draw_maps(anatomy, width_mm), anatomy.nipple[1], generator)
    return View(
        breast=breast,
        view=view,
        anatomy=anatomy,
        finding=finding,
        texture_exponent=float(np.clip(generator.normal(TEXTURE_EXPONENTS[view], 0.06), 3.0, 3.5)),
        label=bool(generator.random() < LABEL_SHARE),
    )


def draw_pixels(view: View, rows: int, columns: int, generator: np.random.Generator) -> Drawing:
    """Return the image of a view.

    The noise of ``generator`` does not depend on the finding: the same view without it differs
    only there.

    Returns:
        The image with the chest wall at the left edge for a left breast, at the right edge for a right one.
    """
    spacing_mm = spacing_of(rows)
    width_mm = columns * spacing_mm
    maps = draw_maps(view.anatomy, width_mm)
    skin = _enlarged(maps.skin, rows, columns)
    texture = power_law(rows, columns, view.texture_exponent, spacing_mm / _COARSEST_STRUCTURE_MM, generator)
    ducts, fine = _fine_structure(view.anatomy, maps, width_mm, max(spacing_mm, _FINE_GRID_MM), generator)
    tendency = _enlarged(_enlarged(maps.gland, *ducts.shape) + 0.9 * ducts, rows, columns)
    tendency += np.float32(0.45) * texture
    gland, density = _gland(tendency, maps, view.breast.density)
    value = _tissue(skin, texture + 0.6 * _enlarged(ducts, rows, columns), gland)
    value += _enlarged(fine, rows, columns) * (1 + gland)
    if view.anatomy.muscle is not None:
        muscle = _muscle_value(view.anatomy.muscle, maps, rows, columns) + _MUSCLE_TEXTURE * texture
        value += _enlarged(maps.muscle, rows, columns) * (muscle - value)
    add_finding(value, view.finding, spacing_mm)
    rim = _rim(skin)
    # Fewer photons fall into a smaller pixel.
    noise = generator.standard_normal((rows, columns), dtype=np.float32)
    noise *= np.float32(_NOISE_VALUE * _FULL_SPACING_MM / spacing_mm)
    value += noise
    value *= rim
    pixels = np.clip(np.rint(value), 0, LARGEST_VALUE).astype(np.uint16)
    if view.breast.laterality == "R":
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    if view.label:
        pixels = np.maximum(pixels, _label(view, rows, columns, spacing_mm))
    return Drawing(pixels=pixels, spacing_mm=spacing_mm, density=density)


def _gland(tendency: Field, maps: Maps, density: float) -> tuple[Field, float]:
    """Where fibroglandular tissue is, float32, (H, W), 0 to 1, and its mean over the breast.

    Tissue whose tendency is above a level is gland; the level is the one that makes the asked share.
    """
    # The level is found on about 100,000 pixels.
    step = max(1, round((tendency.size / 100_000) ** 0.5))
    few = np.ascontiguousarray(tendency[::step, ::step])
    breast = (_enlarged(maps.skin, *few.shape) > 0) & (_enlarged(maps.muscle, *few.shape) < 0.5)
    inside = few[breast]
    low, high = -20.0, 20.0
    for _ in range(40):
        level = (low + high) / 2
        share = float(np.mean(_share_above(inside, level), dtype=np.float64))
        low, high = (level, high) if share > density else (low, level)
    gland = _share_above(tendency, level)
    return gland, share


def _share_above(value: Field, level: float) -> Field:
    """A soft step, as fat and gland overlap along the beam: ``1 / (1 + exp(-(value - level) / 0.42))``."""
    return cast(Field, special.expit((value - np.float32(level)) / np.float32(0.42)))


def _tissue(skin: Field, texture: Field, gland: Field) -> Field:
    """Stored values of fat and gland under the skin."""
    below = np.maximum(skin - np.float32(2), 0)
    value = _SKIN_VALUE + _FAT_RISE * (1 - np.exp(-below / np.float32(_FAT_RISE_MM)))
    value += _DEPTH_RISE * (1 - np.exp(-below / np.float32(_DEPTH_RISE_MM)))
    # The skin itself, seen edge-on.
    value += _SKIN_LINE * np.exp(-(((skin - np.float32(2.6)) / np.float32(0.8)) ** 2))
    value += gland * (_GLAND_VALUE + _GLAND_TEXTURE * texture)
    value += _FAT_TEXTURE * texture
    return cast(Field, value)


def _fine_structure(
    anatomy: Anatomy, maps: Maps, width_mm: float, pixel_mm: float, generator: np.random.Generator
) -> tuple[Field, Field]:
    """Texture along the ducts, unit variance, and strands and vessels as values to add."""
    rows, columns = round(FIELD_MM / pixel_mm), round(width_mm / pixel_mm)
    y, x = np.meshgrid(
        np.arange(rows, dtype=np.float32) * np.float32(pixel_mm),
        np.arange(columns, dtype=np.float32) * np.float32(pixel_mm),
        indexing="ij",
    )
    ducts = converging(y, x, anatomy.nipple, 3.6, 64, generator)
    # Strands fade in and out along their way; without it the breast looks wrapped in a net.
    value = np.zeros((rows, columns), np.float32)
    for scale, width, height in _STRANDS:
        fade = np.clip(0.3 + 0.7 * converging(y, x, anatomy.nipple, 4.0, 64, generator), 0, 1.6)
        value += height * fade * ridges(converging(y, x, anatomy.nipple, 7.0, scale, generator), width)
    value += 80 * vessels((rows, columns), pixel_mm, anatomy.vessels)
    return ducts, value * np.clip(_enlarged(maps.skin, rows, columns) / 6, 0, 1)


def _muscle_value(muscle: Muscle, maps: Maps, rows: int, columns: int) -> Field:
    """Stored values of the pectoral muscle: brightest where it is thickest, in the corner."""
    height = 1 - maps.y / muscle.length_mm - maps.x / muscle.top_mm
    return _enlarged((_MUSCLE_VALUE + _MUSCLE_RISE * np.clip(height, 0, 1)).astype(np.float32), rows, columns)


def _rim(skin: Field) -> Field:
    """0 in air, 1 from :data:`_RIM_MM` below the skin: the falling thickness at the breast's edge."""
    t = np.clip(skin / np.float32(_RIM_MM), 0, 1)
    return cast(Field, t * t * (3 - 2 * t))


def _label(view: View, rows: int, columns: int, spacing_mm: float) -> Pixels:
    """The view's name in the upper corner away from the chest wall, uint16, (rows, columns), 0 elsewhere."""
    text = f"{view.breast.laterality} {view.view}"
    font = ImageFont.load_default(size=max(8, 7 / spacing_mm))
    left, top, right, _ = font.getbbox(text)
    margin = 6 / spacing_mm
    x = margin if view.breast.laterality == "R" else columns - margin - (right - left)
    page = Image.new("L", (columns, rows), 0)
    ImageDraw.Draw(page).text((x - left, margin - top), text, fill=255, font=font)
    return (np.asarray(page, dtype=np.float32) * (LABEL_VALUE / 255)).astype(np.uint16)


def _enlarged(field: Field, rows: int, columns: int) -> Field:
    """A smooth map at the size of an image, float32, (rows, columns)."""
    image = Image.fromarray(field).resize((columns, rows), Image.Resampling.BICUBIC)
    return np.array(image, dtype=np.float32)
