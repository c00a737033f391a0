"""CSVs of conditions: what they ask for, and every error of them at once."""

from pathlib import Path

import pytest

from nlbs.errors import ConfigError
from nlbs.generate.condition_table import read_conditions
from nlbs.manifests.schema import NLBS
from tests.generate.conftest import Generate


def plan_of(tmp_path: Path, text: str) -> list[tuple[int, ...]]:
    path = tmp_path / "cases.csv"
    path.write_text(text)
    plan = read_conditions(path, NLBS)
    return list(zip(*(plan.values[name].tolist() for name in NLBS.names), strict=True))


def test_rows_are_patches_and_count_is_how_many(tmp_path: Path) -> None:
    text = "View,laterality,Age,cancer,False Positive,count\nCC,left,66,yes,0,2\n\nMLO,,,no,unknown,\n"
    assert plan_of(tmp_path, text) == [(0, 0, 3, 1, 0), (0, 0, 3, 1, 0), (1, -1, -1, 0, -1)]


def test_a_column_that_is_not_there_is_unknown_and_the_bin_may_be_given(tmp_path: Path) -> None:
    assert plan_of(tmp_path, "age_bin;view\n46-55;CC\n3;MLO\n") == [(0, -1, 1, -1, -1), (1, -1, 3, -1, -1)]


def test_every_error_is_named_with_row_column_found_and_expected(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(
        "view,age,age_bin,cancer,count,cancr\n"
        "sideways,50,46-55,no,1,\n"
        "CC,200,,perhaps,0,\n"
        "XCCL,0,,no,many,\n"
        "CC,50,>65,no,1,\n"
        "CC,50\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_conditions(path, NLBS)
    lines = str(caught.value).split("\n  ")
    assert lines[0].endswith("has 10 errors; nothing was drawn:")
    assert lines[1:] == [
        "header: found a column 'cancr', which is none; did you mean 'cancer'?",
        "row 1, column view: found 'sideways', expected one of CC, MLO; empty is unknown",
        "row 2, column age: found '200', expected years from 1 to 120; empty is unknown",
        "row 2, column cancer: found 'perhaps', expected one of no, yes; empty is unknown",
        "row 2, column count: found '0', expected a whole number from 1 on",
        "row 3, column view: found 'XCCL', expected one of CC, MLO; empty is unknown",
        "row 3, column age: found '0', expected years from 1 to 120; empty is unknown",
        "row 3, column count: found 'many', expected a whole number from 1 on",
        "row 4, column age_bin: found '>65' beside the age '50', expected what goes with that, or nothing",
        "row 5: found 2 cells, expected 6, one for each column",
    ]


def test_of_many_errors_twenty_are_named(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("view\n" + "up\n" * 50)
    with pytest.raises(ConfigError) as caught:
        read_conditions(path, NLBS)
    lines = str(caught.value).split("\n  ")
    assert "has 50 errors" in lines[0]
    assert len(lines) == 22
    assert lines[-1] == "and 30 more"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("view,cancer\n", "a header and no row"),
        ("view,view\nCC,CC\n", "2 times"),
        ("count\n3\n", "found no condition"),
        ("view,count\nCC,99999999999\n", "100,000,000"),
        ('view\n"CC\n', "close every quote"),
    ],
)
def test_a_table_that_asks_for_nothing_clear_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        plan_of(tmp_path, text)


def test_the_command_draws_the_rows_or_nothing(generate: Generate, tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    assert generate("--conditions", path, "--out", tmp_path / "s").code == 1
    path.write_text("view,count\nCC,2\nMLO,1\nup,1\n")
    done = generate("--conditions", path, "--out", tmp_path / "s")
    assert done.code == 1
    assert "row 3, column view: found 'up'" in done.err
    assert not (tmp_path / "s").exists()
    path.write_text("view,count\nCC,2\nMLO,1\n")
    assert generate("--conditions", path, "--out", tmp_path / "s").code == 0
    lines = (tmp_path / "s" / "samples.csv").read_text().splitlines()
    assert [line.split(",")[3] for line in lines[1:]] == ["CC", "CC", "MLO"]
