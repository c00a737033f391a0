"""Opening a table that a command of ours has written, such as images.csv, and that may come from somebody else."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nlbs.paths import AnyPath
from nlbs.system_calls import open_regular

_MOST_COLUMNS = 10_000  # what is kept of a table, and some eighty of ours


@contextmanager
def open_own_table(path: AnyPath) -> Iterator[IO[str]]:
    """Open a table of ours, to be read from its beginning.

    Raises:
        OSError: there is none, or it is no regular file.
        ValueError: it is empty, or has more columns than a table of ours can have, each of which would take memory in
            every row.
    """
    where = open_regular(path) if isinstance(path, Path) else path
    with (
        open(where, encoding="utf-8", newline="")
        if isinstance(where, int)
        else where.open(encoding="utf-8", newline="")
    ) as file:
        columns = len(next(csv.reader(file), ()))
        if not columns:
            raise ValueError("it is empty")
        if columns > _MOST_COLUMNS:
            raise ValueError(f"it has {columns:,} columns, at most {_MOST_COLUMNS:,} are read")
        file.seek(0)
        yield file
