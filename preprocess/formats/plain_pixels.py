"""What PNG and TIFF have in common: channels, of which a mammogram needs one, and an orientation."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nlbs.preprocess.formats.codecs import Cells
from nlbs.preprocess.formats.header import Stored, size_text
from nlbs.preprocess.formats.image_errors import DecodeError, UnsupportedImageError


def grey_values(pixels: Cells, rows: int, columns: int, alpha: bool) -> Stored:
    """Return the one channel of a grey image, also where it was written as three equal ones.

    Args:
        pixels: (H, W) or (H, W, channels), integers.
        rows, columns: as the file's header says.
        alpha: whether the last channel is opacity.

    Raises:
        UnsupportedImageError: the channels differ, or some pixels are transparent.
        DecodeError: the size is another one.
    """
    if pixels.shape[:2] != (rows, columns) or pixels.ndim not in (2, 3) or pixels.dtype.kind not in "iu":
        raise DecodeError(
            f"the decoded image is {size_text(pixels.shape)}, its header says {rows} x {columns}"
        )
    channels: npt.NDArray[np.integer] = pixels if pixels.ndim == 3 else pixels[..., None]
    if alpha:
        if (channels[..., -1] != np.iinfo(channels.dtype).max).any():
            raise UnsupportedImageError("some pixels are transparent, expected an opaque grey image")
        channels = channels[..., :-1]
    first = channels[..., 0]
    if any((channels[..., index] != first).any() for index in range(1, channels.shape[-1])):
        raise UnsupportedImageError("a colour image: its channels differ, expected a grey one")
    return np.ascontiguousarray(first)


def oriented(stored: Stored, orientation: int) -> tuple[Stored, tuple[str, ...]]:
    """Return an image as it is to be shown, and a remark where that is not as its lines are stored.

    TIFF 6.0, tag 274, which Exif has taken over: 2 to 4 are mirrored or turned by half, 5 to 8 have rows for columns.

    Args:
        stored: (H, W), as stored.
        orientation: 1 to 8.
    """
    turns: dict[int, Callable[[Stored], Stored]] = {
        2: lambda values: values[:, ::-1],
        3: lambda values: values[::-1, ::-1],
        4: lambda values: values[::-1],
        5: lambda values: values.T,
        6: lambda values: values[::-1].T,
        7: lambda values: values[::-1, ::-1].T,
        8: lambda values: values[:, ::-1].T,
    }
    if orientation == 1:
        return stored, ()
    if orientation not in turns:
        return stored, (f"the orientation of the image is {orientation}, expected 1 to 8: it is left out",)
    note = f"the image was turned or mirrored to its orientation, {orientation}"
    return np.ascontiguousarray(turns[orientation](stored)), (note,)
