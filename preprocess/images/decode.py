"""The way from an image file to a decoded image: read, mask, display values, crop. Straight down this page."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.manifests.kinds import STANDARD_KINDS
from nlbs.preprocess.formats.codecs import versions
from nlbs.preprocess.formats.consistency import looks_negative, sample
from nlbs.preprocess.formats.header import SourceImage
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.images.corrections import in_the_patient, without_false_padding
from nlbs.preprocess.images.display import display_pixels, display_table, modality_falls
from nlbs.preprocess.images.foreground import FOREGROUNDS, Foreground
from nlbs.preprocess.images.grid import as_dtype
from nlbs.preprocess.images.header_conditions import modality_notes, stated_conditions
from nlbs.preprocess.images.kind import kind_notes, kind_of_header, require_kind
from nlbs.preprocess.images.mask import (
    LARGEST_FRACTION,
    SMALLEST_FRACTION,
    Mask,
    NoBreastError,
    NoForegroundError,
    values_inside,
)
from nlbs.preprocess.images.quality import mask_figures, mask_flags, pixel_figures
from nlbs.preprocess.images.store import run_lengths

LEAST_SHOWN = 0.02
_MOST_LABELS = 8  #: grey values beside 0, of an image that may be a map of labels
_SEEN = 256  #: pixels along an edge that are looked at for that


@dataclass(frozen=True)
class DecodeOptions:
    """All that the decoded pixels depend on beside the files, and which files are decoded at all."""

    dtype: str = "uint8"  #: "uint8" or "uint16"
    voi: str = "auto"  #: one of nlbs.preprocess.images.display.VOI_CHOICES
    decoder: str = "auto"  #: one of nlbs.preprocess.formats.codecs.DECODERS
    keep_background: bool = False  #: leave what is outside the breast as it is; False makes it 0
    frame: int | str | None = None  #: of multi-frame files: a number from 1, or "middle"; None refuses them
    foreground: str = "breast"  #: one of nlbs.preprocess.images.foreground.FOREGROUNDS
    #: of nlbs.manifests.kinds: an image of any other is left out, and changes nothing about these
    kinds: tuple[str, ...] = STANDARD_KINDS
    channels: int = 1  #: 1: grey values, and images in colour are refused; 3: red, green, blue of every image

    def recipe(self) -> dict[str, Any]:
        """Return the options as they are recorded with the store; the decoder's version stands with each image."""
        recipe = asdict(self)
        del recipe["kinds"]  # which says what is decoded, and not how
        if self.frame is None:  # as in stores that were made before there was this option
            del recipe["frame"]
        if self.foreground == "breast":
            del recipe["foreground"]
        if self.channels == 1:
            del recipe["channels"]
        return recipe


@dataclass(frozen=True)
class DecodedImage:
    """One image, ready to be cut."""

    #: (rows, columns) of the crop, or (rows, columns, 3) in colour; uint8 or uint16, air 0
    pixels: npt.NDArray[Any]
    record: dict[str, Any]  #: geometry, mask and provenance; plain JSON values, nothing that identifies
    notes: tuple[str, ...]  #: what looked wrong and was not grave


def decode_image(path: Path, options: DecodeOptions) -> DecodedImage:
    """Return an image as display values, cropped to its foreground.

    Raises:
        ImageError: the file is no usable image; its ``status`` says of which kind.
    """
    of_breast, foreground = options.foreground == "breast", FOREGROUNDS[options.foreground]
    check = require_kind(options.kinds, of_breast)
    read = read_image(path, options.decoder, options.frame, check=check, colour=options.channels == 3)
    kind = kind_of_header(read.header.dataset, of_breast)
    image, doubts = _believed(in_the_patient(read, kind) if of_breast else read, foreground)
    seen = image.stored if image.colour is None or not foreground.in_colour else image.colour
    mask = foreground.mask(seen, image.header)
    box = crop_box(mask)
    pixels, voi, note = _shown(image, mask, box, options)
    if foreground.clears and not options.keep_background:
        clear_outside(pixels, mask)
    corner = (box[0].start, box[1].start)
    record = {**_record(image, mask, voi, pixels, corner, options.foreground), "header_kind": kind}
    _require_contrast(record, doubts, foreground.what)
    dataset = image.header.dataset
    remarks = (*modality_notes(dataset, options.foreground), *kind_notes(dataset, kind, of_breast))
    remarks = (*remarks, *image.notes, *doubts, *([note] if note else []))
    notes = (*remarks, *_doubts(mask, foreground), *_contrast_notes(record, foreground.what))
    notes += _label_notes(pixels, foreground.what)
    return DecodedImage(pixels, record, notes)


def _shown(
    image: SourceImage, mask: Mask, box: tuple[slice, slice], options: DecodeOptions
) -> tuple[npt.NDArray[Any], str, str | None]:
    """Return the display values of a crop, what made them, and a remark.

    A colour stays what it is: its full range goes onto the full range. A grey image becomes display values as ever,
    in three equal channels where three are asked for.
    """
    dtype = np.dtype(options.dtype)
    if image.colour is not None:
        return as_dtype(image.colour[box].copy(), image.colour.dtype, dtype), "full", None
    stored = image.stored[box]
    display = display_table(
        image.header,
        first=int(stored.min()),
        last=int(stored.max()),
        breast=values_inside(image.stored, mask),
        dtype=dtype,
        choice=options.voi,
    )
    pixels = display_pixels(stored, display)
    if options.channels == 3:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    return pixels, display.voi, display.note


