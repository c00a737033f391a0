"""Spellings of one id have one key; ids that may be two people's do not."""

import io
import unicodedata
from decimal import Context

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.manifests.people.same_id import (
    difference,
    is_spoilt,
    rounded,
    same_id_key,
    similar_id_key,
    spellings,
)
from tests.conftest import some

IDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cn")), min_size=1, max_size=12)
NUMBERS = st.integers(1, 10**12).map(str)


@pytest.mark.parametrize(
    "written",
    [
        *("1000", " 1000 ", "1000\t", "\u00a01000\u202f", "\ufeff1000", "10\u200b00", "1000\u200e"),
        *("1000.0", "1000.00", "1000,0", "'1000", "1000'", '"1000"', '="1000"', '"=""1000"""', "\u20191000"),
        *("\uff11\uff10\uff10\uff10", "\u0661\u0660\u0660\u0660", "\uff11\uff10\uff10\uff10.0"),
    ],
)
def test_what_software_does_to_a_number_is_undone(written: str) -> None:
    assert same_id_key(written) == "1000"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Zo\u00eb", "Zoe\u0308"),
        ("\ud55c1", unicodedata.normalize("NFD", "\ud55c1")),
        ("\u212b-7", "\u00c5-7"),
        ("\uff30\uff11", "P1"),
        ("P 1", "P\u00a0\u00a01"),
        ("P\r\n1", "P 1"),
    ],
)
def test_two_unicode_forms_are_one_id(one: str, other: str) -> None:
    assert same_id_key(one) == same_id_key(other)


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("7", "007", "leading zeros"),
        ("P-7", "P-0007", "leading zeros"),
        ("7.0", "0007", "leading zeros"),
        ("p1", "P1", "letter case"),
        ("Stra\u00dfe", "STRASSE", "letter case"),
        ("1000", "1E+03", "how a number is written"),
        ("1000", "1e3", "how a number is written"),
        ("123000", "1.23E+05", "how a number is written"),
        ("1000", "1,000", "how a number is written"),
        ("1234567", "1.234.567", "how a number is written"),
        ("P_1", "P-1", "spaces, dashes or underscores"),
        ("P 1", "P1", "spaces, dashes or underscores"),
        ("P\u20131", "P-1", "spaces, dashes or underscores"),
        ("p_001", "P-1", "several of these"),
    ],
)
def test_what_may_be_two_people_is_similar_and_not_the_same(one: str, other: str, words: str) -> None:
    assert same_id_key(one) != same_id_key(other)
    assert similar_id_key(one) == similar_id_key(other)
    assert difference({same_id_key(one), same_id_key(other)}) == words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "10"),
        ("1-23", "12-3"),
        ("1.05", "1.5"),
        ("P1", "Q1"),
        ("100", "1"),
        ("1.2.840.10008.5", "1.2.840.10008.50"),
        ("12e456789", "12"),
        ("D1-0001", "D2-0001"),
        ("mdb001", "mdb010"),
        ("1.5", "15"),
        ("1000.5", "1000"),
    ],
)
def test_different_ids_stay_apart(one: str, other: str) -> None:
    assert similar_id_key(one) != similar_id_key(other)


@pytest.mark.parametrize("text", ["", " ", "\ufeff", "\u200b\u00a0", '=""', "'"])
def test_what_shows_nothing_is_no_id(text: str) -> None:
    assert same_id_key(text) == ""


@given(NUMBERS, NUMBERS)
def test_numbers_are_similar_where_they_are_equal(one: str, other: str) -> None:
    assert (similar_id_key(one) == similar_id_key(other)) == (int(one) == int(other))


@given(IDS)
def test_a_key_is_its_own_key(text: str) -> None:
    key = same_id_key(text)
    assert same_id_key(key) == key


@given(IDS)
def test_unicode_forms_have_one_key(text: str) -> None:
    keys = {same_id_key(unicodedata.normalize(form, text)) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    assert keys == {same_id_key(text)}


@given(IDS, IDS)
def test_what_is_the_same_is_similar(one: str, other: str) -> None:
    if same_id_key(one) == same_id_key(other):
        assert similar_id_key(one) == similar_id_key(other)


@given(st.lists(st.one_of(st.none(), st.integers(1, 10**15 - 1)), min_size=1, max_size=8))
def test_whole_numbers_that_pandas_makes_floats_of_keep_their_key(ids: list[int | None]) -> None:
    table = io.StringIO()
    pd.DataFrame({"patient": [float("nan"), *ids], "n": range(len(ids) + 1)}).to_csv(table, index=False)
    table.seek(0)
    written = [cells.split(",")[0] for cells in table.read().splitlines()[2:]]
    for text, number in some(zip(written, ids, strict=True)):
        assert same_id_key(text) == ("" if number is None else str(number))


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        *(("1.0943E+11", True), ("1E+12", True), ("1,0943E+11", True), ("'1.09E+11", True)),
        *(("1.09430185503E+11", False), ("109430185503", False), ("1e3", False), ("12e4+5", False)),
        *(("12-Jan", True), ("Mar-05", True), ("1 sep 2021", True), ("Jan-P1", False), ("may", False)),
        *(("#NAME?", True), ("####", True), ("#N/A", True), ("#DIV/0!", True), ("#7", False)),
        *(("#p1", False), ("#ABC", False)),
    ],
)
def test_what_a_spreadsheet_has_spoilt_is_seen(text: str, lost: bool) -> None:
    assert is_spoilt(text) == lost


def test_long_ids_that_all_end_in_zeros_were_rounded() -> None:
    fifteen_digits = Context(prec=15)
    ids = (123456789012345678, 223456789012345678)
    spreadsheet = [f"{fifteen_digits.create_decimal(number):f}" for number in ids]
    assert spreadsheet == ["123456789012346000", "223456789012346000"]
    assert all(is_spoilt(repr(float(number))) for number in ids)  # as pandas writes a column of floats
    assert rounded([*spreadsheet, "7"]) == spreadsheet
    assert rounded([*spreadsheet, "123456789012345678"]) == []
    assert rounded(["1000000000000000"]) == []  # one zero says nothing
    assert rounded([]) == []


@pytest.mark.parametrize(("text", "other"), [("1000", "1000.0"), ("7", "0007"), ("007", "7.0"), ("p1", "P1")])
def test_usual_spellings_are_found(text: str, other: str) -> None:
    assert other in list(spellings(text))


def test_letters_read_in_another_encoding_may_be_the_same() -> None:
    written = "M\u00fcller"
    misread = written.encode("utf-8").decode("cp1252")
    assert same_id_key(misread) != same_id_key(written)
    assert similar_id_key(misread) == similar_id_key(written)
