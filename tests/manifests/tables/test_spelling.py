"""What software does to a name on its way leaves the same name, and nothing else does."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nlbs.manifests.tables.rows import with_point
from nlbs.manifests.tables.spelling import BySpelling, readable, spelling

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(TEXT)
@example("\b\u00b9")  # a control character, and a digit that is ASCII in one form alone
@example("\u1fef")  # of which another form is the grave accent
def test_unicode_form_and_surrounding_space_do_not_matter(text: str) -> None:
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    assert len({spelling(form) for form in (text, f" {text}\t", *forms)}) == 1


@given(TEXT)
def test_a_spelling_is_its_own_spelling_unless_an_apostrophe_hid_another(text: str) -> None:
    once = spelling(text)
    assert (
        spelling(once) == once or text.strip()[:1] in "'=\u2018\u2019\u201b\u00b4\u0060" or once[:1] in "'="
    )


@given(st.integers(0, 10**20))
def test_a_whole_number_is_one_in_every_form(number: int) -> None:
    forms = (
        f"{number}",
        f"{number}.0",
        f"{number}.",
        f"{number},00",
        f"000{number}",
        f" {number} ",
        f'="{number}"',
    )
    assert {spelling(form) for form in forms} == {str(number)}


@pytest.mark.parametrize(
    ("one", "another"),
    [("12", "120"), ("1.5", "15"), ("a1", "a01"), ("P-1", "P1"), ("é", "e"), ("1.2.3", "123")],
)
def test_other_names_stay_apart(one: str, another: str) -> None:
    assert spelling(one) != spelling(another)


def test_a_name_that_is_not_utf_8_is_read_as_windows_writes_it() -> None:
    assert readable(b"Jos\xe9 \x96".decode("utf-8", "surrogateescape")) == "José –"
    assert spelling(b"Jos\xe9".decode("utf-8", "surrogateescape")) == spelling("JOSE\u0301")


def test_a_key_is_found_in_another_spelling_only_where_it_is_the_only_one() -> None:
    keys = BySpelling({"8000": 1, "A": 2, "a": 3, "B ": 4}, spelling)
    assert [keys.get(key) for key in ("8000", "8000.0", "A", "a", " a", "b", "c")] == [
        1,
        1,
        2,
        3,
        None,
        4,
        None,
    ]


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("60,0", "60"), ("60,50", "60.5"), ("0,25", "0.25"), ("1,0", "1"), ("60,000000", "60"), ("-1,5", "-1.5"),
        ("1,234", "1,234"), ("a,5", "a,5"), ("1,2,3", "1,2,3"), ("60.0", "60.0"), ("", ""),
    ],
)  # fmt: skip
def test_a_comma_is_a_point_where_it_cannot_part_thousands(cell: str, number: str) -> None:
    assert with_point(cell) == number