def _believed(image: SourceImage, foreground: Foreground) -> tuple[SourceImage, tuple[str, ...]]:
    """Return an image without what its header says against its pixels, and remarks on that."""
    if image.colour is not None:  # which has neither polarity nor padding
        return image, ()
    header, notes = without_false_padding(image.stored, image.header, foreground.mask)
    if foreground.what == "breast" and looks_negative(
        sample(image.stored, header), header.inverted != modality_falls(header)
    ):
        notes += ("the background is bright and nothing is dark: is this a negative, with a wrong polarity?",)
    return replace(image, header=header), notes


def _require_contrast(record: Mapping[str, Any], doubts: tuple[str, ...], what: str) -> None:
    """Raise NoForegroundError where a decoded foreground has no contrast at all, with what may be the reason."""
    low, high = record["breast_p1"], record["breast_p99"]
    if low is None or high is None or high <= low:
        reason = f"98 % of the decoded {what} have one and the same grey value: there is nothing to see"
        raise (NoBreastError if what == "breast" else NoForegroundError)("; ".join((reason, *doubts)))


def _contrast_notes(record: Mapping[str, Any], what: str) -> tuple[str, ...]:
    """Return a remark on a decoded foreground with hardly any contrast."""
    low, high = record["breast_p1"], record["breast_p99"]
    if high - low < LEAST_SHOWN:
        return (f"the decoded {what} takes only {100 * (high - low):.1f} % of the grey values",)
    return ()


def _label_notes(pixels: npt.NDArray[Any], what: str) -> tuple[str, ...]:
    """Return a remark on decoded pixels of so few grey values as no image has, and a map of labels does."""
    every = -(-max(pixels.shape[:2]) // _SEEN)
    values = np.unique(pixels[::every, ::every])
    count = np.count_nonzero(values)
    if count > _MOST_LABELS:
        return ()
    return (f"the decoded {what} has {count} different grey values alone: is it a map of labels?",)


def crop_box(mask: Mask) -> tuple[slice, slice]:
    """Return the rows and columns of an image that hold its foreground and the margin around it."""
    lines, positions = np.flatnonzero(mask.keep.any(1)), np.flatnonzero(mask.keep.any(0))
    step = mask.step
    return (
        slice(int(lines[0]) * step, (int(lines[-1]) + 1) * step),
        slice(int(positions[0]) * step, (int(positions[-1]) + 1) * step),
    )


def clear_outside(crop: npt.NDArray[Any], mask: Mask) -> None:
    """Make what lies outside the margin (labels, film rims, noise) air, 0.

    Args:
        crop: display values of :func:`crop_box`, changed in place.
        mask: of the same image.
    """
    rows, columns = crop_box(mask)
    step = mask.step
    small = mask.keep[rows.start // step : rows.stop // step, columns.start // step : columns.stop // step]
    edges = np.pad(small, ((0, 0), (1, 1)), constant_values=True)
    # Runs of outside, each from a line's first cell to behind its last: a mask at full size would cost a copy.
    runs = np.argwhere(edges[:, 1:] != edges[:, :-1]).reshape(-1, 2, 2) * step
    for (line, first), (_, behind) in runs.tolist():
        crop[line : line + step, first:behind] = 0


def _record(
    image: SourceImage,
    mask: Mask,
    voi: str,
    pixels: npt.NDArray[Any],
    corner: tuple[int, int],
    foreground: str,
) -> dict[str, Any]:
    header, step, crop = image.header, mask.step, pixels.shape
    # The mask of the crop alone: its corner lies on the mask's grid.
    bits = mask.bits[corner[0] // step :, corner[1] // step :][: -(-crop[0] // step), : -(-crop[1] // step)]
    record = {
        "source_rows": header.rows,
        "source_columns": header.columns,
        "crop_y": corner[0],
        "crop_x": corner[1],
        "crop_rows": crop[0],
        "crop_columns": crop[1],
        "spacing_mm": list(header.spacing_mm) if header.spacing_mm else None,
        "mask": {"step": step, "rows": bits.shape[0], "columns": bits.shape[1], "runs": run_lengths(bits)},
        "mask_fraction": round(mask.fraction, 4),
        "mask_threshold": round(mask.threshold, 1),
        "mask_method": FOREGROUNDS[foreground].method,
        **mask_figures(bits, step, corner, image.stored.shape),
        **pixel_figures(pixels, bits, step),
        "voi": voi,
        **stated_conditions(header.dataset, foreground),
        "inverted": header.inverted,
        "bits_stored": header.bits_stored,
        "transfer_syntax": header.transfer_syntax,
        "frame": image.frame,
        "decoder": f"{image.decoder} {versions().get(image.decoder, np.__version__)}",
    }
    unusual = FOREGROUNDS[foreground].unusual
    return {**record, "mask_flags": [flag for flag in mask_flags(record) if flag in unusual]}


def _doubts(mask: Mask, foreground: Foreground) -> tuple[str, ...]:
    what = foreground.what
    if mask.fraction < SMALLEST_FRACTION:
        return (f"the {what} takes only {100 * mask.fraction:.0f} % of the image: look at its mask",)
    if mask.fraction > LARGEST_FRACTION and "large" in foreground.unusual:
        return (f"the {what} takes {100 * mask.fraction:.0f} % of the image: look at its mask",)
    return ()
