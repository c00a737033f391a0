"""Opening a table that a command of ours has written, such as images.csv, and that may come from somebody else."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from nlbs.paths import AnyPath
from nlbs.stores import store_of

_MOST_COLUMNS = 10_000  # what is kept of a table, and some eighty of ours


@contextmanager
def open_own_table(path: AnyPath) -> Iterator[IO[str]]:
    """Open a table of ours, to be read from its beginning.

    Raises:
        OSError: there is none, or it is no regular file.
        ValueError: it is empty, or has more columns than a table of ours can have, each of which would take memory in
            every row.
    """
    with store_of(path).open(path, encoding="utf-8", newline="") as file:
        columns = len(next(csv.reader(file), ()))
        if not columns:
            raise ValueError("it is empty")
        if columns > _MOST_COLUMNS:
            raise ValueError(f"it has {columns:,} columns, at most {_MOST_COLUMNS:,} are read")
        file.seek(0)
        yield file
