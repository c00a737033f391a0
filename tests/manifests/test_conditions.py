"""Cells become conditions: every spelling of the datasets, and unknown stays unknown."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.manifests.conditions import (
    AGE_BINS,
    Conditions,
    age_bin_of,
    is_empty,
    parse_age,
    parse_age_bin,
    parse_cancer,
    parse_flag,
    parse_laterality,
    parse_view,
)
from nlbs.manifests.schema import NLBS

EMPTY = ["", " ", "\t", "nan", "NaN", "NA", "n/a", "None", "null", "unknown", "Unknown", "removed", "?", "-"]
PARSERS = [parse_view, parse_laterality, parse_age, parse_age_bin, parse_flag]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("text", EMPTY)
def test_an_empty_cell_is_unknown_and_no_error(parser, text: str) -> None:  # type: ignore[no-untyped-def]
    assert parser(text) is None
    assert is_empty(text)


@pytest.mark.parametrize("parser", PARSERS)
@given(text=st.text(max_size=20))
def test_no_text_does_worse_than_a_value_error(parser, text: str) -> None:  # type: ignore[no-untyped-def]
    with contextlib.suppress(ValueError):
        parser(text)


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("CC", "CC"),
        ("cc", "CC"),
        (" Cc ", "CC"),
        ("C-C", "CC"),
        ("cranio-caudal", "CC"),
        ("MLO", "MLO"),
        ("mlo", "MLO"),
        ("Medio-Lateral Oblique", "MLO"),
        ("medio_lateral_oblique", "MLO"),
    ],
)
def test_the_two_views_of_screening_are_read_in_any_spelling(text: str, view: str) -> None:
    assert parse_view(text) == view


@pytest.mark.parametrize("text", ["ML", "LM", "AT", "LMO", "FB", "XCCL", "XCCM", "CV", "SIO"])
def test_other_views_are_kept_and_never_taken_for_one_of_the_two(text: str) -> None:
    assert parse_view(text) == parse_view(text.lower()) == text
    assert text not in NLBS["view"].values


@pytest.mark.parametrize("text", ["M", "MLOO", "oblique", "CC/MLO", "0", "L"])
def test_what_is_no_view_is_refused_with_the_views_there_are(text: str) -> None:
    with pytest.raises(ValueError, match=rf"'{text}' is not a view \(CC, MLO or ML, LM,"):
        parse_view(text)


@pytest.mark.parametrize("text", ["L", "l", "LEFT", "Left", "left", " left "])
def test_left_is_read_in_any_spelling(text: str) -> None:
    assert parse_laterality(text) == "L"


@pytest.mark.parametrize("text", ["R", "r", "RIGHT", "Right", "right"])
def test_right_is_read_in_any_spelling(text: str) -> None:
    assert parse_laterality(text) == "R"


@pytest.mark.parametrize("text", ["B", "both", "0", "LR", "LM", "G", "D"])
def test_both_sides_are_no_side(text: str) -> None:
    with pytest.raises(ValueError, match=rf"'{text}' is not a laterality"):
        parse_laterality(text)


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("66", 66),
        (" 66 ", 66),
        ("61.0", 61),
        ("61.", 61),
        ("56.93", 56),  # EMBED: completed years
        ("066Y", 66),
        ("066y", 66),
        ("046Y", 46),
        ("018M", 1),  # PS3.5 6.2 AS: 18 months
        ("104W", 2),
        ("730D", 2),
        ("89", 89),
        ("90", 90),
        ("104", 90),  # PS3.15 and HIPAA: above 89 is one group
        ("0", None),
        ("0.0", None),
        ("000Y", None),  # how anonymised files spell unknown
        ("000D", None),
    ],
)
def test_an_age_is_in_completed_years_and_zero_is_unknown(text: str, years: int | None) -> None:
    assert parse_age(text) == years


@pytest.mark.parametrize(
    "text", ["-1", "150", "150Y", "66Z", "sixty", "6 6", "66-70", "1e2", "9" * 5000, "1/2"]
)
def test_an_age_that_nobody_has_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_age(text)


@given(st.integers(1, 120))
def test_an_age_is_the_same_as_number_decimal_and_dicom_string(years: int) -> None:
    assert parse_age(str(years)) == parse_age(f"{years}.0") == parse_age(f"{years:03d}Y") == min(years, 90)


@pytest.mark.parametrize(
    ("years", "code"), [(0, 0), (45, 0), (46, 1), (55, 1), (56, 2), (65, 2), (66, 3), (90, 3)]
)
def test_age_bins_change_after_45_55_and_65(years: int, code: int) -> None:
    assert age_bin_of(years) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0", 0),
        ("3", 3),
        ("2.0", 2),
        ("<=45", 0),
        ("≤45", 0),
        ("46-55", 1),
        ("46–55", 1),
        ("56 - 65", 2),
        ("> 65", 3),
    ],
)
def test_an_age_bin_is_its_code_or_its_name(text: str, code: int) -> None:
    assert parse_age_bin(text) == code
    assert parse_age_bin(AGE_BINS[code]) == code


@pytest.mark.parametrize("text", ["4", "-1", "66", "0.5", "45-46"])
def test_another_age_bin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=rf"'{text}' is not an age bin"):
        parse_age_bin(text)


@pytest.mark.parametrize("text", ["1", "1.0", "True", "TRUE", "true", "Yes", "yes", "Y", "X", "x", "t"])
def test_yes_is_read_in_any_spelling(text: str) -> None:
    assert parse_flag(text) is True


@pytest.mark.parametrize("text", ["0", "0.0", "False", "FALSE", "false", "No", "no", "N", "f"])
def test_no_is_read_in_any_spelling(text: str) -> None:
    assert parse_flag(text) is False


@pytest.mark.parametrize("text", ["2", "maybe", "MALIGNANT", "-1", "0.5", "01"])
def test_what_is_neither_yes_nor_no_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=rf"'{text}' is neither yes nor no"):
        parse_flag(text)


@pytest.mark.parametrize(
    "text", ["60 years", "60yrs", "60 y", "060Y", "60 Jahre", "60 ans", "60 años", "60岁", "60 y.o."]
)
def test_an_age_may_have_its_unit(text: str) -> None:
    assert parse_age(text) == 60


@pytest.mark.parametrize("text", [">89", "90+", ">=90", "≥ 90", "> 89 years"])
def test_a_bound_above_the_oldest_age_is_the_oldest(text: str) -> None:
    assert parse_age(text) == 90


@pytest.mark.parametrize(
    "text", ["60+", ">60", ">88", "50-59", "1962-03-04", "19620304", "-1", "~60", ">100 months"]
)
def test_a_bound_a_range_or_a_date_is_no_age(text: str) -> None:
    with pytest.raises(ValueError):
        parse_age(text)


@pytest.mark.parametrize(
    ("text", "side", "view"),
    [
        ("LCC", "L", "CC"), ("rmlo", "R", "MLO"), ("L-CC", "L", "CC"), ("LEFT_MLO", "L", "MLO"), ("R CC", "R", "CC"),
        ("CC-L", "L", "CC"), ("MLO Right", "R", "MLO"), ("LML", "L", "ML"), ("RLM", "R", "LM"), ("LXCCL", "L", "XCCL"),
        ("LTAN", "L", "TAN"), ("RMCC", "R", "CC"), ("Lt MLO", "L", "MLO"),
    ],
)  # fmt: skip
def test_a_view_may_have_its_side(text: str, side: str, view: str) -> None:
    assert (parse_laterality(text), parse_view(text)) == (side, view)


@pytest.mark.parametrize("text", ["LM", "LMO", "ML", "RL", "RM", "CC RL", "CCRM", "FB"])
def test_views_that_begin_like_a_side_have_none(text: str) -> None:
    """ACR MQCM 1999: LM is lateromedial, RL rolled lateral."""
    with pytest.raises(ValueError):
        parse_laterality(text)
    assert parse_view(text) in ("LM", "LMO", "ML", "RL", "RM", "CC", "FB")


@pytest.mark.parametrize(
    ("left", "right"),
    [("links", "rechts"), ("gauche", "droite"), ("izquierda", "derecha"), ("sinistra", "destra"),
     ("esquerda", "direita"), ("左", "右"), ("Left breast", "right_breast"), ("Lt", "Rt"), ("L.", "R.")],
)  # fmt: skip
def test_sides_of_other_languages_are_read(left: str, right: str) -> None:
    assert (parse_laterality(left), parse_laterality(right)) == ("L", "R")


@pytest.mark.parametrize(
    ("yes", "no"),
    [("ja", "nein"), ("oui", "non"), ("sí", "no"), ("sim", "não"), ("WAHR", "FALSCH"), ("VRAI", "FAUX"),
     ("vero", "falso"), ("是", "否"), ("pos", "neg"), ("1.00", "0.00"), ("1.", "0.")],
)  # fmt: skip
def test_yes_and_no_of_other_languages_are_read(yes: str, no: str) -> None:
    assert (parse_flag(yes), parse_flag(no)) == (True, False)


def test_a_column_of_cancer_may_say_what_was_found() -> None:
    assert [parse_cancer(text) for text in ("Malignant", "BENIGN", "normal", "", "yes", "0")] == [
        *(True, False, False, None, True, False)
    ]
    for text in ("2", "M", "BI-RADS 5", "suspicious"):
        with pytest.raises(ValueError):
            parse_cancer(text)
    with pytest.raises(ValueError):
        parse_flag("malignant")


def test_conditions_are_read_back_from_the_cells_of_a_table() -> None:
    known = Conditions("ML", "R", 61, 2, True, False)
    assert known.cells() == {
        "view": "ML",
        "laterality": "R",
        "age_years": 61,
        "age_bin": 2,
        "cancer": 1,
        "false_positive": 0,
    }
    assert type(known.cells()["cancer"]) is int
    for conditions in (known, Conditions(), Conditions(age_years=0, cancer=False)):
        text = {name: "" if cell is None else str(cell) for name, cell in conditions.cells().items()}
        assert Conditions.of_cells({**text, "split": "train"}) == conditions
