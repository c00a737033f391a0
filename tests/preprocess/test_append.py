"""append: old files stay to the byte, patients stay in their split, each generation can be read and restored.

Also covers: preprocess/sets/grow.py.
"""

import copy
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from nlbs.errors import ShardError
from nlbs.manifests.people.splits import assign_splits
from nlbs.preprocess.phantom.screening_set import write_phantom
from nlbs.shards import open_shards
from tests.conftest import CUT, some
from tests.preprocess.roots import build, files_of, preprocess, read_csv, run, write_csv

SPLIT = ("--split-seed", "5")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 7 made-up patients: old.csv names 5 of them, more.csv the rest, all.csv everybody."""
    folder = tmp_path_factory.mktemp("grown")
    write_phantom(folder, patients=7, seed=3, rows=256, columns=200)
    rows = read_csv(folder / "meta.csv")
    write_csv(folder / "old.csv", rows[:20])
    write_csv(folder / "more.csv", rows[20:])
    write_csv(folder / "all.csv", rows)
    return folder


@pytest.fixture(scope="module")
def old_root(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of old.csv with two shard sets. Not to be changed."""
    root = tmp_path_factory.mktemp("old") / "shards"
    build(images / "old.csv", images, root, *SPLIT)
    preprocess("reshard", "--shards", root, "--resolution", "96", "--stride", "48", "--jobs", "1")
    return root


