"""The synthetic set as a whole: its tables, its files, and that nothing but the arguments decides."""

import csv
import hashlib
from pathlib import Path

import pydicom
import pytest

from nlbs.errors import ConfigError, DatasetError
from nlbs.manifests.conditions import parse_age, parse_flag, parse_laterality, parse_view
from nlbs.preprocess.phantom.header import TRANSFER_SYNTAXES
from nlbs.preprocess.phantom.patient import Findings, draw_patient, stream
from nlbs.preprocess.phantom.screening_set import PhantomSummary, write_phantom
from tests.conftest import some

ROWS, COLUMNS = 256, 200


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomSummary]:
    out = tmp_path_factory.mktemp("phantom")
    (out / "notes.txt").write_text("mine")
    return out, write_phantom(out, 6, 0, ROWS, COLUMNS)


def test_meta_csv_speaks_the_dialect_of_nlbs(phantom: tuple[Path, PhantomSummary]) -> None:
    out, summary = phantom
    lines = summary.meta.read_text(encoding="utf-8").splitlines()
    assert summary.meta == out / "meta.csv"
    assert lines[0] == "File Path,Image Laterality,View Position,Age,Cancer,False Positive"
    rows = table(summary.meta)
    assert len(rows) == summary.images == 24
    for row in rows:
        group, patient, side, view, name = row["File Path"].split("\\")
        assert group in ("normal", "abnormal")
        assert len(patient) == 12
        assert patient.isdigit()
        assert side == {"L": "left", "R": "right"}[row["Image Laterality"]]
        assert view == row["View Position"]
        assert name.endswith(".dcm")
        assert (out / group / patient / side / view / name).is_file()
    assert len({row["File Path"] for row in rows}) == 24
    assert len(list(out.rglob("*.dcm"))) == 24


def test_headers_and_tables_agree(phantom: tuple[Path, PhantomSummary]) -> None:
    out, summary = phantom
    for row, truth in some(zip(table(summary.meta), table(out / "truth.csv"), strict=True)):
        dataset = pydicom.dcmread(out.joinpath(*row["File Path"].split("\\")))
        assert truth["path"] == row["File Path"]
        assert dataset.ViewPosition == parse_view(row["View Position"]) == truth["view"]
        assert dataset.ImageLaterality == parse_laterality(row["Image Laterality"]) == truth["laterality"]
        assert parse_age(dataset.PatientAge) == parse_age(row["Age"])
        assert parse_age(row["Age"]) == (int(truth["age_years"]) if truth["age_known"] == "1" else None)
        assert dataset.PatientID == row["File Path"].split("\\")[1] == truth["patient"]
        assert dataset.file_meta.TransferSyntaxUID == truth["transfer_syntax"]
        assert row["Cancer"] == truth["cancer"]
        assert row["False Positive"] == truth["false_positive"]
        assert (truth["pectoral"] == "1") == (truth["view"] == "MLO")
        assert (truth["mass_y"] != "" or truth["calcifications"] != "0") == (
            "1" in (row["Cancer"], row["False Positive"])
        )


def test_a_small_set_has_every_label_and_no_contradiction(phantom: tuple[Path, PhantomSummary]) -> None:
    _, summary = phantom
    rows = table(summary.meta)
    labels: dict[tuple[str, str], set[tuple[bool | None, bool | None]]] = {}
    for row in rows:
        breast = row["File Path"].split("\\")[1], row["Image Laterality"]
        labels.setdefault(breast, set()).add((parse_flag(row["Cancer"]), parse_flag(row["False Positive"])))
    assert all(len(of_breast) == 1 for of_breast in some(labels.values()))  # both views alike
    kinds = {kind for of_breast in labels.values() for kind in of_breast}
    assert kinds == {(False, False), (True, False), (False, True)}
    assert any(row["Age"] == "" for row in rows)
    assert summary.unknown_age_patients >= 1
    # The healthy side of a patient with cancer: her folder does not tell.
    assert any(
        row["File Path"].startswith("abnormal") and row["Cancer"] == row["False Positive"] == "0"
        for row in rows
    )


def test_every_transfer_syntax_takes_its_turn(phantom: tuple[Path, PhantomSummary]) -> None:
    out, _ = phantom
    used = [row["transfer_syntax"] for row in table(out / "truth.csv")]
    assert set(used) == set(TRANSFER_SYNTAXES.values())
    assert used[:5] == used[5:10]


def test_fewer_patients_are_the_first_of_more_whatever_the_number_of_jobs(
    phantom: tuple[Path, PhantomSummary], tmp_path: Path
) -> None:
    out, _ = phantom
    summary = write_phantom(tmp_path, 3, 0, ROWS, COLUMNS, jobs=2)
    whole, part = digests(out), digests(tmp_path)
    images = {path: digest for path, digest in part.items() if path.endswith(".dcm")}
    assert len(images) == 12
    assert images.items() <= whole.items()
    for name in ("meta.csv", "truth.csv"):
        lines = (tmp_path / name).read_text(encoding="utf-8")
        assert (out / name).read_text(encoding="utf-8").startswith(lines)
    assert (summary.cancer_patients, summary.false_positive_patients) == (1, 1)


def test_the_seed_decides_and_one_syntax_can_be_asked_for(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_phantom(tmp_path / name, 1, seed, ROWS, COLUMNS, transfer_syntax="rle")
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() != other.keys()
    assert not set(first.values()) & set(other.values())
    assert {row["transfer_syntax"] for row in table(tmp_path / "a" / "truth.csv")} == {"1.2.840.10008.1.2.5"}


def test_a_folder_with_a_dataset_is_refused_and_left_as_it_is(phantom: tuple[Path, PhantomSummary]) -> None:
    out, _ = phantom
    before = digests(out)
    assert (out / "notes.txt").read_text() == "mine"
    with pytest.raises(DatasetError, match=r"meta\.csv exists already"):
        write_phantom(out, 1, 0, ROWS, COLUMNS)
    assert digests(out) == before


@pytest.mark.parametrize(
    ("patients", "seed", "rows", "columns", "syntax", "message"),
    [
        (0, 0, ROWS, COLUMNS, None, "0 patients"),
        (1, -1, ROWS, COLUMNS, None, "seed is -1"),
        (1, 0, 100, 80, None, "100 rows and 80 columns"),
        (1, 0, 600, 200, None, "600 rows and 200 columns"),
        (1, 0, ROWS, COLUMNS, "jpeg", "'jpeg' is not one of jpeg-lossless"),
    ],
)
def test_impossible_arguments_are_explained(
    tmp_path: Path, patients: int, seed: int, rows: int, columns: int, syntax: str | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        write_phantom(tmp_path, patients, seed, rows, columns, transfer_syntax=syntax)
    assert list(tmp_path.iterdir()) == []


def test_as_many_have_findings_as_are_asked_for_and_nothing_else_changes() -> None:
    findings = Findings(cancer_share=0.6, false_positive_share=0.3)
    people = [draw_patient(index, stream(0, index), findings) for index in range(1000)]
    cancer = sum(person.cancer_side is not None for person in people)
    false_positive = sum(person.false_positive_side is not None for person in people)
    assert cancer / 1000 == pytest.approx(0.6, abs=0.05)
    assert false_positive / 1000 == pytest.approx(0.3, abs=0.05)
    assert not any(person.cancer_side and person.false_positive_side for person in people)
    others = [draw_patient(index, stream(0, index)) for index in range(1000)]
    assert [person.density for person in people] == [person.density for person in others]


@pytest.mark.parametrize("shares", [(-0.1, 0), (0.7, 0.4), (0, 1.1), (float("nan"), 0)])
def test_shares_that_are_none_are_explained(shares: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="at most 1 together"):
        Findings(*shares)


def test_shares_of_labels_and_unknown_ages_are_those_of_a_screening_set_made_richer() -> None:
    people = [draw_patient(index, stream(0, index)) for index in range(1000)]
    assert len({person.number for person in people}) == 1000
    assert not any(person.cancer_side and person.false_positive_side for person in people)
    cancer = sum(person.cancer_side is not None for person in people)
    false_positive = sum(person.false_positive_side is not None for person in people)
    unknown = sum(not person.age_known for person in people)
    for count, share in ((cancer, 0.15), (false_positive, 0.15), (unknown, 0.05)):
        assert count / 1000 == pytest.approx(share, abs=0.035)
    # The folder is not the label.
    groups = {(person.group, person.cancer_side is not None) for person in people}
    assert len(groups) == 4
