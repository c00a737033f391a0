"""Training runs beside a dataset: their rows of metrics.jsonl as they are written, and their pages of samples."""

import os
from pathlib import Path
from typing import Any

from nlbs.files import MOST_JSON_BYTES
from nlbs.json_text import parse_json
from nlbs.preprocess.view.dataset import MissingError
from nlbs.stores import store_of
from nlbs.system_calls import open_regular

# As nlbs.train writes them; the two meet on disk only.
METRICS, SAMPLES = "metrics.jsonl", "samples"

_MOST_RUNS = 200
_MOST_BYTES = 1 << 20  #: of metrics.jsonl in one answer: some thousand rows


class Runs:
    """The runs in a folder: itself, or folders one or two levels below it. Looked for anew each time."""

    def __init__(self, folder: Path | None) -> None:
        """Take the folder; None: there are none to look at."""
        self.folder = folder

    def found(self) -> dict[str, Path]:
        """Return the run folders by name, the one that was written last first."""
        if self.folder is None:
            return {}
        paths = [path for levels in ("", "*/", "*/*/") for path in self.folder.glob(levels + METRICS)]
        newest = sorted(paths, key=lambda path: (-path.stat().st_mtime, path))[:_MOST_RUNS]
        names = ((path.parent.relative_to(self.folder).as_posix(), path.parent) for path in newest)
        return {self.folder.absolute().name if name == "." else name: path for name, path in names}

    def rows(self, run: str, file: str, start: int) -> dict[str, Any]:
        """Return the next rows of a run.

        Args:
            run: its name.
            file: which file the rows before were of; a run that continues may write it anew.
            start: the byte after the last row that was read.

        Returns:
            ``file``, ``start`` and ``rows`` to go on with, and whether there is ``more``. Where ``file`` is another one
            than was asked for, the rows are from its beginning.
        """
        with open(open_regular(self._folder(run) / METRICS), "rb") as lines:
            status = os.fstat(lines.fileno())
            same = file == str(status.st_ino) and 0 <= start <= status.st_size
            start = start if same else 0
            lines.seek(start)
            text = lines.read(_MOST_BYTES)
        whole = text[: text.rfind(b"\n") + 1]
        start += len(whole)
        rows = [row for line in whole.splitlines() if (row := _numbers(line))]
        more = len(text) == _MOST_BYTES and len(whole) > 0
        return {"file": str(status.st_ino), "start": start, "rows": rows, "more": more}

    def samples(self, run: str) -> list[str]:
        """Return the names of the pages of samples of a run, in order."""
        folder = self._folder(run) / SAMPLES
        return sorted(path.name for path in folder.glob("*.png"))

    def sample(self, run: str, name: str) -> bytes:
        """Return a page of samples. Raises MissingError where there is none of that name."""
        if name not in self.samples(run):
            raise MissingError("there is no page of samples of that name")
        return store_of(self._folder(run)).read(self._folder(run) / SAMPLES / name, MOST_JSON_BYTES)

    def _folder(self, run: str) -> Path:
        folder = self.found().get(run)
        if folder is None:
            raise MissingError("there is no run of that name")
        return folder


def _numbers(line: bytes) -> dict[str, Any] | None:
    """Return the kind and the numbers of a row; None where it is none of ours."""
    try:
        row = parse_json(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int or not isinstance(row.get("kind"), str):
        return None
    return {
        key: value
        for key, value in row.items()
        if key == "kind" or value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }
