"""Which conditions a shard set offers, by the words of its columns."""

import pytest

from nlbs.errors import ConfigError
from nlbs.manifests.schema import AGE_YEARS, NLBS, POSITION
from nlbs.manifests.schema_choice import chosen, offered

BOOKS = {
    "view": ["CC", "MLO"],
    "split": ["train", "val", "test"],
    "density": ["C", "A"],
    "birads": ["4A", "2"],
    "findings": ["Mass", "Mass|Nodule", "No Finding"],
    "implant": ["no", "yes"],
    "device": ["B", "A"],
    "thickness_mm": ["9", "55", "61.5"],
    "empty": [],
}


def test_each_column_has_the_kind_that_its_words_say() -> None:
    found = offered(BOOKS)
    assert list(found)[:7] == [*NLBS.names, "age_years", "position"]
    assert (found["age_years"], found["position"]) == (AGE_YEARS, POSITION)
    assert {name: (c.kind, c.values) for name, c in list(found.items())[7:]} == {
        "density": ("ordinal", ("A", "B", "C", "D")),
        "birads": ("ordinal", ("0", "1", "2", "3", "4", "4A", "4B", "4C", "5", "6")),
        "findings": ("multilabel", ("Mass", "Nodule")),
        "implant": ("binary", ("no", "yes")),
        "device": ("categorical", ("A", "B")),
        "thickness_mm": ("categorical", ("55", "61.5", "9")),
    }


def test_labels_of_chest_x_rays_are_all_fourteen_whether_or_not_they_occur() -> None:
    few = offered({"findings": ["No Finding", "Effusion|Hernia", "Mass"]})["findings"]
    assert len(few.values) == 14
    assert few.values[4:7] == ("Effusion", "Emphysema", "Fibrosis")
    assert few.stored("Effusion|Hernia") == tuple(float(place in (4, 7)) for place in range(14))
    assert few.stored("No Finding") == (0.0,) * 14  # known to have none of them
    other = offered({"findings": ["Effusion|Hernia|Mass", "Calcification"]})["findings"]
    assert other.values == ("Calcification", "Effusion", "Hernia", "Mass")


def test_a_projection_is_a_condition_of_the_set() -> None:
    (projection,) = chosen(["projection"], {"projection": ["AP", "PA"]})
    assert (projection.kind, projection.values) == ("categorical", ("AP", "PA"))


def test_a_person_says_of_what_kind_a_column_is() -> None:
    numbers, grades, view = chosen(["thickness_mm:continuous", "device:ordinal", "view"], BOOKS)
    assert (numbers.kind, numbers.values, numbers.low, numbers.high) == (
        "continuous",
        ("thickness_mm",),
        9.0,
        61.5,
    )
    assert (grades.kind, grades.values) == ("ordinal", ("A", "B"))
    assert view == NLBS["view"]
    (ordered,) = chosen(["thickness_mm:ordinal"], BOOKS)
    assert ordered.values == ("9", "55", "61.5")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["densty"], "no condition 'densty'; did you mean 'density'"),
        (["view:ordinal"], "view is categorical; leave the kind out"),
        (["device:cat"], "device is categorical; known: categorical"),
        (["device:continuous"], "its values are no numbers"),
        (["device:binary"], "device:binary: 'A' is neither yes nor no"),
        (["view", "view"], "each once"),
        (["empty"], "no condition 'empty'"),
    ],
)
def test_what_cannot_be_chosen_is_refused(asked: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(asked, BOOKS)
