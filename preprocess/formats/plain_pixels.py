"""What PNG and TIFF have in common: pixels of one or more channels, of which a mammogram needs one."""

import numpy as np
import numpy.typing as npt

from nlbs.preprocess.formats.codecs import Cells
from nlbs.preprocess.formats.header import Stored, size_text
from nlbs.preprocess.formats.image_errors import DecodeError, UnsupportedImageError


def grey_values(pixels: Cells, rows: int, columns: int, alpha: bool) -> Stored:
    """Gives the one channel of a grey image, also where it was written as three equal ones.

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
