"""Whole dataset roots, compared to the byte."""

import csv
import hashlib
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.conftest import CUT, run_command


def files_of(folder: Path) -> dict[str, str]:
    """Gives a digest of every file below a folder, but for locks."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def read_csv(path: Path) -> list[dict[str, str]]:
    """Gives the rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, rows: Iterable[Mapping[str, str]]) -> Path:
    """Writes rows of one form as a CSV, and gives its path."""
    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def run(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs an nlbs-preprocess command in this process, and gives what it said."""
    return run_command("preprocess", command, *arguments)


def preprocess(command: str, *arguments: object) -> str:
    """Runs a command that has to succeed, and gives what it said."""
    done = run(command, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(csv_path: Path, images: Path, out: Path, *more: object) -> str:
    """Builds a dataset root with the tests' patches, and gives what the command said."""
    cut = CUT[:-2] if "--jobs" in more else CUT  # an option is given once
    return preprocess("build-shards", "--csv", csv_path, "--images", images, "--out", out, *cut, *more)
