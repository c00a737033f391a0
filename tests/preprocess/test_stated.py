"""What a header states, and where a table says otherwise."""

import csv
from pathlib import Path

import pytest
from pydicom import Dataset

from nlbs.manifests.conditions import Conditions
from nlbs.preprocess.stated import disagreements, modality_notes, stated_conditions
from tests.conftest import CUT, run_command


def header(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("elements", "view", "laterality"),
    [
        ({"ViewPosition": "MLO", "ImageLaterality": "R"}, "MLO", "R"),
        ({"ViewPosition": "CC", "Laterality": "L"}, "CC", "L"),
        ({"ImageLaterality": "B", "Laterality": "L"}, None, "L"),
        ({"ViewPosition": "PA"}, None, None),
        ({}, None, None),
    ],
)
def test_view_and_side_are_read_where_they_are_known(
    elements: dict[str, object], view: str | None, laterality: str | None
) -> None:
    assert stated_conditions(header(**elements)) == {"header_view": view, "header_laterality": laterality}


def test_a_view_that_stands_in_the_code_sequence_alone_is_read() -> None:
    """SNOMED CT codes of PS3.16 CID 4014, as CMMD files have them."""
    coded = header(ViewCodeSequence=[header(CodeValue="399368009", CodingSchemeDesignator="SCT")])
    assert stated_conditions(coded)["header_view"] == "MLO"


@pytest.mark.parametrize(("modality", "remarks"), [("MG", 0), ("", 0), (None, 0), ("CT", 1), ("DOE^JANE", 1)])
def test_another_modality_is_remarked_without_repeating_it(modality: str | None, remarks: int) -> None:
    notes = modality_notes(header() if modality is None else header(Modality=modality))
    assert len(notes) == remarks
    assert not any("CT" in note or "DOE" in note for note in notes)


def test_only_what_both_state_can_disagree() -> None:
    record = {"header_view": "MLO", "header_laterality": None}
    assert disagreements(record, Conditions(view="MLO", laterality="L")) == ()
    assert disagreements(record, Conditions(view=None)) == ()
    (note,) = disagreements(record, Conditions(view="CC"))
    assert note == "view is CC in the table, which counts, and MLO in the DICOM header"


def test_a_table_against_its_headers_is_counted_in_the_summary(phantom: Path, tmp_path: Path) -> None:
    with (phantom / "meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    side = {"L": "R", "R": "L"}
    rows[0]["Image Laterality"] = side[rows[0]["Image Laterality"]]
    with (tmp_path / "meta.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    done = run_command(
        *("preprocess", "build-shards", "--csv", tmp_path / "meta.csv", "--images", phantom),
        *("--out", tmp_path / "s", *CUT),
    )
    assert done.returncode == 0, done.stderr
    assert "remarks   on 1 usable image" in done.stdout
    with (tmp_path / "s" / "images.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert "laterality is" in found[0]["reason"]
    assert found[0]["laterality"] == rows[0]["Image Laterality"]
    assert all(not row["reason"] for row in found[1:])


def test_a_set_that_stands_alone_is_not_said_to_be_restorable(dataset_root: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(dataset_root / "r64-s64", tmp_path / "alone")
    (tmp_path / "alone" / "00000.tar").unlink()
    done = run_command("preprocess", "verify", "--shards", tmp_path / "alone", "--repair")
    assert done.returncode == 1
    assert "stands alone" in done.stderr
    assert (tmp_path / "alone" / "shard_set.json").exists()