@pytest.fixture(scope="module")
def grown(images: Path, old_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same root, with more.csv appended. Not to be changed."""
    root = tmp_path_factory.mktemp("new") / "shards"
    shutil.copytree(old_root, root)
    said = append(images / "more.csv", images, root)
    assert "8 added" in said
    return root


def append(table: Path, images: Path, root: Path, *more: object) -> str:
    jobs = () if "--jobs" in more else ("--jobs", "1")
    return preprocess("append", "--csv", table, "--images", images, "--out", root, *jobs, *SPLIT, *more)


def test_old_files_stay_as_they_are_but_for_those_that_name_what_there_is(
    old_root: Path, grown: Path
) -> None:
    before, after = files_of(old_root), files_of(grown)
    changed = {name for name, digest in before.items() if after.get(name) != digest}
    assert changed == {
        *("images.csv", "sources.csv"),
        *("r64-s64/shard_set.json", "r96-s48/shard_set.json"),
        *(f"{name}/{card}" for name in ("r64-s64", "r96-s48") for card in ("README.md", "croissant.json")),
    }
    assert "generation 2" in (grown / "r64-s64" / "README.md").read_text()
    for name in ("images.csv", "sources.csv"):
        assert (grown / name).read_bytes().startswith((old_root / name).read_bytes())
    for name in ("r64-s64", "r96-s48"):
        kept = (grown / name / "shard_set-00001.json").read_bytes()
        assert kept == (old_root / name / "shard_set.json").read_bytes()
    assert [row["generation"] for row in read_csv(grown / "images.csv")] == ["1"] * 20 + ["2"] * 8


def test_the_new_generation_holds_what_a_build_of_everything_holds(
    images: Path, grown: Path, tmp_path: Path
) -> None:
    build(images / "all.csv", images, tmp_path / "whole", *SPLIT)
    whole, new = open_shards(tmp_path / "whole"), open_shards(grown / "r64-s64")
    known = {(p["image"], p["y"], p["x"]): (row, p) for row, p in enumerate(whole.manifest.to_pylist())}
    rows = []
    for patch in new.manifest.to_pylist():
        row, expected = known.pop((patch["image"], patch["y"], patch["x"]))
        rows.append(row)
        for name in ("view", "laterality", "age_years", "cancer", "false_positive", "patient", "foreground"):
            assert patch[name] == expected[name]
    assert not known
    np.testing.assert_array_equal(new.read(new.rows()), whole.read(rows))
    assert new.info["counts"]["images"] == 28
    assert new.info["counts"]["patches"] == len(new) == len(whole)
    for name, codes in new.conditions().items():
        np.testing.assert_array_equal(codes, whole.conditions(rows)[name])


def test_an_earlier_generation_is_opened_as_it_was(old_root: Path, grown: Path) -> None:
    before, first = open_shards(old_root / "r64-s64"), open_shards(grown / "r64-s64", generation=1)
    assert first.generation == 1
    assert first.manifest.equals(before.manifest)
    np.testing.assert_array_equal(first.read(first.rows()), before.read(before.rows()))
    newest = open_shards(grown / "r64-s64")
    assert newest.generation == 2
    assert newest.manifest.slice(0, len(first)).to_pylist() == first.manifest.to_pylist()
    assert copy.copy(first).generation == 1  # opened anew, as in another process
    with pytest.raises(ShardError, match="no generation 3: expected 1 to 2"):
        open_shards(grown / "r64-s64", generation=3)


def test_patients_stay_in_their_split_and_new_ones_go_where_the_hash_says(
    images: Path, old_root: Path, grown: Path
) -> None:
    before = {row["patient"]: row["split"] for row in read_csv(old_root / "images.csv")}
    places = {row["image"]: row["patient"] for row in read_csv(grown / "sources.csv")}
    # More people than there are here, so that the hash alone decides.
    crowd = [f"person {number}" for number in range(100)]
    by_hash = assign_splits([*set(places.values()), *crowd], (0.8, 0.1, 0.1), 5)
    new = set()
    for row in some(read_csv(grown / "images.csv")):
        if row["patient"] in before:
            assert row["split"] == before[row["patient"]]
        else:
            new.add(row["patient"])
            assert row["split"] == by_hash[places[row["image"]]]
    assert len(new) == 2


def test_an_append_with_nothing_new_says_so_and_changes_nothing(
    images: Path, grown: Path, tmp_path: Path
) -> None:
    root = tmp_path / "shards"
    shutil.copytree(grown, root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != ".lock"}
    for table in ("more.csv", "all.csv"):
        assert "Nothing new" in append(images / table, images, root)
    assert files_of(root) == files_of(grown)
    files = {path: stamp for path, stamp in before.items() if path.is_file()}
    assert {path: path.stat().st_mtime_ns for path in files} == files


@pytest.mark.parametrize("lost", ["description", "shard and tables", "second set"])
def test_an_interrupted_append_is_finished_to_the_same_bytes(
    images: Path, old_root: Path, grown: Path, tmp_path: Path, lost: str
) -> None:
    """What a kill can leave; readers see the old generation until the end."""
    root = tmp_path / "shards"
    shutil.copytree(grown, root)
    folder = root / "r96-s48"
    shutil.copy(old_root / "r96-s48" / "shard_set.json", folder / "shard_set.json")
    if lost == "second set":
        shutil.rmtree(folder)
        shutil.copytree(old_root / "r96-s48", folder)
    if lost == "shard and tables":
        shutil.copy(old_root / "images.csv", root / "images.csv")  # sources.csv is written before
        (folder / "manifest-00002.arrow").unlink()
        (folder / "shard_set-00001.json").unlink()
        names = [shard["name"] for shard in open_shards(grown / "r96-s48").info["shards"]]
        (folder / names[-1]).unlink()
        new = next(row["image"] for row in read_csv(grown / "images.csv")[23:])
        shutil.rmtree(root / "images.zarr" / new)
        shutil.copy(old_root / "r64-s64" / "shard_set.json", root / "r64-s64" / "shard_set.json")
    assert open_shards(folder).generation == 1
    append(images / "more.csv", images, root)
    assert files_of(root) == files_of(grown)


def test_the_bytes_do_not_depend_on_jobs_or_the_order_of_the_table(
    images: Path, old_root: Path, grown: Path, tmp_path: Path
) -> None:
    root = tmp_path / "shards"
    shutil.copytree(old_root, root)
    shuffled = write_csv(tmp_path / "shuffled.csv", read_csv(images / "more.csv")[::-1])
    append(shuffled, images, root, "--jobs", "2", "--backend", "threading")
    for name in ("r64-s64", "r96-s48"):
        assert files_of(root / name) == files_of(grown / name)


def test_only_the_named_set_is_cut_and_the_next_append_takes_the_other_along(
    images: Path, old_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "shards"
    shutil.copytree(old_root, root)
    append(images / "more.csv", images, root, "--shard-set", "r64-s64")
    assert open_shards(root / "r64-s64").generation == 2
    assert files_of(root / "r96-s48") == files_of(old_root / "r96-s48")
    said = append(images / "more.csv", images, root)
    assert "r96-s48" in said
    assert open_shards(root / "r96-s48").info["counts"]["images"] == 28
    nobody = run(*("append", "--csv", images / "more.csv", "--out", root, "--shard-set", "r1-s1", *SPLIT))
    assert nobody.returncode == 1
    assert "no shard set r1-s1" in nobody.stderr


def test_changed_conditions_are_listed_unless_they_are_to_be_kept(
    images: Path, grown: Path, tmp_path: Path
) -> None:
    root = tmp_path / "shards"
    shutil.copytree(grown, root)
    rows = read_csv(images / "all.csv")
    rows[2]["View Position"] = "ML"
    rows[7] |= {"Cancer": "1" if rows[7]["Cancer"] == "0" else "0"}
    table = write_csv(tmp_path / "changed.csv", rows)
    refused = run("append", "--csv", table, "--images", images, "--out", root, *SPLIT)
    assert refused.returncode == 1
    assert "2 rows say otherwise" in refused.stderr
    assert "row 3: view; row 8: cancer" in refused.stderr
    kept = append(table, images, root, "--changed", "keep")
    assert "2 of them as they are" in kept
    assert files_of(root) == files_of(grown)


def test_other_splits_than_those_of_the_build_are_refused(
    images: Path, old_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "shards"
    shutil.copytree(old_root, root)
    done = run(*("append", "--csv", images / "more.csv", "--out", root, "--split", "0/0/100"))
    assert done.returncode == 1
    assert "pass those of the build" in done.stderr
    assert files_of(root) == files_of(old_root)


def test_rows_that_cannot_be_used_are_named_once(images: Path, grown: Path, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    shutil.copytree(grown, root)
    rows = read_csv(images / "more.csv")
    broken = [{**rows[0], "File Path": "a\\7\\x\\lost.dcm"}, {**rows[0], "File Path": ""}]
    table = write_csv(tmp_path / "broken.csv", [*rows, *broken])
    said = append(table, images, root)
    assert "0 added, 0 decoded now, 2 skipped" in said
    found = read_csv(root / "images.csv")[28:]
    assert [(row["status"], row["generation"]) for row in found] == [("missing_file", "3"), ("bad_row", "3")]
    after = files_of(root)
    assert "Nothing new" in append(table, images, root)
    assert files_of(root) == after
    assert files_of(root / "r64-s64") == files_of(grown / "r64-s64")


def test_rows_that_failed_are_tried_again_alone_once_their_files_are_mended(
    images: Path, tmp_path: Path
) -> None:
    own, root = tmp_path / "images", tmp_path / "shards"
    shutil.copytree(images, own)
    path = own / read_csv(own / "old.csv")[2]["File Path"].replace("\\", "/")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9000])
    said = build(own / "old.csv", own, root, *SPLIT)
    assert "Retry       nlbs-preprocess append with the same --csv" in said
    before = files_of(root)
    path.write_bytes(whole)
    said = append(own / "old.csv", own, root)
    assert "1 added, 1 decoded now" in said
    assert "Retry" not in said
    after = files_of(root)
    shards = [name for name in before if name.endswith(".tar")]
    assert [name for name in some(shards) if before[name] != after[name]] == []
    with open_shards(root) as grown:
        assert (grown.generation, grown.info["counts"]["images"]) == (2, 20)


def test_verify_finds_and_repair_restores_files_of_every_generation(grown: Path, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    shutil.copytree(grown, root)
    folder = root / "r64-s64"
    shards = [shard["name"] for shard in open_shards(folder).info["shards"]]
    assert preprocess("verify", "--shards", folder)
    damaged = [shards[1], shards[-1], "manifest.arrow", "manifest-00002.arrow", "shard_set-00001.json"]
    for name in damaged[:3]:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
    os.truncate(folder / "manifest-00002.arrow", 100)
    (folder / "shard_set-00001.json").unlink()
    found = run("verify", "--shards", folder)
    assert found.returncode == 1
    assert {Path(line.split()[0]).name for line in found.stdout.splitlines()} == set(damaged)
    repaired = preprocess("verify", "--shards", folder, "--repair", "--jobs", "1")
    assert "is restored" in repaired
    assert files_of(root) == files_of(grown)


def test_a_third_generation_follows_the_second(images: Path, grown: Path, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    shutil.copytree(grown, root)
    extra = tmp_path / "extra"
    write_phantom(extra, patients=1, seed=77, rows=256, columns=200)
    append(extra / "meta.csv", extra, root, "--shard-set", "r64-s64")
    third = open_shards(root / "r64-s64")
    assert third.generation == 3
    assert third.info["counts"]["images"] == 32
    for generation in (1, 2):
        same = open_shards(grown / "r64-s64", generation)
        earlier = open_shards(root / "r64-s64", generation)
        assert earlier.manifest.equals(same.manifest)
        assert earlier.info == same.info
    said = preprocess("info", "--shards", root / "r64-s64")
    assert "1: 20 images in" in said
    assert "3: 32 in" in said
    expected = files_of(root)
    (root / "r64-s64" / third.info["shards"][-1]["name"]).unlink()
    (root / "r64-s64" / "shard_set-00002.json").unlink()
    preprocess("verify", "--shards", root / "r64-s64", "--repair", "--jobs", "1")
    assert files_of(root) == expected


def test_resharding_a_grown_root_cuts_all_images_as_one_generation(
    images: Path, grown: Path, tmp_path: Path
) -> None:
    root = tmp_path / "shards"
    shutil.copytree(grown, root)
    refused = run("reshard", "--shards", root, *CUT)
    assert refused.returncode == 1
    assert "--overwrite" in refused.stderr
    preprocess("reshard", "--shards", root, *CUT, "--overwrite")
    again = open_shards(root / "r64-s64")
    assert again.generation == 1
    assert again.info["counts"]["images"] == 28
    assert not list((root / "r64-s64").glob("*0000[12].json"))
    assert "Nothing new" in append(images / "all.csv", images, root)
    assert "is as it was" in append(images / "all.csv", images, root)


def test_build_shards_names_append_where_the_table_grew(
    images: Path, old_root: Path, grown: Path, tmp_path: Path
) -> None:
    root = tmp_path / "shards"
    shutil.copytree(old_root, root)
    more = ("build-shards", "--csv", images / "all.csv", "--out", root, *CUT, *SPLIT)
    refused = run(*more)
    assert refused.returncode == 1
    assert "nlbs-preprocess append --csv " in refused.stderr
    assert "Path(" not in refused.stderr  # what is offered can be pasted
    assert "8 images" in refused.stderr
    assert files_of(root) == files_of(old_root)
    shutil.rmtree(root)
    shutil.copytree(grown, root)
    shrunk = run(*more[:2], images / "old.csv", *more[3:])
    assert shrunk.returncode == 1
    assert "nlbs-preprocess append" in shrunk.stderr
    assert files_of(root) == files_of(grown)
    anew = run(*more, "--overwrite")
    assert anew.returncode == 0, anew.stderr
    assert json.loads((root / "r64-s64" / "shard_set.json").read_text())["generation"] == 1


def test_a_folder_that_is_no_root_is_left_as_it_is(images: Path, tmp_path: Path) -> None:
    done = run("append", "--csv", images / "more.csv", "--out", tmp_path / "nowhere")
    assert done.returncode == 1
    assert "is no dataset root" in done.stderr
    assert not (tmp_path / "nowhere").exists()
