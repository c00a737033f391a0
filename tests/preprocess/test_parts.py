"""One build by several machines: parts side by side on one folder, then merge, to the byte of one machine's build."""

import csv
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from nlbs.errors import ConfigError
from nlbs.files import only_one
from nlbs.manifests.conditions import Conditions
from nlbs.manifests.tables.table import ImageRow
from nlbs.preprocess.parts import Part, parse_part, share_of
from nlbs.preprocess.root.sources import Source
from tests.conftest import CUT, some
from tests.preprocess.roots import build, files_of, preprocess, read_csv, run, write_csv


def sources(count: int) -> list[Source]:
    found = [
        Source(ImageRow(n, f"{n}.dcm", Conditions(), "p"), f"{n:016x}", "p0", "train", Path(f"{n}.dcm"))
        for n in range(1, count + 1)
    ]
    bad = ImageRow(count + 1, "", Conditions(), None, problem="no path")
    return [*found, Source(bad, "", "", "", None, "bad_row", "no path")]


@pytest.mark.parametrize("of", [1, 2, 7, 16, 150])
def test_parts_are_disjoint_alike_and_together_everything(of: int) -> None:
    everything = sources(100)
    shares = [share_of(everything, Part(number, of)) for number in range(1, of + 1)]
    counts = Counter(source.row.row for share in shares for source in share)
    assert counts == Counter(range(1, 102))
    sizes = [sum(source.path is not None for source in share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_a_part_does_not_depend_on_the_order_of_the_table() -> None:
    everything = sources(40)
    forwards = {source.image for source in share_of(everything, Part(2, 3))}
    assert {source.image for source in share_of(everything[::-1], Part(2, 3))} == forwards


def test_a_part_is_written_as_a_fraction() -> None:
    assert parse_part("3/16") == Part(3, 16)
    for wrong in ("0/4", "5/4", "3", "a/b", "1/0", "-1/4"):
        with pytest.raises(ConfigError, match="--part"):
            parse_part(wrong)


def test_parts_at_the_same_time_and_merge_give_the_whole_root_of_one_machine(
    phantom: Path, tmp_path: Path
) -> None:
    """With every kind of row: an image twice, a file that is no image, a row without a path, a path outside."""
    images = tmp_path / "images"
    shutil.copytree(phantom, images)
    rows = read_csv(images / "meta.csv")
    (images / rows[3]["File Path"].replace("\\", "/")).write_text("no image")
    table = write_csv(
        images / "more.csv",
        [
            *rows[:6],
            {**rows[5]},
            {**rows[4], "File Path": ""},
            {**rows[4], "File Path": "../a/b/c.dcm"},
            *rows[6:],
        ],
    )
    one, several = tmp_path / "one", tmp_path / "several"
    build(table, images, one, "--patient-per-image")
    command = (
        *(sys.executable, "-m", "nlbs.preprocess", "build-shards", "--csv", table, "--images", images),
        *("--out", several, *CUT, "--patient-per-image"),
    )
    running = [
        subprocess.Popen([*command, "--part", f"{n}/3"], stderr=subprocess.PIPE, text=True) for n in (3, 1)
    ]
    for process in some(running):
        _, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stderr
    early = run("merge", "--shards", several, "--jobs", "1")
    assert early.returncode == 1
    assert "1 of 3 parts is not done" in early.stderr
    assert "2/3" in early.stderr
    assert not (several / "images.csv").exists()
    private = several / ".parts" / "0001-of-0003" / "sources.csv"
    assert private.stat().st_mode & 0o777 == 0o600
    assert (several / ".parts").stat().st_mode & 0o777 == 0o700
    subprocess.run([*command, "--part", "2/3"], check=True, timeout=240)
    done = preprocess("merge", "--shards", several, "--jobs", "2")
    assert "15 usable" in done
    assert "19 rows" in done
    assert "1 duplicate" in done
    assert files_of(several) == files_of(one)
    assert run("merge", "--shards", several).returncode == 1


def test_a_part_is_continued_and_a_part_of_another_build_is_named(phantom: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    for number in (1, 2):
        build(phantom / "meta.csv", phantom, out, "--part", f"{number}/2")
    again = build(phantom / "meta.csv", phantom, out, "--part", "1/2")
    assert "8 rows of part 1 of 2" in again
    assert "8 usable, 0 decoded now" in again
    rows = read_csv(phantom / "meta.csv")
    rows[0]["Age"] = "41"
    other = write_csv(tmp_path / "other.csv", rows)
    build(other, phantom, out, "--part", "2/2")
    mixed = run("merge", "--shards", out)
    assert mixed.returncode == 1
    assert "another table or other options" in mixed.stderr
    build(phantom / "meta.csv", phantom, out, "--part", "1/3")
    divided = run("merge", "--shards", out)
    assert divided.returncode == 1
    assert "parts of 2 and of 3" in divided.stderr


def test_a_typo_in_the_call_of_a_part_leaves_nothing_behind(phantom: Path, tmp_path: Path) -> None:
    for part, table in (("3/2", "meta.csv"), ("abc", "meta.csv"), ("1/2", "mata.csv")):
        assert run(
            "build-shards", "--csv", phantom / table, "--out", tmp_path / "s", "--part", part
        ).returncode
        assert not list(tmp_path.iterdir())


def test_what_a_merge_would_change_under_a_shard_set_is_refused_before_it_is_written(
    phantom: Path, tmp_path: Path
) -> None:
    """The root was another one when the parts were begun, or --overwrite let them begin."""
    rows, out = read_csv(phantom / "meta.csv"), tmp_path / "s"
    few, otherwise = rows[:4], [{**rows[0], "Cancer": "1"}, *rows[1:4]]
    other_cut = ("--resolution", "32", "--stride", "64", "--jobs", "1", "--part", "1/1", "--overwrite")
    table, changed = (write_csv(tmp_path / f"{n}.csv", some) for n, some in enumerate((few, otherwise)))
    build(table, phantom, out)
    preprocess("build-shards", "--csv", changed, "--images", phantom, "--out", out, *other_cut)
    for said in (
        "the parts say otherwise about 1 image that",
        "has grown by append since its parts were begun",
    ):
        kept = files_of(out)
        merged = run("merge", "--shards", out, "--jobs", "1")
        assert said in merged.stderr
        assert files_of(out) == kept
        more = write_csv(tmp_path / "more.csv", rows[:6])
        preprocess("append", "--csv", more, "--images", phantom, "--out", out, "--jobs", "1")
    preprocess("merge", "--shards", out, "--jobs", "1", "--overwrite")
    assert read_csv(out / "images.csv")[0]["cancer"] == "1"


def test_a_part_excludes_itself_and_whole_builds_and_nothing_else(phantom: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    whole = ("build-shards", "--csv", phantom / "meta.csv", "--out", out, *CUT)
    with (
        only_one(out, "nlbs-preprocess", shared=True),
        only_one(out / ".parts" / "0001-of-0002", "part 1 of 2"),
    ):
        same = run(*whole, "--part", "1/2")
        assert same.returncode == 1
        assert f"process {os.getpid()} on" in same.stderr
        for refused in (run(*whole), run("merge", "--shards", out)):
            assert refused.returncode == 1
            assert "at work" in refused.stderr
        other = run(*whole, "--part", "2/2")
        assert other.returncode == 0, other.stderr
    with only_one(out, "nlbs-preprocess"):
        refused = run(*whole, "--part", "1/2")
        assert refused.returncode == 1
        assert f"process {os.getpid()} on" in refused.stderr


def test_the_limit_of_failures_counts_in_each_part(phantom: Path, tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "s"
    shutil.copytree(phantom, images)
    for path in images.rglob("*.dcm"):
        path.write_text("no image")
    done = run(
        *("build-shards", "--csv", images / "meta.csv", "--out", out, *CUT),
        *("--part", "1/2", "--max-failures", "2"),
    )
    assert done.returncode == 1
    assert "3 of 8 images failed" in done.stderr
    with (out / ".parts" / "0001-of-0002" / "images.csv").open(newline="") as file:
        assert Counter(row["status"] for row in csv.DictReader(file)) == {"not_dicom": 3, "not_reached": 5}
    merged = run("merge", "--shards", out)
    assert "2 of 2 parts are not done" in merged.stderr
