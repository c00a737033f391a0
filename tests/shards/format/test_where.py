"""Filters against pandas' own three-valued logic, and what they refuse.

Also covers: shards/format/columns.py.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nlbs.errors import ConfigError
from nlbs.shards.format.where import explain_empty, select


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Every combination of a few values, unknown among them, in more than one chunk."""
    rows = [
        (view, side, age, cancer)
        for view in ("CC", "MLO", "ML", None)
        for side in ("L", "R", None)
        for age in (40, 50, 60, None)
        for cancer in (0, 1, None)
    ]
    columns = list(zip(*rows, strict=True))
    whole = pa.table(
        {
            "view": pa.array(columns[0]).dictionary_encode(),
            "laterality": pa.array(columns[1]).dictionary_encode(),
            "age_years": pa.array(columns[2], pa.int16()),
            "cancer": pa.array(columns[3], pa.int8()),
            "foreground": pa.array([0.9, 0.5, 1.0] * (len(rows) // 3), pa.float32()),
            "vendor": pa.array(["GE", None, "Hologic"] * (len(rows) // 3)),
        }
    )
    return pa.concat_tables([whole.slice(0, 50), whole.slice(50)])


def frame(table: pa.Table) -> pd.DataFrame:
    """Gives the table with pandas' nullable types, whose logic is Kleene's."""
    return pd.DataFrame(
        {
            "view": pd.array(table["view"].to_pylist(), dtype="string"),
            "laterality": pd.array(table["laterality"].to_pylist(), dtype="string"),
            "age_years": pd.array(table["age_years"].to_pylist(), dtype="Int64"),
            "cancer": pd.array(table["cancer"].to_pylist(), dtype="Int64"),
            "foreground": table["foreground"].to_numpy(),
            "vendor": pd.array(table["vendor"].to_pylist(), dtype="string"),
        }
    )


CASES: list[tuple[str, Callable[[pd.DataFrame], pd.Series]]] = [
    ("view == 'MLO'", lambda f: f.view_ == "MLO"),
    ("view != 'MLO'", lambda f: f.view_ != "MLO"),
    ("'MLO' == view", lambda f: f.view_ == "MLO"),
    ("view == 'MLO' and laterality == 'R' and cancer == 0",
     lambda f: (f.view_ == "MLO") & (f.laterality == "R") & (f.cancer == 0)),
    ("view == 'CC' or cancer == 1", lambda f: (f.view_ == "CC") | (f.cancer == 1)),
    ("not (view == 'CC' or cancer == 1)", lambda f: ~((f.view_ == "CC") | (f.cancer == 1))),
    ("not (cancer == 0 and age_years == 40)", lambda f: ~((f.cancer == 0) & (f.age_years == 40))),
    ("not (40 <= age_years < 50)", lambda f: ~((f.age_years >= 40) & (f.age_years < 50))),
    ("not cancer == 1", lambda f: ~(f.cancer == 1)),
    ("view in ['CC', 'ML']", lambda f: (f.view_ == "CC") | (f.view_ == "ML")),
    ("view not in ('CC', 'ML')", lambda f: ~((f.view_ == "CC") | (f.view_ == "ML"))),
    ("cancer in [0, unknown]", lambda f: (f.cancer == 0) | f.cancer.isna()),
    ("age_years >= 50", lambda f: f.age_years >= 50),
    ("age_years > 50", lambda f: f.age_years > 50),
    ("50 > age_years", lambda f: f.age_years < 50),
    ("40 < age_years <= 60", lambda f: (f.age_years > 40) & (f.age_years <= 60)),
    ("age_years <= 49.5", lambda f: f.age_years <= 49.5),
    ("age_years > -1", lambda f: f.age_years > -1),
    ("cancer is null", lambda f: f.cancer.isna()),
    ("cancer == unknown", lambda f: f.cancer.isna()),
    ("cancer is not null", lambda f: f.cancer.notna()),
    ("cancer != unknown and view is not None", lambda f: f.cancer.notna() & f.view_.notna()),
    ("cancer == True", lambda f: f.cancer == 1),
    ("foreground >= 0.9", lambda f: f.foreground >= np.float32(0.9)),
    ("vendor == 'GE'", lambda f: f.vendor == "GE"),
    ("vendor != 'GE'", lambda f: f.vendor != "GE"),
    ("  view == 'XCCL'  ", lambda f: f.view_ == "XCCL"),  # a view that there is, though not here
]  # fmt: skip


@pytest.mark.parametrize(("where", "expected"), CASES, ids=[case[0] for case in CASES])
def test_a_filter_takes_what_three_valued_logic_takes(
    table: pa.Table, where: str, expected: Callable[[pd.DataFrame], pd.Series]
) -> None:
    wanted = expected(frame(table).rename(columns={"view": "view_"})).fillna(False).to_numpy(dtype=bool)
    np.testing.assert_array_equal(select(table, where), wanted)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("veiw == 'CC'", r"no column 'veiw'; did you mean 'view'\?"),
        ("view == 'MLOO'", r"no patch has view 'MLOO'; did you mean 'MLO'\?"),
        ("view == 'cc'", r"did you mean 'CC'\?"),
        ("vendor == 'Siemens'", r"no patch has vendor 'Siemens'; known: GE, Hologic"),
        ("cancer == 2", r"cancer is never 2; known: 0 to 1, unknown"),
        ("cancer == 'yes'", r"cancer holds numbers, 'yes' is none; write for example cancer == 0"),
        ("view == 1", r"view holds text, 1 is none; write for example view == 'CC'"),
        ("view < 'MLO'", r"compares view by <, which is for numbers"),
        ("age_years >= '50'", r"compares age_years by >="),
        ("cancer", r"has 'cancer' where none can stand"),
        ("cancer = 1", r"cannot be read"),
        ("", r"cannot be read"),
        ("view ==", r"cannot be read"),
        ("cancer == 0\0", r"cannot be read"),
        ("view in 'CC'", r"where none can stand"),
        ("view in []", r"where none can stand"),
        ("1 == 1", r"where none can stand"),
        ("view == laterality", r"where none can stand"),
        ("unknown == view", r"where none can stand"),
        ("age_years < unknown", r"where none can stand"),
        ("cancer is 1", r"where none can stand"),
        ("-cancer == 1", r"where none can stand"),
        ("age_years + 1 > 5", r"where none can stand"),
        ("age_years > 1" + "0" * 400, r"where none can stand"),
        ("age_years == 1j", r"where none can stand"),
        ("__import__('os').system('true')", r"where none can stand"),
        ("view.__class__ == 'CC'", r"where none can stand"),
        ("[x for x in view]", r"where none can stand"),
        ("(lambda: 1)()", r"where none can stand"),
        ("view == f'{1}'", r"where none can stand"),
        ("(" * 300 + "cancer" + ")" * 300, r"cannot be read"),
        ("not " * 600 + "cancer == 1", r"2411 characters, at most 2000"),
    ],
)
def test_what_is_no_filter_is_refused_in_a_sentence(table: pa.Table, where: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select(table, where)


def test_a_filter_as_deep_as_may_be_is_still_evaluated(table: pa.Table) -> None:
    np.testing.assert_array_equal(
        select(table, "not " * 400 + "cancer == 1"), table["cancer"].to_numpy() == 1
    )


def test_a_filter_that_takes_nothing_says_what_each_part_takes(table: pa.Table) -> None:
    rows = np.arange(36)  # all CC
    said = explain_empty(table, "view == 'MLO' and (cancer == 1 or cancer == 0) and age_years > 60", rows)
    assert said == (
        "of 36 patches it takes none (view == 'MLO': 0; cancer == 1 or cancer == 0: 24; age_years > 60: 0)"
    )


def test_a_manifest_without_rows_has_an_empty_selection(table: pa.Table) -> None:
    assert select(table.slice(0, 0), "view == 'CC' and age_years > 5 and cancer is null").shape == (0,)
