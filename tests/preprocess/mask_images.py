"""Mammograms with a known breast: phantoms, changed into what other scanners and films look like."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from scipy import ndimage

from nlbs.preprocess.formats.header import Header
from nlbs.preprocess.phantom.breast import draw_pixels, draw_view, spacing_of
from nlbs.preprocess.phantom.patient import draw_breast, draw_patient, stream

ROWS, COLUMNS = 1024, 800


@dataclass(frozen=True)
class Case:
    """An image, and what is where in it."""

    stored: np.ndarray
    truth: np.ndarray  #: bool, the breast
    header: Header
    marks: np.ndarray  #: bool, labels and the like that must not be kept


def header_for(stored: np.ndarray, bits: int = 12, inverted: bool = False, **changes: object) -> Header:
    header = Header(
        rows=stored.shape[0],
        columns=stored.shape[1],
        bits_allocated=16,
        bits_stored=bits,
        high_bit=bits - 1,
        signed=False,
        inverted=inverted,
        transfer_syntax="1.2.840.10008.1.2.1",
        spacing_mm=(spacing_of(stored.shape[0]),) * 2,
        padding=None,
        dataset=Dataset(),
    )
    return replace(header, **changes)  # type: ignore[arg-type]


@cache
def breast_image(index: int, side: str, name: str, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """uint16, 12 bits, air 0, no label."""
    patient = draw_patient(index, stream(0, index))
    breast = draw_breast(patient, side, stream(0, index, 0))
    view = draw_view(breast, name, columns * spacing_of(rows), stream(0, index, 0, 0))
    pixels = draw_pixels(replace(view, label=False), rows, columns, stream(0, index, 1)).pixels
    pixels.flags.writeable = False
    return pixels


def plain(
    index: int = 1, side: str = "L", name: str = "MLO", rows: int = ROWS, columns: int = COLUMNS
) -> Case:
    pixels = breast_image(index, side, name, rows, columns)
    truth = ndimage.binary_fill_holes(ndimage.binary_opening(pixels > 0, iterations=2))
    return Case(pixels, truth, header_for(pixels), np.zeros_like(truth))


def noise(case: Case, sigma: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, case.stored.shape)


def clipped(values: np.ndarray, bits: int = 12) -> np.ndarray:
    return np.clip(np.rint(values), 0, 2**bits - 1).astype(np.uint16)


def with_stored(case: Case, stored: np.ndarray, bits: int = 12, **changes: object) -> Case:
    return replace(case, stored=stored, header=header_for(stored, bits, **changes))


def grey_background(case: Case, level: float = 300, sigma: float = 12) -> Case:
    """A digitised film, or a CR plate: air is grey and noisy."""
    return with_stored(case, clipped(level + case.stored * 0.85 + noise(case, sigma)))


def uneven_background(case: Case, level: float = 250, rise: float = 250) -> Case:
    """Air that brightens towards one side and the bottom, as scattered light or a CR plate makes it."""
    y, x = np.mgrid[: case.stored.shape[0], : case.stored.shape[1]] / max(case.stored.shape)
    return with_stored(
        case, clipped(level + rise * (0.6 * x + 0.4 * y) + case.stored * 0.8 + noise(case, 10))
    )


def inverted(case: Case, bits: int = 14, padding: bool = False) -> Case:
    """Siemens or Planmed raw: the more light, the higher; air near the top of the range."""
    top = 2**bits - 1
    stored = clipped(0.93 * top - case.stored * (0.8 * top / 4095) + noise(case, 0.003 * top), bits)
    if padding:
        stored = np.where(case.truth | ndimage.binary_dilation(case.truth, iterations=25), stored, top)
        return with_stored(case, stored.astype(np.uint16), bits, inverted=True, padding=(top, top))
    return with_stored(case, stored, bits, inverted=True)


def collimated(case: Case, border: float = 0.06, level: float = 500) -> Case:
    """A dark border round a field whose air is brighter."""
    rows, columns = case.stored.shape
    lit = np.zeros_like(case.truth)
    dy, dx = round(border * rows), round(border * columns)
    lit[dy : rows - dy, : columns - dx] = True  # the chest wall stays uncovered
    if case.truth[:, -1].sum() > case.truth[:, 0].sum():
        lit = lit[:, ::-1]
    field = level + case.stored * 0.8 + noise(case, 12)
    stored = clipped(np.where(lit, field, 20 + noise(case, 4, 1)))
    return replace(with_stored(case, stored), truth=case.truth & lit)


def strip(case: Case, edge: str, depth: float, level: int = 4000) -> Case:
    """A white rim of film along one edge; the breast below it is lost."""
    stored, truth = case.stored.copy(), case.truth.copy()
    lines = round(depth * (stored.shape[0] if edge in ("top", "bottom") else stored.shape[1]))
    part = {
        "top": np.s_[:lines],
        "bottom": np.s_[-lines:],
        "left": np.s_[:, :lines],
        "right": np.s_[:, -lines:],
    }[edge]
    stored[part] = clipped(level + noise(case, 30))[part]
    truth[part] = False
    marks = case.marks.copy()
    marks[part] = True
    return replace(with_stored(case, stored, padding=case.header.padding), truth=truth, marks=marks)


def label(case: Case, near: bool, text: str = "R MLO", size: float = 0.06, level: int = 3900) -> Case:
    """Burned-in letters on the side of the nipple: in the corner, or a few millimetres from the skin."""
    rows, columns = case.stored.shape
    font = ImageFont.load_default(size=size * rows)
    left, top, right, bottom = font.getbbox(text)
    page = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4), 0)
    ImageDraw.Draw(page).text((2 - left, 2 - top), text, fill=255, font=font)
    letters = np.asarray(page) > 100
    height, width = letters.shape
    mirrored = bool(case.truth[:, -1].sum() > case.truth[:, 0].sum())
    truth = case.truth[:, ::-1] if mirrored else case.truth
    y = round(0.04 * rows)
    x = columns - width - round(0.03 * columns)
    if near:
        free = 1 + max(np.flatnonzero(truth[y : y + height].any(0)), default=0)
        x = min(x, free + round(6 / case.header.spacing_mm[0]))  # type: ignore[index]
    x = columns - x - width if mirrored else x
    marks = np.zeros_like(case.truth)
    marks[y : y + height, x : x + width] = letters
    marks &= ~case.truth
    stored = np.where(marks, np.uint16(level), case.stored)
    return replace(with_stored(case, stored, padding=case.header.padding), marks=case.marks | marks)


def paddle(case: Case, level: int = 900) -> Case:
    """The edge of a compression paddle: a bright line across the whole image."""
    stored = case.stored.copy()
    place = np.flatnonzero(case.truth.any(1))[-1] + round(0.03 * stored.shape[0])
    if place + 6 >= stored.shape[0]:
        place = max(0, np.flatnonzero(case.truth.any(1))[0] - round(0.03 * stored.shape[0]))
    marks = np.zeros_like(case.truth)
    marks[place : place + 5] = True
    marks &= ~ndimage.binary_dilation(case.truth, iterations=20)
    stored[place : place + 5] = np.maximum(stored[place : place + 5], level)
    return replace(with_stored(case, stored), marks=marks)


def implant(case: Case) -> Case:
    """A saturated blob within the breast."""
    inside = ndimage.distance_transform_edt(case.truth)
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    yy, xx = np.mgrid[: case.stored.shape[0], : case.stored.shape[1]]
    blob = np.hypot(yy - y, xx - x) < 0.75 * inside.max()
    return with_stored(case, np.where(blob, np.uint16(4080), case.stored))


def detached_muscle(case: Case) -> Case:
    """A dark gap between the muscle in the upper corner and the breast."""
    rows, columns = case.stored.shape
    yy, xx = np.mgrid[:rows, :columns]
    x = columns - 1 - xx if case.truth[:, -1].sum() > case.truth[:, 0].sum() else xx
    line = yy / rows + 0.9 * x / columns - 0.33
    gap = np.abs(line) < 0.009
    return replace(with_stored(case, np.where(gap, np.uint16(0), case.stored)), truth=case.truth)


def resized(case: Case, rows: int) -> Case:
    columns = round(rows * case.stored.shape[1] / case.stored.shape[0])
    stored = np.asarray(Image.fromarray(case.stored).resize((columns, rows), Image.Resampling.NEAREST))
    truth = np.asarray(Image.fromarray(case.truth).resize((columns, rows), Image.Resampling.NEAREST))
    return Case(stored, truth, header_for(stored), np.zeros_like(truth))


def tiny(case: Case) -> Case:
    """The same breast at a third of its size in a frame as large."""
    small = resized(case, case.stored.shape[0] // 3)
    stored, truth = np.zeros_like(case.stored), np.zeros_like(case.truth)
    rows, columns = small.stored.shape
    at = case.stored.shape[0] // 3
    place = np.s_[at : at + rows, -columns:] if case.truth[:, -1].any() else np.s_[at : at + rows, :columns]
    # Its top lies within the image now: it ends there.
    stored[place], truth[place] = small.stored, small.truth
    return replace(with_stored(case, stored), truth=truth)


def dense_and_large(case: Case) -> Case:
    """A breast that fills 85 % of the frame: the frame is what was cut down."""
    columns = case.truth.any(0)
    last = np.flatnonzero(columns)[-1] if columns[0] else np.flatnonzero(columns[::-1])[-1]
    ys = np.flatnonzero(case.truth.any(1))
    top, bottom = ys[0], ys[-1]
    height = bottom - top
    rows = np.s_[top + round(0.12 * height) : bottom - round(0.12 * height)]
    width = round(0.97 * last)
    part = np.s_[rows, :width] if columns[0] else np.s_[rows, -width:]
    stored, truth = case.stored[part], case.truth[part]
    return Case(np.ascontiguousarray(stored), truth, header_for(stored), np.zeros_like(truth))


def eight_bits(case: Case) -> Case:
    stored = (case.stored >> 4).astype(np.uint8)
    return replace(case, stored=stored, header=header_for(stored, 8, bits_allocated=8))


def flipped(case: Case, axis: int) -> Case:
    return replace(
        case,
        stored=np.ascontiguousarray(np.flip(case.stored, axis)),
        truth=np.flip(case.truth, axis),
        marks=np.flip(case.marks, axis),
    )


CHANGES: dict[str, Callable[[Case], Case]] = {
    "plain": lambda case: case,
    "grey background": grey_background,
    "bright grey background": lambda case: grey_background(case, 700, 20),
    "noisy background": lambda case: grey_background(case, 200, 60),
    "uneven background": uneven_background,
    "inverted": inverted,
    "inverted 12 bits": lambda case: inverted(case, 12),
    "inverted with padding": lambda case: inverted(case, padding=True),
    "collimated": collimated,
    "narrowly collimated": lambda case: collimated(case, 0.03, 350),
    "collimated, dark air": lambda case: collimated(case, 0.05, 120),
    "far label": lambda case: label(case, near=False),
    "near label": lambda case: label(case, near=True),
    "large label": lambda case: label(case, near=False, size=0.12),
    "label on a grey background": lambda case: label(grey_background(case), near=True),
    "paddle": paddle,
    "implant": implant,
    "detached muscle": detached_muscle,
    "tiny": tiny,
    "dense and large": dense_and_large,
    "8 bits": eight_bits,
    "upside down": lambda case: flipped(case, 0),
    "mirrored": lambda case: flipped(case, 1),
    "800 rows": lambda case: resized(case, 800),
    "5900 rows": lambda case: resized(case, 5900),
}
for _edge in ("top", "bottom", "left", "right"):
    for _depth in (0.01, 0.03, 0.06):
        CHANGES[f"white strip of {_depth:.0%} at the {_edge}"] = (
            lambda case, edge=_edge, depth=_depth: strip(case, edge, depth)  # type: ignore[misc]
        )
    CHANGES[f"white strip at the {_edge} of a grey film"] = (
        lambda case, edge=_edge: strip(grey_background(case), edge, 0.02)  # type: ignore[misc]
    )
