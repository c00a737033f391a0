"""What a header states, and where a table says otherwise."""

import csv
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.sr._snomed_dict import mapping
from pydicom.sr.codedict import codes

from nlbs.manifests.conditions import Conditions
from nlbs.preprocess.images.header_conditions import modality_notes, settled, stated_conditions
from tests.conftest import CUT, run_command


def header(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def header_of_a_frame(side: str) -> Dataset:
    return header(FrameAnatomySequence=[header(FrameLaterality=side)])


@pytest.mark.parametrize(
    ("elements", "view", "laterality"),
    [
        ({"ViewPosition": "MLO", "ImageLaterality": "R"}, "MLO", "R"),
        ({"ViewPosition": "CC", "Laterality": "L"}, "CC", "L"),
        ({"ImageLaterality": "B", "Laterality": "L"}, None, "L"),
        ({"SharedFunctionalGroupsSequence": [header_of_a_frame("R")]}, None, "R"),
        ({"ViewPosition": "XCCL"}, "XCCL", None),
        ({"ViewPosition": "PA"}, None, None),
        ({}, None, None),
    ],
)
def test_view_and_side_are_read_where_they_are_known(
    elements: dict[str, object], view: str | None, laterality: str | None
) -> None:
    stated = stated_conditions(header(**elements))
    assert (stated["header_view"], stated["header_laterality"]) == (view, laterality)


def test_a_view_that_stands_in_the_code_sequence_alone_is_read() -> None:
    """SNOMED CT codes of PS3.16 CID 4014, as CMMD files have them."""
    coded = header(ViewCodeSequence=[header(CodeValue="399368009", CodingSchemeDesignator="SCT")])
    assert stated_conditions(coded)["header_view"] == "MLO"


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("CranioCaudal", "CC"),
        ("MedioLateralObliqueProjection", "MLO"),
        ("MedioLateralProjection", "ML"),
        ("LateroMedial", "LM"),
        ("LateroMedialOblique", "LMO"),
        ("CaudoCranial", "FB"),
        ("SuperolateralToInferomedialOblique", "SIO"),
        ("InferomedialToSuperolateralOblique", "ISO"),
        ("CranioCaudalExaggeratedLaterally", "XCCL"),
        ("CranioCaudalExaggeratedMedially", "XCCM"),
    ],
)
def test_every_code_of_the_standards_view_table_is_read_in_both_code_systems(name: str, view: str) -> None:
    """The codes are pydicom's copy of PS3.16 CID 4014; SRT is what files before 2020 have."""
    snomed = getattr(codes.cid4014, name).value
    older = {new: old for old, new in mapping["SRT"].items()}[snomed]
    for code in (snomed, older):
        assert stated_conditions(header(ViewCodeSequence=[header(CodeValue=code)]))["header_view"] == view


@pytest.mark.parametrize(
    ("age", "years"),
    [("046Y", 46), ("000Y", None), ("093Y", 90), ("018M", 1), ("", None), ("old", None), (None, None)],
)
def test_an_age_is_read_zero_is_unknown_and_none_is_above_90(age: str | None, years: int | None) -> None:
    dataset = header() if age is None else header(PatientAge=age)
    assert stated_conditions(dataset)["header_age_years"] == years


@pytest.mark.parametrize(("modality", "remarks"), [("MG", 0), ("", 0), (None, 0), ("CT", 1), ("DOE^JANE", 1)])
def test_another_modality_is_remarked_without_repeating_it(modality: str | None, remarks: int) -> None:
    notes = modality_notes(header() if modality is None else header(Modality=modality))
    assert len(notes) == remarks
    assert not any("CT" in note or "DOE" in note for note in notes)


RECORD = {"header_view": "MLO", "header_laterality": None, "header_age_years": 50}


def test_what_the_table_lacks_is_taken_from_the_header() -> None:
    put = settled(RECORD, Conditions(laterality="L"))
    assert put.conditions == Conditions("MLO", "L", 50, 1)
    assert put.from_header == ("view", "age_years")
    assert put.disagreements == ()


def test_only_what_both_state_can_disagree_and_the_table_counts() -> None:
    assert settled(RECORD, Conditions("MLO", "L", 50, 1)).disagreements == ()
    put = settled(RECORD, Conditions(view="CC"))
    assert put.disagreements == ("view is CC in the table, which counts, and MLO in the DICOM header",)
    assert put.conditions.view == "CC"
    put = settled(RECORD, Conditions(view="CC"), counts="header")
    assert put.disagreements == ("view is CC in the table and MLO in the DICOM header, which counts",)
    assert put.conditions.view == "MLO"
    assert "view" in put.from_header


@pytest.mark.parametrize(("years", "differ"), [(49, 0), (50, 0), (51, 0), (52, 1), (48, 1)])
def test_ages_disagree_beyond_one_year(years: int, differ: int) -> None:
    assert len(settled(RECORD, Conditions("MLO", age_years=years)).disagreements) == differ


def test_an_age_bin_of_the_table_is_not_mixed_with_an_age_of_the_header() -> None:
    assert settled(RECORD, Conditions("MLO", age_bin=3)).conditions == Conditions("MLO", age_bin=3)


def test_a_record_of_an_older_store_states_nothing() -> None:
    assert settled({}, Conditions(view="CC")).conditions == Conditions(view="CC")


@pytest.mark.parametrize(
    ("crop_x", "laterality", "toward", "remarks"),
    [
        (0, "L", None, 0),
        (0, "R", None, 1),
        (60, "R", None, 0),
        (60, "L", None, 1),
        (60, "L", "P", 0),  # mirrored, and the header says so
        (60, "R", "A", 1),
        (30, "L", None, 0),  # in the middle: no side
        (0, None, None, 0),
    ],
)
def test_a_breast_at_the_edge_of_the_other_side_is_remarked_and_nothing_changes(
    crop_x: int, laterality: str | None, toward: str | None, remarks: int
) -> None:
    record = {"crop_x": crop_x, "crop_columns": 40, "source_columns": 100, "header_rows_toward": toward}
    put = settled(record, Conditions(laterality=laterality))
    assert len(put.remarks) == remarks
    assert put.conditions.laterality == laterality


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
