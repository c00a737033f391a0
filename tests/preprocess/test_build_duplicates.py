"""One film filed twice: equal pixels in two splits end a build unless that is allowed."""

import shutil
from pathlib import Path

from tests.conftest import CUT, run_command
from tests.preprocess.test_build import read_csv


def with_a_film_filed_twice(phantom: Path, folder: Path) -> Path:
    """Gives the table of a copy of the phantom where an image of a train patient is also one of a test patient."""
    shutil.copytree(phantom, folder)
    table = read_csv(folder / "meta.csv")
    done = run_command(
        "preprocess", "build-shards", "--csv", folder / "meta.csv", "--out", folder / "first", *CUT
    )
    assert done.returncode == 0, done.stderr
    split = {int(row["row"]): row["split"] for row in read_csv(folder / "first" / "images.csv")}
    paths = [folder / row["File Path"].replace("\\", "/") for row in table]
    train, test = (next(n for n in split if split[n] == name) for name in ("train", "test"))
    shutil.copyfile(paths[train - 1], paths[test - 1])
    return folder / "meta.csv"


def test_equal_pixels_in_two_splits_fail_a_build_unless_it_is_allowed(phantom: Path, tmp_path: Path) -> None:
    table = with_a_film_filed_twice(phantom, tmp_path / "data")
    command = ("preprocess", "build-shards", "--csv", table, "--out", tmp_path / "shards", *CUT)
    done = run_command(*command)
    assert done.returncode == 1
    assert "one picture stands in two splits" in done.stderr
    assert "--allow-duplicates" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "shards" / "r64-s64" / "shard_set.json").exists()
    pixels = [row["pixels_sha256"] for row in read_csv(tmp_path / "shards" / "images.csv")]
    assert len(pixels) - len(set(pixels)) == 1
    done = run_command(
        "preprocess", "report", "--shards", tmp_path / "shards", "--out", tmp_path / "report.html"
    )
    assert done.returncode == 0, done.stderr
    assert "1 picture held by several images, 1 under several patients, 1 in several splits" in done.stdout
    done = run_command(*command, "--allow-duplicates")
    assert done.returncode == 0, done.stderr
    assert "0 decoded now" in done.stdout
    assert "2 images show 1 picture; 1 under several patients, 1 in several splits" in done.stdout
