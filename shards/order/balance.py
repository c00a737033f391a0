"""Balanced sampling: rare classes more often than they occur, by a power of their frequency."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.errors import ConfigError
from nlbs.shards.format.columns import column_of, encoded

Rows = npt.NDArray[np.int64]

_MOST_CLASSES = 1000


@dataclass(frozen=True)
class Balance:
    """What to balance. A class is a combination of the columns' values; unknown is a value, too."""

    columns: tuple[str, ...]  #: of the manifest
    power: float = (
        0.5  #: a patch of a class of frequency f weighs f^-power; 0: as they occur, 1: classes alike
    )
    cap: float = 5.0  #: no class comes more than so many times as often as it occurs


def classes_of(manifest: pa.Table, columns: Sequence[str], rows: Rows) -> dict[str, Rows]:
    """Return the rows of each class that has some, in their order.

    Args:
        manifest: of a shard set.
        columns: whose values make the classes.
        rows: (n,) of the manifest.

    Returns:
        "view=MLO cancer=unknown" -> rows, sorted by the values as they are coded, unknown last.

    Raises:
        ConfigError: no such column, or so many classes that a balance makes no sense.
    """
    code = np.zeros(len(rows), dtype=np.int64)
    names: list[str] = [""]
    for column in columns:
        found, values = _codes(column_of(manifest, column), rows)
        joint = code * len(values) + found
        used, code = np.unique(joint, return_inverse=True)
        if len(used) > _MOST_CLASSES:
            raise ConfigError(
                f"a balance by {', '.join(columns)} has more than {_MOST_CLASSES} classes; take columns with few "
                "values, such as view or cancer"
            )
        names = [f"{names[one // len(values)]} {column}={values[one % len(values)]}" for one in used.tolist()]
    # Classes are few: sorting small integers is a radix sort, linear in the rows.
    by_class = np.argsort(code.astype(np.int16), kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(names)))[:-1]
    return {name.strip(): rows[part] for name, part in zip(names, np.split(by_class, ends), strict=True)}


def balanced_shares(counts: npt.ArrayLike, power: float, cap: float) -> npt.NDArray[np.float64]:
    """Return the share of each class in the batches.

    Its frequency f times f^-power, scaled so that all come to 1, none being above cap times f.

    Args:
        counts: (K,) patches of each class, above 0.
        power: 0 to 1.
        cap: at least 1.
    """
    frequency = np.asarray(counts, dtype=np.float64) / np.sum(counts)
    wanted, limit = frequency ** (1 - power), cap * frequency
    shares = wanted / wanted.sum()
    capped = np.zeros(len(shares), dtype=np.bool_)
    while np.any(over := ~capped & (shares > limit)):  # what is cut off goes to the others
        capped |= over
        left = 1 - limit[capped].sum()
        shares = np.where(capped, limit, wanted * left / max(wanted[~capped].sum(), np.finfo(float).tiny))
    result: npt.NDArray[np.float64] = shares / shares.sum()
    return result


def _codes(column: pa.ChunkedArray, rows: Rows) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return the code of each row, and the names of the codes; the last is unknown."""
    array = encoded(column)
    values = array.dictionary.to_pylist()
    codes = array.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)[rows].astype(np.int64)
    if not pa.types.is_dictionary(column.type):  # numbers: in their order, not in that of the rows
        order = sorted(range(len(values)), key=lambda index: values[index])
        rank = np.empty(len(values) + 1, dtype=np.int64)
        rank[[*order, len(values)]] = np.arange(len(values) + 1)
        codes, values = rank[codes], [values[index] for index in order]
    return codes, [*(str(value) for value in values), "unknown"]
