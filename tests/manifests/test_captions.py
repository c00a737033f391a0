"""What stands below a picture."""

import pytest

from nlbs.manifests.asked import every_condition, pairs_of, parse_values
from nlbs.manifests.captions import caption
from nlbs.manifests.schema import NLBS, POSITION, Condition, Schema

DENSITY = Condition("density", "ordinal", ("A", "B", "C", "D"))
FINDINGS = Condition("findings", "multilabel", ("Mass", "Nodule"), healthy=0)


def shown(conditions: str, schema: Schema, *withheld: str) -> str:
    words = schema.words(every_condition(parse_values(pairs_of(conditions), schema), schema))
    return caption({name: word for name, word in words.items() if name not in withheld}, schema)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("cancer=no,false_positive=no", "normal"),
        ("cancer=yes,false_positive=no", "cancer"),
        ("cancer=no,false_positive=yes", "false positive"),
        ("cancer=no", "no cancer, false positive?"),
        ("cancer=yes", "cancer, false positive?"),
        ("false_positive=no", "cancer?, no false positive"),
        ("", "cancer?, false positive?"),
    ],
)
def test_a_caption_keeps_unknown_apart_from_no(conditions: str, expected: str) -> None:
    assert shown(f"view=CC,age=66,{conditions}", NLBS) == f"CC side? >65\n{expected}"


def test_what_is_withheld_is_not_told() -> None:
    assert shown("view=CC,laterality=L,cancer=yes", NLBS, "cancer", "false_positive") == "CC L age?"


def test_other_conditions_stand_with_their_names_below() -> None:
    schema = Schema((NLBS["view"], DENSITY, FINDINGS, POSITION))
    told = shown("view=MLO,density=D,findings=no finding", schema)
    assert told == "MLO\ndensity D\nfindings no finding\nposition ?"
    told = shown("findings=nodule|mass,position=0.33333,1", schema, "density")
    assert told == "view?\nfindings Mass|Nodule\nposition 0.333,1"
