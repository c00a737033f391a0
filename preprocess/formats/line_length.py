"""Whether the rows of an image are as long as its header says: told by neighbours, which are alike."""

import numpy as np

from nlbs.preprocess.formats.header import Stored

_SAMPLES = 20_000
#: Pixels that are neighbours with Rows and Columns swapped have to be alike so many times more.
_TIMES = 4.0


def is_swapped(stored: Stored) -> bool:
    """Say whether pixels ``rows`` apart are alike and pixels ``columns`` apart are not: then Rows is Columns.

    Nothing else in an uncompressed image tells it: both ways it has as many pixels.

    Args:
        stored: (rows, columns) integers, as the header has them.
    """
    rows, columns = stored.shape
    values = stored.reshape(-1)
    last = len(values) - max(rows, columns)
    if rows == columns or last < 1:
        return False
    places = np.arange(0, last, max(1, last // _SAMPLES))
    here = values[places].astype(np.int64)
    by_columns, by_rows = (float(np.abs(values[places + n] - here).mean()) for n in (columns, rows))
    return by_columns > _TIMES * by_rows
