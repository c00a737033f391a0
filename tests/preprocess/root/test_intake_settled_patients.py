"""Builds, parts and appends: a person stands in one split, under one id, however the tables write it."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nlbs.manifests.people.pseudonyms import load_pseudonyms
from nlbs.manifests.people.splits import assign_splits
from tests.conftest import CUT
from tests.preprocess.roots import build, files_of, preprocess, read_csv, run, write_csv

TABLE = ("--patient-column", "pid")
MORE = (*TABLE, "--jobs", "1")
SHARES = (0.8, 0.1, 0.1)

Table = Callable[..., Path]


@pytest.fixture(scope="module")
def images(phantom: Path) -> Path:
    return phantom


@pytest.fixture
def table(images: Path, tmp_path: Path) -> Table:
    """Writes a table of the phantom's first images, whose patients are those given."""

    def write(name: str, patients: Sequence[str], first: int = 0) -> Path:
        rows = read_csv(images / "meta.csv")[first : first + len(patients)]
        return write_csv(
            tmp_path / name, [{**row, "pid": pid} for row, pid in zip(rows, patients, strict=True)]
        )

    return write


def people_of(root: Path) -> list[tuple[str, str]]:
    """The pseudonym and the split of each row."""
    return [(row["patient"], row["split"]) for row in read_csv(root / "images.csv")]


def test_spellings_of_one_person_are_one_in_all_tables_of_a_build(
    images: Path, table: Table, tmp_path: Path, key_file: Path
) -> None:
    one = table("one.csv", ["81000", "81000.0", "82000", "\ufeff82000", "83000"])
    two = table("two.csv", ["81000", "='82000'", "83000.0"], first=5)
    said = build(one, images, tmp_path / "shards", "--csv", two, *TABLE)
    people = people_of(tmp_path / "shards")
    patient = load_pseudonyms(key_file).patient
    truth = ["81000", "81000", "82000", "82000", "83000", "81000", "82000", "83000"]
    splits = assign_splits(truth, SHARES, 0)
    assert people == [(patient(name), splits[name]) for name in truth]
    # Told with the rows, never with ids.
    assert (
        "3 patients are written in more than one way, taken as one person each: see rows 2, 4, 7 and 8"
        in said
    )
    assert not any(name in said for name in truth)
    table_of_images = (tmp_path / "shards" / "images.csv").read_text()
    assert table_of_images.count("taken as one person") == 4
    assert not any(name in table_of_images for name in truth)
    sources = read_csv(tmp_path / "shards" / "sources.csv")
    assert [row["patient"] for row in sources] == truth
    assert "'81000.0', taken as '81000'" in sources[1]["detail"]


def test_an_id_in_one_spelling_keeps_its_pseudonym(
    images: Path, table: Table, tmp_path: Path, key_file: Path
) -> None:
    names = ["1000.0", "1000.0", "007", "p 1"]
    said = build(table("one.csv", names), images, tmp_path / "shards", *TABLE)
    patient = load_pseudonyms(key_file).patient
    assert [name for name, _ in people_of(tmp_path / "shards")] == [patient(name) for name in names]
    assert "written in more than one way" not in said


def test_append_knows_people_by_other_spellings(
    images: Path, table: Table, tmp_path: Path, key_file: Path
) -> None:
    root, patient = tmp_path / "shards", load_pseudonyms(key_file).patient
    build(table("old.csv", ["81000.0", "82000.0", "83000.0", "84000.0"]), images, root, *TABLE)
    before = dict(people_of(root))
    more = table("more.csv", ["81000", "82000", "83000", "84000", "81000", "'82000", "85000"])
    said = preprocess("append", "--csv", more, "--images", images, "--out", root, *MORE)
    assert "3 added" in said
    assert "7 rows, 4 of images that are there already" in said
    assert "4 patients are written in more than one way" in said
    people = people_of(root)
    assert [name for name, _ in people[4:]] == [patient(name) for name in ("81000.0", "82000.0", "85000")]
    assert all(before.get(name, split) == split for name, split in people)
    again = preprocess("append", "--csv", more, "--images", images, "--out", root, *MORE)
    assert "Nothing new" in again


