"""Build, part and append take images in on one way: the same notes before, tables, limits and words after."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import CUT, some
from tests.preprocess.roots import build, files_of, preprocess, read_csv, run, write_csv

#: Ends the process where the tables would be written, with every image decoded.
KILLED = (
    "import sys, os, signal, nlbs.preprocess.root.intake as intake\n"
    "intake.write_tables = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    "from nlbs.preprocess.cli import main\n"
    "main(sys.argv[1:])\n"
)


@pytest.fixture
def images(phantom: Path, tmp_path: Path) -> Path:
    """A copy of the phantom that a test may damage: its first half in old.csv."""
    folder = tmp_path / "images"
    shutil.copytree(phantom, folder)
    write_csv(folder / "old.csv", read_csv(folder / "meta.csv")[:8])
    return folder


def file_of(images: Path, row: int) -> Path:
    return images / read_csv(images / "meta.csv")[row]["File Path"].replace("\\", "/")


def command(name: str, images: Path, root: Path, *more: object) -> tuple[object, ...]:
    cut = CUT if name == "build-shards" else ("--jobs", "1")
    return (name, "--csv", images / "meta.csv", "--images", images, "--out", root, *cut, *more)


def begun(name: str, images: Path, root: Path) -> list[tuple[object, ...]]:
    """Gives the command of that name, and what finishes the root where that is another; the root is made ready."""
    if name == "append":
        build(images / "old.csv", images, root)
        return [command("append", images, root)]
    if name == "part":
        merged = ("merge", "--shards", root, "--jobs", "1")
        return [command("build-shards", images, root, "--part", "1/1"), merged]
    return [command("build-shards", images, root)]


@pytest.mark.parametrize("name", ["build", "part", "append"])
def test_a_file_that_is_replaced_after_a_kill_is_seen_to_be_another(
    name: str, images: Path, tmp_path: Path
) -> None:
    commands = begun(name, images, tmp_path / "s")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, commands[0])], capture_output=True, check=False, timeout=240
    )
    assert killed.returncode == -signal.SIGKILL
    shutil.copy(file_of(images, 12), file_of(images, 13))
    os.utime(file_of(images, 13), (1, 1))
    said = preprocess(*commands[0])  # type: ignore[arg-type]
    assert re.search(r"(8 added|16 usable), 1 decoded now", said)


@pytest.mark.parametrize("name", ["build", "part", "append"])
def test_no_file_is_named_on_the_console_and_the_reasons_stand_where_the_error_says(
    name: str, images: Path, tmp_path: Path
) -> None:
    commands = begun(name, images, tmp_path / "s")
    for row in (9, 10, 11):
        file_of(images, row).write_text("no image")
    stopped = run(*commands[0], "--max-failures", "2")  # type: ignore[arg-type]
    assert stopped.returncode == 1
    assert "stopped after 3 of" in stopped.stderr
    told = re.search(r"(\S+images\.csv) says more", stopped.stderr)
    assert told
    statuses = Counter(row["status"] for row in read_csv(Path(told[1])))
    assert statuses["not_dicom"] == 3
    assert (Path(told[1]).parent / "sources.csv").stat().st_mode & 0o777 == 0o600
    said = [preprocess(*each) for each in commands]  # type: ignore[arg-type]
    for text in some(said):
        assert "3 not_dicom" in text
        assert "row 10: " in text
        assert ".dcm" not in text
    assert not (tmp_path / "s" / ".parts").exists()


@pytest.mark.parametrize("row", [0, 7])
def test_no_failure_is_too_many_wherever_in_the_table_it_stands(
    row: int, images: Path, tmp_path: Path
) -> None:
    file_of(images, row).write_text("no image")
    build = ("build-shards", "--csv", images / "old.csv", "--images", images, "--out", tmp_path / "s", *CUT)
    strict = run(*build, "--max-failures", "0")  # type: ignore[arg-type]
    assert strict.returncode == 1
    assert re.search(r"1 of 8 images failed \(1 not_dicom\), more than 0", strict.stderr)
    assert "1 not_dicom" in preprocess(*build)  # type: ignore[arg-type]


def test_a_small_table_of_which_most_fails_is_seen_through_and_is_an_error(
    images: Path, tmp_path: Path
) -> None:
    for row in range(5):
        file_of(images, row).write_text("no image")
    build = ("build-shards", "--csv", images / "old.csv", "--images", images, "--out", tmp_path / "s", *CUT)
    stopped = run(*build)  # type: ignore[arg-type]
    assert stopped.returncode == 1
    assert "Error: 5 of 8 images failed (5 not_dicom), more than 4; for example row 1" in stopped.stderr
    statuses = Counter(row["status"] for row in read_csv(tmp_path / "s" / "images.csv"))
    assert statuses == {"not_dicom": 5, "ok": 3}
    assert "5 not_dicom" in preprocess(*build, "--max-failures", "5")  # type: ignore[arg-type]


def test_an_append_of_the_whole_table_does_not_count_what_failed_before(images: Path, tmp_path: Path) -> None:
    for row in (0, 1, 2):
        file_of(images, row).write_text("no image")
    root = tmp_path / "s"
    build(images / "old.csv", images, root)
    said = preprocess(*command("append", images, root, "--max-failures", "0"))  # type: ignore[arg-type]
    assert "8 added, 8 decoded now, 0 skipped" in said
    whole = tmp_path / "whole"
    build(images / "meta.csv", images, whole)
    generations = [row["generation"] for row in read_csv(root / "images.csv")]
    assert generations == ["1"] * 8 + ["2"] * 8
    assert files_of(root / "images.zarr") == files_of(whole / "images.zarr")


def test_a_merge_says_how_often_table_and_header_disagree_as_a_build_does(
    images: Path, tmp_path: Path
) -> None:
    rows = read_csv(images / "meta.csv")
    for row in rows[:3]:
        row["Image Laterality"] = "L" if row["Image Laterality"] == "R" else "R"
    table = write_csv(images / "meta.csv", rows)
    whole = build(table, images, tmp_path / "one")
    for number in (1, 2):
        build(table, images, tmp_path / "two", "--part", f"{number}/2")
    merged = preprocess("merge", "--shards", tmp_path / "two", "--jobs", "1")
    assert "  disagree  table and DICOM header of 3 images" in whole

    def what_is_said(text: str) -> list[str]:
        return [line.replace("/two/", "/one/") for line in text.splitlines() if not line.startswith("Time")]

    assert what_is_said(merged) == what_is_said(whole)