@pytest.mark.parametrize("sources", [True, False])
def test_append_stops_at_ids_that_are_similar_to_those_of_the_root(
    images: Path, table: Table, tmp_path: Path, key_file: Path, sources: bool
) -> None:
    root, patient = tmp_path / "shards", load_pseudonyms(key_file).patient
    build(table("old.csv", ["0071", "P9", "83000", "84000"]), images, root, *TABLE)
    if not sources:  # the root was passed on without what identifies
        (root / "sources.csv").unlink()
    more = table("more.csv", ["71", "p9", "86000"], first=4)
    before = files_of(root)
    adding = ("append", "--csv", more, "--images", images, "--out", root, *MORE)
    refused = run(*adding)
    assert refused.returncode == 1
    file = root / ("sources.csv" if sources else "images.csv")
    assert f"row 1 and line 2 of {file} (leading zeros)" in refused.stderr
    assert f"row 2 and line 3 of {file} (letter case)" in refused.stderr
    assert files_of(root) == before
    preprocess(*adding, "--similar-ids", "same")
    assert [name for name, _ in people_of(root)[4:]] == [patient(name) for name in ("0071", "P9", "86000")]


def test_a_second_build_into_a_root_keeps_its_people(images: Path, table: Table, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    build(table("old.csv", ["81000.0", "82000.0", "83000.0"]), images, root, *TABLE)
    before = people_of(root)
    cut = ("--resolution", "96", "--stride", "96", "--jobs", "1")
    new = table("new.csv", ["81000", "82000", "83000"])
    preprocess("build-shards", "--csv", new, "--images", images, "--out", root, *cut, *TABLE)
    assert people_of(root) == before
    # From this table alone.
    build(new, images, root, *TABLE, "--overwrite")
    assert {name for name, _ in people_of(root)}.isdisjoint(name for name, _ in before)


def test_a_root_that_had_one_person_in_two_splits_is_refused(
    images: Path, table: Table, tmp_path: Path
) -> None:
    root = tmp_path / "shards"
    splits = assign_splits(["81000", "81001", "81002"], SHARES, 0)
    two = [next(name for name, split in splits.items() if split == wanted) for wanted in ("train", "val")]
    build(table("old.csv", ["81000", "81001", "81002"]), images, root, *TABLE)
    # As an earlier version of the product built it.
    text = (root / "sources.csv").read_text().replace(f",{two[1]},", f",{two[0]}.0,")
    (root / "sources.csv").write_text(text)
    more = table("more.csv", [two[0]], first=5)
    refused = run("append", "--csv", more, "--images", images, "--out", root, *MORE)
    assert refused.returncode == 1
    assert "1 patient stands in two splits of what is there already" in refused.stderr


def test_parts_make_what_one_build_makes(images: Path, table: Table, tmp_path: Path) -> None:
    one = table("one.csv", ["81000", "81000.0", "82000", " 82000.00", "83000", "'83000"])
    build(one, images, tmp_path / "one", *TABLE)
    parts = ("--csv", one, "--images", images, "--out", tmp_path / "parts", *CUT, *TABLE)
    for part in ("1/2", "2/2"):
        preprocess("build-shards", *parts, "--part", part)
    said = preprocess("merge", "--shards", tmp_path / "parts", "--jobs", "1")
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "one")
    assert "3 patients are written in more than one way" in said


def test_similar_ids_stop_before_anything_is_written(images: Path, table: Table, tmp_path: Path) -> None:
    one, root = table("one.csv", ["007", "7", "8", "9"]), tmp_path / "shards"
    arguments = ("build-shards", "--csv", one, "--images", images, "--out", root, *CUT, *TABLE)
    refused = run(*arguments)
    assert refused.returncode == 1
    assert "row 1 and row 2 (leading zeros)" in refused.stderr
    assert not (root / "images.csv").exists()
    preprocess(*arguments, "--similar-ids", "different")
    assert len({name for name, _ in people_of(root)}) == 4


def test_a_class_folder_in_the_patients_place_stops(images: Path, tmp_path: Path) -> None:
    """The NLBS form, given from one folder higher."""
    shutil.copytree(images / "abnormal", tmp_path / "NLBS" / "abnormal")
    rows = [row for row in read_csv(images / "meta.csv") if row["File Path"].startswith("abnormal")]
    moved = [{**row, "File Path": f"NLBS/{row['File Path']}"} for row in rows]
    arguments = (
        "build-shards",
        "--csv",
        write_csv(tmp_path / "meta.csv", moved),
        "--out",
        tmp_path / "shards",
        *CUT,
    )
    refused = run(*arguments)
    assert refused.returncode == 1
    assert "the patient is folder 2 of the path" in refused.stderr
    assert "'abnormal'" in refused.stderr
    assert "--patient-part 3" in refused.stderr
    assert not any(path.name in refused.stderr for path in (images / "abnormal").iterdir())
    preprocess(*arguments, "--patient-part", "3")
    preprocess(*arguments, "--trust-patients", "--overwrite")
